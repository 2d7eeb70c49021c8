// What the rows of a dataset are like: languages, roles, lengths, duplicates, empty answers; each leads to its rows.
import { h, number, t, whole } from "./studio.js";

const percent = (share) => `${number(100 * share, 3)} %`;
const names = new Intl.DisplayNames([window.studio.language], { type: "language", fallback: "none" });
const SAID = ["none", "latin", "cyrillic", "han"];

/** A language by its code, in the person's words. */
export function language_name(code) {
  if (SAID.includes(code)) return t(`datasets.language.${code}`);
  try { return names.of(code) ?? code; } catch { return code; }
}

/** The cards of a survey; `link(row)` makes a button that shows a row. */
export function survey(found, link) {
  if (!found.languages) return null;
  return [languages(found, link), roles(found), found.characters?.longest ? lengths(found, link) : null, duplicates(found.duplicates, link), empty(found.empty_answers, link)];
}

const card = (title, id, ...content) => h("section", { class: "studio-card", id }, h("h4", {}, title), content);
const links = (rows, link, more = false) => h("div", { class: "datasets-chips" }, rows.map((row) => link(row)), more ? "…" : null);

/** Lines of name, bar and text. */
const across = (list) => {
  const most = Math.max(...list.map((each) => each.value), 1);
  return h("div", { class: "datasets-across" }, list.map((each) => [
    h("span", {}, each.name), h("div", { class: "line" }, h("div", { class: "bar", style: `width: ${(100 * each.value) / most}%` })), h("span", { class: "studio-muted" }, each.text)]));
};

function languages({ languages: list }, link) {
  if (!list.length) return null;
  return card(t("datasets.languages"), "dataset-languages", h("p", { class: "studio-muted" }, t("datasets.languages_about")),
    across(list.map((each) => ({ name: language_name(each.language), value: each.rows, text: `${whole(each.rows)} · ${percent(each.share)}` }))),
    // What is rare is what one wants to look at.
    list.length > 1 ? h("details", {}, h("summary", {}, t("datasets.first_rows")), list.slice().reverse().map((each) => h("div", { class: "studio-row" }, h("span", { class: "studio-muted" }, language_name(each.language)), links(each.first.slice(0, 10), link)))) : null);
}

function roles({ roles: list }) {
  if (!list.length) return null;
  return card(t("datasets.roles"), "dataset-roles", across(list.map((each) => ({
    name: each.role, value: each.messages, text: t("datasets.role", { count: whole(each.messages), characters: whole(each.characters) }),
  }))));
}

function lengths({ characters, longest_rows: longest }, link) {
  const percents = ["shortest", "p5", "p25", "p50", "p75", "p95", "p99", "longest"].filter((each) => each in characters);
  return card(t("datasets.characters"), "dataset-characters", h("div", { class: "studio-scroll" }, h("table", {},
    h("thead", {}, h("tr", {}, percents.map((each) => h("th", { scope: "col" }, /^p\d/.test(each) ? `${each.slice(1)} %` : t(`datasets.characters.${each}`))))),
    h("tbody", {}, h("tr", {}, percents.map((each) => h("td", {}, whole(characters[each]))))))),
    longest?.length ? h("div", { class: "studio-row" }, h("span", { class: "studio-muted" }, t("datasets.longest_rows")), links(longest.slice(0, 10).map((each) => each.row), link)) : null);
}

function duplicates(found, link) {
  if (!found?.rows) return null;
  return card(t("datasets.duplicates"), "dataset-duplicates",
    h("p", { class: "studio-muted" }, t("datasets.duplicates_about", { rows: whole(found.rows), groups: whole(found.groups) })),
    found.listed.slice(0, 10).map((each) => h("div", { class: "studio-row" }, h("strong", {}, `${whole(each.count)} ×`), links(each.rows, link, each.count > each.rows.length))));
}

function empty(found, link) {
  if (!found?.count) return null;
  return card(t("datasets.empty_answers"), "dataset-empty", h("p", { class: "studio-muted" }, t("datasets.empty_answers_about", { count: whole(found.count) })), links(found.rows.slice(0, 30), link, found.count > 30));
}
