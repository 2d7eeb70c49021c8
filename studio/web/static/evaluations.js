// The evaluations that a run has kept: each measure over steps with its interval, and the newest as a table.
import { dress } from "./dress.js";
import { evaluationReport, measure_name, overSteps } from "./evaluation.js";
import { rowsView } from "./evalrows.js";
import { api, fill, h, t } from "./studio.js";

dress("works.css");

/** The kept evaluations of a run by what they are called: name → {results by step, base, differences, newest}. */
export function gathered(list) {
  const found = new Map();
  for (const kept of list.filter((each) => !each.error)) {
    const one = found.get(kept.name) || { steps: new Map(), base: null, differences: {}, newest: kept };
    one.newest = kept;
    Object.assign(one.differences, kept.differences);
    for (const result of kept.results) {
      if (result.base) one.base = result;
      else one.steps.set(result.step ?? "end", result);
    }
    found.set(kept.name, one);
  }
  return found;
}

/** A measure of a gathered evaluation as a line over steps; null where it was measured at no step. */
export function line_of(name, label, one) {
  const points = [...one.steps.values()].filter((each) => Number.isFinite(each.measures[name]?.value) && each.step !== null)
    .map((each) => ({ step: each.step, ...each.measures[name] }));
  return points.length ? { name: label, points, base: one.base?.measures[name] } : null;
}

/** The section; `look(path)` asks for the evaluations of a run, and is hidden while there are none. */
export function evaluationsView() {
  const body = h("div", { class: "evaluation-list" });
  const element = h("section", { class: "studio-card run-part run-evaluations", hidden: true, "aria-label": t("works.evaluations") },
    h("h4", {}, t("works.evaluations")), h("p", { class: "studio-muted" }, t("works.evaluations.about")), body);
  let shown = "";
  const look = async (path) => {
    const { evaluations } = await api(`${path}/evaluations`);
    const now = JSON.stringify(evaluations.map((each) => [each.file, each.time, each.error]));
    if (now === shown) return;
    shown = now;
    element.hidden = !evaluations.length;
    fill(body, [...gathered(evaluations)].map(([name, one]) => section(name, one, path)),
      evaluations.filter((each) => each.error).map((each) => h("p", { class: "studio-bad" }, each.error)));
  };
  return { element, look };
}

function section(name, one, path) {
  const measures = [...new Set([...one.steps.values()].flatMap((each) => Object.keys(each.measures)))];
  const lines = measures.map((measure) => [measure, line_of(measure, measure_name(measure), one)]).filter(([, line]) => line && line.points.length > 1);
  const rows = h("div");
  const details = h("details", { ontoggle: async () => {
    if (!details.open || rows.children.length) return;
    const kept = await api(`${path}/evaluations/${encodeURIComponent(one.newest.file)}`);
    fill(rows, rowsView(kept));
  } }, h("summary", {}, t("works.rows")), rows);
  return h("section", { class: "evaluation-one", "data-evaluation": name },
    h("h5", {}, name),
    lines.length ? h("div", { class: "chart-grid" }, lines.map(([measure, line]) => overSteps(measure, [{ ...line, name: t("works.run") }], { title: measure_name(measure) }))) : null,
    evaluationReport({ ...one.newest, results: [...(one.base ? [one.base] : []), ...one.steps.values()], differences: one.differences }, { rows: details }));
}

/** The same measures of several runs over each other: [{path, name, colour}]; hidden where none was evaluated. */
export function measuresBetween(runs) {
  const body = h("div", { class: "evaluation-list" });
  const element = h("section", { class: "studio-card run-part run-evaluations", hidden: true, "aria-label": t("works.evaluations") },
    h("h4", {}, t("works.evaluations")), h("p", { class: "studio-muted" }, t("works.evaluations.between")), body);
  const load = async () => {
    const all = await Promise.all(runs.map(async (run) => ({ run, found: gathered((await api(`${run.path}/evaluations`)).evaluations) })));
    const names = [...new Set(all.flatMap(({ found }) => [...found.keys()]))];
    element.hidden = !names.length;
    fill(body, names.map((name) => h("section", { class: "evaluation-one", "data-evaluation": name }, h("h5", {}, name), between(all, name))));
  };
  load().catch((error) => { element.hidden = false; fill(body, h("p", { class: "studio-bad" }, error.message)); });
  return element;
}

/** One evaluation of all runs: a figure for each measure that was taken at several steps, and the last values as intervals. */
function between(all, name) {
  const own = all.filter(({ found }) => found.has(name)).map(({ run, found }) => ({ run, one: found.get(name) }));
  const measures = [...new Set(own.flatMap(({ one }) => [...one.steps.values()].flatMap((each) => Object.keys(each.measures))))];
  const lines = (measure) => own.map(({ run, one }) => { const line = line_of(measure, run.name, one); return line && { ...line, colour: run.colour }; }).filter(Boolean);
  const last = (one) => [...one.steps.values()].at(-1);
  const results = own.flatMap(({ run, one }, at) => [...(at === 0 && one.base ? [one.base] : []), ...(last(one) ? [{ ...last(one), shown: run.name }] : [])]);
  const differences = Object.assign({}, ...own.map(({ one }) => one.differences));
  return [
    h("div", { class: "chart-grid" }, measures.map((measure) => [measure, lines(measure)]).filter(([, some]) => some.some((line) => line.points.length > 1))
      .map(([measure, some]) => overSteps(measure, some, { title: measure_name(measure) }))),
    evaluationReport({ results, differences }),
  ];
}
