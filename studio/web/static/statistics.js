// A dataset in numbers: what is learned, what a cut-off takes, what is refused. Counted by a job, kept until something changes.
import { api, button, emit, fill, h, number, poll, show, t, whole } from "./studio.js";
import { survey } from "./survey.js";

const EVERY_MS = 700;

export function statistics_view({ named, lens, jump }) {
  const place = h("div", { id: "dataset-statistics", "aria-live": "polite" });
  const element = h("div", {}, place);
  let old = true;
  let wanted = false;
  let news = null;
  let shown = "";

  const ask = (begin) => api("/datasets/statistics", { body: { ...named, values: lens(), begin } });
  async function load(begin = false) {
    let answer;
    try {
      answer = await ask(begin);
    } catch (error) {
      stop();
      shown = "";
      fill(place, h("div", { class: "datasets-note bad", role: "alert" }, error.message));
      return;
    }
    old = false;
    const next = JSON.stringify(answer);
    if (next === shown) return;
    shown = next;
    const hint = answer.hint === "no_model" ? t("datasets.statistics_hint") : answer.hint;
    if (answer.result) {
      stop();
      fill(place, hint ? h("div", { class: "datasets-note" }, hint) : null, result(answer.result, jump));
    } else if (answer.job && !answer.job.ended) {
      fill(place, working(answer.job));
      follow();
    } else {
      stop();
      fill(place, start(answer.job, hint));
    }
  }
  function follow() {
    news ||= poll(element, () => load(), EVERY_MS);
  }
  function stop() {
    news?.stop();
    news = null;
  }
  const start = (job, hint) => h("div", { class: "datasets-empty" },
    job && job.state !== "succeeded" ? h("div", { class: "datasets-note bad" },
      h("strong", {}, t("datasets.count_failed", { job: job.id })), job.sentence ? h("p", {}, job.sentence) : null,
      button(t("datasets.open_job"), () => open_job(job.id))) : null,
    h("p", {}, t("datasets.statistics_about")),
    hint ? h("p", { class: "studio-muted" }, hint) : null,
    button(t("datasets.count_now"), () => { wanted = true; return load(true); }, { id: "dataset-count", kind: "primary" }));
  const working = (job) => h("div", { class: "datasets-empty", id: "dataset-counting" },
    h("p", {}, job.state === "queued" ? job.sentence || t("datasets.waits") : job.total
      ? t("datasets.counting", { done: whole(job.done), total: whole(job.total) }) : t("datasets.counting_begins")),
    h("progress", { max: job.total || 1, value: job.total ? job.done : undefined, "aria-label": t("datasets.tab.statistics") }),
    h("p", { class: "studio-muted" }, t("datasets.counting_job", { job: job.id })),
    button(t("datasets.open_job"), () => open_job(job.id)));
  return {
    element,
    go: () => {},
    refresh: () => { if (old) load(); },
    stale: (visible) => {
      old = true;
      shown = "";
      stop();
      // Who has asked for numbers once wants to see those of the new cut-off too.
      if (visible && element.isConnected) load(wanted);
    },
  };
}

function open_job(id) {
  show("jobs");
  emit("open-job", id);
}

function result(found, jump) {
  const tokens = found.tokens;
  return h("div", { class: "dataset-numbers" },
    h("div", { class: "datasets-tiles" },
      tile(t("datasets.n.rows"), whole(found.rows)),
      tile(t("datasets.n.refused"), whole(found.refused), found.refused ? "bad" : "good"),
      tokens ? [
        tile(t("datasets.n.tokens"), whole(tokens.tokens)),
        tile(t("datasets.n.learned"), tokens.tokens ? `${number((100 * tokens.learned) / tokens.tokens, 3)} %` : "–"),
        found.documents ? null : tile(t("datasets.n.truncated"), whole(tokens.truncated), tokens.truncated ? "warn" : "good", share(tokens.truncated, tokens.rows)),
        found.documents ? null : tile(t("datasets.n.answer_cut"), whole(tokens.answer_cut), tokens.answer_cut ? "warn" : "good", share(tokens.answer_cut, tokens.rows)),
        tile(t("datasets.n.without_target"), whole(tokens.without_target), tokens.without_target ? "bad" : "good"),
      ] : null),
    tokens ? lengths(found, tokens) : null,
    tokens && tokens.answer_cut ? h("section", { class: "studio-card" },
      h("h4", {}, t("datasets.cut_rows")),
      h("p", { class: "studio-muted" }, t("datasets.cut_rows_about", { lost: whole(tokens.learned_cut), cutoff: whole(found.cutoff_len) })),
      h("div", { class: "datasets-chips" }, tokens.cut_rows.map((row) => to_row(row, jump)),
        tokens.answer_cut > tokens.cut_rows.length ? "…" : null)) : null,
    found.turns.length ? turns(found, jump) : null,
    survey(found, (row) => to_row(row, jump)),
    refused(found, jump),
    more(found, tokens));
}

const share = (part, all) => (all ? `${number((100 * part) / all, 2)} %` : "");
const tile = (name, value, kind = "", beside = "") => h("div", { class: `datasets-tile ${kind}` },
  h("div", { class: "value" }, value, beside ? h("span", { class: "studio-muted" }, ` ${beside}`) : null), h("div", { class: "name" }, name));
const to_row = (row, jump) => h("button", {
  type: "button", class: "datasets-chip fits link", onclick: () => jump(row), "aria-label": t("datasets.to_row", { row: whole(row) }),
}, whole(row));

/** Bars of the lengths in tokens, with a line where the cut-off is. */
function lengths(found, tokens) {
  const most = Math.max(...tokens.bars.map((bar) => bar.count), 1);
  const end = tokens.bars.length * tokens.bar_width;
  const cutoff = found.cutoff_len;
  const inside = cutoff <= end;
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((part) => Math.round(end * part));
  return h("section", { class: "studio-card" },
    h("h4", {}, t(found.documents ? "datasets.lengths_documents" : "datasets.lengths")),
    h("p", { class: "studio-muted" }, t("datasets.lengths_about", {
      mean: whole(Math.round(tokens.mean)), p50: whole(tokens.p50), p95: whole(tokens.p95), longest: whole(tokens.longest),
    })),
    h("div", { class: "datasets-histogram", id: "dataset-histogram", role: "img", "aria-label": t("datasets.lengths_label", { p50: whole(tokens.p50), longest: whole(tokens.longest), cutoff: whole(cutoff) }) },
      h("div", { class: "bars" }, tokens.bars.map((bar) => h("div", { class: "slot", title: t("datasets.bar", { from: whole(bar.from), to: whole(bar.to), count: whole(bar.count) }) },
        h("div", { class: `bar ${!found.documents && bar.from > cutoff ? "over" : ""}`, style: `height: ${bar.count ? Math.max(1.5, (100 * bar.count) / most) : 0}%` }))),
      inside ? h("div", { class: "cutoff", style: `left: ${(100 * cutoff) / end}%` }, h("span", { class: cutoff > end / 2 ? "left" : "" }, `cutoff_len ${whole(cutoff)}`)) : null),
      h("div", { class: "axis studio-muted" }, ticks.map((tick) => h("span", {}, whole(tick))))),
    h("p", { class: "studio-muted" }, inside ? null : t("datasets.cutoff_beyond", { cutoff: whole(cutoff) }), " ",
      tokens.beyond ? t("datasets.beyond", { count: whole(tokens.beyond), end: whole(end) }) : null),
    h("details", {}, h("summary", {}, t("datasets.as_table")), h("table", {},
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, t("datasets.n.length")), h("th", { scope: "col" }, t("datasets.n.count")))),
      h("tbody", {}, tokens.bars.filter((bar) => bar.count).map((bar) => h("tr", {}, h("td", {}, `${whole(bar.from)} – ${whole(bar.to)}`), h("td", {}, whole(bar.count))))))));
}

function turns(found, jump) {
  const most = Math.max(...found.turns.map((each) => each.count), 1);
  return h("section", { class: "studio-card" }, h("h4", {}, t("datasets.turns")),
    h("div", { class: "datasets-across" }, found.turns.map((each) => [
      h("span", {}, each.turns >= found.most_turns ? `${whole(each.turns)} +` : whole(each.turns)),
      h("div", { class: "line" }, h("div", { class: "bar", style: `width: ${(100 * each.count) / most}%` })),
      h("span", { class: "studio-muted" }, whole(each.count))])),
    found.turn_rows ? h("details", {}, h("summary", {}, t("datasets.first_rows")), Object.entries(found.turn_rows).map(([turn, rows]) =>
      h("div", { class: "studio-row" }, h("span", { class: "studio-muted" }, turn), h("div", { class: "datasets-chips" }, rows.slice(0, 10).map((row) => to_row(row, jump)))))) : null);
}

function refused(found, jump) {
  if (!found.refused) return null;
  return h("section", { class: "studio-card", id: "dataset-refused" }, h("h4", {}, t("datasets.refused_rows")),
    h("p", { class: "studio-muted" }, t("datasets.refused_about")),
    h("ul", { class: "datasets-reasons" }, found.reasons.map((each) => h("li", {}, h("strong", {}, `${whole(each.count)} × `), each.why))),
    h("div", { class: "studio-scroll" }, h("table", {}, h("tbody", {}, found.refused_rows.map((each) => h("tr", {},
      h("td", {}, to_row(each.row, jump)), h("td", {}, each.why),
      h("td", { class: "studio-muted" }, t("datasets.place_in_file", { file: each.file, row: whole(each.row_in_file) }))))))),
    found.refused > found.refused_rows.length ? h("p", { class: "studio-muted" }, t("datasets.first_listed", { count: whole(found.refused_rows.length) })) : null);
}

function more(found, tokens) {
  const facts = [
    found.with_system && t("datasets.n.with_system", { count: whole(found.with_system) }),
    found.with_tools && t("datasets.n.with_tools", { count: whole(found.with_tools) }),
    Object.keys(found.labels).length && t("datasets.n.labels", { wanted: whole(found.labels.wanted || 0), not_wanted: whole(found.labels.not_wanted || 0) }),
    found.equal_sides && t("datasets.n.equal_sides", { count: whole(found.equal_sides) }),
    tokens && tokens.split_rows && t("datasets.n.split", { count: whole(tokens.split_rows) }),
    tokens && tokens.unknown && t("datasets.n.unknown", { count: whole(tokens.unknown) }),
    found.template && t("datasets.n.template", { template: found.template, tokenizer: found.tokenizer }),
    found.cached && t("datasets.n.cached"),
  ].filter(Boolean);
  return facts.length ? h("ul", { class: "datasets-facts studio-muted" }, facts.map((one) => h("li", {}, one))) : null;
}
