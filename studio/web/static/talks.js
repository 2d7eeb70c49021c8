// Conversations of the Chat tab, kept in this browser: one entry of localStorage each, so that tabs do not overwrite
// each other's.
import { tell, t } from "./studio.js";

const TALK = "studio.chat.talk.";
const OPEN = "studio.chat.open";
const MOST = 100;

const mark = () => Date.now().toString(36) + Math.random().toString(36).slice(2, 8);

/** A conversation in which nothing was said; `like` gives it its system prompt and tools. */
export const begun = (like = {}) => ({
  id: mark(), changed: Date.now(), title: "", system: like.system || "", tools: like.tools || "", turns: [],
});

/** Read a value of this browser; `otherwise` when there is none, or it cannot be read. */
export function kept(key, otherwise) {
  try { return JSON.parse(localStorage.getItem(key)) ?? otherwise; } catch { return otherwise; }
}

export function keep(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
  } catch {
    tell(new Error(t("chat.full")));
  }
}

/** Every conversation, the newest first. */
export function talks() {
  const found = Object.keys(localStorage).filter((key) => key.startsWith(TALK)).map((key) => kept(key, null));
  return found.filter((talk) => talk && Array.isArray(talk.turns)).sort((one, other) => other.changed - one.changed);
}

/** Keep a conversation; an empty one is kept by nobody. */
export function save(talk) {
  if (!talk.turns.length && !talk.system && !talk.tools) return;
  talk.changed = Date.now();
  talk.title = talk.named || (talk.turns.find((turn) => turn.role === "user")?.text || "").slice(0, 80);
  keep(TALK + talk.id, talk);
  for (const old of talks().slice(MOST)) forget(old);
}

export const forget = (talk) => localStorage.removeItem(TALK + talk.id);

/** The conversation that was open last, whole: an answer that was being written when the page went is stopped. */
export function last() {
  const id = kept(OPEN, "");
  const talk = talks().find((one) => one.id === id) || begun();
  for (const side of talk.turns.flatMap((turn) => turn.sides || [])) if (!side.finish) side.finish = "stopped";
  return talk;
}

export const opened = (talk) => keep(OPEN, talk.id);

/** Whether a storage event is about a conversation. */
export const is_talk = (event) => Boolean(event.key?.startsWith(TALK));

/** What a model is asked: the conversation before turn number `upto`, as OpenAI's API writes it. */
export function messages(talk, upto = talk.turns.length) {
  const said = talk.turns.slice(0, upto).flatMap(message);
  return talk.system.trim() ? [{ role: "system", content: talk.system }, ...said] : said;
}

function message(turn) {
  if (turn.role === "user") return [{ role: "user", content: turn.text }];
  if (turn.role === "tool") return [{ role: "tool", content: turn.text, tool_call_id: turn.call, name: turn.name }];
  const side = turn.sides[turn.kept || 0];
  return side.text || side.thought || side.calls.length ? [answer_of(side)] : [];
}

/** An answer as a message. */
export const answer_of = (side) => ({
  role: "assistant", content: side.text,
  ...(side.thought ? { reasoning_content: side.thought } : {}),
  ...(side.calls.length ? { tool_calls: side.calls } : {}),
});

/** The whole conversation as Markdown. */
export function markdown(talk) {
  const parts = [`# ${talk.title || t("chat.untitled")}`];
  if (talk.system.trim()) parts.push(`**${t("chat.system")}**`, talk.system);
  for (const turn of talk.turns) {
    if (turn.role !== "answer") {
      parts.push(`## ${turn.role === "user" ? t("chat.you") : turn.name}`, turn.text);
      continue;
    }
    turn.sides.forEach((side, number) => {
      parts.push(`## ${side.title}${turn.better === number ? ` (${t("chat.better")})` : ""}`);
      if (side.thought) parts.push(`> ${side.thought.replaceAll("\n", "\n> ")}`);
      parts.push(side.text);
      for (const call of side.calls) parts.push("```json\n" + JSON.stringify(call.function, null, 2) + "\n```");
    });
  }
  return parts.join("\n\n") + "\n";
}

/** The whole conversation as JSON: as the API takes it, with every side of every answer. */
export const json = (talk) => JSON.stringify({
  title: talk.title, messages: messages(talk), tools: tools_in(talk.tools).tools || [], turns: talk.turns,
}, null, 2) + "\n";

/** Tools as typed: {tools, wrong}. `wrong` says what is not right, with the line and the column. */
export function tools_in(text) {
  if (!text.trim()) return { tools: null, wrong: "" };
  let found;
  try {
    found = JSON.parse(text);
  } catch (error) {
    return { tools: null, wrong: t("chat.tools.json", { ...place_of(error, text), why: error.message.replace(/ in JSON at .*| \(line .*/, "") }) };
  }
  if (!Array.isArray(found)) return { tools: null, wrong: t("chat.tools.list") };
  for (const [number, tool] of found.entries()) {
    if (tool?.type !== "function" || typeof tool.function?.name !== "string" || !/^[\w.-]{1,64}$/.test(tool.function.name)) {
      return { tools: null, wrong: t("chat.tools.tool", { number: number + 1 }) };
    }
  }
  return { tools: found.length ? found : null, wrong: "" };
}

function place_of(error, text) {
  const told = /line (\d+) column (\d+)/.exec(error.message);
  if (told) return { line: told[1], column: told[2] };
  const at = /position (\d+)/.exec(error.message);
  const before = text.slice(0, at ? Number(at[1]) : text.length).split("\n");
  return { line: before.length, column: before.at(-1).length + 1 };
}
