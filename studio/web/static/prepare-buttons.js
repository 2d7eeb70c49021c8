// Buttons that begin a work with a dataset.
import { button, t } from "./studio.js";

/** Clean, shards, mix; `go(where, row, values)` shows the one that was chosen. */
export function prepare_buttons(dataset, go) {
  return ["clean", "shard", "mix"].map((word) => button(t(`works.prepare.${word}`), () => go(`prepare:${word}`, 0, { dataset: [dataset] }), {
    "data-prepare": word, "aria-label": t(`works.prepare.${word}.of`, { name: dataset }),
  }));
}
