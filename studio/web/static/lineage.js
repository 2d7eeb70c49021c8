// What a run was made of and what came of it: decisions, data, frozen recipe, command, attempts, parents and children.
import { brief, called } from "./chart.js";
import { sentenceOf } from "./job.js";
import { button, copy, duration, emit, fill, h, has, show, t, when, whole } from "./studio.js";

/** A part that is closed until one wants to see it. */
const part = (key, ...content) => h("details", { class: "run-fold" }, h("summary", {}, t(key)), content);

/** Values by name, in two columns. */
const pairs = (entries) => h("dl", { class: "run-pairs" }, entries.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));

const plain = (value) => (value !== null && typeof value === "object" ? JSON.stringify(value) : String(value));

/** Everything of a job that does not change every second. */
export function detailsView() {
  const element = h("section", { class: "run-details", "aria-label": t("run.details") });
  const draw = (job) => {
    const now = JSON.stringify([job.attempts, job.recipe, job.decisions, job.report, job.results, job.parents, job.children, job.state]);
    if (element.dataset.shown === now) return;
    element.dataset.shown = now;
    const open = new Set([...element.querySelectorAll("details[open] > summary")].map((each) => each.textContent));
    fill(element, family(job), results(job), report(job), decisions(job), recipe(job), command(job), attempts(job));
    for (const each of element.querySelectorAll("details")) each.open = open.has(each.firstChild.textContent);
  };
  return { element, show: draw };
}

const filled = (value) => value && Object.keys(value).length > 0;

function family(job) {
  const link = (each) => h("li", {}, each.id
    ? h("button", { type: "button", class: "run-link", onclick: () => { emit("open-job", each.id); show("jobs"); } }, each.title || each.output || each.path || `#${each.id}`)
    : h("span", {}, each.title || each.output || each.path || plain(each)),
  each.role ? h("span", { class: "studio-muted" }, ` ${role(each.role)}`) : null);
  const list = (key, all) => all?.length ? [h("h5", {}, t(key)), h("ul", { class: "run-links" }, all.map((each) => link(typeof each === "string" ? { path: each } : each)))] : [];
  const found = [...list("run.parents", job.parents), ...list("run.children", job.children)];
  return found.length ? h("div", { class: "run-family studio-card" }, found) : null;
}

/** What it is, and what it was for: "run reward model", "adapter checkpoint-200". */
function role(text) {
  const [kind, ...rest] = text.split(" ");
  const word = (one) => (has(`run.role.${one.replaceAll(" ", "_")}`) ? t(`run.role.${one.replaceAll(" ", "_")}`) : one);
  return [kind, rest.join(" ")].filter(Boolean).map(word).join(", ");
}

function results(job) {
  const values = Object.entries(job.results || {}).filter(([name, value]) =>
    value !== null && typeof value !== "object" && !/_(runtime|per_second)$/.test(name));
  return values.length ? part("run.results", pairs(values.map(([name, value]) => [called(name), typeof value === "number" ? brief(value) : String(value)]))) : null;
}

const COUNTS = ["rows", "kept", "refused", "truncated", "fully_masked", "tokens", "label_tokens"];

function report(job) {
  const sets = Object.entries(job.report?.datasets || {});
  if (!sets.length) return null;
  const total = Object.fromEntries(COUNTS.map((name) => [name, sets.reduce((sum, [, each]) => sum + (each[name] || 0), 0)]));
  const line = (title, each) => h("tr", {}, h("th", { scope: "row" }, title), COUNTS.map((name) => h("td", { class: bad(name, each[name]) }, whole(each[name]))));
  const reasons = Object.entries(job.report.reasons || {});
  return part("run.report",
    h("div", { class: "studio-scroll" }, h("table", {},
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, t("run.report.dataset")), COUNTS.map((name) => h("th", { scope: "col" }, t(`run.report.${name}`))))),
      h("tbody", {}, sets.map(([title, each]) => line(title, each)), sets.length > 1 ? line(t("run.report.all"), total) : null))),
    reasons.length ? [h("h5", {}, t("run.report.reasons")), h("ul", {}, reasons.map(([why, count]) => h("li", {}, `${why}: ${whole(count)}`)))] : null);
}

const bad = (name, value) => (["refused", "fully_masked"].includes(name) && value ? "studio-bad" : "");

function decisions(job) {
  if (!job.decisions?.length) return null;
  return part("run.decisions", h("table", {}, h("tbody", {}, job.decisions.map((each) => h("tr", {},
    h("th", { scope: "row" }, each.name), h("td", {}, h("strong", {}, String(each.value))), h("td", { class: "studio-muted" }, each.reason))))));
}

function recipe(job) {
  if (!filled(job.recipe)) return null;
  const entries = Object.entries(job.recipe).map(([name, value]) => [label(name), plain(value)]);
  return part("run.recipe", h("p", { class: "studio-muted" }, t("run.recipe.frozen")), pairs(entries));
}

/** The flag, and what it is called where we have a word. */
const label = (name) => (has(`arguments.${name}`) ? h("span", { title: t(`arguments.${name}`) }, name) : name);

function command(job) {
  const text = job.shell || "";
  if (!text) return null;
  return part("run.command", h("pre", { class: "run-command" }, text), h("div", { class: "studio-row" }, button(t("studio.copy"), () => copy(text))));
}

function attempts(job) {
  if (!job.attempts?.length) return null;
  return part("run.attempts", h("div", { class: "studio-scroll" }, h("table", {},
    h("thead", {}, h("tr", {}, ["number", "state", "started", "took", "exit", "why"].map((each) => h("th", { scope: "col" }, t(`run.attempts.${each}`))))),
    h("tbody", {}, job.attempts.map((each) => h("tr", {},
      h("th", { scope: "row" }, each.number), h("td", {}, t(`jobs.state.${each.state}`)), h("td", {}, when(each.started)),
      h("td", {}, each.started && each.ended ? duration(each.ended - each.started) : "–"),
      h("td", {}, each.signal ? t("run.attempts.signal", { signal: each.signal }) : each.exit_code ?? "–"), h("td", {}, each.sentence && sentenceOf(each))))))));
}
