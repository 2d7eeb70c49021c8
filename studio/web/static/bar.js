// The bar over the page: name, languages, and what is running.
import { h, t } from "./studio.js";

export function mount(place) {
  const choose = (code) => {
    localStorage.setItem("studio.language", code);
    location.reload();
  };
  place.append(
    h("header", { class: "studio-bar" },
      h("strong", {}, "studio"),
      h("span", { class: "studio-space" }),
      h("div", { class: "studio-languages", role: "group", "aria-label": t("bar.language") },
        ...Object.entries(window.studio.languages).map(([code, name]) =>
          h("button", {
            type: "button", lang: code, "aria-pressed": String(code === window.studio.language),
            onclick: () => choose(code),
          }, name)))));
}
