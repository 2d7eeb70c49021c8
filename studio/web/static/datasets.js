// The Datasets tab: the registry as a table, and from there to its text, to new datasets, to rows and numbers.
import { api, button, bytes, emit, fill, h, on, poll, t, tell, whole } from "./studio.js";
import { on_change, schema } from "./draft.js";
import { note } from "./route.js";
import { detail } from "./dataset.js";
import { why_not } from "./fit.js";
import { editor } from "./registry.js";
import { adder } from "./add.js";
import { prepare_buttons } from "./prepare-buttons.js";

const STAGES = schema.stages.map((stage) => stage.name);
const AT_ONCE = 150;
const EVERY_MS = 4000;

export function mount(place) {
  const style = window.studio.script("datasets").replace(/js$/, "css");
  document.head.append(h("link", { rel: "stylesheet", href: style }));
  const views = h("div", { id: "datasets-view" });
  place.append(views);
  const state = { list: null, open: "list", making: 0 };

  const all = table(state, go);
  const show = (name, element) => {
    state.open = name;
    fill(views, element);
  };

  /** "" the table, "edit" or "edit:LINE", "add", "data:NAME", "file:PATH", "prepare" or "prepare:WORK". */
  function go(where, row = 0, values = null) {
    const [kind, ...rest] = where.split(":");
    const name = rest.join(":");
    // Only what is shown listens.
    state.heard = state.form = null;
    note("datasets", kind === "edit" ? "edit" : where);
    if (kind === "edit") show("edit", editor({ back, line: Number(name) || 0, refresh, state }));
    else if (kind === "add") show("add", adder({ back, done: (made) => { refresh(); go(`data:${made}`); }, state }));
    else if (kind === "prepare") prepared(where, name, values).catch(tell);
    else if (kind === "data" || kind === "file") {
      const more = kind === "data" ? prepare_buttons(name, go) : [];
      show(where, detail({ kind, name, row, back, edit: (line) => go(`edit:${line}`), more, state }));
    } else {
      show("list", all.element);
      all.draw();
    }
    if (place.getBoundingClientRect().top < 0) place.scrollIntoView({ block: "start" });
  }
  const back = () => go("");
  /** What is done to data: its scripts are fetched by who wants it. */
  async function prepared(where, word, values) {
    const waits = h("p", { class: "studio-muted" }, t("studio.loading"));
    show(where, waits);
    const { prepare } = await import("./prepare.js");
    if (!waits.isConnected) return;
    const chosen = (other) => { state.open = `prepare:${other}`; note("datasets", state.open); };
    show(where, prepare({ back, word, values, chosen }));
  }

  let news;
  async function ask() {
    const known = state.list ? `?known=${state.list.version}` : "";
    let answer;
    try {
      answer = await api(`/datasets${known}`);
    } catch (error) {
      all.wrong(error.message);
      return;
    }
    if (answer.same) return;
    const first = !state.list;
    state.list = answer;
    if (state.open === "list") all.draw();
    // What the others show of the registry is old now.
    if (!first) emit("datasets", null);
    state.heard?.(answer);
  }
  async function refresh() {
    if (state.list) state.list.version = "";
    await news.now();
  }
  on_change((names) => state.form?.(names));
  news = poll(place, ask, EVERY_MS);
  // What the address asks for is heard below; noting the table first would wipe it out.
  show("list", all.element);
  all.draw();
  on("preview-dataset", (name) => { if (name) go(`data:${name}`); });
  on("prepare", (wanted) => { if (wanted) go(`prepare:${wanted.work}`, 0, wanted.values); });
  on("route-datasets", (where) => {
    if (where !== undefined && where !== (state.open === "list" ? "" : state.open)) go(where || "");
  });
}

function table(state, go) {
  const search = h("input", { id: "datasets-search", type: "search", placeholder: t("datasets.search"), "aria-label": t("datasets.search"), oninput: () => draw() });
  const count = h("span", { class: "studio-muted", id: "datasets-count", role: "status" });
  const banner = h("div", { id: "datasets-banner" });
  const body = h("tbody");
  const more = button(t("datasets.more"), () => { limit += AT_ONCE * 4; draw(); }, { hidden: true });
  let limit = AT_ONCE;
  const heads = ["name", "rows_kind", "format", "size", "stages", ""];
  const element = h("div", { class: "datasets-list" },
    h("div", { class: "studio-row datasets-bar" },
      search, count, h("span", { class: "studio-space" }),
      button(t("works.prepare"), () => go("prepare"), { id: "datasets-prepare" }),
      button(t("datasets.edit"), () => go("edit"), { id: "datasets-edit" }),
      button(t("datasets.add"), () => go("add"), { id: "datasets-add", kind: "primary" })),
    banner,
    h("div", { class: "studio-scroll" },
      h("table", { id: "datasets-table" },
        h("thead", {}, h("tr", {}, heads.map((name) => h("th", { scope: "col", class: `c-${name || "do"}` },
          name ? t(`datasets.head.${name}`) : h("span", { class: "datasets-hidden" }, t("datasets.head.actions")))))),
        body)),
    more);

  function draw() {
    if (!state.list) {
      fill(body, h("tr", {}, h("td", { colspan: heads.length, class: "studio-muted" }, t("studio.loading"))));
      return;
    }
    const { datasets, broken } = state.list;
    const words = search.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const found = datasets.filter((each) => words.every((word) =>
      `${each.name} ${each.file} ${each.format} ${each.stages.join(" ")} ${t(`datasets.health.${each.health}`)} ${each.kind && t(`datasets.kind.${each.kind}`)}`.toLowerCase().includes(word)));
    const bad = datasets.filter((each) => each.health !== "ok").length;
    count.textContent = t(words.length ? "datasets.count_found" : "datasets.count", { found: whole(found.length), all: whole(datasets.length) })
      + (bad ? ` · ${t("datasets.count_bad", { count: whole(bad) })}` : "");
    fill(banner, broken.map((each) => h("div", { class: "datasets-note bad", role: "alert" },
      h("strong", {}, each.line ? t("datasets.broken_at", { path: each.path, line: each.line, column: each.column }) : t("datasets.broken", { path: each.path })),
      h("p", {}, each.error), h("p", {}, t("datasets.broken_kept")),
      button(t("datasets.mend"), () => go(`edit:${each.line || 1}`)))),
    state.list.notes.map((one) => h("div", { class: "datasets-note" }, one)));
    fill(body, found.slice(0, limit).map((each) => row(each, go)),
      found.length ? null : h("tr", {}, h("td", { colspan: heads.length }, h("div", { class: "datasets-empty" },
        words.length ? t("datasets.none_found") : t("datasets.none")))));
    more.hidden = found.length <= limit;
  }
  const wrong = (text) => { if (!state.list) fill(body, h("tr", {}, h("td", { colspan: heads.length, class: "studio-bad" }, text))); };
  draw();
  return { element, draw, wrong };
}

function row(each, go) {
  const usable = each.health === "ok";
  const open = (row_number) => () => go(`data:${each.name}`, row_number);
  const about = [each.kind && t(`datasets.kind.${each.kind}`), each.format, each.size_bytes !== null && bytes(each.size_bytes)].filter(Boolean).join(" · ");
  return h("tr", { class: usable ? "" : "bad", "data-name": each.name },
    h("td", { class: "c-name" },
      h("div", { class: "datasets-name" }, health(each),
        h("button", { type: "button", class: "datasets-link", onclick: open(0), title: each.file }, each.name)),
      h("div", { class: "studio-muted datasets-file" }, each.hub ? t("datasets.on_hub", { repo: each.file }) : each.file),
      h("div", { class: "studio-muted datasets-about" }, about),
      each.complaint ? h("div", { class: "studio-bad datasets-complaint" }, each.complaint) : null),
    h("td", { class: "c-rows_kind" }, each.kind ? t(`datasets.kind.${each.kind}`) : "–"),
    h("td", { class: "c-format" }, each.format || "–", each.encoding ? h("span", { class: "studio-muted" }, ` ${each.encoding}`) : null),
    h("td", { class: "c-size" }, h("div", {}, bytes(each.size_bytes)),
      each.rows ? h("div", { class: "studio-muted" }, t("datasets.rows", { count: whole(each.rows) })) : null),
    h("td", { class: "c-stages" }, h("div", { class: "datasets-chips" }, usable ? STAGES.map((stage) => chip(stage, each)) : null)),
    h("td", { class: "c-do" }, h("div", { class: "studio-row" },
      usable ? button(t("datasets.look"), open(0), { "aria-label": t("datasets.look_at", { name: each.name }) }) : null,
      button(t("datasets.entry"), () => go(`edit:${each.line}`), { "aria-label": t("datasets.entry_of", { name: each.name }) }))));
}

/** A stage that the rows fit, or a grey one with the reason. */
export function chip(stage, each) {
  const fits = each.stages.includes(stage);
  return h("span", {
    class: `datasets-chip ${fits ? "fits" : ""}`, tabindex: fits ? undefined : 0,
    title: fits ? t("datasets.fits", { stage }) : why_not(each, stage),
    "aria-label": fits ? t("datasets.fits", { stage }) : why_not(each, stage),
  }, stage);
}

export const health = (each) => h("span", { class: `datasets-dot ${each.health}`, role: "img", title: t(`datasets.health.${each.health}`), "aria-label": t(`datasets.health.${each.health}`) });
