// The fields of works: datasets, models and files offer what there is; the others are as everywhere.
import { field, framed, help_of, label_of } from "./fields.js";
import { one_of, several_of } from "./picker.js";
import { api, bytes, h, has, t } from "./studio.js";
import { kind_of_model, offered_models } from "./top.js";

const KEPT_MS = 4000;
const asked = new Map();

/** An answer that several fields ask for at once. */
function soon(path) {
  const known = asked.get(path);
  if (known && Date.now() - known.at < KEPT_MS) return known.answer;
  const answer = api(path);
  asked.set(path, { at: Date.now(), answer });
  answer.catch(() => asked.delete(path));
  return answer;
}

const datasets = async () => (await soon("/datasets")).datasets.map((each) => ({
  value: each.name, why: each.health === "ok" ? "" : each.complaint || t(`datasets.health.${each.health}`),
  note: [each.kind && t(`datasets.kind.${each.kind}`), bytes(each.size_bytes), each.rows && t("datasets.rows", { count: each.rows })].filter(Boolean).join(" · "),
}));
const files = async () => (await soon("/datasets/files")).map((each) => ({ value: each.path, note: bytes(each.size_bytes ?? each.size ?? null) }));
const models = async () => (await offered_models()).map((model) => ({ value: model.path, note: kind_of_model(model) }));

// What a name means, the first that fits.
const OFFERS = [
  [/(^|_)datasets?$|^held_out$/, datasets],
  [/^(dataset_dir|output_dir|cache_dir|judge_model|mix_file)$/, null],
  [/(^|_)files?$|^special_tokens_map$/, files],
  [/(model_name_or_path|tokenizer_name_or_path|adapter_name_or_path|^models?$|_models?$|_adapters?$|^compare_with$|^runs?$|^base$|^tokenizer$)/, models],
];

// Texts of more than a line.
const LONG = ["text", "default_system", "system", "judge_prompt"];

function long_text(argument, id, onchange, frame) {
  const input = h("textarea", { id, rows: 3, oninput: () => onchange(input.value) });
  const { element, complain } = framed(argument, id, input, frame);
  return { element, complain, input, get: () => input.value, set: (raw) => { input.value = raw ?? argument.default ?? ""; }, changed: () => input.value !== (argument.default ?? "") };
}

/** The key of a string of a work: word_of({words: ["data", "clean"]}, "about") is works.data_clean.about. */
export const word_of = (work, what) => `works.${work.words.join("_").replaceAll("-", "_")}.${what}`;

// What an argument is called in a work, in all works, everywhere.
const own = (work, name) => [`works.field.${work.replaceAll("-", "_")}.${name}`, `works.field.any.${name}`].find(has);
export const label_in = (work, name) => { const key = own(work, name); return key ? t(key) : label_of(name); };
export function help_in(work, argument) {
  const key = own(work, argument.name);
  return key && has(`${key}.help`) ? t(`${key}.help`) : help_of(argument);
}

/** A field as `field` of fields.js makes it. */
export function work_field(argument, { id, work, onchange }) {
  const frame = { label: label_in(work, argument.name), help: help_in(work, argument) };
  if (argument.kind === "text" && LONG.includes(argument.name)) return long_text(argument, id, onchange, frame);
  const offered = ["text", "names"].includes(argument.kind) ? OFFERS.find(([pattern]) => pattern.test(argument.name))?.[1] : null;
  if (!offered) return field(argument, { id, onchange, ...frame });
  const several = argument.kind === "names";
  const facts = { id, offered, onchange, placeholder: several ? t("works.offer.several") : t("works.offer") };
  const picker = several ? several_of({ ...facts, values: [] }) : one_of(facts);
  const { element, complain } = framed(argument, id, picker.input, { box: picker.element, ...frame });
  const usual = () => JSON.stringify(argument.default ?? (several ? [] : ""));
  return {
    element, complain, input: picker.input, get: picker.get,
    set: (raw) => {
      const value = raw ?? argument.default;
      picker.set(several && typeof value === "string" ? value.split(",").map((each) => each.trim()).filter(Boolean) : value);
    },
    changed: () => JSON.stringify(picker.get()) !== usual(),
  };
}
