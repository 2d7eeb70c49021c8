// What to do with what a work made: carry it to the other tabs.
import { draft, replace } from "./draft.js";
import { likely } from "./fit.js";
import { api, button, emit, h, show, t, toast } from "./studio.js";

/** Buttons in a row. */
export const next_row = (...buttons) => h("div", { class: "studio-row work-next" }, buttons);

/** Train on a model folder: it becomes the model above the tabs; `more` is what else the form should say. */
export const train_on = (path, more = {}) => button(t("works.next.train"), () => {
  const { adapter_name_or_path: _adapters, template: _template, ...values } = draft.values;
  replace({ ...draft, values: { ...values, ...more, model_name_or_path: path } });
  toast(t("export.train.done", { path }), "good");
  show("train");
}, { kind: "primary", "data-next": "train" });

/** Chat with a model folder. */
export const chat_with = (path) => button(t("works.next.chat"), () => { emit("chat", { path }); show("chat"); }, { "data-next": "chat" });

/** {stage} of a training that takes all these datasets, the form's own if it can be; {} where none does. */
async function fitting(names) {
  if (!names.length) return {};
  const { datasets } = await api("/datasets");
  const fits = names.map((name) => datasets.find((each) => each.name === name)?.stages ?? []);
  const all = fits.reduce((some, stages) => some.filter((stage) => stages.includes(stage)));
  return all.length ? { stage: likely(all) } : {};
}

/** Put arguments into the training form: {name: value}, with a stage that the datasets among them fit. */
export const use_in_train = (values, { kind = "primary" } = {}) => button(t("works.next.use"), async () => {
  const stage = await fitting([values.dataset ?? []].flat().flatMap((each) => each.split(",")).filter(Boolean));
  replace({ ...draft, values: { ...draft.values, ...values, ...stage } });
  toast(t("works.next.used"), "good");
  show("train");
}, { kind, "data-next": "use" });

/** Show a registered dataset, at a row. */
export const open_dataset = (name) => button(t("works.next.dataset"), () => { emit("preview-dataset", name); show("datasets"); }, { "data-next": "dataset" });

/** Go on with another work of the Datasets tab, the Vocabulary tab or the Evaluate tab. */
export const go_on = (tab, work, values, text) => button(text, () => {
  if (tab === "datasets") emit("prepare", { work, values }); else emit(tab, { work, values });
  show(tab);
}, { "data-next": work });
