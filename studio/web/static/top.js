// What stands above the tabs and is shared by them: the model, its adapters, the method, the template.
import { api, emit, h, has, on, t } from "./studio.js";
import { framed } from "./fields.js";
import { draft, on_change, put, put_beside, schema, value_of } from "./draft.js";
import { one_of, several_of } from "./picker.js";
import { follow } from "./bridge.js";
import { dress } from "./dress.js";

dress("form.css");
const SHARED = ["model_name_or_path", "adapter_name_or_path", "finetuning_type", "quantization_bit", "template",
  "enable_thinking", "flash_attn", "trust_remote_code", "model_revision", "default_system"];

/** What the top of the page says, defaults included: {model_name_or_path, adapter_name_or_path, template, …}. */
export function current() {
  return Object.fromEntries(SHARED.map((name) => [name, value_of(name)]));
}

let models = null;
/** The model folders of the workspace: [{path, kind, base, run, step, adapter, metrics}]. */
export async function offered_models({ fresh = false } = {}) {
  if (!models || fresh || Date.now() - models.asked > 5000) {
    const list = api("/models");
    models = { asked: Date.now(), list };
    list.catch(() => { models = null; });
  }
  return models.list;
}

/** What a model folder is, in words. */
export function kind_of_model({ kind, base, step, adapter, head, metrics }) {
  const what = (head === "score" ? `${t("top.judge")} · ` : "") + t(`top.kind.${kind}`, { base: base || "?", step: step ?? "" });
  const of = kind === "checkpoint" && adapter && base ? ` · ${t("top.kind.adapter", { base })}` : "";
  const loss = metrics?.eval_loss ?? metrics?.loss;
  return loss === undefined ? what + of : `${what}${of} · ${t(metrics.eval_loss === undefined ? "top.loss" : "top.eval_loss", { loss: loss.toFixed(3) })}`;
}

const as_option = (model) => ({ value: model.path, note: kind_of_model(model) });

export function mount(place) {
  const about = h("p", { class: "studio-help", id: "top-about", "aria-live": "polite" });
  const name = h("input", { id: "top-model_name", type: "text", autocomplete: "off", value: draft.model_name });
  name.addEventListener("input", () => put_beside("model_name", name.value.trim()));
  const path = one_of({
    id: "top-model_name_or_path", value: value_of("model_name_or_path"), placeholder: t("top.path_hint"),
    offered: async () => (await offered_models()).map(as_option),
    onchange: (value) => { put("model_name_or_path", value); },
  });
  const adapters = several_of({
    id: "top-adapter_name_or_path", values: value_of("adapter_name_or_path"), placeholder: t("top.adapter_hint"),
    offered: async () => (await offered_models()).filter((model) => model.adapter).map(as_option),
    onchange: (values) => put("adapter_name_or_path", values),
  });
  const frames = {
    model_name: framed({ name: "model_name" }, name.id, name, { label: t("top.model_name"), help: t("top.model_name.help") }),
    model_name_or_path: frame("model_name_or_path", { ...path, element: h("div", {}, path.element, about) }),
    adapter_name_or_path: frame("adapter_name_or_path", adapters),
  };
  place.append(h("div", { class: "studio-top" },
    frames.model_name_or_path.element, frames.adapter_name_or_path.element, frames.model_name.element));

  let asked = 0;
  const look = async () => {
    const value = value_of("model_name_or_path");
    const mine = ++asked;
    const told = value ? await api(`/models/about?path=${encodeURIComponent(value)}`).catch(() => null) : null;
    if (mine !== asked) return;
    about.textContent = told ? (has(`top.kind.${told.kind}`) ? kind_of_model(told) : told.sentence) : "";
    about.classList.toggle("studio-bad", Boolean(told) && !told.ok);
    name.placeholder = told?.name || t("top.guessed");
  };
  let timer = 0;
  on_change((names) => {
    const touched = (one) => names === null || names.includes(one);
    if (names === null) {
      path.set(value_of("model_name_or_path"));
      adapters.set(value_of("adapter_name_or_path"));
      name.value = draft.model_name;
    }
    if (touched("model_name_or_path")) { clearTimeout(timer); timer = setTimeout(look, 150); }
    if (names === null || SHARED.some(touched)) emit("top", current());
  });
  on("complaints", (by_field) => {
    for (const [argument, one] of Object.entries(frames)) one.complain(by_field[argument] || "");
  });
  follow(["top"]);
  look();
  emit("top", current());
}

const frame = (name, picker) => framed(schema.by_name[name], picker.input.id, picker.input, { box: picker.element });
