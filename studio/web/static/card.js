// Why a run failed: the cause, the line of the log that shows it, and what to do, in order.
import { button, fill, h, has, t } from "./studio.js";

/** The server's English, or ours where the kind is known here. */
function said(kind, part, told) {
  const key = `failure.${kind}.${part}`;
  return has(key) && window.studio.language !== "en" ? t(key) : told || (has(key) ? t(key) : "");
}

/** Sentences as steps: a remedy tells one thing after another. */
function steps(text) {
  const lines = text.split(/\n+/).map((line) => line.replace(/^\s*(?:\d+[.)]|[-*])\s+/, "").trim()).filter(Boolean);
  return lines.length > 1 ? lines : text.split(/(?<=[.。！!？?;；])\s+(?=[A-Z一-鿿"“-])|(?<=[。！？；])/u).map((line) => line.trim()).filter(Boolean);
}

/** The card; `toLog(evidence)` shows the place in the log. Empty where nothing failed. */
export function failureCard(toLog) {
  const element = h("section", { class: "studio-card run-failure", role: "alert", hidden: true, "aria-label": t("run.failure") });
  const show = (failure) => {
    element.hidden = !failure;
    if (!failure) return;
    const now = JSON.stringify(failure);
    if (element.dataset.shown === now) return;
    element.dataset.shown = now;
    const remedy = said(failure.kind, "remedy", Array.isArray(failure.remedy) ? failure.remedy.join("\n") : failure.remedy);
    fill(element,
      h("h4", {}, t("run.failure")),
      h("p", { class: "run-cause" }, said(failure.kind, "cause", failure.cause)),
      failure.evidence && h("pre", { class: "run-evidence" }, failure.evidence),
      remedy && h("div", {}, h("strong", {}, t("run.failure.remedy")), h("ol", {}, steps(remedy).map((step) => h("li", {}, step)))),
      h("div", { class: "studio-row" }, button(t("run.failure.log"), () => toLog(failure.evidence))));
  };
  return { element, show };
}
