// One run, as it happens: in the Train tab, and where the Jobs tab opens one.
import { alarmCard } from "./alarms.js";
import { charts, Curve, hand, picture } from "./chart.js";
import { failureCard } from "./card.js";
import { checkpointsView } from "./checkpoints.js";
import { actions, bar, chip, figures, isActive, isLive, pathOf, sentenceOf, titleOf } from "./job.js";
import { detailsView } from "./lineage.js";
import { stage_of } from "./fit.js";
import { logView } from "./log.js";
import { phase } from "./phase.js";
import { rolloutsView } from "./rollouts.js";
import { evaluationsView } from "./evaluations.js";
import { scoresView } from "./scores.js";
import { api, button, fill, h, on, poll, t } from "./studio.js";

// While a run lives it is asked for every second; what has ended hardly changes.
const ENDED_EVERY = 5;
// Checkpoints and results come slowly.
const WHOLE_EVERY = 15;

/** Everything about a job. The element has `stop()`; `title` is a heading's level. */
export function runView(id, { onjob } = {}) {
  const curve = new Curve();
  const chart = charts(curve);
  const alarms = alarmCard();
  const scores = scoresView();
  const rollouts = rolloutsView(pathOf(id));
  const evaluations = evaluationsView();
  const log = logView(id);
  const card = failureCard((evidence) => log.find(evidence));
  const checkpoints = checkpointsView();
  const details = detailsView();
  const head = headOf(() => whole || job, curve, chart);
  let job = null;
  let whole = null;
  let points = "";
  let offset = "";
  let rounds = 0;
  // Whether the run writes answers that it is rewarded for.
  let writes = false;

  const parts = [alarms.element, chart.element, scores.element, evaluations.element, rollouts.element, log.element, checkpoints.element, details.element];
  const empty = h("p", { class: "studio-muted run-charts-empty" }, t("run.charts.none"));
  const element = h("article", { class: "run", "data-job": id }, head.element, card.element, empty, ...parts);

  const look = async () => {
    whole = await api(pathOf(id));
    card.show(whole.failure);
    checkpoints.show(whole);
    details.show(whole);
    const wants = whole.kind === "train" && stage_of(whole.recipe?.stage)?.wants;
    writes = wants === "prompts";
    if (whole.kind === "train") await evaluations.look(pathOf(id));
    if (wants === "pairs") await scores.look(pathOf(id));
    if (writes) await rollouts.refresh();
  };
  const news = async () => {
    const told = await api(`${pathOf(id)}/news?points=${encodeURIComponent(points)}&log=${encodeURIComponent(offset)}`);
    const before = job;
    job = told.job;
    if (told.points.reset) curve.reset();
    points = told.points.cursor;
    curve.append(told.points.rows);
    if (told.points.reset || told.points.rows.length) {
      chart.draw();
      alarms.show(curve.alarms);
      if (writes) await rollouts.refresh();
    }
    log.append(told.log.text, told.log.reset);
    offset = told.log.next;
    const moved = !before || before.state !== job.state || before.attempt !== job.attempt;
    if (moved || (isLive(job) && rounds % WHOLE_EVERY === 0)) await look();
    show();
    onjob?.(job);
  };
  const show = () => {
    head.show(job, whole);
    chart.element.hidden = curve.length === 0;
    empty.hidden = curve.length > 0 || job.kind !== "train" || !isActive(job);
  };
  const round = async () => {
    rounds += 1;
    if (job && !isActive(job) && rounds % ENDED_EVERY) return;
    try {
      await news();
      head.trouble("");
    } catch (error) {
      // The next round tries again; the page says why nothing moves.
      head.trouble(error.message);
      if (error.status === 404) ticks.stop();
    }
  };
  const ticks = poll(element, round, 1000);
  const again = () => { rounds = -1; ticks.now(); };
  on("jobs-changed", (changed) => { if (String(changed) === String(id) && job) again(); });
  element.stop = () => { ticks.stop(); chart.destroy(); };
  return element;
}

/** Title, state, progress, buttons. */
function headOf(get, curve, chart) {
  const title = h("h3", {}, t("studio.loading"));
  const state = h("span");
  const why = h("p", { class: "run-why", "aria-live": "polite" });
  const where = h("p", { class: "studio-muted run-where" });
  const trouble = h("p", { class: "studio-bad", role: "status", hidden: true });
  const done = bar();
  const numbers = h("dl", { class: "run-figures" });
  const close = h("p", { class: "studio-muted run-close" }, t("run.may_close"));
  const buttons = actions(get);
  const name = () => titleOf(get()).replace(/[^\p{L}\p{N}._-]+/gu, "-");
  chart.element.querySelector(".chart-controls").append(
    button(t("run.csv"), () => hand(`${name()}.csv`, new Blob([curve.csv()], { type: "text/csv" }))),
    button(t("run.png"), async () => hand(`${name()}.png`, await picture(chart.figures, titleOf(get())))));
  const element = h("header", { class: "studio-card run-head" },
    h("div", { class: "run-title" }, title, state), where, why, trouble, done.element, numbers, buttons.element, close);
  buttons.element.hidden = true;
  const show = (job, whole) => {
    title.textContent = titleOf(job);
    fill(state, chip(job));
    where.textContent = [job.output, job.devices?.length ? t("run.devices", { devices: job.devices.join(", ") }) : ""].filter(Boolean).join(" · ");
    why.textContent = sentenceOf(job);
    why.hidden = !why.textContent || (whole?.failure && job.state === "failed");
    done.update(job);
    fill(numbers, figures(job).map(([key, text]) => h("div", {}, h("dt", {}, t(key)), h("dd", {}, text))),
      job.progress?.text && h("div", { class: "run-doing" }, h("dd", {}, phase(job.progress.text))));
    buttons.element.hidden = false;
    buttons.update(job, whole);
    close.hidden = !isActive(job);
  };
  return { element, show, trouble: (text) => { trouble.textContent = text; trouble.hidden = !text; if (text && buttons.element.hidden) title.textContent = t("run.unknown"); } };
}

/** In the Train tab: the job that was started here, else the newest training that goes on. */
export function mount(place) {
  let shown = null;
  let ended = false;
  let chosen = null;
  const body = h("div");
  place.append(h("section", { class: "run-live", hidden: true, id: "run-live", "aria-label": t("run.current") }, h("h2", {}, t("run.current")), body));
  const open = (id) => {
    if (shown === id) return;
    body.firstChild?.stop?.();
    shown = id;
    ended = false;
    place.firstChild.hidden = false;
    fill(body, runView(id, { onjob: (job) => { ended = !isActive(job); } }));
  };
  const seek = async () => {
    if (shown !== null && !ended) return;
    const { jobs } = await api("/jobs").catch(() => ({ jobs: [] }));
    const going = jobs.filter((job) => job.kind === "train" && isActive(job));
    const newest = going.find((job) => isLive(job)) || going[0];
    if (newest) open(newest.id);
  };
  on("job", (id) => {
    if (id === chosen) return;
    chosen = id;
    open(id);
    place.scrollIntoView({ block: "nearest", behavior: "smooth" });
  });
  // Asked for even while the section is still hidden: the panel around it is what must be seen.
  poll(place, seek, 5000);
}
