// What came of an evaluation: measures over steps, tables beside the base, rows beside each other.
import { rowsView } from "./evalrows.js";
import { evaluationReport, measure_name, overSteps } from "./evaluation.js";
import { line_of } from "./evaluations.js";
import { plain } from "./plain.js";
import { button, h, t } from "./studio.js";
import { hand } from "./chart.js";

/** Checkpoints of a run as lines over their steps. */
function overTime(kept) {
  const one = { steps: new Map(kept.results.filter((each) => !each.base).map((each) => [each.step ?? each.model, each])), base: kept.results.find((each) => each.base) };
  const names = [...new Set(kept.results.flatMap((each) => Object.keys(each.measures)))];
  const lines = names.map((name) => [name, line_of(name, t("works.run"), one)]).filter(([, line]) => line?.points.length > 1);
  return lines.length ? h("div", { class: "chart-grid" }, lines.map(([name, line]) => overSteps(name, [line], { title: measure_name(name) }))) : null;
}

function report(result) {
  if (!result.results) return plain(result);
  const files = [result.kept, result.predictions, ...Object.values(result.answers ?? {}), ...(result.exported ?? [])].filter((each) => typeof each === "string" && each);
  return h("div", { class: "work-report report-evaluate" },
    files.length ? h("p", { class: "work-kept" }, t("works.kept", { path: files.join(t("works.and")) })) : null,
    overTime(result),
    evaluationReport({ notes: result.notes, ...result }, { rows: h("details", { open: true }, h("summary", {}, t("works.rows")), rowsView(result)) }),
    h("div", { class: "studio-row" }, button(t("works.save_json"), () => hand(`${result.name}.json`, new Blob([JSON.stringify(result, null, 1)], { type: "application/json" })))));
}

export const evaluated = { report };
