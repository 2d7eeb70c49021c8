// Answers that a run wrote and was rewarded for: by step, sorted, a page at a time. They stay text.
import { brief } from "./chart.js";
import { allow, api, button, fill, h, t, tell, whole } from "./studio.js";

const PAGE = 6;
const ORDERS = ["newest", "highest", "lowest", "oldest"];
// New answers of a run that goes on are asked for at most so often.
const EVERY_MS = 3000;
const ROLES = ["system", "user", "assistant", "tool"];

/** The section of a job; `refresh()` says that there may be more. Hidden while there is nothing. */
export function rolloutsView(path) {
  const at = { order: "newest", step: "", start: 0 };
  const order = h("select", { class: "rollout-order", "aria-label": t("run.rollouts.order"), onchange: () => move({ order: order.value, start: 0 }) },
    ORDERS.map((each) => h("option", { value: each }, t(`run.rollouts.${each}`))));
  const step = h("input", { type: "number", class: "rollout-step", min: 0, step: 1, placeholder: t("run.rollouts.all_steps"), "aria-label": t("run.rollouts.step"), onchange: () => move({ step: step.value, start: 0 }) });
  const every = button(t("run.rollouts.all_steps"), () => move({ step: "", start: 0 }), { class: "studio-button rollout-all" });
  const before = button("‹", () => move({ start: Math.max(at.start - PAGE, 0) }), { "aria-label": t("run.rollouts.before"), class: "studio-button rollout-before" });
  const after = button("›", () => move({ start: at.start + PAGE }), { "aria-label": t("run.rollouts.after"), class: "studio-button rollout-after" });
  const where = h("span", { class: "studio-muted rollout-where", role: "status" });
  const spread = h("p", { class: "studio-muted rollout-spread" });
  const list = h("ol", { class: "rollout-list" });
  const element = h("section", { class: "studio-card run-part run-rollouts", hidden: true, "aria-label": t("run.rollouts") },
    h("h4", {}, t("run.rollouts")), h("p", { class: "studio-muted" }, t("run.rollouts.about")),
    h("div", { class: "studio-row rollout-tools" }, h("label", { class: "studio-row" }, t("run.rollouts.order"), order),
      h("label", { class: "studio-row" }, t("run.rollouts.step"), step), every, h("span", { class: "studio-space" }), before, where, after),
    spread, list);
  let turn = 0;
  let shown = "";
  let asked_ms = -Infinity;

  async function load() {
    const mine = ++turn;
    asked_ms = performance.now();
    const wanted = at.step === "" ? "" : `&step=${encodeURIComponent(at.step)}`;
    const page = await api(`${path}/rollouts?order=${at.order}&start=${at.start}&count=${PAGE}${wanted}`);
    if (mine === turn) draw(page);
  }

  function draw(page) {
    const now = JSON.stringify([page, at]);
    if (now === shown) return;
    shown = now;
    element.hidden = !page.steps;
    if (!page.steps) return;
    // The step that has answers is the nearest to the one asked for.
    if (document.activeElement !== step || page.step !== null) step.value = page.step ?? "";
    if (page.step !== null) at.step = String(page.step);
    step.min = page.steps.first;
    step.max = page.steps.last;
    order.value = at.order;
    allow(every, at.step === "" ? t("run.rollouts.all_shown") : "");
    allow(before, at.start ? "" : t("run.rollouts.at_start"));
    allow(after, at.start + PAGE < page.total ? "" : t("run.rollouts.at_end"));
    where.textContent = t("run.rollouts.where", { first: whole(at.start + 1), last: whole(at.start + page.rows.length), total: whole(page.total) });
    spread.textContent = page.spread ? t("run.rollouts.spread", { lowest: brief(page.spread.lowest), mean: brief(page.spread.mean), highest: brief(page.spread.highest) }) : "";
    fill(list, page.rows.map((row) => card(row, page.spread, () => api(`${path}/rollouts/${row.number}`))));
  }

  function move(to) {
    Object.assign(at, to);
    return load().catch(tell);
  }

  return {
    element,
    /** Look for more, unless somebody reads: what is read stays where it is. */
    refresh({ now = false } = {}) {
      const reading = at.start > 0 || element.contains(document.activeElement) || element.querySelector("details[open], .whole");
      if (!now && (reading || performance.now() - asked_ms < EVERY_MS)) return Promise.resolve();
      return load();
    },
  };
}

/** One answer: what was asked, what was answered, what it was worth. */
function card(row, spread, whole_row) {
  const share = spread && row.reward !== null && spread.highest > spread.lowest ? (row.reward - spread.lowest) / (spread.highest - spread.lowest) : 0.5;
  const element = h("li", { class: "rollout", "data-number": row.number });
  const draw = (told) => {
    const questions = told.messages;
    const last = questions.at(-1);
    const older = questions.slice(0, -1);
    const folded = [told.answer, ...questions].some((each) => each.folded);
    fill(element,
      h("header", { class: "studio-row" },
        h("span", { class: "rollout-reward", title: t("run.value.reward") }, h("span", { class: "rollout-scale" }, h("span", { style: `width: ${Math.round(100 * share)}%` })), h("strong", {}, brief(told.reward))),
        h("span", { class: "studio-muted" }, [t("run.rollouts.at_step", { step: whole(told.step) }), told.kl === null ? "" : `${t("run.value.kl")} ${brief(told.kl)}`,
          told.tokens === null ? "" : t("run.rollouts.tokens", { tokens: whole(told.tokens) })].filter(Boolean).join(" · "))),
      told.left_out ? h("p", { class: "studio-muted" }, t("run.rollouts.left_out", { count: whole(told.left_out) })) : null,
      older.length ? h("details", {}, h("summary", { class: "studio-muted" }, t("run.rollouts.older", { count: whole(older.length) })), older.map((each) => said(each))) : null,
      last ? said(last) : null,
      said({ role: "assistant", ...told.answer }, "rollout-answer"),
      folded ? button(t("run.rollouts.whole"), async () => { draw(await whole_row()); element.classList.add("whole"); }, { class: "studio-button small" }) : null);
  };
  draw(row);
  return element;
}

function said({ role, text, folded }, kind = "") {
  return h("div", { class: `rollout-said ${kind}` },
    h("span", { class: "rollout-who" }, ROLES.includes(role) ? t(`datasets.role.${role}`) : role),
    h("div", { class: "rollout-text", dir: "auto" }, text || h("em", { class: "studio-muted" }, t("run.rollouts.empty")), folded ? " …" : null));
}
