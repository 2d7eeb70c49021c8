// The training form as it stands: what differs from the defaults. Kept in the browser, so that a reload loses nothing.
import { is_default, load } from "./fields.js";

export const SCHEMA = 1;
export const EXTRA = "extra_arguments";
const KEY = `studio.form${window.studio.root}`;

export const schema = await load("train");
export const draft = empty();
const listeners = [];

function empty() {
  return { values: {}, model_name: "", run_name: fresh_run_name(), devices: [] };
}

/** A name for a new run, made when the form is made and not when it is started. */
export function fresh_run_name(now = new Date()) {
  const two = (value) => String(value).padStart(2, "0");
  const day = [now.getFullYear(), two(now.getMonth() + 1), two(now.getDate())];
  return `train_${[...day, two(now.getHours()), two(now.getMinutes()), two(now.getSeconds())].join("-")}`;
}
export const is_fresh_name = (name) => /^train(_\d{4})(-\d\d){5}$/.test(name);

/** Call `run(names)` after every change; names are the arguments that changed, null for all of them. */
export function on_change(run) { listeners.push(run); }

function changed(names) {
  keep();
  for (const run of listeners) run(names);
}

function keep() {
  try { localStorage.setItem(KEY, JSON.stringify({ schema: SCHEMA, ...draft })); } catch { /* a browser that keeps nothing */ }
}

/** What an argument is in the form now: what was asked, else the default. */
export const value_of = (name) => (name in draft.values ? draft.values[name] : schema.by_name[name]?.default);

/** Ask a value of an argument. */
export function put(name, value) {
  const argument = schema.by_name[name];
  const usual = argument ? is_default(argument, value) : !value;
  if (usual && !(name in draft.values)) return;
  if (!usual && JSON.stringify(draft.values[name]) === JSON.stringify(value)) return;
  if (usual) delete draft.values[name]; else draft.values[name] = value;
  changed([name]);
}

/** Set what is beside the arguments: model_name, run_name, devices. */
export function put_beside(name, value) {
  if (JSON.stringify(draft[name]) === JSON.stringify(value)) return;
  draft[name] = value;
  changed([name]);
}

/** Names as a list: the recipe of a run has them as a command says them. */
function names_of(value) {
  return Array.isArray(value) ? value : String(value ?? "").split(",").map((name) => name.trim()).filter(Boolean);
}

/** Take another form in place of this one. What is missing in it is as in an empty form; returns unknown names. */
export function replace(next) {
  const unknown = [];
  const values = {};
  for (const [name, value] of Object.entries(next.values || {})) {
    const argument = schema.by_name[name];
    if (!argument && name !== EXTRA) unknown.push(name);
    else if (!argument || !is_default(argument, value)) values[name] = argument?.kind === "names" ? names_of(value) : value;
  }
  Object.assign(draft, empty(), {
    values,
    model_name: String(next.model_name || ""),
    devices: Array.isArray(next.devices) ? next.devices.map(String) : [],
    ...(next.run_name ? { run_name: String(next.run_name) } : {}),
  });
  changed(null);
  return unknown;
}

/** Whether stage and method of the form use an argument. */
export function applies(argument) {
  const stage = value_of("stage");
  const method = value_of("finetuning_type");
  return (!argument.stages.length || argument.stages.includes(stage)) &&
    (!argument.methods.length || argument.methods.includes(method));
}

/** What the form says, as the server reads it: only what differs from the defaults and is used. */
export function body() {
  const values = {};
  for (const [name, value] of Object.entries(draft.values)) {
    const argument = schema.by_name[name];
    if (name === EXTRA || (argument && applies(argument))) values[name] = value;
  }
  return { values, model_name: draft.model_name, run_name: draft.run_name, devices: draft.devices };
}

try {
  const kept = JSON.parse(localStorage.getItem(KEY) || "null");
  if (kept && kept.schema <= SCHEMA) replace(kept);
} catch { /* what was kept cannot be read any more */ }
