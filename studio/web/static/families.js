// Which values of a run belong into one figure, and which figures under one heading.
import { has, t } from "./studio.js";

/** What a value is called; a name that we have no word for is shown as it is. */
export function called(name) {
  if (has(`run.value.${name}`)) return t(`run.value.${name}`);
  const plain = name.replace(/^eval_/, "");
  return plain !== name && has(`run.value.${plain}`) ? t("run.held_out", { name: t(`run.value.${plain}`) }) : name;
}

// Values that are read beside each other: a chosen one beside a rejected one, times beside times.
const TOGETHER = {
  rewards_chosen: "rewards", rewards_rejected: "rewards", logps_chosen: "logps", logps_rejected: "logps",
  score: "reward", generation_s: "times", scoring_s: "times", update_s: "times",
};

/** The figure of a value: that of the training, which holds the one of the evaluation too. */
export function family(name) {
  const plain = name.replace(/^eval_/, "");
  return TOGETHER[plain] ?? plain;
}

/** What a figure is called, and what it shows, in a sentence. */
export const title_of = (figure) => (has(`run.family.${figure}`) ? t(`run.family.${figure}`) : called(figure));
export const about = (figure) => (has(`run.about.${figure}`) ? t(`run.about.${figure}`) : "");

const SECTIONS = [
  ["reward", ["reward", "reward_std", "response_length"]],
  ["policy", ["kl", "kl_coef", "entropy", "clip_fraction", "policy_loss", "value_loss", "explained_variance"]],
  ["learning", ["loss", "learning_rate", "grad_norm"]],
  ["preference", ["accuracy", "margin", "rewards", "logps"]],
  ["machine", ["tokens_per_s", "memory_gib", "times"]],
];
// With these alone, as next-token prediction has them, headings would only be in the way.
const PLAIN = ["learning", "machine", "other"];

/** Names of values → [[heading or "", [[figure, names]]]], in the order in which they are read. */
export function arranged(names) {
  const figures = new Map();
  for (const name of names) figures.set(family(name), [...(figures.get(family(name)) || []), name]);
  // Without pairs, accuracy is that of tokens, and a divergence without a policy is that of preferences.
  const home = new Map(SECTIONS.flatMap(([section, members]) => members.map((member) => [member, section])));
  if (!figures.has("margin")) home.set("accuracy", "learning");
  if (!figures.has("reward")) home.set("kl", "preference");
  const order = SECTIONS.flatMap(([, members]) => members);
  const place = (figure) => (order.includes(figure) ? order.indexOf(figure) : order.length);
  const sections = [...SECTIONS.map(([section]) => section), "other"].map((section) => [section, [...figures]
    .filter(([figure]) => (home.get(figure) ?? "other") === section).sort(([a], [b]) => place(a) - place(b))]);
  const filled = sections.filter(([, members]) => members.length);
  const plain = filled.every(([section]) => PLAIN.includes(section));
  return filled.map(([section, members]) => [plain ? "" : section, members]);
}

/** The figure that is looked at first. */
export const main_of = (names) => (names.includes("reward") ? "reward" : "loss");

// Which figures show an alarm beside the main one.
const ALARMED = {
  kl_blowup: ["kl", "kl_coef"], length_hacking: ["response_length"], value_collapse: ["explained_variance", "value_loss"],
};
export const alarms_of = (alarms, figure, main) => alarms.filter(({ kind }) => figure === main || ALARMED[kind]?.includes(figure));
