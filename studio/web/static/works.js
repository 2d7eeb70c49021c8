// The works below a verb beside each other: a row of tabs, and the page of the one that is open.
import { dress } from "./dress.js";
import { api, fill, h, has, t, tell } from "./studio.js";
import { workPage } from "./work.js";
import { word_of } from "./workfields.js";

dress("works.css");
const ORDER = ["clean", "shard", "mix", "extend", "train", "inspect", "new-model", "choice", "answers", "text", "pairs", "harness"];
const place_of = (work) => (ORDER.indexOf(work.words[1]) + ORDER.length + 1) % (ORDER.length + 1);
let listed = null;

/** Every work, asked once. */
export function list_works() {
  listed ??= api("/works");
  listed.catch(() => { listed = null; });
  return listed;
}

export const title_of = (work) => (has(word_of(work, "title")) ? t(word_of(work, "title")) : work.words.slice(1).join(" "));

/**
 * The view of a verb. `onopen(word)` is told which work a person has chosen.
 * Returns {element, open(word, values)}: "" opens the one that was open last, or the first.
 */
export function worksView(verb, { onopen = () => {} } = {}) {
  const tabs = h("div", { class: "work-tabs", role: "tablist", "aria-label": t(`works.tabs.${verb}`) });
  const place = h("div", { class: "work-place", id: `works-${verb}-place`, role: "tabpanel" }, h("p", { class: "studio-muted" }, t("studio.loading")));
  const element = h("div", { class: "works" }, tabs, place);
  const pages = new Map();
  let works = [];
  let shown = "";
  let turn = 0;

  const ready = list_works().then((all) => {
    works = all.filter((each) => each.words[0] === verb).sort((a, b) => place_of(a) - place_of(b));
    fill(tabs, works.map((work) => h("button", {
      type: "button", role: "tab", id: `works-${verb}-${work.words[1]}`, class: "work-tab", "aria-controls": place.id, onclick: () => choose(work.words[1]),
    }, title_of(work))));
  });
  // Along the tabs by the arrows, as tabs are.
  tabs.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    const at = works.findIndex((work) => work.words[1] === shown);
    const next = works[(at + by + works.length) % works.length];
    event.preventDefault();
    tabs.querySelector(`#works-${verb}-${next.words[1]}`).focus();
    choose(next.words[1]);
  });
  const choose = (word) => { onopen(word); open(word); };

  async function open(word = "", values = null) {
    await ready;
    const work = works.find((each) => each.words[1] === word) ?? works.find((each) => each.words[1] === shown) ?? works[0];
    if (!work) { fill(place, h("p", { class: "studio-muted" }, t("works.none"))); return; }
    const mine = ++turn;
    shown = work.words[1];
    for (const each of tabs.children) {
      const chosen = each.id === `works-${verb}-${shown}`;
      each.setAttribute("aria-selected", String(chosen));
      each.tabIndex = chosen ? 0 : -1;
    }
    place.setAttribute("aria-labelledby", `works-${verb}-${shown}`);
    if (!pages.has(shown)) pages.set(shown, workPage(work, values));
    else if (values) (await pages.get(shown)).put(values);
    try {
      const page = await pages.get(shown);
      if (mine === turn) fill(place, page.element);
    } catch (error) {
      pages.delete(work.words[1]);
      tell(error);
      if (mine === turn) fill(place, h("p", { class: "studio-bad" }, error.message));
    }
  }
  return { element, open, get shown() { return shown; } };
}

/** A tab of the page that is nothing but the works of a verb. */
export function worksTab(place, { tab, verb, note, on }) {
  const view = worksView(verb, { onopen: (word) => note(tab, word) });
  place.append(view.element);
  on(`route-${tab}`, (word) => { if (word && word !== view.shown) view.open(word).catch(tell); });
  // What others ask for here: {work: "choice", values: {...}}.
  on(tab, (wanted) => {
    if (!wanted) return;
    note(tab, wanted.work);
    view.open(wanted.work, wanted.values).catch(tell);
  });
  if (!view.shown) view.open("").catch(tell);
  return view;
}
