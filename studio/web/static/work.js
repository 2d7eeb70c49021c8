// One work of the page: its fields, what it would do, its command, its start, and its newest jobs.
import { dress } from "./dress.js";
import { chip } from "./job.js";
import { asked, is_default, load } from "./fields.js";
import { allow, api, button, copy, emit, fill, h, has, on, poll, t, tell, toast, whole } from "./studio.js";
import { help_in, label_in, word_of, work_field } from "./workfields.js";
import { workJob } from "./workjob.js";
import { facts_of, parts_of } from "./workparts.js";

dress("form.css");
dress("works.css");
const AFTER_MS = 80;
const RECENT_MS = 4000;
// So many fields need no headings.
const FEW = 7;
// What the top of the page says is where these start.
const FROM_TOP = ["model_name_or_path", "adapter_name_or_path"];
// What a work shares with others stands below what is its own.
const LATER = ["measured", "template", "generation", "judge"];
const fresh = () => crypto.randomUUID?.() ?? String(Math.random());

/**
 * The page of a work, as /works tells it: {name, words, output}. `values` are put into the form first.
 * Returns {element, put(values), refresh()}.
 */
export async function workPage(work, values = null) {
  const [schema, parts] = await Promise.all([load(work.name), parts_of(work)]);
  const page = new WorkPage(work, schema, parts);
  page.begin(values);
  return page;
}

export class WorkPage {
  constructor(work, schema, parts) {
    this.work = work;
    this.key = `studio.work.${work.name}${window.studio.root}`;
    this.listeners = [];
    this.touched = new Set();
    this.request = fresh();
    this.answer = null;
    this.arguments = schema.arguments;
    this.fields = Object.fromEntries(schema.arguments.map((argument) => [argument.name, work_field(argument, {
      id: `work-${work.name}-${argument.name}`, work: work.name, onchange: () => this.changed(argument.name),
    })]));
    this.parts = parts;
    this.build();
  }

  build() {
    const id = (part) => `work-${this.work.name}-${part}`;
    this.facts = h("div", { id: id("facts"), class: "work-facts" });
    this.complaints = h("ul", { id: id("complaints"), class: "work-complaints" });
    this.notes = h("ul", { id: id("notes"), class: "work-notes studio-muted" });
    this.shell = h("pre", { id: id("shell"), tabindex: 0, "aria-label": t("works.shell") });
    this.yaml = h("pre", { id: id("yaml"), tabindex: 0, "aria-label": "YAML" });
    this.start = button(t("works.start"), () => this.submit(), { kind: "primary", id: id("start") });
    this.jobs = h("div", { id: id("jobs"), class: "work-jobs" });
    const basic = this.arguments.filter((each) => each.level === "basic");
    const more = this.arguments.filter((each) => each.level !== "basic");
    const head = this.parts.head?.(this);
    const taken = new Set(head?.taken ?? []);
    const seen = basic.filter((each) => !taken.has(each.name));
    const card = (title, ...content) => h("section", { class: "studio-card", "aria-label": title }, h("h4", {}, title), content);
    this.element = h("div", { class: "work", "data-work": this.work.name },
      h("p", { class: "studio-muted work-about" }, has(word_of(this.work, "about")) ? t(word_of(this.work, "about")) : ""),
      h("div", { class: "work-columns" },
        h("form", { class: "work-form", onsubmit: (event) => event.preventDefault() },
          this.grouped(seen, (title, grid) => h("section", { class: "studio-card", "aria-label": title || t("works.what") }, title ? h("h4", {}, title) : null, grid)),
          head?.element ?? null,
          more.length ? this.rest(more.filter((each) => !taken.has(each.name))) : null),
        h("div", { class: "work-side" },
          card(t("works.will"), this.facts, this.complaints, this.notes,
            h("div", { class: "studio-row" }, this.start, button(t("works.clear"), () => this.clear(), { id: id("clear") }))),
          card(t("works.command"), preview(t("works.shell"), this.shell), preview("YAML", this.yaml)))),
      this.jobs);
  }

  /** Fields by the groups of the declaration, where there are many and the groups have names; `box(title, grid)` holds one. */
  grouped(list, box) {
    const grid = (some) => h("div", { class: "studio-grid work-grid" }, some.map((each) => this.fields[each.name].element));
    const title = (group) => (has(`works.group.${group}`) ? t(`works.group.${group}`) : "");
    const place = (group) => LATER.indexOf(group);
    const groups = list.length > FEW ? [...new Set(list.map((each) => each.group))].sort((a, b) => place(a) - place(b)) : [];
    if (groups.length < 2) return [box("", grid(list))];
    return groups.map((group) => box(title(group), grid(list.filter((each) => each.group === group))));
  }

  /** The arguments that few need: closed, and searched. */
  rest(list) {
    const count = h("span", { class: "studio-count" });
    const none = h("p", { class: "studio-muted", hidden: true }, t("train.nothing_found"));
    const search = h("input", {
      type: "search", id: `work-${this.work.name}-search`, placeholder: t("train.search"), "aria-label": t("train.search"),
      oninput: () => {
        const words = search.value.trim().toLowerCase().replace(/^--/, "");
        let shown = 0;
        for (const each of list) {
          const text = `${each.name} ${label_in(this.work.name, each.name)} ${help_in(this.work.name, each)} ${each.help}`.toLowerCase();
          const fits = text.includes(words) || text.includes(words.replaceAll(" ", "_"));
          this.fields[each.name].element.hidden = !fits;
          shown += fits;
        }
        for (const part of this.more.querySelectorAll(".work-part")) part.hidden = !part.querySelector(".studio-field:not([hidden])");
        none.hidden = shown > 0;
      },
    });
    this.more = h("details", { class: "studio-group", id: `work-${this.work.name}-more` },
      h("summary", {}, h("span", {}, t("works.more", { count: whole(list.length) })), count),
      h("div", { class: "work-search" }, search), none,
      this.grouped(list, (title, grid) => h("section", { class: "work-part" }, title ? h("h5", {}, title) : null, grid)));
    this.counted = () => {
      const number = list.filter((each) => this.fields[each.name].changed()).length;
      count.textContent = number ? t("train.changed", { number }) : "";
    };
    return this.more;
  }

  begin(values) {
    this.element.addEventListener("focusout", ({ target }) => {
      const name = this.arguments.find((each) => this.fields[each.name].input === target)?.name;
      if (name && this.fields[name].changed() && !this.from_top(name)) this.touch(name);
    });
    this.put(values ?? this.kept(), { keep: Boolean(values) });
    on("top", (top) => this.follow(top));
    poll(this.jobs, () => this.recent(), RECENT_MS);
  }

  kept() {
    try { return JSON.parse(localStorage.getItem(this.key) || "{}"); } catch { return {}; }
  }

  /** What the form says: {name: raw} of all that differs from the defaults. */
  get values() { return asked(this.fields); }

  /** The same without what only the top of the page says. */
  get own() {
    return Object.fromEntries(Object.entries(this.values).filter(([name]) => !FROM_TOP.includes(name) || this.touched.has(name)));
  }

  value(name) { return this.fields[name]?.get(); }

  from_top(name) { return FROM_TOP.includes(name) && JSON.stringify(this.top?.[name]) === JSON.stringify(this.value(name)); }

  /** Begin with the model above the tabs, as long as nobody has named another one here. */
  follow(top) {
    this.top = top;
    const names = FROM_TOP.filter((name) => this.fields[name]);
    if (!names.length || names.some((name) => this.touched.has(name))) return;
    for (const name of names) this.fields[name].set(top[name]);
    this.changed(null);
  }

  /** Take these values in place of what stands there. */
  put(values, { keep = true } = {}) {
    for (const argument of this.arguments) {
      const one = this.fields[argument.name];
      one.set(values[argument.name] ?? argument.default);
      if (!is_default(argument, values[argument.name])) {
        this.touched.add(argument.name);
        if (argument.level !== "basic" && this.more) this.more.open = true;
      } else if (FROM_TOP.includes(argument.name)) this.touched.delete(argument.name);
    }
    this.changed(null, { keep });
    if (this.top) this.follow(this.top);
  }

  /** Set one argument, as if a person had. */
  set(name, value) {
    if (!this.fields[name]) return;
    this.fields[name].set(value ?? undefined);
    this.changed(name);
  }

  clear() {
    this.touched.clear();
    this.put({});
  }

  touch(name) {
    if (this.touched.has(name)) return;
    this.touched.add(name);
    if (this.answer) this.tell(this.answer);
  }

  /** Call `run(answer)` with every answer of the preview. */
  on_answer(run) { this.listeners.push(run); }

  changed(name, { keep = true } = {}) {
    if (name) this.touched.add(name);
    if (keep) try { localStorage.setItem(this.key, JSON.stringify(this.own)); } catch { /* a browser that keeps nothing */ }
    this.counted?.();
    clearTimeout(this.timer);
    // Until it is known what the new values mean, a click would start something else.
    allow(this.start, t("works.wait"));
    this.timer = setTimeout(() => this.ask().catch(tell), AFTER_MS);
  }

  async ask() {
    this.asking?.abort();
    const mine = this.asking = new AbortController();
    const answer = await api(`/works/${this.work.name}/preview`, { body: { values: this.values }, signal: mine.signal });
    if (mine === this.asking) this.tell(answer);
  }

  tell(answer) {
    this.answer = answer;
    // Nobody is told of a field that was not reached yet; the list beside says what is still wanted.
    const open = [];
    for (const [name, one] of Object.entries(this.fields)) {
      const told = answer.by_field[name] || "";
      const reached = this.touched.has(name);
      one.complain(reached ? told : "");
      if (told && reached && this.more?.contains(one.element)) this.more.open = true;
    }
    for (const text of answer.complaints) {
      const name = /^--(\w+)/.exec(text)?.[1];
      open.push(h("li", { class: name && !this.touched.has(name) ? "wanted" : "" }, text.replace(/^--(\w+)/, (flag, each) => (this.fields[each] ? label_in(this.work.name, each) : flag))));
    }
    fill(this.complaints, open);
    fill(this.notes, answer.notes.map((text) => h("li", {}, text)));
    fill(this.facts, answer.ok ? [
      answer.target ? h("p", { class: "work-target" }, t("works.target", { path: answer.target })) : null,
      (this.parts.facts ?? facts_of)(answer.facts, this),
    ] : null, answer.ok && !answer.target && !Object.keys(answer.facts).length ? h("p", { class: "studio-muted" }, t("works.ready")) : null);
    this.shell.textContent = answer.shell || "–";
    this.yaml.textContent = answer.yaml || "–";
    allow(this.start, answer.ok ? "" : t("works.wrong"));
    for (const run of this.listeners) run(answer);
  }

  async submit() {
    const job = await api(`/works/${this.work.name}`, { body: { values: this.values, request: this.request } });
    this.request = fresh();
    toast(t("works.started", { id: job.id }), "good");
    this.shown = job.id;
    await this.recent();
    this.jobs.scrollIntoView({ block: "nearest", behavior: "smooth" });
  }

  /** What a job wrote stands where the form says now: that another name is wanted is no mistake of anybody. */
  ended() {
    for (const name of [this.work.output, "name"]) this.touched.delete(name);
    this.changed(null);
    for (const what of ["models", "datasets"]) emit(what, null);
  }

  /** The newest jobs of this work: a reload and a second page see the same ones. */
  async recent() {
    const list = await api(`/works/${this.work.name}/jobs`);
    if (!list.length) { fill(this.jobs); this.card = null; return; }
    const open = list.some((job) => job.id === this.shown) ? this.shown : list[0].id;
    if (this.card?.id !== open) {
      this.card = workJob(open, { work: this.work, report: this.parts.report, page: this, onend: () => this.ended() });
      this.others = h("div", { class: "work-others" });
      fill(this.jobs, this.card.element, this.others);
    }
    const others = list.filter((job) => job.id !== open);
    fill(this.others, others.length ? h("h4", {}, t("works.earlier")) : null, others.map((job) => h("div", { class: "studio-row" },
      button(t("works.job", { id: job.id, title: job.title }), async () => { this.shown = job.id; await this.recent(); }, { class: "run-link" }), chip(job))));
  }
}

function preview(title, text) {
  return h("div", { class: "work-preview" },
    h("div", { class: "studio-row" }, h("strong", {}, title), h("span", { class: "studio-space" }),
      button(t("works.copy"), () => copy(text.textContent), { "aria-label": t("works.copy.of", { what: title }) })), text);
}
