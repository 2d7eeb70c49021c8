// The command that the form says, followed keystroke by keystroke, and Start.
import { allow, api, button, copy, emit, fill, h, has, on, t, toast } from "./studio.js";
import { label_of } from "./fields.js";
import { body, draft, fresh_run_name, is_fresh_name, on_change, put_beside, value_of } from "./draft.js";
import { go_to } from "./complaints.js";
import { sentenceOf } from "./job.js";

// A keystroke is answered before the next one.
const WAIT_MS = 40;
let newest = null;

/** Asks the server what the form says: one question at a time, and the newest form has the last word. */
class Composer {
  constructor(told) { this.told = told; this.busy = null; this.stale = false; this.timer = 0; }

  soon() { clearTimeout(this.timer); this.timer = setTimeout(() => this.now().catch(this.told.failed), WAIT_MS); }

  /** The answer for the form as it is now. */
  async now() {
    clearTimeout(this.timer);
    this.stale = true;
    this.busy ??= this.ask().finally(() => { this.busy = null; });
    return this.busy;
  }

  async ask() {
    let answer = null;
    while (this.stale) {
      this.stale = false;
      const asked = body();
      answer = { ...(await api("/recipe", { body: asked })), asked };
    }
    newest = answer;
    this.told.answered(answer);
    return answer;
  }
}

/** What the server last said of the form. */
export const last_answer = () => newest;

export function mount(place) {
  const run = h("input", { id: "train-name", type: "text", autocomplete: "off", value: draft.run_name });
  run.spellcheck = false;
  run.addEventListener("input", () => put_beside("run_name", run.value.trim()));
  const folder = h("code", { id: "train-folder" });
  const given = h("p", { class: "studio-help", id: "train-folder-given" });
  const devices = device_field();
  const text = command_text();
  const wrong = h("ul", { class: "studio-complaints", id: "train-complaints", role: "alert" });
  const needed = h("ul", { class: "studio-needed", id: "train-needed" });
  const notes = h("ul", { class: "studio-notes", id: "train-notes" });
  const said = h("p", { class: "studio-muted", id: "train-started", role: "status" });

  const composer = new Composer({
    failed: (error) => { fill(wrong, h("li", {}, error.message)); allow(start, error.message); },
    answered: (answer) => {
      text.show(answer);
      folder.textContent = answer.output_dir;
      // Beside a folder that is written out the name would say nothing.
      allow(run, value_of("output_dir") ? t("train.folder_given") : "");
      given.textContent = run.title;
      const { missing, others } = sorted(answer);
      fill(wrong, others.map(([sentence, name]) => told(sentence, name)));
      fill(needed, missing.map(([sentence, name]) => told(has(`train.need.${name}`) ? t(`train.need.${name}`) : sentence, name)));
      fill(notes, answer.notes.map((note) => h("li", {}, note)));
      const first = missing[0]?.[1] && has(`train.need.${missing[0][1]}`) ? t(`train.need.${missing[0][1]}`) : answer.complaints[0];
      allow(start, answer.complaints.length ? first : "");
      emit("complaints", Object.fromEntries(others.filter(([, name]) => name).map(([, name]) => [name, answer.by_field[name]])));
      emit("form", answer);
    },
  });
  const starter = new Starter(composer, said);
  const start = button(t("train.start"), () => starter.start(), { kind: "primary", id: "train-start" });

  place.append(h("section", { class: "studio-card train-command", "aria-label": t("train.command") },
    h("div", { class: "studio-field" }, h("label", { for: run.id }, t("train.run_name")), run,
      h("p", { class: "studio-help" }, t("train.folder"), " ", folder), given),
    devices.element, text.element, wrong, needed, notes,
    h("div", { class: "studio-row train-start" }, start, h("span", { class: "studio-muted" }, t("train.may_close"))), said));

  on_change((names) => {
    if (names === null || names.includes("run_name")) { if (document.activeElement !== run) run.value = draft.run_name; }
    if (names === null || names.includes("devices")) devices.show();
    composer.soon();
  });
  on("datasets", () => composer.soon());
  composer.now().catch((error) => allow(start, error.message));
}

/** Complaints about what is asked, and apart from them what is only not asked yet. */
function sorted(answer) {
  const missing = [];
  const others = [];
  for (const sentence of answer.complaints) {
    const name = Object.keys(answer.by_field).find((each) => answer.by_field[each] === sentence) || "";
    const empty = name && name !== "output_dir" && !(name in answer.asked.values) && has(`train.need.${name}`);
    (empty ? missing : others).push([sentence, name]);
  }
  return { missing, others };
}

function told(sentence, name) {
  if (!name) return h("li", {}, sentence);
  return h("li", {}, h("button", { type: "button", class: "studio-link", title: t("train.go_to", { name: label_of(name) }), onclick: () => go_to(name) }, sentence));
}

/** The command as shell line, YAML and Python. What is copied is what Start runs. */
function command_text() {
  const pre = h("pre", { id: "train-command-text", tabIndex: 0, "aria-live": "off" });
  const broken = h("input", { type: "checkbox", id: "train-lines", checked: localStorage.getItem("studio.lines") !== "no" });
  const lines = h("label", { class: "studio-row" }, broken, t("train.several_lines"));
  let form = "shell";
  let answer = null;
  const shown = () => {
    if (!answer) return "";
    if (form !== "shell") return answer[form] || t("train.not_yet");
    return broken.checked ? answer.lines.join(" \\\n  ") : answer.shell;
  };
  const draw = () => { pre.textContent = shown(); lines.hidden = form !== "shell"; };
  const tabs = ["shell", "yaml", "python"].map((name) => h("button", {
    type: "button", role: "tab", id: `train-as-${name}`, "aria-selected": String(name === form), "aria-controls": pre.id, class: "studio-tab",
    onclick: () => {
      form = name;
      for (const each of tabs) each.setAttribute("aria-selected", String(each.id === `train-as-${name}`));
      draw();
    },
  }, t(`train.as_${name}`)));
  broken.addEventListener("change", () => {
    localStorage.setItem("studio.lines", broken.checked ? "yes" : "no");
    draw();
  });
  const taken = button(t("studio.copy"), () => copy(form === "shell" ? answer.shell : shown()), { id: "train-copy" });
  return {
    element: h("div", { class: "train-preview" },
      h("div", { class: "studio-row" }, h("h3", {}, t("train.command")), h("span", { class: "studio-space" }),
        h("div", { role: "tablist", class: "studio-tabs", "aria-label": t("train.command") }, tabs)),
      pre, h("div", { class: "studio-row" }, lines, h("span", { class: "studio-space" }), taken)),
    show: (next) => { answer = next; draw(); },
  };
}

/** Which GPUs the run gets; without any it is the processor. */
function device_field() {
  const list = h("div", { class: "studio-row", id: "train-devices" }, t("train.processor"));
  const boxes = new Map();
  const show = () => { for (const [name, box] of boxes) box.checked = draft.devices.includes(name); };
  api("/machine").then(({ gpus }) => {
    if (!gpus.length) {
      if (draft.devices.length) put_beside("devices", []);
      return;
    }
    fill(list, gpus.map((gpu) => {
      const box = h("input", { type: "checkbox", id: `train-device-${gpu.index}` });
      box.addEventListener("change", () => put_beside("devices", [...boxes].filter(([, each]) => each.checked).map(([name]) => name)));
      boxes.set(String(gpu.index), box);
      return h("label", { class: "studio-row" }, box, `${gpu.index} · ${gpu.name}`);
    }));
    if (!draft.devices.length) put_beside("devices", [String(gpus[0].index)]);
    show();
  }).catch(() => {});
  return { element: h("div", { class: "studio-row train-devices" }, h("span", { class: "studio-muted" }, t("train.devices")), list), show };
}

/** Start: what was shown, once, however often the click is repeated. */
class Starter {
  constructor(composer, said) { this.composer = composer; this.said = said; this.request = null; this.of = ""; }

  async start() {
    const answer = await this.composer.now();
    if (!answer.ok) return;
    const { asked } = answer;
    const values = { ...asked.values, output_dir: answer.output_dir };
    const body = { values, devices: asked.devices, model_name: asked.model_name, run_name: asked.run_name };
    // The same form asked again, because no answer came, must not become a second run.
    if (this.of !== JSON.stringify(body)) { this.of = JSON.stringify(body); this.request = mark(); }
    const job = await api("/jobs", { body: { ...body, request: this.request } });
    this.request = null;
    this.of = "";
    emit("job", job.id);
    // What stays on the page must stay true: why it waits now is told once, and the run below tells the rest.
    this.said.textContent = t("train.started", { id: job.id });
    toast(job.state === "queued" && job.sentence ? t("train.waits", { why: sentenceOf(job) }) : t("train.started", { id: job.id }), "good");
    // The next run of this form is another one.
    if (is_fresh_name(draft.run_name)) put_beside("run_name", next_name(draft.run_name));
  }
}

function next_name(before) {
  const now = new Date();
  let name = fresh_run_name(now);
  while (name <= before) { now.setSeconds(now.getSeconds() + 1); name = fresh_run_name(now); }
  return name;
}

function mark() {
  // randomUUID is not there on pages served without TLS from another machine.
  return crypto.randomUUID?.() ?? [...crypto.getRandomValues(new Uint8Array(16))].map((each) => each.toString(16).padStart(2, "0")).join("");
}
