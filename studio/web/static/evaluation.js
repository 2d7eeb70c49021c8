// One evaluation as it is kept: models beside their base, measure by measure, subject by subject, row by row.
import { tint } from "./chart.js";
import { axis_of, interval, said } from "./figures.js";
import { percent } from "./plain.js";
import { fill, h, has, number, t, whole } from "./studio.js";

const ALL = "all";
const FIRST_GROUPS = 12;
// Measures that are shares: written in percent, seen on the whole scale from 0 to 1.
const SHARES = /^(accuracy|probability|exact_match|number$|repetition|distinct_|cut$|judge_wins|rouge)|_(share|rate)$/;

export const is_share = (name) => SHARES.test(name);
/** What a measure is called. */
export const measure_name = (name) => (has(`works.measure.${name}`) ? t(`works.measure.${name}`) : name.replaceAll("_", " "));
/** A measure's number as people read it. */
export const written = (name, { signed = false } = {}) => (value) => {
  const sign = signed && value > 0 ? "+" : "";
  return sign + (is_share(name) && Math.abs(value) <= 1 ? percent(value) : number(value, 4));
};

/** What a model is called in a table: the last of its path, with its step. */
export function model_name(result) {
  if (result.shown) return result.shown;
  const path = String(result.model);
  const step = result.step ?? null;
  const short = path.replace(/\/+$/, "").split("/").slice(step === null ? -1 : -2).join("/");
  return result.base ? t("works.base_of", { model: short }) : short;
}

/** How a difference is to be read: "good", "bad" or "" where its interval holds 0. */
export function verdict(apart) {
  if (!Number.isFinite(apart?.low) || !Number.isFinite(apart?.high) || (apart.low <= 0 && apart.high >= 0)) return "";
  return (apart.value > 0) === (apart.better !== "lower") ? "good" : "bad";
}

/** The whole of it. */
export function evaluationReport(kept, { rows = null } = {}) {
  const results = [...kept.results].sort((a, b) => Number(b.base) - Number(a.base) || (a.step ?? Infinity) - (b.step ?? Infinity));
  const names = [...new Set(results.flatMap((each) => Object.keys(each.measures)))];
  const notes = [...new Set([...(kept.notes || []), ...results.flatMap((each) => each.notes || [])])];
  return h("div", { class: "work-report evaluation" },
    names.map((name) => measureTable(name, results, kept.differences || {})),
    notes.length ? h("ul", { class: "work-notes studio-muted" }, notes.map((text) => h("li", {}, text))) : null,
    groupTable(results, kept.differences || {}, names),
    rows ?? null);
}

/** One measure: every model with its interval, and how far it is from the base. */
function measureTable(name, results, differences) {
  const having = results.filter((each) => each.measures[name]);
  const axis = axis_of(having.map((each) => each.measures[name]), { unit: is_share(name) });
  const base = having.find((each) => each.base)?.measures[name];
  const as = written(name);
  const better = having[0].measures[name].better;
  return h("section", { class: "work-card", "data-measure": name },
    h("h4", {}, measure_name(name), " ", h("span", { class: "studio-muted" }, t(`works.better.${better === "lower" ? "lower" : "higher"}`))),
    h("div", { class: "studio-scroll" }, h("table", { class: "work-table work-measures" },
      h("thead", {}, h("tr", {}, ["model", "value", "interval", "difference", "count"].map((each) => h("th", { scope: "col" }, t(`works.head.${each}`))))),
      h("tbody", {}, having.map((each) => {
        const measure = each.measures[name];
        const apart = differences[each.model]?.[ALL]?.[name];
        return h("tr", { class: each.base ? "base" : "" },
          h("th", { scope: "row", title: each.model }, model_name(each)),
          h("td", { class: "number" }, as(measure.value)),
          h("td", {}, interval(measure, axis, { tone: each.base ? "base" : verdict(apart), mark: each.base ? null : base?.value ?? null, text: said(measure, as) })),
          h("td", {}, each.base ? "–" : differenceText(apart, name)),
          h("td", { class: "number" }, whole(measure.count)));
      })))));
}

function differenceText(apart, name) {
  if (!apart) return h("span", { class: "studio-muted" }, "–");
  const kind = verdict(apart);
  const text = said(apart, written(name, { signed: true }));
  return h("span", { class: kind ? `studio-${kind}` : "studio-muted", title: t(kind ? `works.difference.${kind}` : "works.difference.none") }, text);
}

/** Models × subjects, one measure at a time. */
function groupTable(results, differences, names) {
  const groups = [...new Set(results.flatMap((each) => Object.keys(each.groups || {})))];
  if (!groups.length) return null;
  const known = names.filter((name) => results.some((each) => Object.values(each.groups || {}).some((group) => group[name])));
  const place = h("div");
  const pick = h("select", { "aria-label": t("works.measure"), onchange: () => draw(false) }, known.map((name) => h("option", { value: name }, measure_name(name))));
  const draw = (every) => {
    const name = pick.value;
    const cells = results.flatMap((each) => groups.map((group) => each.groups?.[group]?.[name]));
    const axis = axis_of(cells, { unit: is_share(name) });
    const shown = every ? groups : groups.slice(0, FIRST_GROUPS);
    fill(place, h("div", { class: "studio-scroll" }, h("table", { class: "work-table work-groups" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, t("works.head.group")), results.map((each) => h("th", { scope: "col", title: each.model }, model_name(each))))),
      h("tbody", {}, shown.map((group) => h("tr", {}, h("th", { scope: "row" }, group), results.map((each) => {
        const measure = each.groups?.[group]?.[name];
        const apart = differences[each.model]?.[group]?.[name];
        return h("td", {}, measure ? [
          h("div", {}, written(name)(measure.value), " ", each.base || !apart ? null : differenceText({ ...apart, low: apart.low, high: apart.high }, name)),
          interval(measure, axis, { tone: each.base ? "base" : verdict(apart), text: said(measure, written(name)) })] : "–");
      })))))),
      shown.length < groups.length ? h("button", { type: "button", class: "studio-button", onclick: () => draw(true) }, t("works.all_groups", { count: whole(groups.length) })) : null);
  };
  draw(false);
  return h("section", { class: "work-card" }, h("div", { class: "studio-row" }, h("h4", {}, t("works.by_group")), known.length > 1 ? h("span", { class: "work-pick" }, pick) : null), place);
}

const SVG = "http://www.w3.org/2000/svg";
const [WIDE, HIGH, LEFT, LOW] = [420, 170, 52, 24];

function drawn(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/**
 * A measure over steps with error bars. lines: [{name, points: [{step, value, low, high}], base}]; the base of a line
 * is drawn as a level one.
 */
export function overSteps(name, lines, { title = measure_name(name) } = {}) {
  const points = lines.flatMap((line) => line.points);
  const [from, to] = axis_of([...points, ...lines.map((line) => line.base)], { unit: false });
  const steps = [...new Set(points.map((point) => point.step))].sort((a, b) => a - b);
  const [first, last] = [Math.min(0, ...steps), Math.max(...steps, 1)];
  const x = (step) => LEFT + ((step - first) / (last - first || 1)) * (WIDE - LEFT - 12);
  const y = (value) => HIGH - LOW - ((value - from) / (to - from)) * (HIGH - LOW - 8);
  const as = written(name);
  const rules = [0, 0.5, 1].map((part) => from + part * (to - from));
  const picture = drawn("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, class: "step-chart" },
    ...rules.flatMap((value) => [
      drawn("line", { class: "rule", x1: LEFT, x2: WIDE - 8, y1: y(value), y2: y(value) }),
      drawn("text", { class: "tick", x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, as(value))]),
    ...[...new Set([first, ...steps])].filter((_, at, all) => at % Math.ceil(all.length / 6) === 0 || at === all.length - 1)
      .map((step) => drawn("text", { class: "tick", x: x(step), y: HIGH - 6, "text-anchor": "middle" }, whole(step))),
    ...lines.flatMap((line, place) => lineOf(line, line.colour ?? tint(place), { x, y, as })));
  return h("figure", { class: "chart step-figure", role: "img", "aria-label": `${title}: ${lines.map((line) => `${line.name} ${line.points.map((point) => `${point.step}: ${said(point, as)}`).join("; ")}`).join(". ")}` },
    h("figcaption", {}, title), picture,
    h("p", { class: "work-legend studio-muted" }, lines.length > 1 || lines.some((line) => line.base)
      ? [lines.map((line, place) => h("span", {}, h("span", { class: "work-key", style: `background: ${line.colour ?? tint(place)}` }), line.name)),
        lines.some((line) => line.base) ? h("span", {}, h("span", { class: "work-key dashed" }), t("works.base")) : null] : null));
}

function lineOf(line, colour, { x, y, as }) {
  const points = [...line.points].sort((a, b) => a.step - b.step);
  const parts = [];
  if (line.base) parts.push(drawn("line", { class: "base", stroke: colour, x1: LEFT, x2: WIDE - 8, y1: y(line.base.value), y2: y(line.base.value) }));
  parts.push(drawn("polyline", { class: "line", stroke: colour, points: points.map((point) => `${x(point.step)},${y(point.value)}`).join(" ") }));
  for (const point of points) {
    const [low, high] = [point.low ?? point.value, point.high ?? point.value];
    parts.push(drawn("line", { class: "bar", stroke: colour, x1: x(point.step), x2: x(point.step), y1: y(low), y2: y(high) }));
    for (const end of [low, high]) parts.push(drawn("line", { class: "bar", stroke: colour, x1: x(point.step) - 3, x2: x(point.step) + 3, y1: y(end), y2: y(end) }));
    const dot = drawn("circle", { fill: colour, cx: x(point.step), cy: y(point.value), r: 3.5 });
    dot.append(drawn("title", {}, `${line.name} · ${whole(point.step)}: ${said(point, as)}`));
    parts.push(dot);
  }
  return parts;
}
