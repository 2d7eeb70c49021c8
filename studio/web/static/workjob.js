// One job of a work: how far it is, why it failed, what came of it.
import { failureCard } from "./card.js";
import { bar, chip } from "./job.js";
import { api, button, duration, emit, fill, h, poll, show, t, tell, whole } from "./studio.js";
import { phase } from "./phase.js";
import { plain } from "./plain.js";

const ENDED = ["succeeded", "failed", "stopped", "killed", "lost", "paused"];
// A full disk pauses: nobody else asks a work to.
const BAD = ["failed", "killed", "lost", "paused"];
// The end of the log that is shown beside a failure.
const TAIL_LINES = 30;

/** The card of a job. `report(result, page)` draws what came of it; `onend()` is told when it ends while looked at. */
export function workJob(id, { work, report, page, onend = () => {} }) {
  const state = h("p", { id: `work-${work.name}-state`, class: "work-state", role: "status" });
  const line = bar();
  line.element.setAttribute("aria-label", t("works.progress"));
  const title = h("h4", {}, "");
  const badge = h("span");
  const outcome = h("div", { class: "work-outcome" });
  const stop = button(t("works.stop"), () => api(`/jobs/${id}/stop`, { method: "POST" }), { id: `work-${work.name}-stop`, hidden: true });
  const open = button(t("works.open"), () => { emit("open-job", id); show("jobs"); });
  const element = h("section", { class: "studio-card work-job", "data-job": id },
    h("div", { class: "studio-row" }, title, badge, h("span", { class: "studio-space" }), stop, open), line.element, state, outcome);
  let was = "";

  const look = async () => {
    const job = await api(`/works/jobs/${id}`);
    title.textContent = t("works.job", job);
    element.setAttribute("aria-label", title.textContent);
    state.textContent = said(job);
    line.update(job);
    line.element.hidden = ENDED.includes(job.state);
    stop.hidden = !job.active;
    if (job.state === was) return;
    const before = was;
    was = job.state;
    fill(badge, chip(job));
    fill(outcome);
    if (job.state === "succeeded") fill(outcome, drawn(job, report, page));
    if (BAD.includes(job.state)) await failed(id, outcome);
    if (ENDED.includes(job.state)) {
      polling.stop();
      emit("jobs-changed", id);
      if (before) onend();
    }
  };
  const polling = poll(element, () => look().catch(tell), 700);
  return { id, element };
}

/** What came of it, as the work draws it; as it stands where that cannot be drawn. */
function drawn(job, report, page) {
  if (!job.result) return h("p", { class: "studio-muted" }, t("works.no_result"));
  const whole_of_it = h("details", { class: "work-raw" }, h("summary", {}, t("works.as_json")), h("pre", { tabindex: 0 }, JSON.stringify(job.result, null, 2)));
  let shown;
  try {
    shown = (report ?? plain)(job.result, page, job);
  } catch (error) {
    shown = plain(job.result);
    console.warn(error);
  }
  return [shown, whole_of_it];
}

function said(job) {
  const told = t(`works.state.${job.state}`, { time: duration(job.ended && job.started ? job.ended - job.started : 0) });
  // What an ended one died of stands in the card below.
  if (!job.active) return told;
  if (!job.progress) return job.sentence && job.state === "queued" ? `${told} ${job.sentence}` : told;
  const { done, total, text } = job.progress;
  if (!text) return told;
  const share = total ? ` · ${whole(Math.floor((100 * done) / total))} %` : "";
  return t("works.going_on", { phase: phase(text), share, told });
}

async function failed(id, place) {
  const log = h("pre", { class: "work-log", tabindex: 0, "aria-label": t("works.log") });
  const card = failureCard(() => log.scrollIntoView({ block: "center" }));
  fill(place, card.element, h("h4", {}, t("works.log")), log);
  const [job, news] = await Promise.all([api(`/jobs/${id}`), api(`/jobs/${id}/news`)]);
  card.show(job.failure);
  log.textContent = (news.log?.text ?? "").trimEnd().split("\n").slice(-TAIL_LINES).join("\n");
}
