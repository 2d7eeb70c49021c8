// The Chat tab: models that are loaded, conversations, and what they are answered with.
import { dress } from "./dress.js";
import { allow, button, emit, fill, h, t } from "./studio.js";
import { models_card } from "./load.js";
import { judge_panel } from "./judge.js";
import { settings_panel } from "./settings.js";
import { talk_panel } from "./talk.js";
import { begun, forget, is_talk, json, keep, kept, last, markdown, opened, save, talks } from "./talks.js";

const SIDES = "studio.chat.sides";

export function mount(place) {
  dress("chat.css");
  let ready = [];
  const room = {
    talk: last(),
    keep: (talk = room.talk) => save(talk),
    changed: () => { save(room.talk); middle.draw(); draw_talks(); },
    models: () => chosen(ready).filter((model) => model.head !== "score"),
    judges: () => chosen(ready).filter((model) => model.head === "score"),
    open_load: () => models.open(),
  };
  const models = models_card((now) => {
    const before = room.models().length;
    ready = now;
    draw_choice();
    if (!room.talk.turns.length && before !== room.models().length) middle.draw();
  }, (id, beside) => {
    // The model that answered until now stays beside it where two are compared.
    const [, other] = kept(SIDES, [null, null]);
    keep(SIDES, [id, beside ?? (other === id ? null : other)]);
    draw_choice();
  });
  room.settings = settings_panel(room);
  const middle = talk_panel(room);
  const judge = judge_panel(room);

  // Which models answer.
  const first = h("select", { id: "chat-first", onchange: choose });
  const second = h("select", { id: "chat-second", onchange: choose });
  const choice = h("div", { class: "chat-choice" },
    h("span", {}, h("label", { for: "chat-first" }, t("chat.answers")), first),
    h("span", {}, h("label", { for: "chat-second" }, t("chat.compare")), second));

  function choose() {
    keep(SIDES, [Number(first.value) || null, Number(second.value) || null]);
    draw_choice();
    if (!room.talk.turns.length) middle.draw();
  }

  function draw_choice() {
    const [one, other] = chosen(ready);
    const options = (list, picked) => list.map((model) => h("option", { value: model.id, selected: model.id === picked?.id }, model.head === "score" ? `${model.title} · ${t("top.judge")}` : model.title));
    fill(first, ready.length ? options(ready, one) : h("option", { value: "" }, t("chat.none")));
    fill(second, h("option", { value: "" }, t("chat.compare.none")), options(ready.filter((model) => model.id !== one?.id), other));
    allow(first, ready.length ? "" : t("chat.no_model"));
    allow(second, ready.length > 1 ? "" : t("chat.compare.why"));
    judge.draw();
  }

  // Conversations.
  const names = h("ul", { id: "chat-talks", class: "chat-talks" });
  const wide = matchMedia("(min-width: 900px)").matches;
  const list = h("details", { class: "studio-card chat-list", open: wide }, h("summary", {}, t("chat.talks")), names);
  const fresh = button(t("chat.new"), () => open(begun(room.talk)), { id: "chat-new" });

  function open(talk) {
    middle.stop();
    room.talk = talk;
    opened(talk);
    room.settings.show();
    middle.draw();
    draw_talks();
    middle.question.focus({ preventScroll: true });
  }

  function draw_talks() {
    const all = talks();
    fill(names, all.map((talk) => h("li", { class: talk.id === room.talk.id ? "open" : "" },
      h("button", { type: "button", class: "chat-link chat-name", "aria-current": talk.id === room.talk.id ? "true" : null, onclick: () => open(talk) }, talk.title || t("chat.untitled")),
      h("button", { type: "button", class: "chat-link chat-forget", title: t("chat.delete.talk"), "aria-label": t("chat.delete.named", { name: talk.title || t("chat.untitled") }), onclick: () => {
        forget(talk);
        if (talk.id !== room.talk.id) {
          draw_talks();
          return;
        }
        // Nothing is left of it that an answer on its way could keep.
        Object.assign(room.talk, { turns: [], system: "", tools: "" });
        open(begun());
      } }, "×"))));
    if (!all.length) names.append(h("li", { class: "studio-muted" }, t("chat.talks.none")));
    const nothing = room.talk.turns.length ? "" : t("chat.download.nothing");
    for (const one of downloads) allow(one, nothing);
  }

  const downloads = [["JSON", "json", "application/json", json], ["Markdown", "md", "text/markdown", markdown]].map(([title, ending, kind, write]) =>
    button(title, () => download(`${t("chat.file")}-${new Date().toISOString().slice(0, 10)}.${ending}`, kind, write(room.talk)), { id: `chat-download-${ending}`, "aria-label": t("chat.download.as", { title }) }));

  addEventListener("storage", (event) => { if (is_talk(event)) draw_talks(); });
  opened(room.talk);
  place.append(h("div", { class: "chat" }, models.element,
    h("div", { class: "chat-columns" },
      h("div", { class: "chat-left" }, fresh, list, h("div", { class: "studio-row chat-downloads" }, h("span", { class: "studio-muted" }, t("chat.download")), downloads)),
      h("div", { class: "studio-card chat-middle" }, choice, judge.element, middle.element),
      room.settings.element)));
  room.settings.show();
  draw_choice();
  middle.draw();
  draw_talks();
  emit("chat-ready", null);
}

/** The models that answer: the one that was chosen (else the newest), and the one to compare with, if any. */
function chosen(ready) {
  const [one, other] = kept(SIDES, [null, null]);
  const first = ready.find((model) => model.id === one) || ready[0];
  const second = ready.find((model) => model.id === other && model !== first);
  return [first, second].filter(Boolean);
}

function download(name, kind, text) {
  const url = URL.createObjectURL(new Blob([text], { type: kind }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
