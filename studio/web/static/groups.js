// All further arguments, in closed groups that can be searched.
import { emit, h, has, on, t } from "./studio.js";
import { title_of } from "./fit.js";
import { offering_field } from "./offers.js";
import { field, help_of, is_default, label_of } from "./fields.js";
import { EXTRA, applies, draft, on_change, put, schema, value_of } from "./draft.js";

export function mount(place) {
  const search = h("input", { id: "train-search", type: "search", placeholder: t("train.search"), "aria-label": t("train.search") });
  const only = h("input", { id: "train-changed-only", type: "checkbox" });
  const none = h("p", { class: "studio-muted", hidden: true }, t("train.nothing_found"));
  const groups = schema.groups
    .map((name) => group(name, schema.arguments.filter((argument) => argument.part === "group" && argument.group === name)))
    .filter(Boolean);
  const extra = extra_field();
  place.append(h("section", { class: "train-more", "aria-label": t("train.more") },
    h("div", { class: "studio-row train-filter" }, h("h3", {}, t("train.more")), h("span", { class: "studio-space" }),
      h("label", { class: "studio-row" }, only, t("train.changed_only")), search),
    none, groups.map((each) => each.element), extra.element));

  const filter = () => {
    const words = search.value.trim().toLowerCase().replace(/^--/, "");
    let shown = 0;
    for (const each of groups) shown += each.filter(words, only.checked);
    none.hidden = shown > 0;
  };
  search.addEventListener("input", filter);
  only.addEventListener("change", filter);
  on_change((names) => {
    for (const each of groups) each.refresh(names);
    if (names === null || names.includes(EXTRA)) extra.show();
    if (names === null || only.checked || names.includes("stage") || names.includes("finetuning_type")) filter();
  });
  on("complaints", (by_field) => {
    for (const each of groups) each.complain(by_field);
    extra.complain(by_field[EXTRA] || "");
  });
  for (const each of groups) each.refresh(null);
  filter();
  emit("fields", null);
}

function group(name, members) {
  if (!members.length) return null;
  const count = h("span", { class: "studio-count" });
  const rows = h("div", { class: "studio-grid" });
  // What a way of learning asks for itself is seen at once.
  const element = h("details", { class: "studio-group", id: `group-${name}`, open: name === "rlhf" },
    h("summary", {}, h("span", {}, has(`train.group.${name}`) ? t(`train.group.${name}`) : name), count), rows);
  const fields = new Map(members.map((argument) => {
    const facts = {
      id: `train-${argument.name}`, value: value_of(argument.name), onchange: (value) => put(argument.name, value), note: users_of(argument),
    };
    return [argument.name, offering_field(argument, facts) || field(argument, facts)];
  }));
  rows.append(...[...fields.values()].map((each) => each.element));

  const changed = (argument) => argument.name in draft.values && !is_default(argument, draft.values[argument.name]) && applies(argument);
  const refresh = (names) => {
    for (const argument of members) {
      const one = fields.get(argument.name);
      const touched = names === null || names.includes(argument.name);
      if (touched && document.activeElement !== one.input) one.set(value_of(argument.name));
      if (touched) one.element.classList.toggle("changed", changed(argument));
    }
    const alpha = fields.get("lora_alpha");
    // It follows the rank until it is set.
    if (alpha) alpha.input.placeholder = t("train.follows", { value: 2 * (Number(value_of("lora_rank")) || 0) });
    const number = members.filter(changed).length;
    count.textContent = number ? t("train.changed", { number }) : "";
  };
  const filter = (words, only_changed) => {
    let shown = 0;
    for (const argument of members) {
      const text = `${argument.name} ${label_of(argument.name)} ${help_of(argument)} ${argument.help}`.toLowerCase();
      const fits = applies(argument) && (!words || text.includes(words) || text.includes(words.replaceAll(" ", "_"))) &&
        (!only_changed || changed(argument));
      fields.get(argument.name).element.hidden = !fits;
      shown += fits;
    }
    element.hidden = !shown;
    if (words || only_changed) element.open = shown > 0;
    return shown;
  };
  const complain = (by_field) => {
    for (const argument of members) fields.get(argument.name).complain(by_field[argument.name] || "");
  };
  return { element, refresh, filter, complain };
}

/** The ways of learning that share an argument of theirs. */
function users_of(argument) {
  if (argument.stages.length < 2) return "";
  return t("train.used_by", { stages: schema.stages.filter((stage) => argument.stages.includes(stage.name)).map(title_of).join(t("train.used_by.and")) });
}

/** Arguments as JSON, for what stands nowhere else or is copied from somewhere. */
function extra_field() {
  const argument = { name: EXTRA, kind: "object", default: null, help: t("train.extra.help") };
  const one = field(argument, {
    id: `train-${EXTRA}`, value: draft.values[EXTRA], label: t("train.extra"), onchange: (value) => put(EXTRA, value),
  });
  one.input.placeholder = '{"dataloader_pin_memory": false}';
  return { ...one, show: () => { if (document.activeElement !== one.input) one.set(draft.values[EXTRA]); } };
}
