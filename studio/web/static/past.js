// Evaluations of models that belong to no run: a table, the newest first; one of them opened below it.
import { hand } from "./chart.js";
import { said } from "./figures.js";
import { evaluationReport, measure_name, model_name, verdict, written } from "./evaluation.js";
import { rowsView } from "./evalrows.js";
import { api, button, fill, h, has, on, poll, t, whole } from "./studio.js";

const EVERY_MS = 5000;
// The first of these that an evaluation has is its main number; else its first one.
const MAIN = ["accuracy", "likelihood_accuracy", "bits_per_character", "judge_score", "judge_wins", "number", "exact_match", "rouge1"];
const HEADS = ["model", "kind", "time", "measure", "value", "difference"];

const main_of = (measures) => MAIN.find((name) => measures[name]) ?? Object.keys(measures)[0];
const kind_of = ({ task }) => (has(`works.eval_${task}.title`) ? t(`works.eval_${task}.title`) : task);
const time_of = ({ time }) => new Date(time.replace(/(\d\d)(\d\d)$/, "$1:$2")).toLocaleString(window.studio.language, { dateStyle: "short", timeStyle: "short" });

/** The section. */
export function pastEvaluations() {
  const body = h("tbody");
  const table = h("div", { class: "studio-scroll" }, h("table", { class: "work-table", id: "past-table" },
    h("thead", {}, h("tr", {}, HEADS.map((name) => h("th", { scope: "col" }, t(`works.head.${name}`))))), body));
  const none = h("p", { class: "studio-muted" }, t("works.past.none"));
  const older = h("p", { class: "studio-muted" });
  const opened = h("div", { id: "past-opened" });
  const element = h("section", { class: "studio-card work-past", "aria-label": t("works.past") }, h("h4", {}, t("works.past")),
    h("p", { class: "studio-muted" }, t("works.past.about")), none, table, older, opened);
  let shown = "";
  const look = async () => {
    const told = await api("/evaluations");
    const now = JSON.stringify(told.evaluations.map((each) => [each.folder, each.file, each.time]));
    if (now === shown) return;
    none.hidden = told.evaluations.length > 0;
    table.hidden = !none.hidden;
    older.textContent = told.older ? t("works.past.older", { count: whole(told.older) }) : "";
    fill(body, told.evaluations.map((kept) => row(kept, opened)));
    shown = now;
  };
  const polling = poll(element, look, EVERY_MS);
  on("jobs-changed", () => polling.now());
  return element;
}

function row(kept, opened) {
  if (kept.error) return h("tr", {}, h("td", { colSpan: HEADS.length, class: "studio-bad" }, kept.error));
  const result = kept.results.find((each) => !each.base) ?? kept.results[0];
  const name = main_of(result?.measures ?? {});
  const apart = kept.differences[result?.model]?.all?.[name];
  const open = button(result ? model_name(result) : kept.folder, () => details(kept, opened), {
    class: "run-link", title: result?.model, "aria-label": t("works.past.open", { name: kind_of(kept), model: result?.model ?? kept.folder, time: time_of(kept) }),
  });
  return h("tr", { "data-evaluation": kept.file, "data-folder": kept.folder }, h("th", { scope: "row" }, open), h("td", {}, kind_of(kept)), h("td", {}, time_of(kept)),
    h("td", {}, name ? measure_name(name) : "–"), h("td", {}, name ? said(result.measures[name], written(name)) : "–"),
    h("td", { class: verdict(apart) && `studio-${verdict(apart)}` }, apart ? said(apart, written(name, { signed: true })) : "–"));
}

/** One of them whole, below the table. */
async function details({ folder, file }, place) {
  const path = `/evaluations/${encodeURIComponent(folder)}/${encodeURIComponent(file)}`;
  const kept = await api(path);
  const name = file.replace(/\.json$/, "");
  const heading = h("h4", { tabIndex: -1 }, `${kind_of(kept)} · ${folder} · ${time_of(kept)}`);
  fill(place, h("div", { class: "studio-row" }, heading, h("span", { class: "studio-space" }),
    button(t("works.past.csv"), async () => hand(`${name}.csv`, await (await api(`${path}/csv`, { raw: true })).blob()), { id: "past-csv" }),
    button(t("works.save_json"), () => hand(`${name}.json`, new Blob([JSON.stringify(kept, null, 1)], { type: "application/json" })), { id: "past-json" }),
    button(t("works.past.back"), () => { fill(place); document.querySelector(`#past-table [data-evaluation="${CSS.escape(file)}"][data-folder="${CSS.escape(folder)}"] button`)?.focus(); })),
  evaluationReport(kept, { rows: h("details", {}, h("summary", {}, t("works.rows")), rowsView(kept)) }));
  heading.focus();
  place.scrollIntoView({ block: "nearest", behavior: "smooth" });
}
