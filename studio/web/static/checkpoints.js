// The checkpoints of a run: where each stands, and what can be done from it.
import { brief, called } from "./chart.js";
import { isActive } from "./job.js";
import { allow, api, button, copy, dialog, emit, fill, h, show, t, whole } from "./studio.js";

/** Metrics of a checkpoint worth a column: those that any of them has. */
function columns(checkpoints) {
  const names = new Set();
  for (const each of checkpoints) for (const [name, value] of Object.entries(each.metrics || {})) if (typeof value === "number") names.add(name);
  return ["loss", "eval_loss", ...[...names].filter((name) => !["loss", "eval_loss", "step", "epoch"].includes(name))]
    .filter((name) => names.has(name)).slice(0, 5);
}

/** Go on from one of them: later steps are written again. */
export function resumeFrom(job, checkpoint) {
  dialog(t("run.resume_from", { step: whole(checkpoint.step) }), h("p", {}, t("run.resume_from.sure")), [
    { text: t("studio.cancel") },
    {
      text: t("run.resume"), kind: "primary",
      run: async () => {
        const values = { ...job.recipe, resume_from_checkpoint: checkpoint.path };
        const made = await api("/jobs", { body: { values, devices: job.devices, request: crypto.randomUUID?.() ?? String(Math.random()) } });
        emit("job", made.id);
        emit("open-job", made.id);
      },
    },
  ]);
}

// A run may have hundreds; the newest and the best are what one looks for.
const SHOWN = 10;

/** The table of them. `show(job)` fills it from the whole job. */
export function checkpointsView() {
  const element = h("section", { class: "studio-card run-part", "aria-label": t("run.checkpoints"), hidden: true });
  let wants_all = false;
  const draw = (job) => {
    const all = job.checkpoints || [];
    element.hidden = job.kind !== "train";
    const now = JSON.stringify([all, job.can, wants_all]);
    if (element.dataset.shown === now) return;
    element.dataset.shown = now;
    const metrics = columns(all);
    const newest = [...all].sort((a, b) => b.step - a.step).filter((each, place) => wants_all || place < SHOWN || each.best);
    fill(element,
      h("h4", {}, t("run.checkpoints")),
      all.length ? h("div", { class: "studio-scroll run-checkpoints" }, h("table", {},
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, t("run.step")),
          metrics.map((name) => h("th", { scope: "col" }, called(name))), h("th", { scope: "col" }, t("run.actions")))),
        h("tbody", {}, newest.map((each) => row(job, each, metrics)))))
        : h("p", { class: "studio-muted" }, t("run.checkpoints.none")),
      newest.length < all.length ? h("div", {}, button(t("run.checkpoints.all", { count: whole(all.length) }), () => { wants_all = true; draw(job); })) : null);
  };
  return { element, show: draw };
}

function row(job, checkpoint, metrics) {
  const whole_one = checkpoint.complete !== false;
  const why = whole_one ? "" : t("run.checkpoint.broken");
  const chat = button(t("run.chat"), () => { emit("chat", { path: checkpoint.path }); show("chat"); });
  const send = button(t("run.export"), () => { emit("export", { path: checkpoint.path }); show("export"); });
  const resume = button(t("run.resume_here"), () => resumeFrom(job, checkpoint));
  allow(chat, why);
  allow(send, why);
  const active = isActive(job) ? t("run.resume.active") : job.state === "succeeded" ? t("run.resume.finished") : "";
  allow(resume, why || (checkpoint.resumable === false ? t("run.checkpoint.weights_only") : "") || active || (job.recipe ? "" : t("run.no_recipe")));
  return h("tr", {},
    h("th", { scope: "row" }, whole(checkpoint.step), checkpoint.best ? h("span", { class: "run-chip succeeded run-best" }, t("run.checkpoint.best")) : null, whole_one ? null : h("span", { class: "studio-bad" }, ` ${t("run.checkpoint.broken")}`)),
    metrics.map((name) => h("td", {}, brief(checkpoint.metrics?.[name]))),
    h("td", {}, h("div", { class: "run-actions" }, chat, send, resume, button(t("run.copy_path"), () => copy(checkpoint.path)))));
}
