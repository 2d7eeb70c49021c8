// The Jobs tab: what waits and works, what has been, one run opened, several compared.
import { compareView } from "./compare.js";
import { dress } from "./dress.js";
import { isActive, remove, titleOf, why } from "./job.js";
import { Row } from "./jobrow.js";
import { note } from "./route.js";
import { runView } from "./run.js";
import { limitsDialog } from "./limits.js";
import { allow, api, button, fill, h, on, poll, show, t } from "./studio.js";

dress("run.css");
// With nothing going on the list is looked at less often.
const IDLE_EVERY = 5;
const STATES = ["running", "queued", "succeeded", "failed", "stopped", "killed", "lost", "paused"];
const KINDS = ["train", "export", "serve", "data", "eval"];

export function mount(place) {
  const list = listView();
  const opened = h("div", { id: "jobs-opened", hidden: true });
  place.append(list.element, opened);

  const open = (content, detail) => {
    opened.firstChild?.stop?.();
    opened.lastChild?.stop?.();
    const back = button(`← ${t("jobs.back")}`, () => close(), { id: "jobs-back" });
    list.element.hidden = true;
    opened.hidden = false;
    fill(opened, h("div", { class: "studio-row jobs-top" }, back, h("span", { class: "studio-space" }), content.tools || []), content.element);
    note("jobs", detail);
    place.scrollIntoView({ block: "nearest" });
  };
  const close = () => {
    opened.lastChild?.stop?.();
    fill(opened);
    opened.hidden = true;
    list.element.hidden = false;
    note("jobs", "");
    list.now();
  };
  const openRun = (id) => {
    let job = null;
    const gone = button(t("jobs.delete"), () => remove(job, close), { kind: "danger" });
    gone.hidden = true;
    const view = runView(id, {
      onjob: (told) => {
        job = told;
        gone.hidden = false;
        allow(gone, why(told, "delete"));
      },
    });
    open({ element: view, tools: [gone] }, id);
  };
  const follow = (detail) => {
    if (!detail) { if (!opened.hidden) close(); } else if (String(opened.lastChild?.dataset?.job) !== detail) openRun(/^\d+$/.test(detail) ? Number(detail) : detail);
  };
  on("route-jobs", follow);
  on("open-job", (id) => { show("jobs"); openRun(id); });
  list.onopen = openRun;
  list.oncompare = (jobs) => open({ element: compareView(jobs) }, "");
}

/** Toolbar, queue, history. */
function listView() {
  const wanted = { text: "", state: "", kind: "" };
  const chosen = new Map();
  const rows = new Map();
  let told = { jobs: [], outside: [], worker: true };
  let rounds = 0;
  const self = { element: null, onopen: () => {}, oncompare: () => {}, now: () => {} };

  const search = h("input", { type: "search", id: "jobs-search", placeholder: t("jobs.search"), "aria-label": t("jobs.search"), oninput: () => { wanted.text = search.value.toLowerCase(); draw(); } });
  const pick = (name, values, label) => {
    const box = h("select", { id: `jobs-${name}`, class: "jobs-pick", "aria-label": t(`jobs.filter.${name}`), onchange: () => { wanted[name] = box.value; draw(); } },
      h("option", { value: "" }, t(`jobs.filter.${name}`)), values.map((value) => h("option", { value }, t(`${label}.${value}`))));
    return box;
  };
  const compare = button(t("jobs.compare"), () => self.oncompare([...chosen.values()]), { id: "jobs-compare" });
  const settings = button(t("jobs.settings"), limitsDialog, { id: "jobs-settings" });
  const worker = h("p", { class: "studio-bad", role: "status", hidden: true }, t("jobs.no_worker"));
  const queue = h("ul", { class: "jobs-list", id: "jobs-queue", "aria-label": t("jobs.queue") });
  const past = h("ul", { class: "jobs-list", id: "jobs-history", "aria-label": t("jobs.history") });
  const idle = h("p", { class: "studio-muted" });
  const none = h("p", { class: "studio-muted" });
  self.element = h("div", { class: "jobs" },
    h("div", { class: "jobs-tools" }, search, pick("state", STATES, "jobs.state"), pick("kind", KINDS, "jobs.kind"),
      h("span", { class: "studio-space" }), compare, settings),
    worker, h("h3", {}, t("jobs.queue")), idle, queue, h("h3", {}, t("jobs.history")), none, past);

  const fits = (job) => (!wanted.state || job.state === wanted.state) && (!wanted.kind || job.kind === wanted.kind)
    && (!wanted.text || `${job.id} ${titleOf(job)} ${job.output} ${job.sentence}`.toLowerCase().includes(wanted.text));
  const choose = (job, yes) => { if (yes) chosen.set(job.id, job); else chosen.delete(job.id); count(); };
  const count = () => {
    compare.textContent = chosen.size ? t("jobs.compare.count", { count: chosen.size }) : t("jobs.compare");
    allow(compare, chosen.size > 1 ? "" : t("jobs.compare.how"));
  };
  const put = (place, jobs, waiting) => {
    const elements = jobs.map((job) => {
      if (!rows.has(job.id)) rows.set(job.id, new Row(job, { open: () => self.onopen(job.id), choose }));
      rows.get(job.id).update(job, waiting);
      return rows.get(job.id).element;
    });
    // Rows that stay where they are keep the keyboard's focus.
    if (elements.length !== place.children.length || elements.some((each, at) => each !== place.children[at])) place.replaceChildren(...elements);
  };
  const draw = () => {
    const all = [...(told.outside || []), ...told.jobs];
    const waiting = all.filter((job) => job.state === "queued").sort((a, b) => (a.place ?? 0) - (b.place ?? 0) || a.id - b.id);
    const working = all.filter((job) => isActive(job) && job.state !== "queued");
    const ended = all.filter((job) => !isActive(job));
    put(queue, [...working, ...waiting].filter(fits), waiting.map((job) => job.id));
    put(past, ended.filter(fits).sort((a, b) => (b.ended || b.created || 0) - (a.ended || a.created || 0)), []);
    const filtered = Boolean(wanted.text || wanted.state || wanted.kind);
    idle.hidden = queue.children.length > 0;
    idle.textContent = t(working.length + waiting.length && filtered ? "jobs.none_fit" : "jobs.queue.empty");
    none.hidden = past.children.length > 0;
    none.textContent = t(ended.length && filtered ? "jobs.none_fit" : "jobs.history.empty");
    worker.hidden = told.worker !== false || !waiting.length;
    for (const id of chosen.keys()) if (!all.some((job) => job.id === id)) chosen.delete(id);
    count();
  };
  const look = async () => {
    rounds += 1;
    if (!told.jobs.some(isActive) && !(told.outside || []).some(isActive) && rounds % IDLE_EVERY !== 1) return;
    try {
      told = await api("/jobs");
    } catch {
      return; // the next round tries again; the meters and the run view say what is wrong
    }
    draw();
  };
  const ticks = poll(self.element, look, 1000);
  self.now = () => { rounds = 0; ticks.now(); };
  on("jobs-changed", self.now);
  on("job", self.now);
  count();
  return self;
}

