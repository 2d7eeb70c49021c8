// Alarms of a run: what was seen, since when, what it means and what to do, as a card above the charts.
import { fill, h, has, t, whole } from "./studio.js";

/** What an alarm is called. */
export const alarm_title = (kind) => (has(`run.alarm.${kind}`) ? t(`run.alarm.${kind}`) : kind);

/** The card; `show(alarms)` takes [{step, kind}] and hides it when there are none. */
export function alarmCard() {
  const element = h("section", { class: "studio-card run-alarms", role: "alert", hidden: true, "aria-label": t("run.alarms") });
  let shown = "";
  const show = (alarms) => {
    const kinds = new Map();
    for (const { kind, step } of alarms) kinds.set(kind, [...(kinds.get(kind) || []), step]);
    const now = JSON.stringify([...kinds]);
    element.hidden = !alarms.length;
    if (now === shown) return;
    shown = now;
    fill(element, [...kinds].map(([kind, steps]) => one(kind, steps)));
  };
  return { element, show };
}

function one(kind, steps) {
  const when = steps.length === 1 ? t("run.alarm.once", { step: whole(steps[0]) })
    : t("run.alarm.often", { first: whole(steps[0]), last: whole(steps.at(-1)), count: whole(steps.length) });
  const known = has(`run.alarm.${kind}`);
  const todo = t(known ? `run.alarm.${kind}.do` : "run.alarm.unknown.do").split("\n");
  return h("div", { class: "run-alarm", "data-alarm": kind },
    h("h4", {}, alarm_title(kind), " ", h("span", { class: "studio-muted" }, when)),
    h("p", {}, t(known ? `run.alarm.${kind}.about` : "run.alarm.unknown.about")),
    h("ul", {}, todo.map((line) => h("li", {}, line))));
}
