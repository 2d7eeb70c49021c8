// Drawings of results that need no chart: bars, intervals with their point, text coloured by token, what was cut out of a text.
import { h, number, t } from "./studio.js";

/** A card of a result. */
export const card = (title, ...content) => h("section", { class: "work-card", "aria-label": title }, h("h4", {}, title), content);

/** Big numbers beside each other: [[name, value, kind]]. */
export const tiles = (list) => h("div", { class: "work-tiles" }, list.filter(Boolean).map(([name, value, kind = ""]) =>
  h("div", { class: `work-tile ${kind}` }, h("div", { class: "value" }, value), h("div", { class: "name" }, name))));

/**
 * Bars below each other. rows: [{label, parts: [{value, tone, title}], text}]; all are drawn on one scale.
 * `most` is the longest bar, by itself the greatest sum of a row.
 */
export function bars(rows, { most = 0, label = "" } = {}) {
  const sum = (row) => row.parts.reduce((all, part) => all + (part.value || 0), 0);
  const whole_of = most || Math.max(...rows.map(sum), 0) || 1;
  return h("div", { class: "work-bars", role: "list", "aria-label": label }, rows.map((row) =>
    h("div", { class: "work-bar", role: "listitem" },
      h("span", { class: "label" }, row.label),
      h("span", { class: "line", "aria-hidden": "true" }, row.parts.map((part) =>
        h("span", { class: `part ${part.tone || ""}`, style: `width: ${(100 * (part.value || 0)) / whole_of}%`, title: part.title || "" }))),
      h("span", { class: "text" }, row.text))));
}

/** A legend: [[tone, text]]. */
export const legend = (list) => h("p", { class: "work-legend studio-muted" }, list.map(([tone, text]) => h("span", {}, h("span", { class: `work-key ${tone}` }), text)));

/** The ends of an axis that holds all of these values, with a little room; `zero` keeps 0 inside. */
export function axis_of(measures, { zero = false, unit = false } = {}) {
  const ends = measures.filter(Boolean).flatMap((each) => [each.low ?? each.value, each.high ?? each.value, each.value]).filter(Number.isFinite);
  if (zero) ends.push(0);
  // Shares are seen on their whole scale.
  if (unit && ends.every((each) => each >= 0 && each <= 1)) return [0, 1];
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  const room = (high - low) * 0.08 || Math.abs(high) * 0.1 || 1;
  return [low - room, high + room];
}

/** One value with its interval on an axis: a line from low to high with a point. */
export function interval(measure, [from, to], { tone = "", mark = null, text = "" } = {}) {
  const place = (value) => `${Math.min(Math.max((100 * (value - from)) / (to - from), 0), 100)}%`;
  const known = Number.isFinite(measure?.value);
  const [low, high] = [measure?.low ?? measure?.value, measure?.high ?? measure?.value];
  return h("div", { class: `work-interval ${tone}`, role: "img", "aria-label": text || said(measure), title: text || said(measure) },
    mark === null ? null : h("span", { class: "mark", style: `left: ${place(mark)}` }),
    known && h("span", { class: "range", style: `left: ${place(low)}; width: calc(${place(high)} - ${place(low)})` }),
    known && h("span", { class: "point", style: `left: ${place(measure.value)}` }));
}

/** A measure in words: the value with its interval. `as` writes a number. */
export function said(measure, as = (value) => number(value, 4)) {
  if (!Number.isFinite(measure?.value)) return "–";
  const known = Number.isFinite(measure.low) && Number.isFinite(measure.high);
  return known ? t("works.interval", { value: as(measure.value), low: as(measure.low), high: as(measure.high) }) : as(measure.value);
}

/** Text coloured by token: [{text, id, tone, title}]; what a token is stands in its title, and is read by the keyboard. */
export function coloured(tokens) {
  return h("div", { class: "work-tokens" }, tokens.map((token, place) =>
    h("span", { class: `tok${place % 4} ${token.tone || ""}`, tabindex: 0, title: token.title ?? `${token.id}`, "aria-label": `${token.text} ${token.title ?? token.id}` }, token.text)));
}

const PIECES = /\p{Script=Han}|[\p{L}\p{N}_]+|\s+|[^\p{L}\p{N}\s]/gu;
// A comparison costs the product of both lengths.
const MOST_PIECES = 700;

/** A text before, with what is not in the text after marked as removed: [{text, gone}]. */
export function removed(before, after) {
  const [a, b] = [before.match(PIECES) ?? [], after.match(PIECES) ?? []];
  let [start, end_a, end_b] = [0, a.length, b.length];
  while (start < end_a && start < end_b && a[start] === b[start]) start += 1;
  while (end_a > start && end_b > start && a[end_a - 1] === b[end_b - 1]) { end_a -= 1; end_b -= 1; }
  const parts = [];
  const add = (text, kind) => {
    if (parts.at(-1)?.kind === kind) parts.at(-1).text += text; else if (text) parts.push({ text, kind });
  };
  add(a.slice(0, start).join(""), "same");
  const [left, right] = [a.slice(start, end_a), b.slice(start, end_b)];
  if (left.length * right.length <= MOST_PIECES ** 2) middle(left, right, add);
  else { add(left.join(""), "gone"); add(right.join(""), "new"); }
  add(a.slice(end_a).join(""), "same");
  return parts;
}

/** The longest common pieces of two lists, as pieces that stay, go and come. */
function middle(a, b, add) {
  const wide = b.length + 1;
  const length = new Uint16Array((a.length + 1) * wide);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      length[i * wide + j] = a[i] === b[j] ? length[(i + 1) * wide + j + 1] + 1 : Math.max(length[(i + 1) * wide + j], length[i * wide + j + 1]);
    }
  }
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) { add(a[i], "same"); i += 1; j += 1; }
    else if (i < a.length && (j >= b.length || length[(i + 1) * wide + j] >= length[i * wide + j + 1])) { add(a[i], "gone"); i += 1; }
    else { add(b[j], "new"); j += 1; }
  }
}

/** The same as an element. */
export const marked = (before, after) => h("div", { class: "work-text" }, removed(before, after).map((part) =>
  (part.kind === "same" ? part.text : h(part.kind === "gone" ? "del" : "ins", {}, part.text))));
