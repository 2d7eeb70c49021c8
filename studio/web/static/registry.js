// dataset_info.json as a text: checked while it is written, saved by version, never lost.
import { allow, api, button, dialog, fill, h, t, toast, when } from "./studio.js";

const CHECK_MS = 350;
const key_of = (path) => `studio.registry${window.studio.root}:${path}`;

function drafts(path) {
  return {
    get: () => { try { return JSON.parse(localStorage.getItem(key_of(path)) || "null"); } catch { return null; } },
    put: (value) => { try { localStorage.setItem(key_of(path), JSON.stringify(value)); return true; } catch { return false; } },
    drop: () => { try { localStorage.removeItem(key_of(path)); } catch { /* a browser that keeps nothing */ } },
  };
}

export function editor({ back, line, refresh, state }) {
  const text = h("textarea", {
    id: "registry-text", class: "code", spellcheck: false, wrap: "off", rows: 28, "aria-label": t("datasets.registry_text"), "aria-describedby": "registry-state",
    autocapitalize: "off", autocomplete: "off", disabled: true,
  });
  const gutter = h("div", { class: "registry-gutter", "aria-hidden": "true" });
  const status = h("span", { id: "registry-state", class: "studio-muted", role: "status" }, t("studio.loading"));
  const banner = h("div", { id: "registry-banner" });
  const complaints = h("div", { id: "registry-complaints", "aria-live": "polite" });
  const which = h("select", { id: "registry-which", "aria-label": t("datasets.which_registry"), hidden: true, onchange: () => load(which.value) });
  const save = button(t("datasets.save"), () => keep(false), { id: "registry-save", kind: "primary" });
  const discard = button(t("datasets.discard"), () => take(disk.text, disk.version), { id: "registry-discard" });
  const earlier = h("select", { id: "registry-backups", "aria-label": t("datasets.earlier"), onchange: () => older() });
  // On the disk, and from which version the text here was made.
  let disk = { path: "", text: "", version: "", backups: [] };
  let base = "";
  let wrong = { error: "", line: 0, column: 0, entries: [] };
  let timer = 0;
  let turn = 0;

  const changed = () => text.value !== disk.text || base !== disk.version;
  function number_lines() {
    const count = text.value.split("\n").length;
    if (gutter.childElementCount !== count) fill(gutter, Array.from({ length: count }, (_, place) => h("div", {}, String(place + 1))));
    const marked = new Set([wrong.line, ...wrong.entries.map((each) => each.line)]);
    [...gutter.children].forEach((one, place) => one.classList.toggle("bad", marked.has(place + 1)));
    gutter.scrollTop = text.scrollTop;
  }
  function say() {
    const dirty = changed();
    allow(save, wrong.error ? t("datasets.save_not", { line: wrong.line }) : dirty ? "" : t("datasets.save_nothing"));
    allow(discard, dirty ? "" : t("datasets.save_nothing"));
    status.textContent = dirty ? t("datasets.unsaved") : t("datasets.saved", { path: disk.path });
    status.classList.toggle("studio-bad", dirty);
    number_lines();
  }
  function draw_complaints() {
    const jump_to = (at, column, sentence) => h("li", {}, h("button", {
      type: "button", class: "datasets-link", onclick: () => jump(at, column),
    }, column ? t("datasets.line_column", { line: at, column }) : t("datasets.line", { line: at })), " ", sentence);
    fill(complaints, wrong.error
      ? h("ul", { class: "studio-complaints" }, wrong.line ? jump_to(wrong.line, wrong.column, wrong.error) : h("li", {}, wrong.error))
      : wrong.entries.length ? [h("p", { class: "studio-muted" }, t("datasets.broken_entries", { count: wrong.entries.length })),
        h("ul", { class: "studio-complaints" }, wrong.entries.slice(0, 100).map((each) => jump_to(each.line, 0, each.sentence)))]
        : h("p", { class: "studio-good" }, t("datasets.all_right")));
  }
  function jump(to, column = 1) {
    const lines = text.value.split("\n");
    const at = Math.min(Math.max(to, 1), lines.length) - 1;
    const start = lines.slice(0, at).reduce((sum, each) => sum + each.length + 1, 0);
    text.focus();
    if (column) text.setSelectionRange(start + column - 1, Math.min(start + column, start + lines[at].length + 1));
    else text.setSelectionRange(start, start + lines[at].length);
    const height = parseFloat(getComputedStyle(text).lineHeight) || 20;
    text.scrollTop = Math.max(0, at * height - text.clientHeight / 3);
    number_lines();
  }
  async function check() {
    const mine = ++turn;
    let told;
    try {
      told = await api("/datasets/registry/check", { body: { text: text.value, path: disk.path } });
    } catch (error) {
      told = { error: error.message, line: 0, column: 0, entries: [] };
    }
    if (mine !== turn) return;
    wrong = told;
    draw_complaints();
    say();
  }
  function soon() {
    clearTimeout(timer);
    timer = setTimeout(check, CHECK_MS);
  }
  function written() {
    if (!drafts(disk.path).put({ text: text.value, version: base, at: Date.now() / 1000 })) toast(t("datasets.draft_not_kept"), "bad");
    if (!changed()) drafts(disk.path).drop();
    say();
    soon();
  }
  /** Show a text that is as it stands on the disk. */
  function take(value, version) {
    text.value = value;
    base = version;
    drafts(disk.path).drop();
    fill(banner);
    warn_broken();
    check();
    say();
  }
  function warn_broken() {
    if (!disk.error) return;
    banner.append(h("div", { class: "datasets-note bad", role: "alert" },
      h("strong", {}, disk.line ? t("datasets.broken_at", { path: disk.path, line: disk.line, column: disk.column }) : t("datasets.broken", { path: disk.path })),
      h("p", {}, t("datasets.broken_kept")),
      h("div", { class: "studio-row" },
        disk.line ? button(t("datasets.to_place"), () => jump(disk.line, disk.column)) : null,
        disk.good && disk.good !== "{}" ? button(t("datasets.take_good"), () => { text.value = disk.good; written(); }, { id: "registry-good" }) : null)));
  }
  function warn_changed() {
    fill(banner, h("div", { class: "datasets-note warn", role: "alert", id: "registry-changed" },
      h("strong", {}, t("datasets.changed_on_disk", { path: disk.path })),
      h("div", { class: "studio-row" }, button(t("datasets.compare"), () => conflict(disk.text, disk.version)))));
    warn_broken();
  }
  async function load(path = "", at = 0) {
    const found = await api(`/datasets/registry?path=${encodeURIComponent(path)}`);
    disk = found;
    fill(which, found.registries.map((each) => h("option", { value: each, selected: each === found.path }, each)));
    which.hidden = found.registries.length < 2;
    fill(earlier, h("option", { value: "" }, t(found.backups.length ? "datasets.earlier" : "datasets.earlier_none")),
      found.backups.map((each) => h("option", { value: each.name }, when(each.saved))));
    earlier.disabled = !found.backups.length;
    text.disabled = false;
    const draft = drafts(found.path).get();
    wrong = { error: found.error, line: found.line, column: found.column, entries: found.entries };
    if (draft && draft.text !== found.text) {
      text.value = draft.text;
      base = draft.version;
      fill(banner, h("div", { class: "datasets-note", id: "registry-draft" }, t("datasets.draft_back", { when: when(draft.at) })));
      if (base !== found.version) warn_changed(); else warn_broken();
      check();
    } else {
      take(found.text, found.version);
    }
    draw_complaints();
    say();
    if (at) jump(at, 0);
  }
  /** The list heard of another version on the disk. */
  async function heard(list) {
    const now = list.registries.find((each) => each.path === disk.path);
    if (!text.isConnected || !now || now.version === disk.version) return;
    const mine = changed();
    const found = await api(`/datasets/registry?path=${encodeURIComponent(disk.path)}`);
    disk = found;
    if (mine && text.value !== found.text) { warn_changed(); say(); } else take(found.text, found.version);
  }
  async function keep(broken) {
    const body = { text: text.value, version: base, path: disk.path, broken };
    try {
      const { version } = await api("/datasets/registry", { method: "PUT", body });
      disk = { ...disk, text: body.text, version, error: "", line: 0 };
      if (text.value === body.text) take(body.text, version);
      else { base = version; written(); }
      toast(t("datasets.saved_now", { path: disk.path }), "good");
      await refresh();
      await load(disk.path);
    } catch (error) {
      if (error.status === 409 && error.body.text !== undefined) conflict(error.body.text, error.body.version);
      else if (error.status === 422 && error.body.entries) ask_broken(error.body.entries);
      else if (error.status === 422 && error.body.line) { wrong = { ...error.body, entries: [] }; draw_complaints(); say(); jump(wrong.line, wrong.column); }
      else throw error;
    }
  }
  function ask_broken(entries) {
    dialog(t("datasets.save_broken_title"), [h("p", {}, t("datasets.save_broken")),
      h("ul", { class: "studio-complaints" }, entries.slice(0, 20).map((each) => h("li", {}, `${t("datasets.line", { line: each.line })} ${each.sentence}`)))],
    [{ text: t("datasets.keep_editing"), run: () => { jump(entries[0].line, 0); } }, { text: t("datasets.save_anyway"), kind: "danger", run: () => { keep(true).catch((error) => toast(error.message, "bad")); } }]);
  }
  function conflict(theirs, version) {
    disk = { ...disk, text: theirs, version };
    const mine = text.value;
    const box = dialog(t("datasets.conflict_title"), [h("p", {}, t("datasets.conflict", { path: disk.path })),
      h("div", { class: "registry-both" },
        h("section", {}, h("h4", {}, t("datasets.mine")), compared(mine, theirs)),
        h("section", {}, h("h4", {}, t("datasets.theirs")), compared(theirs, mine)))],
    [{ text: t("datasets.keep_editing") },
      { text: t("datasets.take_theirs"), run: () => take(theirs, version) },
      { text: t("datasets.save_over"), kind: "danger", run: () => { base = version; keep(false).catch((error) => toast(error.message, "bad")); } }]);
    box.id = "registry-conflict";
    for (const each of box.querySelectorAll("pre")) each.scrollTop = (each.querySelector(".differs")?.offsetTop || 0) - each.offsetTop - 40;
    warn_changed();
    say();
  }
  async function older() {
    const name = earlier.value;
    if (!name) return;
    const { text: found } = await api(`/datasets/registry/backup?name=${encodeURIComponent(name)}&path=${encodeURIComponent(disk.path)}`);
    text.value = found;
    earlier.value = "";
    toast(t("datasets.earlier_loaded"));
    written();
  }
  text.addEventListener("input", written);
  text.addEventListener("scroll", () => { gutter.scrollTop = text.scrollTop; });
  text.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "s") { event.preventDefault(); if (!save.disabled) save.click(); }
  });
  const element = h("div", { class: "registry" },
    h("div", { class: "studio-row datasets-bar" }, button(t("datasets.back"), back, { id: "datasets-back" }),
      h("h3", {}, "dataset_info.json"), which, h("span", { class: "studio-space" }), status),
    h("p", { class: "studio-muted" }, t("datasets.edit_about")),
    banner,
    h("div", { class: "registry-area" }, gutter, text),
    complaints,
    h("div", { class: "studio-row" }, save, discard, h("span", { class: "studio-space" }), earlier));
  load("", line).catch((error) => { status.textContent = error.message; });
  state.heard = (list) => heard(list).catch(() => {});
  return element;
}

/** A text with the lines marked that the other has not. */
function compared(one, other) {
  const known = new Set(other.split("\n"));
  return h("pre", {}, one.split("\n").map((line) => h("div", { class: known.has(line) ? "" : "differs" }, line || " ")));
}
