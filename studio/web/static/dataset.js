// One dataset: its rows and its numbers, seen through the chosen model, template, stage and cut-off.
import { button, bytes, fill, h, t, whole } from "./studio.js";
import { schema, value_of } from "./draft.js";
import { likely, stage_of } from "./fit.js";
import { rows_view } from "./preview-rows.js";
import { statistics_view } from "./statistics.js";

// What the form says that decides how rows look, besides stage and cut-off, which can be changed here.
const FROM_FORM = ["model_name_or_path", "tokenizer_name_or_path", "template", "enable_thinking", "default_system", "train_on_prompt", "mask_history"];
const RENDERED = schema.stages.map((stage) => stage.name);

export function detail({ kind, name, row, back, edit, more = [], state }) {
  const named = kind === "data" ? { dataset: name } : { path: name };
  const about = h("div", { class: "studio-muted", id: "dataset-about" });
  const stage = h("select", { id: "dataset-stage", onchange: () => changed() }, RENDERED.map((each) => h("option", { value: each }, `${each} · ${t(`datasets.seen.${stage_of(each).wants}`)}`)));
  const cutoff = h("input", { id: "dataset-cutoff_len", type: "number", min: 4, step: 1, value: value_of("cutoff_len"), onchange: () => changed() });
  const seen = h("span", { class: "studio-muted", id: "dataset-lens" });
  const lens = () => ({
    ...Object.fromEntries(FROM_FORM.map((each) => [each, value_of(each)]).filter(([, value]) => value !== "" && value !== null && value !== undefined)),
    stage: stage.value, cutoff_len: Number(cutoff.value) || value_of("cutoff_len"),
  });
  const tabs = ["preview", "statistics"];
  const place = h("div", { id: "dataset-part" });
  const buttons = Object.fromEntries(tabs.map((each) => [each, h("button", {
    type: "button", role: "tab", id: `dataset-tab-${each}`, class: "datasets-tab", "aria-controls": "dataset-part", onclick: () => open(each),
  }, t(`datasets.tab.${each}`))]));
  const parts = {};
  let shown = "";
  let at = row || 1;

  function open(which, jump = 0) {
    shown = which;
    for (const each of tabs) buttons[each].setAttribute("aria-selected", String(each === which));
    if (jump) at = jump;
    parts[which] ||= which === "preview"
      ? rows_view({ named, lens, start: at, moved: (start) => { at = start; } })
      : statistics_view({ named, lens, jump: (to) => open("preview", to) });
    fill(place, parts[which].element);
    if (jump) parts[which].go(jump);
    else parts[which].refresh?.();
    place.setAttribute("aria-labelledby", `dataset-tab-${which}`);
  }
  function changed() {
    const model = value_of("model_name_or_path");
    seen.textContent = model
      ? t("datasets.seen_with", { model, template: value_of("template") || t("datasets.own_template") })
      : t("datasets.seen_without");
    for (const [which, part] of Object.entries(parts)) part.stale?.(which === shown);
  }
  const known = () => state.list?.datasets.find((each) => kind === "data" && each.name === name);
  function describe() {
    const each = known();
    if (!each) {
      fill(about, kind === "file" ? name : t("datasets.not_listed"));
      return;
    }
    fill(about, [t(`datasets.kind.${each.kind || "conversation"}`), each.format, bytes(each.size_bytes), each.rows && t("datasets.rows", { count: whole(each.rows) }), each.file].filter(Boolean).join(" · "));
    line.hidden = false;
  }
  const line = button(t("datasets.entry"), () => edit(known()?.line || 1), { hidden: true });

  // A stage that the rows fit: the form's own where it does.
  const choose = () => {
    const fits = (known()?.stages || []).filter((each) => RENDERED.includes(each));
    stage.value = likely(fits.length ? fits : RENDERED);
  };
  const element = h("div", { class: "dataset-detail" },
    h("div", { class: "studio-row datasets-bar" },
      button(t("datasets.back"), back, { id: "datasets-back" }),
      h("h3", { id: "dataset-name" }, kind === "data" ? name : name.split("/").pop()), line,
      h("span", { class: "studio-space" }), more),
    about,
    h("div", { class: "studio-row dataset-lens" },
      h("div", { class: "datasets-tabs", role: "tablist", "aria-label": t("datasets.tabs") }, tabs.map((each) => buttons[each])),
      h("span", { class: "studio-space" }),
      h("label", { for: "dataset-stage" }, t("datasets.stage")), stage,
      h("label", { for: "dataset-cutoff_len" }, "cutoff_len"), cutoff),
    seen, place);
  choose();
  describe();
  changed();
  open("preview", row);
  let timer = 0;
  state.form = (names) => {
    if (names && !names.some((each) => [...FROM_FORM, "cutoff_len", "stage"].includes(each))) return;
    if (!names || names.includes("cutoff_len")) cutoff.value = value_of("cutoff_len");
    if (!names || names.includes("stage")) choose();
    clearTimeout(timer);
    timer = setTimeout(changed, 400);
  };
  state.heard = describe;
  return element;
}
