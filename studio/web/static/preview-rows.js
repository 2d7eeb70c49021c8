// Rows of a dataset by pages: as they stand in the file, as a conversation, and as the tokens that training sees.
import { allow, api, button, fill, h, number, t, tell, whole } from "./studio.js";

const PAGE = 5;
const LAYERS = ["conversation", "tokens", "raw"];
const KEY = "studio.datasets.layers";

function kept_layers() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) || "null");
    if (Array.isArray(kept) && kept.length) return new Set(kept.filter((each) => LAYERS.includes(each)));
  } catch { /* a browser that keeps nothing */ }
  return new Set(["conversation", "tokens"]);
}

export function rows_view({ named, lens, start, moved }) {
  const layers = kept_layers();
  let at = Math.max(1, start);
  let total = null;
  let old = true;
  let learns = true;
  let turn = 0;
  const rows = h("div", { id: "dataset-rows", "aria-live": "polite" });
  const notes = h("div", { class: "datasets-notes" });
  const jump = h("input", { id: "dataset-row", type: "number", min: 1, step: 1, value: at, onchange: () => go(Number(jump.value) || 1) });
  const of = h("span", { class: "studio-muted", id: "dataset-total" });
  const pager = {
    first: button("«", () => go(1), { id: "dataset-first", "aria-label": t("datasets.first") }),
    previous: button("‹", () => go(at - PAGE), { id: "dataset-previous", "aria-label": t("datasets.previous") }),
    next: button("›", () => go(at + PAGE), { id: "dataset-next", "aria-label": t("datasets.next") }),
    last: button("»", () => go(total - ((total - 1) % PAGE)), { id: "dataset-last", "aria-label": t("datasets.last") }),
  };
  const toggles = LAYERS.map((each) => h("button", {
    type: "button", class: "datasets-toggle", id: `dataset-layer-${each}`, "aria-pressed": String(layers.has(each)),
    onclick: (event) => {
      if (layers.has(each)) layers.delete(each); else layers.add(each);
      event.currentTarget.setAttribute("aria-pressed", String(layers.has(each)));
      try { localStorage.setItem(KEY, JSON.stringify([...layers])); } catch { /* as above */ }
      mark();
    },
  }, t(`datasets.layer.${each}`)));
  const mark = () => { for (const each of LAYERS) rows.classList.toggle(`no-${each}`, !layers.has(each)); };
  mark();
  const element = h("div", { class: "dataset-preview" },
    h("div", { class: "studio-row dataset-pager" },
      pager.first, pager.previous, h("label", { for: "dataset-row" }, t("datasets.row")), jump, of, pager.next, pager.last,
      h("span", { class: "studio-space" }),
      h("div", { class: "datasets-toggles", role: "group", "aria-label": t("datasets.layers") }, toggles)),
    h("div", { class: "studio-row dataset-legend studio-muted" },
      h("span", {}, h("span", { class: "tok learned" }, t("datasets.learned_mark")), ` ${t("datasets.learned")}`),
      h("span", {}, h("span", { class: "tok" }, t("datasets.context_mark")), ` ${t("datasets.context")}`)),
    notes, rows);

  const ask = (from, whole_row) => api("/datasets/rows", { body: { ...named, start: from, count: PAGE, whole: whole_row, values: lens() } });
  async function load() {
    const mine = ++turn;
    rows.setAttribute("aria-busy", "true");
    if (!rows.childElementCount) fill(rows, h("p", { class: "datasets-empty" }, t("studio.loading")));
    let page;
    try {
      page = await ask(at, false);
    } catch (error) {
      if (mine === turn) {
        rows.removeAttribute("aria-busy");
        fill(notes);
        fill(rows, h("div", { class: "datasets-note bad", role: "alert" }, error.message));
      }
      return;
    }
    if (mine !== turn) return;
    rows.removeAttribute("aria-busy");
    total = page.total;
    old = false;
    of.textContent = total === null ? t("datasets.of_many") : t("datasets.of", { count: whole(total) });
    jump.value = at;
    jump.max = total ?? "";
    allow(pager.first, at <= 1 ? t("datasets.at_first") : "");
    allow(pager.previous, at <= 1 ? t("datasets.at_first") : "");
    allow(pager.next, page.rows.length < PAGE || (total !== null && at + PAGE > total) ? t("datasets.at_last") : "");
    allow(pager.last, total === null ? t("datasets.last_unknown") : at + PAGE > total ? t("datasets.at_last") : "");
    const hint = page.hint === "no_model" ? t("datasets.hint_model") : page.hint;
    fill(notes, hint ? h("div", { class: "datasets-note", id: "dataset-hint" }, hint) : null,
      page.notes.map((one) => h("p", { class: "studio-muted" }, one)),
      page.summary.length ? h("p", { class: "studio-muted" }, page_numbers(page)) : null);
    learns = page.learns;
    fill(rows, page.rows.map((row) => card(row, expand, learns)), page.rows.length ? null : h("div", { class: "datasets-empty" }, t("datasets.no_rows_here")));
  }
  async function expand(row, element_of_row) {
    const page = await ask(row, true);
    if (page.rows.length) element_of_row.replaceWith(card(page.rows[0], expand, learns));
  }
  function go(to) {
    at = Math.max(1, total ? Math.min(to, total) : to);
    moved(at);
    return load().catch(tell);
  }
  return {
    element, go,
    refresh: () => { if (old) load(); },
    stale: (visible) => { old = true; if (visible && element.isConnected) load(); },
  };
}

function page_numbers(page) {
  const all = page.rows.flatMap((row) => row.renderings);
  const count = all.reduce((sum, each) => sum + each.count, 0);
  const learned = all.reduce((sum, each) => sum + each.learned, 0);
  return t("datasets.page_numbers", {
    tokens: whole(count), learned: whole(learned), share: number(count ? (100 * learned) / count : 0, 2), template: page.template || "–", cutoff: whole(page.cutoff_len),
  });
}

/** One row. `expand(number, element)` is called for the whole of a folded one. Rows that only ask have nothing to learn. */
export function card(row, expand, learns = true) {
  const badges = [
    row.refused ? badge(t("datasets.refused"), "bad") : null,
    row.label === null ? null : badge(t(row.label ? "datasets.wanted" : "datasets.not_wanted"), row.label ? "good" : "warn"),
    row.renderings.some((each) => each.truncated) ? badge(t("datasets.truncated"), "warn") : null,
    learns && row.renderings.length && row.renderings.some((each) => !each.learned) ? badge(t("datasets.nothing_learned"), "bad") : null,
  ];
  const element = h("article", { class: `dataset-row ${row.refused ? "refused" : ""}`, "data-row": row.row });
  const more = (part) => (part.folded && expand
    ? button(t("datasets.show_all", { length: whole(part.length) }), () => expand(row.row, element), { class: "studio-button small" })
    : null);
  const text = (part, kind = "") => h("div", { class: `dataset-text ${kind}` }, part.text, part.folded ? " …" : null, more(part));
  const say = (message, side = "") => bubble(message, side, text);
  element.append(
    h("header", { class: "studio-row" }, h("strong", {}, t("datasets.row_number", { row: whole(row.row) })),
      row.source ? h("span", { class: "studio-muted" }, row.source) : null, badges),
    row.refused ? h("p", { class: "studio-bad dataset-refused" }, row.refused) : "",
    h("div", { class: "dataset-layers" },
      h("section", { class: "l-conversation", "aria-label": t("datasets.layer.conversation") },
        row.tools ? h("details", {}, h("summary", {}, t("datasets.tools")), text(row.tools, "mono")) : null,
        row.messages.map((message) => say(message)),
        row.chosen.length ? h("div", { class: "dataset-sides" },
          h("div", { class: "side chosen" }, h("h5", {}, t("datasets.chosen")), row.chosen.map((message) => say(message, "chosen"))),
          h("div", { class: "side rejected" }, h("h5", {}, t("datasets.rejected")), row.rejected.map((message) => say(message, "rejected")))) : null,
        row.document ? h("div", { class: "bubble document" }, text(row.document)) : null),
      row.renderings.length ? h("section", { class: "l-tokens", "aria-label": t("datasets.layer.tokens") },
        row.renderings.map((each, place) => tokens(each, place, row, expand && (() => expand(row.row, element))))) : "",
      h("section", { class: "l-raw", "aria-label": t("datasets.layer.raw") },
        h("dl", {}, row.raw.map((cell) => [h("dt", {}, cell.name), h("dd", {}, text(cell, "mono"))])))));
  return element;
}

const badge = (text, kind) => h("span", { class: `datasets-badge ${kind}` }, text);

function bubble(message, side, text) {
  const known = ["system", "user", "assistant", "tool"].includes(message.role);
  return h("div", { class: `bubble ${known ? message.role : "user"} ${side}` },
    h("div", { class: "who" }, known ? t(`datasets.role.${message.role}`) : message.role,
      message.unlearned ? h("span", { class: "studio-muted" }, ` ${t("datasets.unlearned")}`) : null),
    message.thinking ? h("details", { class: "thinking" }, h("summary", {}, t("datasets.thinking")), text(message.thinking)) : null,
    message.text ? text(message) : null,
    message.calls.map((call) => h("div", { class: "call" }, h("code", {}, call.name), text(call, "mono"))));
}

/** The tokens, those that bear loss on a green ground; two shades in turn show where one ends. */
function tokens(each, place, row, expand) {
  const share = each.count ? Math.round((100 * each.learned) / each.count) : 0;
  const side = each.side ? `${t(`datasets.${each.side}`)} · ` : "";
  const piece = row.renderings.length > 1 && !each.side ? `${t("datasets.piece", { number: place + 1, all: row.renderings.length })} · ` : "";
  return h("div", { class: "dataset-tokens" },
    h("div", { class: "studio-muted" }, side, piece, t("datasets.token_count", { count: whole(each.count), learned: whole(each.learned), share })),
    h("div", { class: "toks", dir: "ltr" }, each.tokens.map(([text, learned, ids], index) => h("span", {
      class: `tok ${learned ? "learned" : ""} ${index % 2 ? "odd" : ""}`, title: t("datasets.token_id", { ids: ids.join(" ") }),
    }, text.replaceAll("\n", "↵\n")))),
    each.folded && expand ? button(t("datasets.show_all_tokens", { count: whole(each.count) }), expand, { class: "studio-button small" }) : null,
    each.truncated ? h("div", { class: "cut" }, t("datasets.cut_here")) : null);
}
