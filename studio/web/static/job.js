// What the run view and the list say about one job: its state, its progress, what can be asked of it.
import { dress } from "./dress.js";
import { allow, api, button, dialog, duration, emit, h, has, number, show, t, whole } from "./studio.js";

dress("run.css");

export const LIVE = ["starting", "running", "stopping"];
export const isLive = (job) => LIVE.includes(job.state);
export const isActive = (job) => isLive(job) || job.state === "queued";
export const pathOf = (id) => `/jobs/${encodeURIComponent(id)}`;
export const isOutside = (job) => typeof job.id === "string";

/** The state as a coloured word; the word says it without the colour too. */
export function chip(job) {
  return h("span", { class: `run-chip ${job.state}` }, t(`jobs.state.${job.state}`));
}

/** Its name for people. */
export const titleOf = (job) => job.title || job.output || t("jobs.untitled", { kind: t(`jobs.kind.${job.kind}`), id: job.id });

/** Share of the work that is done, in [0, 1], or null where nobody knows. */
export function share(job) {
  const { step, total, done } = job.progress || {};
  if (job.state === "succeeded") return 1;
  if (step !== undefined && step !== null && total) return Math.min(step / total, 1);
  if (done !== undefined && done !== null && total) return Math.min(done / total, 1);
  return null;
}

/** A bar; `update(job)` moves it. */
export function bar() {
  const inner = h("span");
  const element = h("div", { class: "run-bar", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100, "aria-label": t("run.progress") }, inner);
  const update = (job) => {
    const part = share(job);
    element.classList.toggle("unknown", part === null && isLive(job));
    element.classList.toggle("bad", ["failed", "lost", "killed"].includes(job.state));
    inner.style.width = `${(part ?? 0) * 100}%`;
    if (part === null) element.removeAttribute("aria-valuenow");
    else element.setAttribute("aria-valuenow", Math.round(part * 100));
  };
  return { element, update };
}

/** Step, time to come, speed, loss: [[key, text]]. */
export function figures(job) {
  const now = job.progress || {};
  const found = [];
  const add = (key, value) => { if (value !== null && value !== undefined) found.push([key, value]); };
  const at = now.step ?? now.done;
  if (at !== undefined && at !== null) {
    // Only a training takes steps; what others count is told as a share.
    if ((now.step ?? null) === null && now.total) add("run.share", `${whole(Math.floor((100 * at) / now.total))} %`);
    else add("run.step", now.total ? `${whole(at)} / ${whole(now.total)}` : whole(at));
  }
  if (isLive(job) && now.eta_s !== undefined && now.eta_s !== null) add("run.eta", duration(now.eta_s));
  if (job.started) add(job.ended ? "run.took" : "run.elapsed", duration((job.ended || Date.now() / 1000) - job.started));
  if (now.tokens_per_s) add("run.speed", number(now.tokens_per_s, 4));
  if (now.loss !== undefined && now.loss !== null) add("run.loss", number(now.loss, 4));
  if (now.reward !== undefined && now.reward !== null) add("run.value.reward", number(now.reward, 4));
  return found;
}

/** The sentence of why a job is in its state. The server speaks English; what it says is told in our words elsewhere. */
export function sentenceOf(job) {
  // What is said of a training's end is not true of a chat or an export, which have no checkpoint to go on from.
  const key = `run.why.${job.state}${job.state === "stopped" && job.kind !== "train" ? ".other" : ""}`;
  const own = has(key) ? t(key) : "";
  if (window.studio.language === "en") return job.sentence || own;
  const holder = job.state === "queued" && job.sentence.match(/job (\d+) \((.*)\)/);
  if (holder) return t(job.sentence.endsWith(" unloaded") ? "run.why.queued.chat" : "run.why.queued.for", { id: holder[1], title: holder[2] });
  const cause = `failure.${job.reason}.cause`;
  return job.reason && has(cause) ? t(cause) : own || job.sentence;
}

/** Ask the server for something; everybody who shows jobs hears of it. */
export async function ask(job, verb) {
  const told = await api(`${pathOf(job.id)}/${verb}`, { method: "POST" });
  emit("jobs-changed", job.id);
  return told;
}

/** Kill asks first: what the last checkpoint does not hold is lost. */
export function kill(job) {
  dialog(t("run.kill"), h("p", {}, t("run.kill.sure")), [
    { text: t("studio.cancel") },
    { text: t("run.kill"), kind: "danger", run: async () => { await ask(job, "kill"); } },
  ]);
}

/** Delete, after showing what depends on it. `done` is called when it is gone. */
export async function remove(job, done) {
  const found = await api(`${pathOf(job.id)}/dependants`);
  const all = found.dependants;
  const files = h("input", { type: "checkbox", id: "jobs-delete-files" });
  if (isOutside(job)) Object.assign(files, { checked: true, disabled: true });
  dialog(t("jobs.delete.title", { title: titleOf(job) }), h("div", {},
    all.length ? [h("p", { class: "studio-bad" }, t("jobs.delete.needed")), h("ul", {}, all.map((each) => h("li", {}, [each.title, each.role].filter(Boolean).join(" · "))))]
      : h("p", {}, t("jobs.delete.free")),
    job.output && h("p", { class: "run-check" }, files, h("label", { for: files.id }, t("jobs.delete.files", { folder: job.output })))), [
    { text: t("studio.cancel") },
    {
      text: t("jobs.delete"), kind: "danger",
      run: async () => {
        // What depends on it was shown: a second question would not be read.
        await api(`${pathOf(job.id)}?files=${files.checked}&force=true`, { method: "DELETE" });
        emit("jobs-changed", null);
        done?.();
      },
    },
  ]);
}

/** Why something is not allowed, in the person's language where we have the words; "" where it is. */
export function why(job, verb) {
  const key = job.can_key?.[verb];
  return key && has(key) ? t(key) : job.can?.[verb] ?? "";
}

/** Where the weights of a run lie: its folder when it has finished, else its newest checkpoint; "" for nowhere yet. */
export function weightsOf(job) {
  if (job.state === "succeeded") return job.output;
  const whole_ones = (job.checkpoints || []).filter((each) => each.complete !== false);
  return whole_ones.length ? whole_ones.reduce((a, b) => (b.step > a.step ? b : a)).path : "";
}

/** The buttons of a run; `update(job)` says which there are and why one is not allowed. */
export function actions(get) {
  const make = (key, run, options = {}) => button(t(key), () => run(get()), options);
  const all = {
    stop: make("run.stop", (job) => ask(job, "stop"), { kind: "primary", "data-do": "stop" }),
    kill: make("run.kill", kill, { kind: "danger", "data-do": "kill" }),
    pause: make("run.pause", (job) => ask(job, "pause"), { "data-do": "pause" }),
    resume: make("run.resume", (job) => ask(job, "resume"), { kind: "primary", "data-do": "resume" }),
    retry: make("run.retry", (job) => ask(job, "retry"), { "data-do": "retry" }),
    clone: make("run.clone", (job) => { emit("clone", job.id); show("train"); }, { "data-do": "clone" }),
    chat: make("run.chat_with", (job) => { emit("chat", { path: weightsOf(job) }); show("chat"); }, { "data-do": "chat" }),
    export: make("run.export_it", (job) => { emit("export", { path: weightsOf(job) }); show("export"); }, { "data-do": "export" }),
  };
  const update = (job, whole_job) => {
    const active = isActive(job);
    const train = job.kind === "train";
    const over = !active && job.state !== "succeeded";
    const shown = {
      stop: active, pause: active && train, kill: isLive(job) && (job.state === "stopping" || Boolean(why(job, "stop"))),
      // One way on is enough: from the checkpoint where there is one, else from the start.
      resume: over && (!why(job, "resume") || Boolean(why(job, "retry"))), retry: over && !why(job, "retry"),
      clone: train, chat: train, export: train,
    };
    for (const [name, one] of Object.entries(all)) one.hidden = !shown[name];
    // Only a training that has begun has something to save.
    all.stop.textContent = t(train && job.state !== "queued" ? "run.stop" : "run.stop.short");
    for (const name of ["stop", "kill", "pause", "resume", "retry"]) allow(all[name], why(job, name));
    // A reward model writes nothing: it is asked what answers are worth.
    all.chat.textContent = t(whole_job?.recipe?.stage === "rm" ? "run.score_with" : "run.chat_with");
    const saved = weightsOf({ ...whole_job, ...job });
    allow(all.chat, saved ? "" : t("run.nothing_saved"));
    allow(all.export, saved ? "" : t("run.nothing_saved"));
  };
  return { element: h("div", { class: "run-buttons", role: "group", "aria-label": t("run.actions") }, Object.values(all)), update };
}
