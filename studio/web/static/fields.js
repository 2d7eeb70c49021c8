// A field for each declared argument: what is asked, as the form, the chat and the export ask it.
import { api, h, has, t } from "./studio.js";

const schemas = new Map();

/** The arguments of a verb with stages, methods and groups; asked once. verb: "train", "export", "chat", "api". */
export function load(verb) {
  if (!schemas.has(verb)) {
    const asked = api(`/form?verb=${verb}`).then((answer) => ({
      ...answer, by_name: Object.fromEntries(answer.arguments.map((argument) => [argument.name, argument])),
    }));
    asked.catch(() => schemas.delete(verb));
    schemas.set(verb, asked);
  }
  return schemas.get(verb);
}

/** What people call an argument. */
export const label_of = (name) => (has(`arguments.${name}`) ? t(`arguments.${name}`) : plain(name));
/** What it does, in the person's language where there is a translation. */
export const help_of = (argument) =>
  (has(`arguments.${argument.name}.help`) ? t(`arguments.${argument.name}.help`) : argument.help);

function plain(name) {
  const words = name.replaceAll("_", " ");
  return words[0].toUpperCase() + words.slice(1);
}

/** A value as a field shows it. */
export function shown(argument, value) {
  if (value === null || value === undefined) return "";
  if (Array.isArray(value)) return value.join(",");
  if (typeof value === "object") return JSON.stringify(value);
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "number" && value !== 0 && Math.abs(value) < 1e-3) return value.toExponential();
  return String(value);
}

/** Whether a raw value says the same as the default: then a command need not say it. */
export function is_default(argument, value) {
  if (value === undefined) return true;
  const text = shown(argument, value).trim();
  const usual = shown(argument, argument.default);
  if (argument.kind === "int" || argument.kind === "float") {
    // An empty number leaves it at what it is by itself.
    return text === "" || (usual !== "" && Number(text) === Number(usual)) || (usual === "" && /^(none|null)$/i.test(text));
  }
  if (argument.kind === "bool") return text.toLowerCase() === usual.toLowerCase();
  if (argument.kind === "names") return text.replace(/\s*,\s*/g, ",") === usual;
  if (argument.kind === "object" && text === "{}") return true;
  if (argument.kind === "choice" && text === "") return true;
  return text === usual;
}

/**
 * The label, the flag and the help around an input, which may stand in a box of its own.
 * Returns {element, complain(text)}.
 */
export function framed(argument, id, input, frame = {}) {
  const { inline = false, box = input, label = label_of(argument.name), help = help_of(argument), note = "" } = frame;
  const told = h("p", { class: "studio-complaint", id: `${id}-complaint`, role: "alert", hidden: true });
  const flag = argument.flag ? h("code", { class: "studio-flag" }, argument.flag) : null;
  const words = h("label", { for: id }, h("span", {}, label));
  const about = h("p", { class: "studio-help", id: `${id}-help` }, flag, flag ? " " : "", marked(help), note && h("span", { class: "studio-used" }, ` ${note}`));
  input.setAttribute("aria-describedby", `${id}-help ${id}-complaint`);
  const element = h("div", { class: `studio-field${inline ? " inline" : ""}`, id: `${id}-field` },
    ...(inline ? [h("div", { class: "studio-check" }, input, words)] : [words, box]), about, told);
  return { element, complain: complainer(element, told, input) };
}

/** Help with its `names` set apart. */
const marked = (text) => (text || "").split("`").map((part, place) => (place % 2 ? h("code", { class: "studio-flag" }, part) : part));

/** A function that shows a complaint at a field, or takes it away: complain(""). */
export function complainer(element, told, input) {
  return (text) => {
    told.hidden = !text;
    told.textContent = text || "";
    element.classList.toggle("wrong", Boolean(text));
    if (text) input.setAttribute("aria-invalid", "true"); else input.removeAttribute("aria-invalid");
  };
}

/**
 * A field for an argument of the schema. `value` is what it shows at first (else the default), `onchange(value)` is
 * told of every change by a person. Returns {element, input, get, set, complain, changed}:
 * get() is the raw value (true, "1e-4", ["a", "b"], null for unset), changed() whether it differs from the default.
 */
export function field(argument, { value, onchange = () => {}, id = `field-${argument.name}`, ...frame } = {}) {
  const made = makers[maker_of(argument)](argument, id);
  const { element, complain } = framed(argument, id, made.input, { inline: made.inline, ...frame });
  const set = (raw) => made.set(raw === undefined ? argument.default : raw);
  set(value);
  made.input.addEventListener(made.event || "input", () => onchange(made.get()));
  return { element, input: made.input, get: made.get, set, complain, changed: () => !is_default(argument, made.get()) };
}

/** What must be said of some fields: {name: raw} of those that differ from their defaults. */
export function asked(fields) {
  return Object.fromEntries(Object.entries(fields).filter(([, one]) => one.changed()).map(([name, one]) => [name, one.get()]));
}

function maker_of(argument) {
  if (argument.kind === "bool") return argument.optional ? "maybe" : "check";
  return { choice: "choice", object: "object", names: "names", int: "number", float: "number" }[argument.kind] || "text";
}

/** A word of a list, with what it means where the word alone does not say. */
const explained = (name, word) => (has(`train.choice.${name}.${word}`) ? `${word} · ${t(`train.choice.${name}.${word}`)}` : word);

// In lists of these a Chinese comma may be meant itself; in others it stands between, as people write it.
const MARKS = /token|stop/;

const option = (value, text) => h("option", { value }, text);

function choice(id, options) {
  const input = h("select", { id }, options);
  return { input, event: "change", get: () => input.value || null };
}

const makers = {
  check(argument, id) {
    const input = h("input", { type: "checkbox", id });
    return {
      input, inline: true, event: "change", get: () => input.checked,
      set: (raw) => { input.checked = raw === true || /^(true|1|yes|on)$/i.test(String(raw)); },
    };
  },
  maybe(argument, id) {
    const one = choice(id, [option("", t("train.automatic")), option("True", t("studio.yes")), option("False", t("studio.no"))]);
    return {
      ...one, get: () => ({ True: true, False: false })[one.input.value] ?? null,
      set: (raw) => {
        const text = shown(argument, raw).toLowerCase();
        one.input.value = { true: "True", 1: "True", false: "False", 0: "False" }[text] || "";
      },
    };
  },
  choice(argument, id) {
    const first = argument.optional ? [option("", t("train.automatic"))] : [];
    const one = choice(id, [...first, ...argument.choices.map((word) => option(word, explained(argument.name, word)))]);
    return {
      ...one,
      set: (raw) => {
        const text = shown(argument, raw);
        // A value that is not in the list is kept and shown; the complaint about it says what may be.
        if (text && ![...one.input.options].some((each) => each.value === text)) one.input.append(option(text, text));
        one.input.value = text;
      },
    };
  },
  number: (argument, id) => written(argument, id, { inputmode: argument.kind === "int" ? "numeric" : "decimal" }),
  text: (argument, id) => written(argument, id, {}),
  names(argument, id) {
    const one = written(argument, id, { placeholder: argument.default?.length ? argument.default.join(",") : "a,b" });
    const between = MARKS.test(argument.name) ? "," : /[,，、]/;
    return { ...one, get: () => one.input.value.split(between).map((part) => part.trim()).filter(Boolean) };
  },
  object(argument, id) {
    const input = h("textarea", { id, class: "code", rows: 2, placeholder: '{"…": …}' });
    return { input, get: () => input.value.trim() || null, set: (raw) => { input.value = typeof raw === "string" ? raw : shown(argument, raw); } };
  },
};

function written(argument, id, attributes) {
  const usual = shown(argument, argument.default);
  const input = h("input", {
    type: "text", id, autocomplete: "off",
    placeholder: argument.optional ? t("train.automatic") : usual, ...attributes,
  });
  input.spellcheck = false;
  const number = attributes.inputmode !== undefined;
  // A Chinese keyboard may write the digits of a number wide.
  const get = () => (number ? input.value.normalize("NFKC").trim() || null : input.value.trim());
  return { input, get, set: (raw) => { input.value = shown(argument, raw); } };
}
