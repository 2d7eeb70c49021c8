// A field that offers a list and still takes free text: one value, or several as chips.
import { h, t } from "./studio.js";

/** One value. `offered()` gives [{value, note, why}]; one with a `why` is shown grey with the reason. */
export function one_of({ id, value = "", offered, onchange, placeholder = "" }) {
  const input = h("input", { id, type: "text", autocomplete: "off", placeholder, value });
  const list = popup(input, offered, (chosen) => {
    input.value = chosen;
    onchange(chosen);
  });
  input.addEventListener("input", () => { list.open(); onchange(input.value.trim()); });
  return {
    element: h("div", { class: "studio-picker" }, input, list.element), input,
    get: () => input.value.trim(), set: (next) => { input.value = next || ""; }, refresh: list.refresh,
  };
}

/** Several values, in their order. */
export function several_of({ id, values = [], offered, onchange, placeholder = "", name_of = (value) => value }) {
  let chosen = [...values];
  const input = h("input", { id, type: "text", autocomplete: "off", placeholder });
  const chips = h("div", { class: "studio-chips" });
  const change = (next) => { chosen = next; draw(); onchange([...chosen]); };
  const add = (value) => {
    input.value = "";
    if (value && !chosen.includes(value)) change([...chosen, value]);
  };
  const list = popup(input, async () => (await offered()).filter((each) => !chosen.includes(each.value)), add, true);
  input.addEventListener("input", () => {
    // A list with commas may be typed or pasted as a command has it.
    if (input.value.includes(",")) input.value.split(",").map((part) => part.trim()).filter(Boolean).forEach(add);
    list.open();
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Backspace" && !input.value && chosen.length) change(chosen.slice(0, -1));
  });
  input.addEventListener("change", () => add(input.value.trim()));
  const draw = (wrong = new Map()) => {
    chips.replaceChildren(...chosen.map((value) => h("span", {
      class: `studio-chip${wrong.get(value) ? " wrong" : ""}`, title: wrong.get(value) || "",
    }, name_of(value), h("button", {
      type: "button", "aria-label": t("train.remove", { name: value }),
      onclick: () => change(chosen.filter((each) => each !== value)),
    }, "×"))), input);
  };
  draw();
  return {
    element: h("div", { class: "studio-picker several" }, chips, list.element), input, mark: draw,
    get: () => [...chosen], set: (next) => { chosen = [...(next || [])]; draw(); }, refresh: list.refresh,
  };
}

/** The list below an input. */
function popup(input, offered, choose, several = false) {
  const element = h("ul", { class: "studio-options", id: `${input.id}-options`, role: "listbox", hidden: true });
  // A list that scrolls would take the focus of a Tab, and be gone with it.
  element.tabIndex = -1;
  let shown = [];
  let at = -1;
  let turn = 0;
  Object.entries({ role: "combobox", "aria-expanded": "false", "aria-controls": element.id, "aria-autocomplete": "list" })
    .forEach(([name, value]) => input.setAttribute(name, value));

  // Offers that are still on their way come too late.
  const close = () => { turn += 1; element.hidden = true; at = -1; input.setAttribute("aria-expanded", "false"); input.removeAttribute("aria-activedescendant"); };
  const pick = (each) => { if (each.why) return; choose(each.value); close(); };
  const draw = () => {
    element.replaceChildren(...shown.map((each, place) => h("li", {
      role: "option", id: `${element.id}-${place}`, "aria-selected": String(place === at), "aria-disabled": each.why ? "true" : "false",
      // Before the input loses the focus, which closes the list.
      onpointerdown: (event) => { event.preventDefault(); pick(each); },
    }, h("span", {}, each.title || each.value), each.note || each.why ? h("small", {}, each.why || each.note) : null)));
    element.hidden = !shown.length;
    input.setAttribute("aria-expanded", String(!element.hidden));
    if (at >= 0) {
      input.setAttribute("aria-activedescendant", `${element.id}-${at}`);
      element.children[at]?.scrollIntoView({ block: "nearest" });
    }
  };
  const open = async (all = false) => {
    const mine = ++turn;
    const every = await offered();
    if (mine !== turn || document.activeElement !== input) return;
    const wanted = all ? "" : input.value.trim().toLowerCase();
    shown = every.filter((each) => !wanted || `${each.value} ${each.title || ""} ${each.note || ""}`.toLowerCase().includes(wanted));
    at = Math.min(at, shown.length - 1);
    draw();
  };
  // The beginning of a name that fits one offer alone says that offer.
  const meant = (typed) => {
    const fits = element.hidden ? [] : shown.filter((each) => !each.why && each.value.toLowerCase().startsWith(typed.toLowerCase()));
    return fits.length === 1 && !shown.some((each) => each.value === typed) ? fits[0].value : typed;
  };
  input.addEventListener("focus", () => open(true));
  input.addEventListener("click", () => { if (element.hidden) open(true); });
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (element.hidden) { open(true); return; }
      at = (at + (event.key === "ArrowDown" ? 1 : -1) + shown.length) % shown.length;
      draw();
    } else if (event.key === "Enter") {
      if (at >= 0 && shown[at] && !element.hidden) { event.preventDefault(); pick(shown[at]); }
      else if (several && input.value.trim()) { event.preventDefault(); choose(meant(input.value.trim())); close(); } else close();
    } else if (event.key === "Escape" && !element.hidden) { event.stopPropagation(); close(); }
  });
  return { element, open: () => open(false), refresh: () => { if (!element.hidden) open(false); } };
}
