// "Check before start": what a run would do and cost, and what forbids it, before anything is started.
import { dress } from "./dress.js";
import { allow, api, button, duration, fill, h, has, number, on, t, tell, whole } from "./studio.js";

dress("run.css");
// The numbers of a plan, in the order in which they are read.
const FIGURES = ["steps", "tokens", "trainable_weights", "memory", "disk", "time"];
const ROWS = ["rows", "kept", "refused", "truncated", "fully_masked", "held_out_rows"];
const LOOK_MS = 700;

/** The panel. The form is that of the Train tab, as it is at the click. */
export function mount(place) {
  let running = 0;
  let checked = "";
  const begin = button(t("preflight.check"), start, { id: "preflight-check" });
  const cancel = button(t("preflight.cancel"), stop, { id: "preflight-cancel", hidden: true });
  const status = h("span", { class: "studio-muted", role: "status", id: "preflight-status" });
  const stale = h("p", { class: "preflight-stale", id: "preflight-stale", hidden: true }, t("preflight.stale"));
  const result = h("div", { id: "preflight-result" });
  place.append(h("section", { class: "preflight", "aria-label": t("preflight.title") },
    h("div", { class: "studio-row" }, begin, cancel, status), stale, result));

  const form = async () => {
    const { currentBody } = await import("./train.js");
    return currentBody();
  };
  const compare = async () => {
    if (checked) stale.hidden = JSON.stringify(await form()) === checked;
  };
  // However the form was changed: by hand, by a paste, by a clone.
  for (const name of ["input", "change", "click"]) document.addEventListener(name, () => setTimeout(compare, 250), { passive: true });
  for (const name of ["top", "clone", "form"]) on(name, () => setTimeout(compare, 250));

  async function start() {
    const body = await form();
    const mine = await api("/preflight", { body });
    checked = JSON.stringify(body);
    running = mine.id;
    stale.hidden = true;
    fill(result);
    // The button is free again at once: a newer check ends this one.
    follow(mine).catch(tell);
  }
  async function stop() {
    if (running) ended(await api(`/preflight/${running}`, { method: "DELETE" }));
  }
  async function follow(told) {
    cancel.hidden = false;
    while (told.state === "running") {
      if (running !== told.id) return;
      const said = told.said.at(-1) || t("preflight.begins");
      status.textContent = `${duration(told.elapsed_s)} · ${said}`;
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      if (document.hidden) await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
      told = await api(`/preflight/${told.id}`).catch((error) => {
        if (error.status === 0) return told;
        ended({ id: told.id, state: "cancelled" });
        throw error;
      });
    }
    ended(told);
  }
  function ended(told) {
    if (told.id !== running) return;
    running = 0;
    cancel.hidden = true;
    allow(begin, "");
    if (told.state !== "done") {
      checked = "";
      status.textContent = t(`preflight.${told.state}`);
      return;
    }
    status.textContent = told.elapsed_s ? t("preflight.took", { time: number(told.elapsed_s, 2) }) : "";
    fill(result, ...shown(told));
  }
}

/** The answer as elements. */
function shown({ result, notes }) {
  const complaints = result.complaints || [];
  const all = [...new Set([...(result.notes || []), ...(notes || [])])];
  return [
    h("div", { class: `preflight-verdict ${result.ok ? "good" : "bad"}`, id: "preflight-verdict" },
      h("strong", {}, t(result.ok ? "preflight.ok" : "preflight.not_ok")),
      complaints.length ? h("ul", { class: "studio-complaints" }, complaints.map((each) => h("li", {}, each))) : null),
    result.data ? h("dl", { class: "run-figures" }, ROWS.filter((name) => result.data[name] !== undefined).map((name) =>
      h("div", { class: name !== "rows" && name !== "kept" && result.data[name] ? "noted" : "" },
        h("dt", {}, t(`preflight.data.${name}`)), h("dd", {}, whole(result.data[name]))))) : null,
    figures(result),
    all.length ? h("div", { class: "preflight-notes" }, h("h5", {}, t("preflight.notes")), h("ul", {}, all.map((each) =>
      h("li", { class: each.startsWith("warning") ? "warning" : "" }, each)))) : null,
    result.choices?.length ? h("details", { class: "run-fold" }, h("summary", {}, t("preflight.decisions")),
      h("table", {}, h("tbody", {}, result.choices.map((each) => h("tr", {},
        h("th", { scope: "row" }, each.name), h("td", {}, h("strong", {}, each.value)), h("td", { class: "studio-muted" }, each.reason)))))) : null,
  ].filter(Boolean);
}

function figures(result) {
  const names = [...FIGURES, ...Object.keys(result).filter((name) => result[name]?.basis && !FIGURES.includes(name) && name !== "rows")];
  const known = names.filter((name) => result[name]);
  if (!known.length) return null;
  return h("div", { class: "studio-scroll" }, h("table", { class: "preflight-figures" }, h("tbody", {}, known.map((name) => h("tr", {},
    h("th", { scope: "row" }, has(`preflight.figure.${name}`) ? t(`preflight.figure.${name}`) : name),
    h("td", {}, h("strong", {}, result[name].text)),
    h("td", { class: "studio-muted" }, result[name].basis))))));
}
