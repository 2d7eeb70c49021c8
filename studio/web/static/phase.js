// What a command says in words of its own, in the person's language: its phases, and why rows went.
import { keys, t } from "./studio.js";

const escaped = (text) => text.replace(/[.*+?^$()|[\]\\]/g, "\\$&");

/** Who knows all texts under keys that begin so: works.phase.reading {name}. Those with fewer names come first. */
function known(beginning) {
  const all = keys(beginning).map((key) => ({
    key, names: [...key.matchAll(/\{(\w+)\}/g)].map(([, name]) => name),
    fits: new RegExp(`^${escaped(key.slice(beginning.length)).replaceAll(/\{\w+\}/g, "(.+)")}$`, "s"),
  })).sort((a, b) => a.names.length - b.names.length);
  return (text) => {
    for (const { key, names, fits } of all) {
      const found = fits.exec(text);
      if (found) return t(key, Object.fromEntries(names.map((name, at) => [name, found[at + 1]])));
    }
    return null;
  };
}

const phases = known("works.phase.");
const reasons = known("works.reason.");
const notes = known("works.note.");

/** "reading news" as the page says it; "models/a: asking law" keeps its beginning; what nobody knows stays as it is. */
export function phase(text) {
  const [, model, rest] = /^(.+?): (.+)$/s.exec(text) ?? [];
  return phases(text) ?? (rest ? `${model}: ${phase(rest)}` : text);
}

/** Why a step of a cleaning took a row away. */
export const reason = (text) => reasons(text) ?? text;

/** What a work noticed on its way. */
export const noted = (text) => notes(text) ?? text;
