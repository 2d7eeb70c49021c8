// What a command says in words of its own, in the person's language: its phases, and why rows went.
import { keys, t } from "./studio.js";

const escaped = (text) => text.replace(/[.*+?^$()|[\]\\]/g, "\\$&");

/** Who knows all texts under keys that begin so: works.phase.reading {name}. Those without a name come first. */
function known(beginning) {
  const all = keys(beginning).map((key) => ({
    key, named: key.includes("{name}"), fits: new RegExp(`^${escaped(key.slice(beginning.length)).replace("{name}", "(.+)")}$`, "s"),
  })).sort((a, b) => a.named - b.named);
  return (text) => {
    for (const { key, fits } of all) {
      const found = fits.exec(text);
      if (found) return t(key, { name: found[1] ?? "" });
    }
    return null;
  };
}

const phases = known("works.phase.");
const reasons = known("works.reason.");

/** "reading news" as the page says it; "models/a: asking law" keeps its beginning; what nobody knows stays as it is. */
export function phase(text) {
  const [, model, rest] = /^(.+?): (.+)$/s.exec(text) ?? [];
  return phases(text) ?? (rest ? `${model}: ${phase(rest)}` : text);
}

/** Why a step of a cleaning took a row away. */
export const reason = (text) => reasons(text) ?? text;
