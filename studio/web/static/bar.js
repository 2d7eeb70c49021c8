// The bar over the page: name, what the machine does, theme, languages.
import { strip } from "./machine.js";
import { follow } from "./route.js";
import { h, t } from "./studio.js";

const SVG = "http://www.w3.org/2000/svg";
const THEMES = ["system", "light", "dark"];
const DRAWN = {
  system: "M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 0 1 0 18",
  light: "M12 8a4 4 0 1 0 0 8a4 4 0 1 0 0-8M12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.4M17.6 17.6L19 19M5 19l1.4-1.4M17.6 6.4L19 5",
  dark: "M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5z",
};

/** A drawing of one line, in the colour of the text beside it. */
function drawing(path, { filled = false } = {}) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [name, value] of Object.entries({ viewBox: "0 0 24 24", "aria-hidden": "true", class: "studio-icon" })) svg.setAttribute(name, value);
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("d", path);
  if (filled) line.setAttribute("fill", "currentColor");
  svg.append(line);
  return svg;
}

/** Who moves by the keyboard need not pass the model's fields to reach the tabs. */
function skip() {
  return h("button", {
    type: "button", class: "studio-skip", onclick: () => document.querySelector("#studio-tabs [role=tab][aria-selected=true]")?.focus(),
  }, t("bar.skip"));
}

function theme() {
  const one = h("button", { type: "button", id: "bar-theme", class: "studio-button studio-plain" });
  const show = () => {
    const now = window.studio.theme();
    const said = t("bar.theme", { name: t(`bar.theme.${now}`) });
    one.replaceChildren(drawing(DRAWN[now]));
    one.title = said;
    one.setAttribute("aria-label", said);
  };
  one.addEventListener("click", () => {
    window.studio.setTheme(THEMES[(THEMES.indexOf(window.studio.theme()) + 1) % THEMES.length]);
    show();
  });
  show();
  return one;
}

function languages() {
  const choose = (code) => {
    localStorage.setItem("studio.language", code);
    location.reload();
  };
  return h("div", { class: "studio-languages", role: "group", "aria-label": t("bar.language") },
    ...Object.entries(window.studio.languages).map(([code, name]) =>
      h("button", { type: "button", lang: code, "aria-pressed": String(code === window.studio.language), onclick: () => choose(code) }, name)));
}

export function mount(place) {
  place.append(
    h("header", { class: "studio-bar" },
      skip(),
      h("span", { class: "studio-name" }, h("img", { src: window.studio.file("icon.svg"), alt: "", width: 26, height: 26 }), h("strong", {}, "studio")),
      h("span", { class: "studio-space" }),
      strip(),
      h("div", { class: "studio-switches" }, theme(), languages())));
  follow();
}
