// The rows of an evaluation: what is the same for all models once, what each made of it beside each other.
import { model_name } from "./evaluation.js";
import { percent, text_of } from "./plain.js";
import { fill, h, has, t, whole } from "./studio.js";

const AT_ONCE = 5;
// Whether a row was answered well, by whichever name its task has for that.
const RIGHT = ["right", "correct", "hit", "exact_match"];
const LONG = 60;

const named = (key) => (has(`works.row.${key}`) ? t(`works.row.${key}`) : key.replaceAll("_", " "));
const right_of = (row) => { const key = RIGHT.find((name) => name in (row ?? {})); return key === undefined || row[key] === null ? null : Boolean(row[key]); };
const same = (values) => values.every((value) => JSON.stringify(value) === JSON.stringify(values[0]));

/** The view of a kept evaluation, {results: [{model, base, step, rows}]}; null where no rows were kept. */
export function rowsView(kept) {
  const results = kept.results.filter((each) => Array.isArray(each.rows) && each.rows.length)
    .sort((a, b) => Number(b.base) - Number(a.base) || (a.step ?? Infinity) - (b.step ?? Infinity));
  if (!results.length) return h("p", { class: "studio-muted" }, t("works.rows.none"));
  const count = Math.max(...results.map((each) => each.rows.length));
  const all = Array.from({ length: count }, (_, at) => ({ at, sides: results.map((each) => each.rows[at] ?? null) }));
  const graded = all.some((row) => right_of(row.sides[0]) !== null) && results.length > 1;
  const list = h("div");
  const more = h("button", { type: "button", class: "studio-button", onclick: () => { shown += 4 * AT_ONCE; draw(); } }, t("works.rows.more"));
  const said = h("span", { class: "studio-muted", role: "status" });
  let shown = AT_ONCE;
  const pick = h("select", { "aria-label": t("works.rows.which"), onchange: () => { shown = AT_ONCE; draw(); } },
    ["all", "gained", "lost", "wrong"].map((which) => h("option", { value: which }, t(`works.rows.${which}`))));
  const fits = ({ sides }) => {
    const [base, last] = [right_of(sides[0]), right_of(sides.at(-1))];
    return { all: true, gained: base === false && last === true, lost: base === true && last === false, wrong: last === false }[pick.value];
  };
  const draw = () => {
    const found = all.filter(fits);
    said.textContent = t("works.rows.count", { count: whole(found.length) });
    fill(list, found.slice(0, shown).map((row) => one(row, results)));
    more.hidden = found.length <= shown;
  };
  draw();
  return h("div", { class: "evaluation-rows" },
    h("div", { class: "studio-row" }, graded ? h("span", { class: "work-pick" }, pick) : null, said), list, more);
}

/** A question with letters to choose from: what each model gives each letter. */
function choice({ sides }, results) {
  const asked = sides.find(Boolean);
  const letters = Object.keys(asked.chances ?? {});
  return h("div", {}, h("div", { class: "work-text" }, asked.question),
    h("table", { class: "work-table eval-choice" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }), h("th", { scope: "col" }), sides.map((side, place) => side && h("th", { scope: "col", title: results[place].model }, model_name(results[place]), verdict(side))))),
      h("tbody", {}, letters.map((letter) => h("tr", { class: letter === asked.answer ? "answer" : "" },
        h("th", { scope: "row" }, letter, letter === asked.answer ? h("span", { class: "studio-good", title: t("works.row.answer") }, " ✓") : null),
        h("td", { class: "work-text" }, asked.options?.[letter] ?? ""),
        sides.map((side) => side && h("td", { class: side.pick === letter ? "pick" : "" },
          h("div", { class: "eval-chance" }, h("span", { style: `width: ${100 * (side.chances[letter] ?? 0)}%` })), h("span", {}, percent(side.chances[letter])))))))));
}

function one({ at, sides }, results) {
  if (sides.find(Boolean)?.chances) {
    const first = sides.find(Boolean);
    return h("div", { class: "work-sample eval-row" }, h("header", {}, h("strong", {}, t("works.rows.number", { row: whole(at + 1) })), h("span", {}, first.subject)), choice({ sides }, results));
  }
  const there = sides.filter(Boolean);
  const keys = [...new Set(there.flatMap(Object.keys))].filter((key) => !RIGHT.includes(key));
  const shared = keys.filter((key) => there.length > 1 && same(sides.map((side) => side?.[key])));
  const own = keys.filter((key) => !shared.includes(key));
  return h("div", { class: "work-sample eval-row" },
    h("header", {}, h("strong", {}, t("works.rows.number", { row: whole(at + 1) })), shared.filter((key) => is_short(there[0][key])).map((key) => h("span", {}, `${named(key)}: ${text_of(there[0][key])}`))),
    shared.filter((key) => !is_short(there[0][key])).map((key) => h("div", { class: "eval-part" }, h("div", { class: "who" }, named(key)), value_of(there[0][key]))),
    own.length || there.some((side) => right_of(side) !== null) ? h("div", { class: "work-sides" }, sides.map((side, place) => side && h("div", {},
      h("div", { class: "who" }, model_name(results[place]), verdict(side)),
      own.filter((key) => key in side).map((key) => (is_short(side[key]) ? h("div", { class: "eval-short" }, h("span", { class: "who" }, `${named(key)}: `), text_of(side[key]))
        : h("div", {}, own.length > 1 ? h("div", { class: "who" }, named(key)) : null, value_of(side[key]))))))) : null);
}

function verdict(side) {
  const right = right_of(side);
  return right === null ? null : h("span", { class: right ? "studio-good" : "studio-bad" }, ` ${right ? "✓" : "✗"} ${t(right ? "works.row.right" : "works.row.wrong")}`);
}

const is_short = (value) => value === null || typeof value !== "object" && !(typeof value === "string" && (value.length > LONG || value.includes("\n")));

/** Text as it is, turns of a conversation, lists, anything else as JSON. */
function value_of(value) {
  if (typeof value === "string") return h("div", { class: "work-text" }, value);
  if (Array.isArray(value) && value.every((each) => typeof each?.content === "string")) {
    return h("div", {}, value.map((turn) => h("div", {}, h("span", { class: "who" }, `${turn.role}: `), h("span", { class: "work-text" }, turn.content))));
  }
  if (Array.isArray(value) && value.every((each) => typeof each !== "object")) return h("ol", { class: "eval-list" }, value.map((each) => h("li", { class: "work-text" }, String(each))));
  if (value && Object.values(value).every((each) => typeof each !== "object")) {
    return h("dl", { class: "run-pairs" }, Object.entries(value).flatMap(([name, each]) => [h("dt", {}, named(name)), h("dd", {}, text_of(each, name))]));
  }
  return h("pre", {}, JSON.stringify(value, null, 1));
}
