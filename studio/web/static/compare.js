// Several runs beside each other: their curves in one chart, and what differs in their recipes.
import { axisOf, called, controls, Curve, Figure, smoothing, tint } from "./chart.js";
import { measuresBetween } from "./evaluations.js";
import { pathOf, titleOf } from "./job.js";
import { api, fill, h, t } from "./studio.js";

const plain = (value) => (value === null || value === undefined ? "–" : typeof value === "object" ? JSON.stringify(value) : String(value));

/** The overlay and the difference of these jobs. */
export function compareView(jobs) {
  const runs = jobs.map((job, place) => ({ job, curve: new Curve(), colour: tint(place) }));
  const metric = h("select", { id: "compare-metric", onchange: () => figure.changed() });
  // Each run has its own places on the axis; they are laid on one.
  const lines = () => {
    const wanted = runs.filter((run) => run.curve.names.includes(metric.value));
    const x = [...new Set(wanted.flatMap((run) => axisOf(run.curve)))].sort((a, b) => a - b);
    const at = new Map(x.map((value, place) => [value, place]));
    return {
      x,
      lines: wanted.map((run) => {
        const values = new Array(x.length).fill(null);
        const own = metric.value === "loss" && smoothing() > 0 ? run.curve.smooth("loss", smoothing()) : run.curve.column(metric.value);
        axisOf(run.curve).forEach((value, place) => { if (own[place] !== null) values[at.get(value)] = own[place]; });
        return { name: `#${run.job.id} ${titleOf(run.job)}`, values, colour: run.colour };
      }),
    };
  };
  const figure = new Figure(t("jobs.compare.chart"), { big: true, lines });
  const bar = controls(() => figure.changed(), h("span", {}, h("label", { for: metric.id }, t("jobs.compare.metric")), metric));
  const differences = h("div", { class: "studio-scroll" }, h("p", { class: "studio-muted" }, t("studio.loading")));
  const measures = measuresBetween(runs.map(({ job, colour }) => ({ path: pathOf(job.id), name: `#${job.id} ${titleOf(job)}`, colour })));
  const element = h("section", { class: "compare", "aria-label": t("jobs.compare") },
    h("div", { class: "studio-card" }, bar, figure.element), measures,
    h("div", { class: "studio-card run-part" }, h("h4", {}, t("jobs.compare.recipes")), differences));

  const load = async () => {
    const answers = await Promise.all([
      api("/jobs/diff", { body: { ids: jobs.map((job) => job.id) } }),
      ...runs.map((run) => api(`${pathOf(run.job.id)}/news?points=&log=`)),
    ]);
    const [diff, ...news] = answers;
    news.forEach((told, place) => runs[place].curve.append(told.points.rows));
    const names = [...new Set(runs.flatMap((run) => run.curve.names))];
    fill(metric, names.map((name) => h("option", { value: name }, called(name))));
    figure.changed();
    const rows = diff;
    fill(differences, rows.length ? table(rows, runs) : h("p", {}, t("jobs.compare.same")));
  };
  element.stop = () => figure.destroy();
  load().catch((error) => fill(differences, h("p", { class: "studio-bad" }, error.message)));
  return element;
}

function table(rows, runs) {
  return h("table", { class: "compare-table" },
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, t("jobs.compare.argument")), runs.map((run) =>
      h("th", { scope: "col", style: `border-top: 3px solid ${run.colour}` }, `#${run.job.id} ${titleOf(run.job)}`)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, h("th", { scope: "row" }, row.name), row.values.map((value) => h("td", {}, plain(value)))))));
}
