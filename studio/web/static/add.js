// A new dataset: a file by upload or one that lies in data/; what it holds is recognised, shown, corrected, and registered.
import { allow, api, button, bytes, fill, h, t, tell, toast, when, whole } from "./studio.js";
import { card } from "./preview-rows.js";
import { mapping_form } from "./mapping.js";

const ENDINGS = ".json,.jsonl,.ndjson,.csv,.tsv,.parquet,.arrow,.txt,.gz,.zst,.bz2";

export function adder({ back, done }) {
  const second = h("div", { id: "add-second" });
  const files = h("div", { id: "add-files" });
  const choose = (path) => { look(path); list(); };
  const element = h("div", { class: "dataset-add" },
    h("div", { class: "studio-row datasets-bar" }, button(t("datasets.back"), back, { id: "datasets-back" }), h("h3", {}, t("datasets.add"))),
    h("div", { class: "add-first" },
      h("section", { class: "studio-card" }, h("h4", {}, t("datasets.upload")), uploader(choose)),
      h("section", { class: "studio-card" }, h("h4", {}, t("datasets.in_data")), h("p", { class: "studio-muted" }, t("datasets.in_data_about")), files)),
    second);

  async function list() {
    const found = await api("/datasets/files");
    fill(files, found.length
      ? h("ul", { class: "add-list" }, found.slice(0, 200).map((each) => h("li", {},
        h("button", { type: "button", class: "datasets-link", onclick: () => look(each.path).catch(tell) }, each.path),
        h("span", { class: "studio-muted" }, ` ${bytes(each.size_bytes)} · ${when(each.modified)}`))))
      : h("p", { class: "datasets-empty" }, t("datasets.in_data_none")));
  }
  let turn = 0;
  async function look(path, encoding = "") {
    const mine = ++turn;
    fill(second, h("p", { class: "studio-muted" }, t("studio.loading")));
    let found;
    try {
      found = await api("/datasets/look", { body: { path, encoding } });
    } catch (error) {
      if (mine === turn) fill(second, h("div", { class: "datasets-note bad", role: "alert" }, error.message));
      return;
    }
    if (mine === turn) fill(second, confirm(found, look, done));
    second.scrollIntoView({ block: "nearest" });
  }
  list().catch(tell);
  return element;
}

/** Choose or drop a file; it goes to the server as it is, with a bar, and can be taken back. */
function uploader(choose) {
  const input = h("input", { id: "add-file", type: "file", accept: ENDINGS, class: "datasets-hidden", onchange: () => { if (input.files.length) send(input.files[0]); } });
  const bar = h("progress", { id: "add-progress", max: 1, value: 0, hidden: true, "aria-label": t("datasets.uploading") });
  const status = h("p", { class: "studio-muted", id: "add-status", role: "status" }, t("datasets.upload_about"));
  const cancel = button(t("studio.cancel"), () => request?.abort(), { id: "add-cancel", hidden: true });
  let request = null;
  const drop = h("label", {
    class: "add-drop", for: "add-file",
    ondragover: (event) => { event.preventDefault(); drop.classList.add("over"); },
    ondragleave: () => drop.classList.remove("over"),
    ondrop: (event) => {
      event.preventDefault();
      drop.classList.remove("over");
      if (event.dataTransfer.files.length) send(event.dataTransfer.files[0]);
    },
  }, h("strong", {}, t("datasets.drop")), h("span", { class: "studio-muted" }, "json · jsonl · csv · tsv · parquet · arrow · txt (+ .gz .zst .bz2)"));

  function end(text, bad = false) {
    request = null;
    input.value = "";
    bar.hidden = cancel.hidden = true;
    status.textContent = text;
    status.classList.toggle("studio-bad", bad);
  }
  function send(file) {
    request?.abort();
    const mine = new XMLHttpRequest();
    request = mine;
    bar.hidden = cancel.hidden = false;
    bar.value = 0;
    status.classList.remove("studio-bad");
    status.textContent = t("datasets.uploading_name", { name: file.name });
    mine.upload.addEventListener("progress", (event) => {
      if (!event.lengthComputable) return;
      bar.value = event.loaded / event.total;
      status.textContent = t("datasets.uploaded_of", { name: file.name, done: bytes(event.loaded), total: bytes(event.total) });
    });
    mine.addEventListener("load", () => {
      let answer = {};
      try { answer = JSON.parse(mine.responseText); } catch { /* no JSON came */ }
      if (mine.status !== 200) {
        end(answer.error || answer.detail || `HTTP ${mine.status}`, true);
        return;
      }
      end(t("datasets.uploaded", { path: answer.path, size: bytes(answer.size_bytes) }));
      choose(answer.path);
    });
    mine.addEventListener("error", () => end(t("studio.unreachable"), true));
    mine.addEventListener("abort", () => { if (request === mine) end(t("datasets.upload_cancelled")); });
    mine.open("POST", window.studio.address("/api/datasets/upload"));
    mine.setRequestHeader("X-File-Name", encodeURIComponent(file.name));
    mine.setRequestHeader("Content-Type", "application/octet-stream");
    mine.send(file);
  }
  return h("div", {}, input, drop, bar, h("div", { class: "studio-row" }, status, h("span", { class: "studio-space" }), cancel));
}

/** What was recognised, to confirm or to correct; rows under the mapping as it stands. */
function confirm(found, look, done) {
  const name = h("input", { id: "add-name", type: "text", value: found.name, maxLength: 200, autocomplete: "off" });
  const encoding = h("select", { id: "add-encoding", onchange: () => look(found.path, encoding.value).catch(tell) },
    [...new Set(["utf-8", ...found.encodings, found.encoding, found.looks_like].filter(Boolean))].map((each) =>
      h("option", { value: each === "utf-8" ? "" : each, selected: each === (found.encoding || "utf-8") }, each)));
  const verdict = h("p", { id: "add-verdict", role: "status" });
  const examples = h("div", { id: "add-examples" });
  const save = button(t("datasets.register"), async () => {
    const made = await api("/datasets/add", { body: { name: name.value, path: found.path, encoding: found.encoding, mapping: mapping.get() } });
    toast(t("datasets.registered", { name: made.name }), "good");
    done(made.name);
  }, { id: "add-save", kind: "primary" });
  let turn = 0;
  let timer = 0;
  const mapping = mapping_form(found, () => { clearTimeout(timer); timer = setTimeout(attempt, 250); });
  async function attempt() {
    const mine = ++turn;
    let tried;
    try {
      tried = await api("/datasets/try", { body: { path: found.path, encoding: found.encoding, mapping: mapping.get(), count: 3 } });
    } catch (error) {
      if (mine !== turn) return;
      verdict.className = "studio-bad";
      verdict.textContent = error.message;
      fill(examples);
      allow(save, t("datasets.register_not"));
      return;
    }
    if (mine !== turn) return;
    const all = tried.read === tried.tried;
    verdict.className = all ? "studio-good" : "studio-bad";
    fill(verdict, t(all ? "datasets.reads_all" : "datasets.reads_some", { read: whole(tried.read), tried: whole(tried.tried) }),
      tried.reasons.length ? h("ul", { class: "studio-complaints" }, tried.reasons.map((each) => h("li", {}, `${whole(each.count)} × ${each.why}`))) : null);
    fill(examples, tried.rows.map((row) => card(row, null)));
    allow(save, tried.read ? "" : t("datasets.register_not"));
  }
  const readable = found.columns.length > 0;
  const element = h("section", { class: "studio-card add-confirm" },
    h("h4", {}, t("datasets.holds", { path: found.path })),
    found.error ? h("div", { class: "datasets-note bad", role: "alert", id: "add-error" }, found.error,
      found.looks_like ? h("div", { class: "studio-row" }, button(t("datasets.read_as", { encoding: found.looks_like }), () => look(found.path, found.looks_like), { id: "add-read-as", kind: "primary" })) : null) : null,
    found.why ? h("p", { class: "studio-muted", id: "add-why" }, t("datasets.taken_for", { why: found.why })) : null,
    h("div", { class: "studio-grid" },
      h("div", { class: "studio-field" }, h("label", { for: "add-name" }, t("datasets.name")), name),
      h("div", { class: "studio-field" }, h("label", { for: "add-encoding" }, t("datasets.encoding")), encoding)),
    readable ? [mapping.element, verdict, h("h5", {}, t("datasets.examples")), examples, h("div", { class: "studio-row" }, save)] : null);
  if (readable) attempt().catch(tell);
  return element;
}
