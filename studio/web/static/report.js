// What an export did, in words: what the merge changed, what the rounding took back, what was written.
import { bytes, h, number, t, whole } from "./studio.js";

// From this share on most of what was learned is gone.
const MUCH = 0.5;

const percent = (share) => new Intl.NumberFormat(window.studio.language, { style: "percent", maximumFractionDigits: 1 }).format(share);

/** The report of a result as the command wrote it. */
export function report(result) {
  const { merge } = result;
  return h("section", { class: "studio-card export-report", "aria-label": t("export.report") },
    h("h4", {}, t("export.report")),
    h("ul", { class: "export-sentences" }, sentences(result).map((line) => h("li", { class: line.kind || "" }, line.text ?? line))),
    merge?.notes?.length ? part(t("export.report.notes"), h("ul", {}, merge.notes.map((note) => h("li", {}, note)))) : null,
    merge?.touched?.length ? part(t("export.report.most"), table(
      [t("export.tensor"), t("export.change"), t("export.deviation"), t("export.kept")],
      merge.touched.map((one) => [one.name, number(one.max_change), number(one.max_rounding), percent(one.moved ? one.changed / one.moved : 0)]),
    )) : null,
    part(`${t("export.report.files")} (${result.files.length}, ${bytes(result.files.reduce((sum, file) => sum + file.size, 0))})`, table(
      [t("export.file"), t("export.size")], result.files.map((file) => [file.name, bytes(file.size)]),
    )),
    h("p", { class: "studio-muted" }, t("export.report.more", { file: merge ? "export.json" : "conversion.json" })));
}

function sentences(result) {
  const { merge } = result;
  const told = [t("export.report.target", { path: result.target })];
  if (result.old) told.push(t("export.report.old", { path: result.old }));
  if (!merge) return [...told, t("export.report.converted", { source: result.source }), good(t("export.report.checked"))];
  told.push(t("export.report.size", { tensors: whole(merge.tensors), weights: whole(merge.weights), size: bytes(merge.bytes), dtype: merge.dtype }));
  told.push(good(t("export.report.checked")));
  if (merge.adapters.length) told.push(...merged(merge)); else told.push(t("export.report.none"));
  return [...told, template(result)];
}

function merged(merge) {
  const { dtype } = merge;
  const told = [t("export.report.moved", { moved: whole(merge.moved), touched: whole(merge.count), change: number(merge.max_change) })];
  if (merge.max_rounding === 0) return [...told, t("export.report.exact")];
  told.push(t("export.report.rounded", {
    dtype, lost: percent(merge.lost_share), changed: whole(merge.changed), deviation: number(merge.max_rounding),
  }));
  if (merge.lost_share > MUCH) told.push({ kind: "studio-bad", text: t("export.report.much", { dtype }) });
  else if (merge.lost_share > 0.01) told.push(t("export.report.learned", { dtype }));
  return told;
}

function template(result) {
  if (result.template && result.template !== "auto") return t("export.report.template.asked", { name: result.template });
  const kept = result.files.some((file) => file.name === "chat_template.jinja");
  return t(kept ? "export.report.template.kept" : "export.report.template.none");
}

const good = (text) => ({ kind: "studio-good", text });
const part = (title, content) => h("details", { class: "export-part" }, h("summary", {}, title), h("div", { class: "studio-scroll" }, content));
const table = (head, rows) => h("table", {},
  h("thead", {}, h("tr", {}, head.map((text) => h("th", { scope: "col" }, text)))),
  h("tbody", {}, rows.map((row) => h("tr", {}, row.map((text) => h("td", {}, text))))));
