// Which stages the rows of a dataset fit, and why not the others.
import { schema, value_of } from "./draft.js";
import { has, t } from "./studio.js";

/** What is known of a way of learning: {name, title, wants, datasets}. */
export const stage_of = (name) => schema.stages.find((stage) => stage.name === name);

/** What people call it. */
export const title_of = ({ name, title }) => (has(`train.stage.${name}`) ? t(`train.stage.${name}`) : title);

/** Why a dataset cannot be used in a stage, in the person's language; "" when it can. */
export function why_not(each, stage) {
  if (each.health !== "ok") return each.complaint || t(`datasets.health.${each.health}`);
  if (each.stages.includes(stage)) return "";
  const needs = stage_of(stage)?.datasets;
  if (!needs || !each.kind) return each.why_not[stage] || "";
  return t("datasets.why_not", { stage, needs: needs.map((kind) => t(`datasets.kind.${kind}`)).join(t("datasets.or")), kind: t(`datasets.kind.${each.kind}`) });
}

// Where several stages take the same rows, the one that is meant most often.
const LIKELY = ["sft", "pt", "dpo", "kto"];

/** Of the stages that rows fit the form's own, else the likeliest. */
export const likely = (fits) => [value_of("stage"), ...LIKELY, ...fits].find((stage) => fits.includes(stage));
