// What a conversation is answered with: system prompt, tools, and how tokens are chosen.
import { fill, h, t } from "./studio.js";
import { field, load } from "./fields.js";
import { keep, kept, tools_in } from "./talks.js";

const KEY = "studio.chat.sampling";
// Argument of `studio chat`, its name in OpenAI's API, what the page begins with, and its range.
const FIELDS = [
  ["temperature", "temperature", 0.7, 0, 2], ["top_p", "top_p", 0.9, 0.01, 1], ["top_k", "top_k", 0, 0, 10 ** 7],
  ["repetition_penalty", "repetition_penalty", 1, 0.01, 10], ["no_repeat_ngram_size", "no_repeat_ngram_size", 0, 0, 10 ** 4],
  ["max_new_tokens", "max_tokens", 512, 1, 10 ** 7], ["seed", "seed", "", -(2 ** 53), 2 ** 53],
];
const WHOLE = ["top_k", "no_repeat_ngram_size", "max_new_tokens", "seed"];
const SEED = { name: "seed", kind: "int", default: null, optional: true, flag: "", help: "" };
const EXAMPLE = [{ type: "function", function: { name: "weather", description: "…", parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] } } }];

/** The panel of settings. `room.talk` is the open conversation, `room.changed()` keeps it. */
export function settings_panel(room) {
  const system = h("textarea", { id: "chat-system", rows: 4, placeholder: t("chat.system.placeholder"), oninput: () => { room.talk.system = system.value; room.keep(); } });
  const tools = h("textarea", { id: "chat-tools", class: "code", rows: 4, placeholder: t("chat.tools.placeholder"), "aria-describedby": "chat-tools-wrong", oninput: () => { room.talk.tools = tools.value; check(); room.keep(); } });
  tools.spellcheck = false;
  const wrong = h("p", { id: "chat-tools-wrong", class: "studio-bad", role: "alert" });
  const check = () => {
    wrong.textContent = tools_in(tools.value).wrong;
    tools.setAttribute("aria-invalid", String(Boolean(wrong.textContent)));
  };
  const thinking = h("select", { id: "chat-thinking", onchange: () => keep_values() },
    [["", t("chat.thinking.model")], ["true", t("chat.thinking.on")], ["false", t("chat.thinking.off")]].map(([value, text]) => h("option", { value }, text)));
  const grid = h("div", { class: "chat-sampling" });
  const fields = {};
  const part = (title, open, ...inside) => h("details", { class: "chat-part", open }, h("summary", {}, title), inside);
  const wide = matchMedia("(min-width: 900px)").matches;
  const element = h("aside", { class: "studio-card chat-settings", "aria-label": t("chat.settings") },
    part(t("chat.system"), wide, h("label", { for: "chat-system", class: "chat-hidden" }, t("chat.system")), system),
    part(t("chat.sampling"), wide, grid,
      h("button", { type: "button", class: "chat-link", onclick: reset }, t("chat.sampling.reset")),
      h("div", { class: "studio-field chat-thinking" }, h("label", { for: "chat-thinking" }, t("chat.thinking")), thinking)),
    part(t("chat.tools"), false, h("label", { for: "chat-tools", class: "studio-muted" }, t("chat.tools.help")), tools, wrong,
      h("button", { type: "button", class: "chat-link", onclick: () => { tools.value = room.talk.tools = JSON.stringify(EXAMPLE, null, 2); check(); room.keep(); } }, t("chat.tools.example"))));

  const ready = load("chat").then(({ by_name }) => {
    const before = kept(KEY, {});
    thinking.value = before.thinking ?? "";
    fill(grid, FIELDS.map(([name, , usual]) => {
      const argument = { ...(by_name[name] || SEED), default: usual === "" ? null : usual };
      const about = { id: `chat-${name}`, value: before[name] ?? usual, onchange: () => keep_values(), help: "" };
      fields[name] = field(argument, name === "seed" ? { ...about, label: t("chat.seed") } : about);
      if (name === "seed") fields[name].input.placeholder = "–";
      fields[name].element.title = by_name[name] ? t(`chat.about.${name}`) : t("chat.about.seed");
      return fields[name].element;
    }));
  });

  function values() {
    return Object.fromEntries(FIELDS.map(([name, , usual, least, most]) => {
      const raw = fields[name] ? fields[name].get() : kept(KEY, {})[name];
      if (raw === null || raw === "" || raw === undefined) return [name, usual === "" ? null : usual];
      const value = Number(raw);
      const fits = Number.isFinite(value) && value >= least && value <= most && (!WHOLE.includes(name) || Number.isInteger(value));
      fields[name]?.complain(fits ? "" : t(WHOLE.includes(name) ? "chat.sampling.whole" : "chat.sampling.range", { least, most }));
      return [name, fits ? value : undefined];
    }));
  }

  function keep_values() {
    const now = values();
    keep(KEY, { ...Object.fromEntries(Object.entries(now).filter(([, value]) => value !== undefined)), thinking: thinking.value });
  }

  function reset() {
    for (const [name, , usual] of FIELDS) fields[name]?.set(usual === "" ? null : usual);
    thinking.value = "";
    keep_values();
  }

  return {
    element,
    ready,
    /** Show what the open conversation has. */
    show() {
      system.value = room.talk.system;
      tools.value = room.talk.tools;
      check();
    },
    set(name, value) {
      fields[name]?.set(value);
      keep_values();
    },
    /** What every request says beside its messages. Throws a sentence when something is not right. */
    body() {
      const now = values();
      const broken = Object.keys(now).find((name) => now[name] === undefined);
      const { tools: offered, wrong: bad } = tools_in(room.talk.tools);
      if (broken) throw new Error(t("chat.sampling.wrong", { name: broken }));
      if (bad) throw new Error(t("chat.tools.wrong", { why: bad }));
      const asked = Object.fromEntries(FIELDS.map(([name, theirs]) => [theirs, now[name]]).filter(([, value]) => value !== null));
      return {
        ...asked, ...(offered ? { tools: offered } : {}),
        ...(thinking.value ? { chat_template_kwargs: { enable_thinking: thinking.value === "true" } } : {}),
      };
    },
  };
}
