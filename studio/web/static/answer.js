// One answer in the Chat tab: its text, its thinking, its calls of tools, how it ended, and what can be done with it.
import { button, copy, fill, h, number, t, whole } from "./studio.js";
import { loop_in, prose } from "./prose.js";

// So many characters more, and it is looked whether they repeat.
const LOOK_EVERY = 100;

/** An answer that nothing is in yet. */
export const empty_side = (model) => ({
  job: model.id, name: model.name, title: model.title, text: "", thought: "", calls: [], finish: "", error: "",
  tokens: 0, prompt_tokens: null, first_s: null, speed: null,
});

/** Whether the model has ended it by itself, so that it can be compared and answered. */
export const is_whole = (side) => ["stop", "tool_calls", "length"].includes(side.finish);

/**
 * The element of an answer and `update()`, which shows what is new of it. `can` are the things that can be done:
 * {again, go_on, edit, answer_call, no_repeat}; those that are missing are not offered.
 */
export function answer_view(side, { can, compared, extra }) {
  const text = h("div", { class: "chat-text" });
  const thought = h("div", { class: "chat-prose", dir: "auto" });
  const thinking = h("span");
  const folded = h("details", { class: "chat-thought", hidden: true }, h("summary", {}, thinking), thought);
  const calls = h("div", { class: "chat-calls" });
  const notes = h("div", { class: "chat-notes" });
  const meta = h("p", { class: "chat-meta studio-muted" });
  const actions = h("div", { class: "chat-actions" });
  const element = h("article", { class: "chat-side", "aria-label": t("chat.answer_of", { model: side.title }) },
    h("header", { class: "chat-who" }, side.title), folded, text, calls, notes, meta, actions);

  let shown = "";
  let ended = null;
  const update = () => {
    const writing = !side.finish;
    element.classList.toggle("writing", writing);
    element.setAttribute("aria-busy", String(writing));
    folded.hidden = !side.thought;
    thinking.textContent = writing && !side.text ? t("chat.thinks") : t("chat.thought");
    if (thought.textContent !== side.thought) thought.textContent = side.thought;
    if (shown !== side.text) {
      shown = side.text;
      fill(text, prose(shown));
    }
    const waits = text.querySelector(".chat-wait");
    const nothing = writing && !side.text && !side.thought;
    if (nothing && !waits) fill(text, h("span", { class: "chat-wait" }, t("chat.waits")));
    if (!nothing) waits?.remove();
    if (writing && ended === "") watch();
    if (ended === side.finish && writing) return;
    ended = side.finish;
    finish();
  };

  // A loop is told while it goes on, so that nobody waits for its end.
  let looked = 0;
  const watch = () => {
    const length = side.text.length + side.thought.length;
    if (length - looked < LOOK_EVERY || notes.childElementCount) return;
    looked = length;
    fill(notes, loop_note(side, can));
  };

  const finish = () => {
    fill(calls, side.calls.map((call) => call_view(call, can.answer_call)));
    fill(notes, notes_of(side, can));
    fill(meta, meta_of(side));
    fill(actions, side.finish ? actions_of(side, can, compared) : [], extra ? extra() : []);
  };
  update();
  return { element, update };
}

/** A call of a tool, and where what it gave back is written. */
function call_view(call, answer_call) {
  const id = `chat-call-${call.id}`;
  let args = call.function.arguments;
  try { args = JSON.stringify(JSON.parse(args), null, 2); } catch { /* shown as the model wrote it */ }
  const box = h("div", { class: "chat-call" },
    h("p", {}, h("strong", {}, t("chat.calls", { name: call.function.name }))), h("pre", {}, args));
  if (answer_call) {
    const given = h("textarea", { id, rows: 2 });
    box.append(h("label", { for: id, class: "studio-muted" }, t("chat.gave_back", { name: call.function.name })), given,
      button(t("chat.give_back"), () => answer_call(call, given.value)));
  }
  return box;
}

function notes_of(side, can) {
  const notes = [];
  if (side.error) notes.push(h("p", { class: "chat-note bad", role: "alert" }, side.error));
  if (side.finish === "length") {
    notes.push(h("div", { class: "chat-note warn" }, h("p", {}, t("chat.cut", { tokens: whole(side.tokens) })),
      can.go_on && button(t("chat.go_on"), can.go_on, { class: "studio-button chat-go-on" })));
  }
  if (side.finish === "stopped") {
    notes.push(h("div", { class: "chat-note" }, h("p", {}, t("chat.stopped")),
      can.go_on && (side.text || side.thought) && button(t("chat.go_on"), can.go_on, { class: "studio-button chat-go-on" })));
  }
  if (side.finish) notes.push(loop_note(side, can));
  if (["stop", "failed"].includes(side.finish) && !side.text && !side.calls.length && !side.error) notes.push(h("p", { class: "chat-note" }, t("chat.empty")));
  return notes;
}

const loop_note = (side, can) => loop_in(side.text || side.thought) && h("div", { class: "chat-note warn chat-loop", role: "alert" },
  h("p", {}, h("strong", {}, t("chat.loops")), " ", t("chat.loops.why")),
  can.no_repeat && button(t("chat.loops.try"), can.no_repeat));

function meta_of(side) {
  const parts = [];
  if (side.finish && side.tokens) parts.push(t("chat.tokens", { count: whole(side.tokens) }));
  if (side.speed) parts.push(t("chat.speed", { speed: number(side.speed) }));
  if (side.first_s !== null) parts.push(t("chat.first", { seconds: number(side.first_s, 2) }));
  if (side.prompt_tokens) parts.push(t("chat.prompt_tokens", { count: whole(side.prompt_tokens) }));
  return parts.join(" · ");
}

const link = (text, run, name) => h("button", { type: "button", class: `chat-link ${name}`, onclick: run }, text);

function actions_of(side, can, compared) {
  return [
    side.text && link(t("studio.copy"), () => copy(side.text), "chat-copy"),
    can.again && !compared && link(t("chat.again"), can.again, "chat-again"),
    can.edit && side.text && link(t("chat.edit"), can.edit, "chat-edit"),
  ].filter(Boolean);
}
