// One export: how far it is, why it failed, what came out, and what can be done with it.
import { failureCard } from "./card.js";
import { draft, replace } from "./draft.js";
import { bar } from "./job.js";
import { report } from "./report.js";
import { api, button, bytes, duration, emit, fill, h, poll, show, t, tell, toast } from "./studio.js";

const ENDED = ["succeeded", "failed", "stopped", "killed", "lost", "paused"];
const BAD = ["failed", "killed", "lost"];
// The end of the log that is shown beside a failure.
const TAIL_LINES = 30;

/** The card of an export. `onend()` is told when it ends while it is looked at. */
export function exportJob(id, { onend }) {
  const state = h("p", { id: "export-state", role: "status" });
  const line = bar();
  line.element.setAttribute("aria-label", t("export.progress"));
  line.element.id = "export-progress";
  const title = h("h4", {}, "");
  const outcome = h("div", {});
  const stop = button(t("export.stop"), () => api(`/jobs/${id}/stop`, { method: "POST" }), { id: "export-stop" });
  const open = button(t("export.open"), () => { emit("open-job", id); show("jobs"); });
  const element = h("section", { class: "studio-card export-job", "aria-label": t("export.job", { id, title: "" }) },
    title, line.element, state, h("div", { class: "studio-row" }, stop, open), outcome);
  let was = "";

  const look = async () => {
    const job = await api(`/export/${id}`);
    title.textContent = t("export.job", job);
    state.textContent = said(job);
    line.update(job);
    stop.hidden = !job.active;
    if (job.state === was) return;
    const before = was;
    was = job.state;
    fill(outcome);
    if (job.state === "succeeded" && job.result) fill(outcome, report(job.result), next(job.result));
    if (BAD.includes(job.state)) await failed(id, outcome);
    if (ENDED.includes(job.state)) {
      polling.stop();
      if (before) onend();
    }
  };
  const polling = poll(element, () => look().catch(tell), 700);
  return { id, element };
}

function said(job) {
  const told = t(`export.state.${job.state}`, { time: duration(job.ended && job.started ? job.ended - job.started : 0) });
  // What an ended one died of stands in the card below.
  if (!job.active) return told;
  if (!job.progress) return job.sentence ? `${told} ${job.sentence}` : told;
  const { done, total, text } = job.progress;
  return `${t(`export.phase.${text}`)}: ${bytes(done)} / ${bytes(total)}. ${told}`;
}

/** What to do with a finished export. */
function next({ target }) {
  return h("div", { class: "studio-row" },
    button(t("export.chat"), () => { emit("chat", { path: target }); show("chat"); }, { kind: "primary", id: "export-chat" }),
    button(t("export.train"), () => {
      const { adapter_name_or_path: _adapters, template: _template, ...values } = draft.values;
      replace({ ...draft, values: { ...values, model_name_or_path: target } });
      toast(t("export.train.done", { path: target }), "good");
      show("train");
    }, { id: "export-train" }));
}

async function failed(id, place) {
  const log = h("pre", { class: "export-log", tabindex: 0, "aria-label": t("export.log") });
  const card = failureCard(() => log.scrollIntoView({ block: "center" }));
  fill(place, card.element, h("h4", {}, t("export.log")), log);
  const [whole, news] = await Promise.all([api(`/jobs/${id}`), api(`/jobs/${id}/news`)]);
  card.show(whole.failure);
  log.textContent = (news.log?.text ?? "").trimEnd().split("\n").slice(-TAIL_LINES).join("\n");
}
