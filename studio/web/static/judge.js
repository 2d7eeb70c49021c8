// A reward model in the Chat tab: it writes nothing, but says what an answer is worth to it.
import { button, fill, h, number, t, tell } from "./studio.js";
import { score } from "./stream.js";
import { answer_of, messages } from "./talks.js";

// Scores of one question are read beside each other; so many of the last ones stay.
const KEPT = 12;

/** The panel; `draw()` shows it where a reward model is chosen. `room` is {talk, judges()}. */
export function judge_panel(room) {
  const said = h("p", { id: "chat-judge-said" });
  const question = h("textarea", { id: "chat-judge-question", rows: 2 });
  const answer = h("textarea", { id: "chat-judge-answer", rows: 2 });
  const results = h("ol", { id: "chat-judge-scores", class: "chat-judge-scores", "aria-live": "polite" });
  const one = button(t("chat.judge.score"), () => typed(), { kind: "primary", id: "chat-judge-score", type: "submit" });
  const all = button(t("chat.judge.talk"), () => whole(), { id: "chat-judge-talk" });
  const labelled = (input, text) => h("div", { class: "studio-field" }, h("label", { for: input.id }, text), input);
  const form = h("form", { class: "chat-judge-form", onsubmit: (event) => event.preventDefault() },
    labelled(question, t("chat.judge.question")), labelled(answer, t("chat.judge.answer")),
    h("div", { class: "studio-row" }, one, all), results, h("p", { class: "studio-muted" }, t("chat.judge.about")));
  const element = h("section", { id: "chat-judge", class: "chat-judge", hidden: true, "aria-label": t("chat.judge.title") }, said, form);
  const shown = [];

  async function typed() {
    if (!question.value.trim() || !answer.value.trim()) {
      tell(new Error(t("chat.judge.both")));
      return;
    }
    const system = room.talk.system.trim() ? [{ role: "system", content: room.talk.system }] : [];
    await judged([[[...system, { role: "user", content: question.value }, { role: "assistant", content: answer.value }], answer.value]]);
  }

  /** Every answer of the open conversation, given all that stands before it. */
  async function whole() {
    const asked = room.talk.turns.flatMap((turn, place) => (turn.role !== "answer" ? [] : turn.sides.filter((side) => side.text.trim()).map((side) =>
      [[...messages(room.talk, place), answer_of(side)], `${side.title}: ${side.text}`])));
    if (asked.length) await judged(asked);
    else tell(new Error(t("chat.judge.nothing")));
  }

  async function judged(asked) {
    for (const model of room.judges()) {
      const { scores } = await score(model.id, { model: model.name, messages: asked.map(([conversation]) => conversation) });
      scores.forEach((value, place) => shown.unshift([model.title, asked[place][1], value]));
    }
    shown.length = Math.min(shown.length, KEPT);
    fill(results, shown.map(([title, text, value]) => h("li", {}, h("strong", {}, number(value, 4)), " ",
      h("span", { class: "studio-muted" }, title), " ", h("span", { class: "chat-judge-text" }, text.length > 160 ? `${text.slice(0, 160)} …` : text))));
  }

  return {
    element,
    draw() {
      const judges = room.judges();
      element.hidden = !judges.length;
      said.textContent = judges.length ? t("chat.judge.is", { model: judges.map((model) => model.title).join(", ") }) : "";
    },
  };
}
