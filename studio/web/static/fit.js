// Which stages the rows of a dataset fit, and why not the others.
import { t } from "./studio.js";

const NEEDS = { pt: ["text", "conversation"], sft: ["conversation"], rm: ["pairs"], dpo: ["pairs"], kto: ["judged"], ppo: ["conversation"] };

/** Why a dataset cannot be used in a stage, in the person's language; "" when it can. */
export function why_not(each, stage) {
  if (each.health !== "ok") return each.complaint || t(`datasets.health.${each.health}`);
  if (each.stages.includes(stage)) return "";
  const needs = NEEDS[stage];
  if (!needs) return each.why_not[stage] || "";
  if (needs.includes(each.kind)) return t("datasets.stage_to_come", { stage });
  return t("datasets.why_not", { stage, needs: needs.map((kind) => t(`datasets.kind.${kind}`)).join(t("datasets.or")), kind: t(`datasets.kind.${each.kind}`) });
}
