// The Export tab: what is written from what, what that costs, the command, and the export while it runs.
import { dress } from "./dress.js";
import { exportJob } from "./exportjob.js";
import { asked, field, load } from "./fields.js";
import { chip } from "./job.js";
import { allow, api, button, bytes, copy, emit, fill, h, has, on, poll, t, tell, toast, whole } from "./studio.js";
import * as top from "./top.js";

dress("export.css");
const BASIC = ["model_name_or_path", "adapter_name_or_path", "infer_dtype", "export_size", "template", "export_dir", "overwrite_export_dir"];
const MORE = ["enable_thinking", "default_system", "model_revision", "cache_dir", "trust_remote_code", "convert_pickle"];
// What the Top block shares with this form.
const SHARED = ["model_name_or_path", "adapter_name_or_path", "template"];
const AFTER_MS = 60;
// Where an argument means something plainer here than in general.
const WORDS = Object.fromEntries(["infer_dtype", "model_name_or_path", "adapter_name_or_path", "overwrite_export_dir"].map((name) =>
  [name, { label: t(`export.field.${name}`), help: t(`export.field.${name}.help`) }]));

export async function mount(place) {
  const view = new Form(await load("export"));
  place.append(view.element);
  await view.begin();
}

class Form {
  constructor(schema) {
    this.fields = Object.fromEntries([...BASIC, ...MORE].map((name) =>
      [name, field(schema.by_name[name], { id: `export-${name}`, onchange: () => this.changed(name), ...WORDS[name] })]));
    this.models = [];
    this.named = false;
    this.request = crypto.randomUUID?.() ?? String(Math.random());
    this.parts();
    this.element = h("div", { class: "export" }, this.form(), this.jobs);
  }

  /** What is filled later. */
  parts() {
    this.pick = h("select", { id: "export-pick", onchange: () => this.take(this.pick.value) });
    this.about = h("p", { class: "studio-muted", id: "export-about" });
    this.full = h("p", { class: "studio-muted", id: "export-full" });
    this.suggest = h("button", { type: "button", class: "studio-button", id: "export-suggest", hidden: true,
      onclick: () => { this.put("export_dir", this.answer.suggestion); this.changed(); } });
    this.facts = h("ul", { id: "export-facts", class: "export-facts" });
    this.complaints = h("ul", { id: "export-complaints", class: "studio-complaints", role: "alert" });
    this.convert = h("div", { hidden: true, class: "export-convert" }, h("p", {}, t("export.convertible")),
      button(t("export.convert"), () => this.offer()));
    this.shell = h("pre", { id: "export-shell" });
    this.yaml = h("pre", { id: "export-yaml" });
    this.start = button(t("export.start"), () => this.submit(), { kind: "primary", id: "export-start" });
    this.jobs = h("div", { id: "export-jobs", class: "export-jobs" });
    this.from_top = button(t("export.pick.from_top"), () => this.takeTop(), { id: "export-from-top" });
    const templates = this.fields.template.input;
    if (templates.tagName === "INPUT") templates.setAttribute("placeholder", "auto");
    this.fields.export_dir.element.append(this.full, this.suggest);
  }

  form() {
    const one = (name) => this.fields[name].element;
    const card = (title, ...content) => h("section", { class: "studio-card", "aria-label": title }, h("h4", {}, title), content);
    return h("form", { class: "export-form", onsubmit: (event) => event.preventDefault() },
      h("p", { class: "studio-muted" }, t("export.about")),
      card(t("export.what"),
        h("div", { class: "studio-row export-pick" },
          h("div", { class: "studio-field" }, h("label", { for: "export-pick" }, t("export.pick")), this.pick), this.from_top),
        h("div", { class: "export-two" }, one("model_name_or_path"), one("adapter_name_or_path")), this.about, this.convert),
      card(t("export.how"), h("div", { class: "studio-grid" }, one("infer_dtype"), one("export_size"), one("template"), device())),
      card(t("export.where"), one("export_dir"), one("overwrite_export_dir")),
      h("details", { class: "studio-card", id: "export-more" }, h("summary", {}, t("export.more")),
        h("div", { class: "studio-grid" }, MORE.map(one))),
      card(t("export.facts"), this.facts, this.complaints),
      card(t("export.command"), preview("shell", this.shell), preview("yaml", this.yaml)),
      h("div", { class: "studio-row" }, this.start));
  }

  async begin() {
    await this.list();
    this.takeTop();
    on("export", ({ path } = {}) => { if (path) this.take(path); });
    on("top", () => { if (!this.value("model_name_or_path")) this.takeTop(); });
    on("models", () => this.list());
    poll(this.jobs, () => this.recent(), 5000);
  }

  /** The models that can be picked. */
  async list() {
    this.models = await api("/models").catch((error) => { tell(error); return []; });
    const option = (model) => h("option", { value: model.path }, model.path);
    const runs = this.models.filter((model) => model.run);
    const others = this.models.filter((model) => !model.run);
    const group = (label, models) => (models.length ? h("optgroup", { label }, models.map(option)) : null);
    fill(this.pick, h("option", { value: "" }, this.models.length ? t("export.pick.none") : t("export.pick.empty")),
      group(t("export.pick.runs"), runs), group(t("export.pick.models"), others));
    this.pick.value = this.value("model_name_or_path");
    if (!this.pick.value) this.pick.value = "";
  }

  value(name) { return this.fields[name].get(); }

  put(name, value) { this.fields[name].set(value); }

  /** Start anew from a model, a run or a checkpoint. */
  take(path) {
    this.put("model_name_or_path", path);
    this.put("adapter_name_or_path", []);
    this.put("convert_pickle", false);
    this.named = false;
    this.changed("model_name_or_path");
  }

  takeTop() {
    const now = top.current?.() ?? {};
    if (!now.model_name_or_path) {
      allow(this.from_top, t("export.pick.from_top.none"));
      this.changed();
      return;
    }
    allow(this.from_top, "");
    for (const name of SHARED) this.put(name, now[name] ?? undefined);
    this.named = false;
    this.changed("model_name_or_path");
  }

  offer() {
    this.put("convert_pickle", true);
    this.put("template", "");
    document.getElementById("export-more").open = true;
    this.changed();
  }

  /** Something was changed: ask what it means now. */
  changed(name) {
    if (name === "export_dir") this.named = Boolean(this.value("export_dir"));
    if (name === "model_name_or_path") {
      const path = this.value(name);
      this.pick.value = this.models.some((model) => model.path === path) ? path : "";
      this.describe(path);
    }
    clearTimeout(this.timer);
    // Until it is known what the new values mean, a click would start something else, or get lost.
    allow(this.start, t("export.start.wait"));
    this.timer = setTimeout(() => this.ask().catch(tell), AFTER_MS);
  }

  async describe(path) {
    this.about.textContent = "";
    if (!path) return;
    const told = await api(`/models/about?path=${encodeURIComponent(path)}`).catch((error) => ({ sentence: error.message }));
    if (this.value("model_name_or_path") !== path) return;
    this.about.textContent = has(`top.kind.${told.kind}`) ? top.kind_of_model(told) : told.sentence ?? "";
  }

  async ask() {
    this.asking?.abort();
    this.asking = new AbortController();
    allow(this.start, t("export.start.wait"));
    const answer = await api("/export/preview", { body: { values: asked(this.fields) }, signal: this.asking.signal });
    this.answer = answer;
    // Nobody's typing is overtaken.
    const typing = document.activeElement === this.fields.export_dir.input;
    if (!this.named && !typing && answer.suggestion && this.value("export_dir") !== answer.suggestion) {
      this.put("export_dir", answer.suggestion);
      await this.ask();
      return;
    }
    this.tell(answer);
  }

  tell(answer) {
    const chosen = Boolean(this.value("model_name_or_path"));
    for (const [name, one] of Object.entries(this.fields)) one.complain(chosen ? answer.by_field[name] || "" : "");
    const loose = answer.complaints.filter((text) => !this.fields[/^--(\w+)/.exec(text)?.[1]]);
    fill(this.complaints, chosen ? loose.map((text) => h("li", {}, text)) : null);
    fill(this.full, answer.full ? t("export.full", { path: answer.full }) : t("export.bare"),
      answer.aside ? h("span", { class: "export-aside" }, t("export.aside", { name: answer.aside })) : null);
    this.suggest.hidden = !answer.suggestion || this.value("export_dir") === answer.suggestion;
    this.suggest.textContent = t("export.suggest", { name: answer.suggestion });
    this.convert.hidden = !answer.convertible;
    fill(this.facts, (chosen ? this.costs(answer) : [t("export.facts.wait")]).map((text) => h("li", {}, text)));
    this.shell.textContent = answer.shell;
    this.yaml.textContent = answer.yaml;
    allow(this.start, answer.ok ? "" : t(chosen ? "export.start.wrong" : "export.none"));
  }

  costs({ cost, free, notes, ok }) {
    if (!cost) return [...(ok ? [t("export.facts.hub")] : []), ...notes];
    const limit = this.value("export_size") || 5;
    const files = cost.files > 1 ? t("export.facts.files", { count: whole(cost.files), limit }) : t("export.facts.file");
    const size = cost.weights
      ? t("export.facts.size", { weights: whole(cost.weights), size: bytes(cost.bytes), dtype: cost.dtype })
      : t("export.facts.size.pickled", { size: bytes(cost.bytes) });
    return [
      what(cost), cost.weights ? `${size}, ${files}` : size,
      t("export.facts.disk", { needed: bytes(cost.needed), free: bytes(free) }),
      ...(cost.detour ? [t("export.facts.detour", { why: cost.detour })] : []), ...notes,
    ];
  }

  async submit() {
    const job = await api("/export", { body: { values: asked(this.fields), request: this.request } });
    this.request = crypto.randomUUID?.() ?? String(Math.random());
    toast(t("export.started", { id: job.id }), "good");
    this.shown = job.id;
    await this.recent();
    this.jobs.scrollIntoView({ block: "nearest", behavior: "smooth" });
  }

  /** The newest exports: a reload and a second tab see the same ones. */
  async recent() {
    const list = await api("/export");
    if (!list.length) { fill(this.jobs); return; }
    const open = list.some((job) => job.id === this.shown) ? this.shown : list[0].id;
    if (this.card?.id !== open) {
      this.card = exportJob(open, { onend: () => { this.list(); this.changed(); emit("models", null); } });
      this.others = h("div", { class: "export-others" });
      fill(this.jobs, this.card.element, this.others);
    }
    const others = list.filter((job) => job.id !== open);
    fill(this.others, others.length ? h("h4", {}, t("export.recent")) : null, others.map((job) => h("div", { class: "studio-row" },
      h("span", {}, t("export.job", job)), chip(job),
      button(t("export.recent.show"), async () => { this.shown = job.id; await this.recent(); }))));
  }
}

function what(cost) {
  if (!cost.dtype) return t("export.facts.convert", { base: cost.base });
  if (!cost.adapters.length) return t("export.facts.cast", { base: cost.base, dtype: cost.dtype });
  return t("export.facts.merge", { adapters: cost.adapters.join(t("export.facts.then")), base: cost.base });
}

function device() {
  const input = h("select", { id: "export-device", disabled: true, "aria-describedby": "export-device-help", title: t("export.device.why") },
    h("option", {}, t("export.device.processor")));
  return h("div", { class: "studio-field" }, h("label", { for: "export-device" }, t("export.device")), input,
    h("p", { class: "studio-help", id: "export-device-help" }, t("export.device.why")));
}

function preview(kind, text) {
  return h("div", { class: "export-preview" },
    h("div", { class: "studio-row" }, h("strong", {}, t(`export.command.${kind}`)), h("span", { class: "studio-space" }),
      button(t("export.command.copy"), () => copy(text.textContent), { id: `export-copy-${kind}` })), text);
}
