// Gradio's components of the form and our draft say the same.
//
// Gradio tells of every change with the values of all components of a part; a hidden button of each part takes
// values from here. Values that Gradio still holds from before are told apart from what a person typed.
import { draft, on_change, put, schema, value_of } from "./draft.js";
import { is_default, shown } from "./fields.js";

// part → {names, before: what Gradio showed, wanted: what we asked it to show}
const parts = {};

const to_gradio = (name, value) => {
  const argument = schema.by_name[name];
  if (name === "template") return value || "auto";
  if (name === "quantization_bit") return shown(argument, value) || "none";
  if (argument.kind !== "bool") return shown(argument, value);
  if (argument.optional) return shown(argument, value) || "auto";
  return value === true || /^(true|1|yes|on)$/i.test(String(value));
};

const from_gradio = (name, value) => {
  const argument = schema.by_name[name];
  if (name === "template") return value === "auto" || value === null ? "" : value;
  if (name === "quantization_bit") return value === "none" || value === null ? null : String(value);
  if (argument.kind === "bool" && argument.optional) return { True: true, False: false }[value] ?? null;
  if (argument.kind === "names") return String(value ?? "").split(",").map((part) => part.trim()).filter(Boolean);
  return typeof value === "string" ? value.trim() : value;
};

/** Gradio asks what it shall show; `now` is what it shows. */
window.studio.wanted = (part, names, now) => {
  const wanted = names.map((name) => to_gradio(name, value_of(name)));
  parts[part] = { names, before: now, wanted };
  return wanted;
};

/** Gradio tells that a component of a part changed. */
window.studio.heard = (part, values) => {
  const known = parts[part];
  if (!known) return;
  values.forEach((value, place) => {
    if (value === known.wanted[place]) known.before[place] = value;
    else if (value !== known.before[place]) {
      known.before[place] = known.wanted[place] = value;
      put(known.names[place], from_gradio(known.names[place], value));
    }
  });
};

// Until Gradio listens it is asked at short intervals; what it was told it must then show.
const ASK_MS = 60;
const SHOWN_MS = 500;
const PATIENCE_MS = 60_000;

/** Have a part show the draft. Gradio may not be there yet: ask until it shows what it was told. */
export function push(part) {
  delete parts[part];
  const until = Date.now() + PATIENCE_MS;
  const mine = (turns[part] = (turns[part] ?? 0) + 1);
  const ask = () => {
    if (turns[part] !== mine || Date.now() > until) return;
    const known = parts[part];
    if (known && known.wanted.every((value, place) => value === known.before[place])) return;
    document.getElementById(`${part}-set`)?.click();
    setTimeout(ask, known ? SHOWN_MS : ASK_MS);
  };
  ask();
}
const turns = {};

/** Have the parts follow the draft whenever something else than their components changes it. */
export function follow(names_of_parts) {
  for (const part of names_of_parts) push(part);
  on_change((names) => {
    for (const part of names_of_parts) {
      const known = parts[part];
      if (!known) continue;
      const stale = known.names.some((name, place) => (names === null || names.includes(name)) && !says(name, known.wanted[place]));
      if (stale) push(part);
    }
  });
}

/** Whether what a component shows means what the draft holds. */
function says(name, value) {
  const ours = from_gradio(name, value);
  const argument = schema.by_name[name];
  if (!(name in draft.values)) return is_default(argument, ours);
  return shown(argument, ours) === shown(argument, draft.values[name]);
}

