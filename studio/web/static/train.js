// The head of the training form: stage and datasets, and what is done with the form as a whole.
import { api, button, emit, h, on, show, t, tell, toast, allow } from "./studio.js";
import { framed } from "./fields.js";
import { applies, body, fresh_run_name, on_change, put, replace, schema, value_of } from "./draft.js";
import { several_of } from "./picker.js";
import { follow } from "./bridge.js";
import { complain_at } from "./complaints.js";
import { pathOf } from "./job.js";
import { paste_dialog } from "./paste.js";
import { hint } from "./hints.js";
import { saved_dialog } from "./saved.js";
import { title_of, why_not } from "./fit.js";

/** What the form says now, as /api/recipe and /api/preflight take it: {values, model_name, run_name, devices}. */
export const currentBody = () => body();

let datasets = null;
async function offered_datasets() {
  if (!datasets || Date.now() - datasets.asked > 5000) {
    const folder = value_of("dataset_dir") || "data";
    const list = api(`/datasets?dataset_dir=${encodeURIComponent(folder)}`).then((answer) => answer.datasets);
    datasets = { asked: Date.now(), list };
    list.catch(() => { datasets = null; });
  }
  return datasets.list;
}

const as_option = (row) => ({
  value: row.name, why: why_not(row, value_of("stage")),
  note: [row.kind && t(`train.kind.${row.kind}`), row.rows !== null && row.rows !== undefined ? t("train.rows", { rows: row.rows }) : "",
    row.health && row.health !== "ok" ? row.complaint : ""].filter(Boolean).join(" · "),
});

export function mount(place) {
  const stage = stage_field();
  const picked = {
    dataset: dataset_field("dataset", t("train.dataset_hint")),
    eval_dataset: dataset_field("eval_dataset", t("train.eval_dataset_hint")),
  };
  const look = button(t("train.preview_dataset"), () => {
    emit("preview-dataset", value_of("dataset")[0]);
    show("datasets");
  }, { id: "train-preview-dataset" });
  picked.dataset.element.append(h("div", { class: "studio-row" }, look));
  place.append(
    h("div", { class: "studio-row train-tools" },
      button(t("train.paste"), () => paste_dialog(), { id: "train-paste" }),
      button(t("train.forms"), () => saved_dialog(), { id: "train-forms" }),
      button(t("train.reset"), () => { replace({}); toast(t("train.was_reset")); }, { id: "train-reset" })),
    h("div", { class: "train-head" }, stage.element, picked.dataset.element, picked.eval_dataset.element));

  const draw = (names) => {
    const touched = (one) => names === null || names.includes(one);
    if (touched("stage")) stage.input.value = value_of("stage");
    for (const [name, one] of Object.entries(picked)) {
      if (names === null || (touched(name) && String(one.picker.get()) !== String(value_of(name)))) one.picker.set(value_of(name));
    }
    if (touched("dataset_dir")) datasets = null;
    allow(look, value_of("dataset").length ? "" : t("train.no_dataset"));
    if (touched("stage") || touched("finetuning_type")) show_used();
  };
  on_change(draw);
  on("datasets", () => { datasets = null; });
  on("complaints", (by_field) => {
    stage.complain(by_field.stage || "");
    for (const [name, one] of Object.entries(picked)) one.complain(by_field[name] || "");
    complain_at(by_field);
  });
  on("clone", (id) => clone(id).catch(tell));
  draw(null);
  hint();
  follow(["train"]);
}

/** Fields of Gradio that stage and method do not use are out of sight, and not in the command. */
function show_used() {
  for (const argument of schema.arguments) {
    if (argument.part === "train" || argument.part === "top") {
      document.getElementById(`${argument.part}-${argument.name}`)?.classList.toggle("studio-gone", !applies(argument));
    }
  }
}

function stage_field() {
  const argument = schema.by_name.stage;
  const input = h("select", { id: "train-stage" }, schema.stages.map((stage) => h("option", { value: stage.name }, title_of(stage))));
  input.addEventListener("change", () => put("stage", input.value));
  return { input, ...framed(argument, "train-stage", input) };
}

function dataset_field(name, placeholder) {
  const argument = schema.by_name[name];
  const picker = several_of({
    id: `train-${name}`, values: value_of(name), placeholder, offered: async () => (await offered_datasets()).map(as_option),
    onchange: (values) => put(name, values),
  });
  return { ...framed(argument, picker.input.id, picker.input, { box: picker.element }), picker };
}

/** The recipe of a job in the form, under a new name. */
async function clone(id) {
  const job = await api(pathOf(id));
  const { output_dir: before, overwrite_output_dir: _, resume_from_checkpoint: __, ...values } = job.recipe || {};
  replace({ values, run_name: fresh_run_name(), devices: job.devices });
  show("train");
  toast(t("train.cloned", { name: before || job.title || id }), "good");
}
