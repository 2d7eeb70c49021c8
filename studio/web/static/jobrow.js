// One line of the list of jobs. It is made once and changed in place, so that nothing jumps under the hand.
import { ask, bar, chip, figures, isLive, isOutside, kill, remove, sentenceOf, titleOf, why } from "./job.js";
import { allow, api, button, emit, fill, h, show, t, when } from "./studio.js";

export class Row {
  constructor(job, { open, choose }) {
    this.job = job;
    this.shown = "";
    this.check = h("input", { type: "checkbox", "aria-label": t("jobs.choose"), onchange: () => choose(this.job, this.check.checked) });
    this.title = h("button", { type: "button", class: "run-link", onclick: open });
    this.state = h("span", { class: "jobs-state" });
    this.meta = h("div", { class: "studio-muted jobs-meta" });
    this.why = h("div", { class: "jobs-why" });
    this.bar = bar();
    this.numbers = h("div", { class: "studio-muted jobs-numbers" });
    this.buttons = this.make();
    this.element = h("li", { class: "jobs-row studio-card", "data-job": job.id },
      h("div", { class: "jobs-check" }, this.check),
      h("div", { class: "jobs-name" }, h("div", { class: "studio-row" }, this.title, this.state), this.meta, this.why),
      h("div", { class: "jobs-progress" }, this.bar.element, this.numbers),
      h("div", { class: "run-actions" }, Object.values(this.buttons)));
  }

  make() {
    const small = (key, run, sign, more = {}) => button(sign || t(key), run, { "aria-label": t(key), title: t(key), ...more });
    const move = (by) => async () => {
      const at = this.waiting.indexOf(this.job.id);
      const before = by < 0 ? this.waiting[at - 1] : this.waiting[at + 2] ?? null;
      await api(`/jobs/${this.job.id}/move`, { body: { before } });
      emit("jobs-changed", this.job.id);
    };
    return {
      up: small("jobs.up", move(-1), "↑", { "data-do": "up" }),
      down: small("jobs.down", move(1), "↓", { "data-do": "down" }),
      pause: small("run.pause", () => ask(this.job, "pause"), "", { "data-do": "pause" }),
      stop: small("run.stop.short", () => ask(this.job, "stop"), "", { "data-do": "stop" }),
      kill: small("run.kill", () => kill(this.job), "", { kind: "danger", "data-do": "kill" }),
      resume: small("run.resume", () => ask(this.job, "resume"), "", { "data-do": "resume" }),
      clone: small("run.clone.short", () => { emit("clone", this.job.id); show("train"); }, "", { "data-do": "clone" }),
      remove: small("jobs.delete", () => remove(this.job), "✕", { "data-do": "delete" }),
    };
  }

  update(job, waiting) {
    this.job = job;
    this.waiting = waiting;
    const now = JSON.stringify([job, waiting]);
    if (!isLive(job) && now === this.shown) return;
    this.shown = now;
    this.title.textContent = titleOf(job);
    fill(this.state, chip(job), isOutside(job) ? h("span", { class: "run-chip outside" }, t("jobs.outside")) : null);
    this.meta.textContent = [isOutside(job) ? "" : `#${job.id}`, t(`jobs.kind.${job.kind}`), job.attempt > 1 ? t("jobs.attempt", { attempt: job.attempt }) : "",
      job.devices?.length ? t("run.devices", { devices: job.devices.join(", ") }) : "", when(job.ended || job.started || job.created)].filter(Boolean).join(" · ");
    this.why.textContent = job.state === "succeeded" || job.state === "running" ? "" : sentenceOf(job);
    this.why.classList.toggle("studio-bad", ["failed", "lost"].includes(job.state));
    this.bar.update(job);
    this.bar.element.hidden = !isLive(job);
    this.numbers.textContent = figures(job).map(([key, text]) => `${t(key)} ${text}`).join(" · ");
    this.check.disabled = job.kind !== "train";
    this.check.title = job.kind === "train" ? "" : t("jobs.choose.train_only");
    this.offer(job, waiting);
  }

  offer(job, waiting) {
    const { up, down, pause, stop, kill: end, resume, clone, remove: gone } = this.buttons;
    const at = waiting.indexOf(job.id);
    const queued = job.state === "queued";
    const active = queued || isLive(job);
    up.hidden = down.hidden = !queued;
    allow(up, at > 0 ? "" : t("jobs.up.first"));
    allow(down, at < waiting.length - 1 ? "" : t("jobs.down.last"));
    pause.hidden = !active || job.kind !== "train";
    stop.hidden = !active;
    end.hidden = job.state !== "stopping";
    resume.hidden = active || Boolean(why(job, "resume"));
    clone.hidden = job.kind !== "train";
    gone.hidden = active;
    for (const [name, one] of [["pause", pause], ["stop", stop], ["kill", end], ["resume", resume], ["delete", gone]]) allow(one, why(job, name));
    gone.title ||= t("jobs.delete");
  }
}

