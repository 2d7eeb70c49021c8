// The open conversation: its turns, what is being written, and what is asked next.
import { button, dialog, fill, h, t, tell, whole } from "./studio.js";
import { answer_view, empty_side } from "./answer.js";
import { choice } from "./sides.js";
import { fill_side, prompt_of } from "./stream.js";
import { answer_of, messages } from "./talks.js";

const KEEP_MS = 1000;
const FAST_MS = 30;
const SLOW_MS = 250;
const LONG = 20_000;

/** The middle of the tab. `room` is {talk, keep(), models(), settings}; it gets `changed()` and `busy`. */
export function talk_panel(room) {
  const list = h("ol", { id: "chat-turns", class: "chat-turns", "aria-label": t("chat.conversation") });
  const box = h("div", { class: "chat-scroll", tabindex: 0 }, list);
  const status = h("p", { class: "chat-status chat-hidden", role: "status" });
  const question = h("textarea", { id: "chat-question", rows: 2, placeholder: t("chat.ask.placeholder"), "aria-label": t("chat.ask") });
  const send = button(t("chat.send"), () => { ask(); }, { kind: "primary", id: "chat-send" });
  const stop = button(t("chat.stop"), () => writing?.abort(), { id: "chat-stop", hidden: true });
  const prompt = button(t("chat.prompt"), show_prompt, { id: "chat-prompt" });
  const element = h("section", { class: "chat-talk", "aria-label": t("chat.conversation") }, box, status,
    h("div", { class: "chat-ask" }, question, h("div", { class: "studio-row" }, send, stop, h("span", { class: "studio-space" }), prompt)));
  let writing = null;
  let views = [];

  question.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send.click();
  });

  const at_end = () => box.scrollHeight - box.scrollTop - box.clientHeight < 80;
  const to_end = () => { box.scrollTop = box.scrollHeight; };

  function draw() {
    const stay = at_end();
    const { turns } = room.talk;
    views = [];
    fill(list, turns.length ? turns.map(turn_element) : h("li", { class: "chat-blank" },
      h("p", {}, room.models().length ? t("chat.blank") : t(room.judges().length ? "chat.judge.only" : "chat.blank.load")),
      room.models().length ? null : button(t("chat.load"), room.open_load, { kind: "primary" })));
    send.hidden = Boolean(writing);
    stop.hidden = !writing;
    if (stay) to_end();
  }

  function turn_element(turn, number) {
    if (turn.role === "user") return question_element(turn, number);
    if (turn.role === "tool") return h("li", { class: "chat-turn tool" }, h("header", { class: "chat-who" }, t("chat.result_of", { name: turn.name })), h("pre", {}, turn.text));
    const last = number === room.talk.turns.length - 1;
    const two = turn.sides.length > 1;
    const made = turn.sides.map((side, place) => answer_view(side, {
      can: writing ? {} : abilities(turn, number, place, last), compared: two && last,
      extra: two ? () => choice(room, turn, place) : null,
    }));
    views.push(...made);
    const again = two && last && !writing && h("button", { type: "button", class: "chat-link chat-again", onclick: () => repeat(number) }, t("chat.again.both"));
    return h("li", { class: `chat-turn answer${two ? " two" : ""}` }, h("div", { class: "chat-sides" }, made.map((one) => one.element)), again);
  }

  function abilities(turn, number, place, last) {
    const kept = (turn.kept || 0) === place;
    const side = turn.sides[place];
    return {
      again: () => repeat(number),
      edit: () => edit(number, side.text, (text) => { side.text = text; }, false),
      go_on: last ? () => go_on(turn, place) : null,
      no_repeat: last ? () => { room.settings.set("no_repeat_ngram_size", 4); return repeat(number); } : null,
      answer_call: last && kept ? (call, text) => give_back(turn, call, text) : null,
    };
  }

  function question_element(turn, number) {
    const actions = writing ? [] : [
      h("button", { type: "button", class: "chat-link chat-edit", onclick: () => edit(number, turn.text, (text) => { turn.text = text; }, true) }, t("chat.edit")),
      h("button", { type: "button", class: "chat-link chat-delete", onclick: () => remove(number) }, t("chat.delete"))];
    return h("li", { class: "chat-turn user" }, h("header", { class: "chat-who" }, t("chat.you")),
      h("div", { class: "chat-prose", dir: "auto" }, turn.text), h("div", { class: "chat-actions" }, actions));
  }

  /** Change a text in its place; a question that changed is asked again. */
  function edit(number, text, take, asks) {
    const input = h("textarea", { rows: Math.min(12, text.split("\n").length + 1), value: text, class: "chat-editor", "aria-label": t("chat.edit") });
    const done = () => {
      take(input.value);
      if (asks) {
        room.talk.turns.length = number + 1;
        answer();
      } else room.changed();
    };
    fill(list.children[number], input, h("div", { class: "studio-row" },
      button(asks ? t("chat.edit.ask") : t("chat.edit.keep"), () => { done(); }, { kind: "primary" }), button(t("studio.cancel"), draw)));
    input.focus();
  }

  /** A question goes with all that answers it. */
  function remove(number) {
    const { turns } = room.talk;
    let end = number + 1;
    while (end < turns.length && turns[end].role !== "user") end++;
    turns.splice(number, end - number);
    room.changed();
  }

  function ask() {
    const text = question.value;
    if (!text.trim() || writing || !can_ask()) return;
    room.talk.turns.push({ role: "user", text });
    question.value = "";
    answer();
    to_end();
  }

  function can_ask() {
    try {
      room.settings.body();
    } catch (error) {
      tell(error);
      return false;
    }
    if (!room.models().length) {
      tell(new Error(t(room.judges().length ? "chat.judge.only" : "chat.no_model")));
      room.open_load();
    }
    return room.models().length > 0;
  }

  function repeat(number) {
    if (writing || !can_ask()) return;
    room.talk.turns.length = number;
    answer();
  }

  function give_back(turn, call, text) {
    const { turns } = room.talk;
    turns.push({ role: "tool", call: call.id, name: call.function.name, text });
    const given = turns.slice(turns.indexOf(turn)).filter((one) => one.role === "tool").map((one) => one.call);
    const calls = turn.sides[turn.kept || 0].calls;
    if (calls.every((one) => given.includes(one.id))) answer();
    else room.changed();
  }

  /** Let every chosen model answer the conversation as it stands. */
  function answer() {
    if (!can_ask()) {
      room.changed();
      return;
    }
    const said = messages(room.talk);
    const sides = room.models().map(empty_side);
    room.talk.turns.push({ role: "answer", sides });
    write(sides, () => said);
  }

  function go_on(turn, place) {
    const side = turn.sides[place];
    const before = messages(room.talk, room.talk.turns.indexOf(turn));
    const more = { add_generation_prompt: false, continue_final_message: true };
    delete turn.better;
    write([side], () => [...before, answer_of(side)], more);
  }

  async function write(sides, said, more = {}) {
    const control = new AbortController();
    const { talk } = room;
    const body = room.settings.body();
    writing = control;
    const requests = sides.map((side) => ({ ...body, model: side.name, messages: said(), ...more }));
    sides.forEach((side) => { side.finish = side.error = ""; });
    room.changed();
    to_end();
    status.textContent = t("chat.writing");
    const shown = views.filter((view) => view.element.classList.contains("writing"));
    let timer = 0;
    const keeping = setInterval(() => room.keep(talk), KEEP_MS);
    const update = () => {
      // A long text is drawn less often: drawing takes longer than the next token.
      const long = sides.some((side) => side.text.length > LONG);
      timer ||= setTimeout(() => {
        timer = 0;
        const stay = at_end();
        for (const view of shown) view.update();
        if (stay) to_end();
      }, long ? SLOW_MS : FAST_MS);
    };
    await Promise.all(sides.map((side, place) => fill_side(side, requests[place], control.signal, update)));
    clearInterval(keeping);
    clearTimeout(timer);
    if (writing === control) writing = null;
    status.textContent = t("chat.written");
    room.keep(talk);
    if (room.talk === talk) room.changed();
    else draw();
  }

  async function show_prompt() {
    const [model] = room.models();
    if (!model) throw new Error(t("chat.no_model"));
    const { turns } = room.talk;
    const text = question.value.trim();
    const upto = turns.at(-1)?.role === "answer" && !text ? turns.length - 1 : turns.length;
    const said = [...messages(room.talk, upto), ...(text ? [{ role: "user", content: text }] : [])];
    if (!said.length) throw new Error(t("chat.prompt.nothing"));
    const told = await prompt_of(model.id, { ...room.settings.body(), model: model.name, messages: said });
    const full = told.context ? t("chat.prompt.of", { count: whole(told.count), context: whole(told.context), left: whole(Math.max(told.context - told.count, 0)) })
      : t("chat.prompt.count", { count: whole(told.count) });
    const pieces = told.texts.map((piece, number) => h("span", { class: `chat-token ${number % 2 ? "odd" : ""}`, title: String(told.token_ids[number]) }, piece));
    dialog(t("chat.prompt.title", { model: model.title }), h("div", { id: "chat-prompt-shown" }, h("p", {}, full),
      h("p", { class: "studio-muted" }, t("chat.prompt.help")), h("pre", {}, pieces)));
  }

  return { element, draw, stop: () => writing?.abort(), is_writing: () => Boolean(writing), question };
}
