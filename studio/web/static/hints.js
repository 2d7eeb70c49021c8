// What is usual for a way of learning, told below the field; taken only by who clicks.
import { h, on, t } from "./studio.js";
import { shown } from "./fields.js";
import { on_change, put, schema, value_of } from "./draft.js";
import { stage_of, title_of } from "./fit.js";

/** Show the hints, and keep them true as stage, method and values change. */
export function hint() {
  // Fields of the groups may come later than the head of the form.
  on("fields", () => draw(Object.keys(schema.usual)));
  draw(Object.keys(schema.usual));
  on_change((names) => {
    const all = names === null || names.includes("stage") || names.includes("finetuning_type");
    draw(Object.keys(schema.usual).filter((name) => all || names.includes(name)));
  });
}

function draw(names) {
  for (const name of names) {
    const argument = schema.by_name[name];
    const field = document.getElementById(`train-${name}-field`) || document.getElementById(`train-${name}`);
    if (!argument || !field) continue;
    const stage = value_of("stage");
    const method = value_of("finetuning_type");
    const known = schema.usual[name][stage] || {};
    const value = known[method] ?? known[""];
    const now = value_of(name);
    let place = field.querySelector(".studio-hint");
    if (value === undefined || Number(now) === value) {
      place?.remove();
      continue;
    }
    const sentence = t("train.usual", { value: shown(argument, value), stage: title_of(stage_of(stage)), method });
    if (place?.firstChild.textContent === `${sentence} `) continue;
    place?.remove();
    place = h("p", { class: "studio-hint", id: `train-${name}-hint` }, `${sentence} `,
      h("button", { type: "button", class: "studio-link", onclick: () => put(name, value) }, t("train.usual.take")));
    field.append(place);
  }
}
