// Fields that name a model folder: they offer those of the workspace that fit, and still take free text.
import { framed } from "./fields.js";
import { one_of, several_of } from "./picker.js";
import { t } from "./studio.js";
import { kind_of_model, offered_models } from "./top.js";

const judges = (model) => model.head === "score";
// Argument → which model folders it may name.
const FITS = {
  reward_model: judges,
  reward_model_adapters: (model) => judges(model) && model.adapter,
  ref_model: (model) => !judges(model) && !model.adapter,
  ref_model_adapters: (model) => !judges(model) && model.adapter,
};

/** A field of this kind, as `field` of fields.js makes others; null where an argument names no model. */
export function offering_field(argument, { id, value, onchange, ...frame }) {
  const fits = FITS[argument.name];
  if (!fits) return null;
  const offered = async () => {
    const found = (await offered_models()).filter(fits).map((model) => ({ value: model.path, note: kind_of_model(model) }));
    return found.length || fits !== judges ? found : [{ value: t("train.no_judge"), why: t("train.no_judge.why") }];
  };
  const several = argument.kind === "names";
  const facts = { id, offered, onchange, placeholder: several ? "" : t("train.offer_hint") };
  const picker = several ? several_of({ ...facts, values: value || [] }) : one_of({ ...facts, value });
  const { element, complain } = framed(argument, id, picker.input, { box: picker.element, ...frame });
  return { element, complain, input: picker.input, get: picker.get, set: (raw) => picker.set(raw ?? argument.default) };
}
