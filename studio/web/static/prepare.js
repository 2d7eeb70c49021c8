// A place of the Datasets tab: what is done to data before a training: clean, shards, mix.
import { button, h, t, tell } from "./studio.js";
import { worksView } from "./works.js";

/** The view; `word` is the work that is shown, `values` are put into its form, `chosen(word)` hears of another one. */
export function prepare({ back, word, values, chosen }) {
  const view = worksView("data", { onopen: chosen });
  view.open(word, values).catch(tell);
  return h("div", { class: "datasets-prepare" },
    h("div", { class: "studio-row datasets-bar" },
      button(t("datasets.back"), back, { id: "datasets-back" }), h("h3", {}, t("works.prepare"))),
    view.element);
}
