// What a command says of itself, drawn without knowing what it is: names and values, lists as tables.
import { bytes, fill, h, has, number, t, whole } from "./studio.js";

const MOST_ROWS = 50;

/** The name of a value, as people call it. */
export function named(name) {
  const key = `works.fact.${name}`;
  if (has(key)) return t(key);
  const words = name.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** A single value as text. */
export function text_of(value, name = "") {
  if (value === null || value === undefined || value === "") return "–";
  if (typeof value === "boolean") return t(value ? "studio.yes" : "studio.no");
  if (typeof value === "number") {
    if (/(^|_)(n?bytes|size_bytes)$/.test(name)) return bytes(value);
    if (/(^|_)share$/.test(name)) return percent(value);
    return Number.isInteger(value) ? whole(value) : number(value, 4);
  }
  return String(value);
}

export const percent = (share, digits = 1) =>
  (typeof share === "number" && Number.isFinite(share) ? new Intl.NumberFormat(window.studio.language, { style: "percent", maximumFractionDigits: digits }).format(share) : "–");

const is_plain = (value) => value === null || typeof value !== "object";
const is_rows = (value) => Array.isArray(value) && value.length > 0 && value.every((each) => each && typeof each === "object" && !Array.isArray(each));

/** Names beside single values and lists of them; `label_of(name)` is what a name is called. */
export const pairs = (value, label_of = named) => h("dl", { class: "run-pairs" }, Object.entries(value).flatMap(([name, each]) => [
  h("dt", {}, label_of(name)), h("dd", {}, Array.isArray(each) ? each.map((one) => text_of(one)).join(", ") || "–" : text_of(each, name))]));

/** An object as pairs and tables. */
export function plain(value) {
  if (is_plain(value)) return h("p", {}, text_of(value));
  const simple = Object.entries(value).filter(([, each]) => is_plain(each) || (Array.isArray(each) && each.every(is_plain)));
  const others = Object.entries(value).filter(([name]) => !simple.some(([each]) => each === name));
  return h("div", { class: "work-plain" },
    simple.length ? pairs(Object.fromEntries(simple)) : null,
    others.map(([name, each]) => h("section", {}, h("h5", {}, named(name)),
      is_rows(each) ? table(each) : Array.isArray(each) ? h("pre", {}, JSON.stringify(each.slice(0, MOST_ROWS), null, 1)) : plain(each))));
}

/** Rows of objects as a table; the columns are their keys. */
export function table(rows, { columns = [...new Set(rows.flatMap(Object.keys))], heads = {}, cell = (row, name) => text_of(plainly(row[name]), name), first = true, most = MOST_ROWS } = {}) {
  const body = h("tbody");
  const draw = (count) => fill(body, rows.slice(0, count).map((row) => h("tr", {}, columns.map((name, place) =>
    (first && place === 0 ? h("th", { scope: "row" }, cell(row, name)) : h("td", {}, cell(row, name)))))));
  draw(most);
  const more = h("button", { type: "button", class: "studio-button", hidden: rows.length <= most, onclick: () => { draw(rows.length); more.hidden = true; } },
    t("works.all_rows", { count: whole(rows.length) }));
  return h("div", { class: "studio-scroll" }, h("table", { class: "work-table" },
    h("thead", {}, h("tr", {}, columns.map((name) => h("th", { scope: "col" }, heads[name] ?? named(name))))), body), more);
}

const plainly = (value) => (value && typeof value === "object" ? (Array.isArray(value) ? value.map((each) => text_of(plainly(each))).join(", ") : JSON.stringify(value)) : value);
