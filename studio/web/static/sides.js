// Two answers to one question: which is better becomes a row of a dataset.
import { api, allow, button, emit, h, show, t, toast, whole } from "./studio.js";
import { is_whole } from "./answer.js";
import { messages, tools_in } from "./talks.js";

/** What stands below an answer of a pair: the choice, or what became of it. */
export function choice(room, turn, number) {
  const mine = turn.sides[number];
  const other = turn.sides[1 - number];
  if (turn.better !== undefined) {
    return turn.better === number
      ? h("p", { class: "chat-better studio-good" }, t("chat.better.chosen"), " ",
        h("button", { type: "button", class: "chat-link chat-rows", onclick: look }, t("chat.better.rows", { rows: whole(turn.rows) })))
      : h("p", { class: "studio-muted" }, t("chat.better.other"));
  }
  const one = button(t("chat.better"), () => prefer(room, turn, number), { class: "studio-button chat-prefer" });
  allow(one, why_not(mine, other));
  return one;
}

function why_not(mine, other) {
  if (!mine.finish || !other.finish) return t("chat.better.wait");
  if (!is_whole(mine) || !is_whole(other)) return t("chat.better.broken");
  if (!mine.text.trim() || !other.text.trim()) return t("chat.better.empty");
  return mine.text === other.text ? t("chat.better.same") : "";
}

async function prefer(room, turn, number) {
  const { talk } = room;
  const side = (one) => ({ content: one.text, reasoning_content: one.thought, model: one.title });
  const told = await api("/preferences", {
    body: {
      messages: messages(talk, talk.turns.indexOf(turn)), chosen: side(turn.sides[number]), rejected: side(turn.sides[1 - number]),
      tools: tools_in(talk.tools).tools || [],
    },
  });
  Object.assign(turn, { better: number, kept: number, rows: told.rows });
  emit("datasets", null);
  toast(t("chat.better.kept", { path: told.path, rows: whole(told.rows) }), "good");
  room.changed();
}

async function look() {
  show("datasets");
  emit("preview-dataset", (await api("/preferences")).name);
}
