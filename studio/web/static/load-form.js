// The form that loads a model for the Chat tab.
import { dress } from "./dress.js";
import { one_of } from "./picker.js";
import { api, button, emit, fill, h, has, show, t, tell } from "./studio.js";
import { kind_of_model, offered_models } from "./top.js";

const labelled = (id, text, input, ...more) => h("div", { class: "studio-field" }, h("label", { for: id }, text), input, more);
const choice = (id, options) => h("select", { id }, options.map(([value, text]) => h("option", { value }, text)));

/** The form; `loaded(model, base)` hears of the jobs that were started. */
export function load_form(loaded) {
  dress("form.css");
  let touched = false;
  const changed = () => { touched = true; describe().catch(tell); };
  const as_option = (each) => ({ value: each.path, note: kind_of_model(each) });
  const model = one_of({
    id: "chat-load-model", placeholder: t("top.path_hint"), onchange: changed,
    offered: async () => (await offered_models()).map(as_option),
  });
  const adapter = one_of({
    id: "chat-load-adapter", placeholder: t("chat.load.no_adapter"), onchange: changed,
    offered: async () => (await offered_models()).filter((each) => each.adapter).map(as_option),
  });
  const about = h("p", { class: "studio-muted", id: "chat-load-about", role: "status" });
  const template = h("input", { id: "chat-load-template", type: "text", autocomplete: "off", placeholder: t("chat.load.own") });
  const bits = choice("chat-load-quantization", [["", t("chat.load.full")], ["8", t("chat.load.bits", { bits: 8 })], ["4", t("chat.load.bits", { bits: 4 })]]);
  const dtype = choice("chat-load-dtype", ["auto", "float32", "bfloat16", "float16"].map((each) => [each, each]));
  const thinking = choice("chat-load-thinking", [["", t("chat.load.own")], ["true", t("studio.yes")], ["false", t("studio.no")]]);
  const gpus = h("select", { id: "chat-load-device" });
  const gpu_field = labelled("chat-load-device", t("chat.load.device"), gpus);
  gpu_field.hidden = true;
  const with_base = h("input", { id: "chat-load-base", type: "checkbox" });
  const base_row = h("label", { class: "chat-check", hidden: true }, with_base, h("span"));
  const wrong = h("div", { id: "chat-load-wrong", role: "alert" });
  const go = button(t("chat.load.go"), start, { kind: "primary", id: "chat-load", type: "submit" });
  let base = "";

  const element = h("form", { id: "chat-load-form", class: "chat-load", onsubmit: (event) => event.preventDefault() },
    labelled("chat-load-model", t("chat.load.model"), model.element, about),
    labelled("chat-load-adapter", t("chat.load.adapter"), adapter.element),
    base_row,
    h("details", {}, h("summary", {}, t("chat.load.more")),
      h("div", { class: "studio-grid" }, labelled("chat-load-template", t("chat.load.template"), template),
        labelled("chat-load-quantization", t("chat.load.quantization"), bits), labelled("chat-load-dtype", t("chat.load.dtype"), dtype),
        labelled("chat-load-thinking", t("chat.load.thinking"), thinking))),
    gpu_field, wrong, h("div", { class: "studio-row" }, go, h("span", { class: "studio-muted" }, t("chat.load.note"))));

  async function start() {
    fill(wrong);
    const asked = {
      template: template.value.trim(), quantization_bit: bits.value ? Number(bits.value) : null, infer_dtype: dtype.value,
      enable_thinking: thinking.value ? thinking.value === "true" : null, devices: gpus.value ? [gpus.value] : [],
    };
    try {
      const adapters = adapter.get() ? [adapter.get()] : [];
      const first = await api("/serve", { body: { ...asked, model: model.get(), adapters } });
      const second = with_base.checked && !base_row.hidden ? await api("/serve", { body: { ...asked, model: base } }) : null;
      touched = false;
      loaded(first, second);
    } catch (error) {
      if (!error.complaints) throw error;
      fill(wrong, h("ul", { class: "studio-complaints" }, error.complaints.map((each) => h("li", {}, each))),
        error.body.job && button(t("chat.load.job", { job: error.body.job }), () => {
          emit("open-job", error.body.job);
          show("jobs");
        }));
    }
  }

  let asked_last = 0;
  async function describe() {
    const mine = ++asked_last;
    const path = model.get();
    const told = path ? await api(`/models/about?path=${encodeURIComponent(path)}`).catch(() => ({})) : {};
    if (mine !== asked_last) return;
    about.textContent = has(`top.kind.${told.kind}`) ? kind_of_model(told) : told.sentence || "";
    about.classList.toggle("studio-bad", Boolean(path) && told.ok === false);
    const given = adapter.get();
    base = told.adapter ? told.base || "" : given ? path : "";
    base_row.hidden = !base;
    base_row.querySelector("span").textContent = t("chat.load.base_too", { base });
  }
  return {
    element,
    /** Fill from the top of the page, unless a person has written here; `anyway` overwrites that too. */
    prefill(values, anyway = false) {
      if (touched && !anyway) return;
      // What another tab asked for by name stays until it is loaded.
      touched = anyway;
      model.set(values.model_name_or_path || "");
      adapter.set([values.adapter_name_or_path || []].flat().join(","));
      if (values.template !== undefined) template.value = values.template || "";
      if (values.quantization_bit !== undefined) bits.value = values.quantization_bit ? String(values.quantization_bit) : "";
      describe().catch(tell);
    },
    /** Ask what can be chosen; each time it opens, since runs come and go. */
    async ready() {
      const [models, machine] = await Promise.all([offered_models({ fresh: true }).catch(() => []), api("/machine").catch(() => ({ gpus: [] }))]);
      const names = machine.gpus || [];
      gpu_field.hidden = !names.length;
      if (names.length !== gpus.options.length) fill(gpus, names.map((each) => h("option", { value: String(each.index) }, `${each.index}: ${each.name}`)));
      if (!model.get() && models.length) model.set(models[0].path);
      await describe();
    },
  };
}
