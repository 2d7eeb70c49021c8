// What came of works on data: what a cleaning took away and what it changed, the shards that were written.
import { label_of } from "./fields.js";
import { bars, card, legend, marked, tiles } from "./figures.js";
import { go_on, next_row, open_dataset, use_in_train } from "./next.js";
import { reason } from "./phase.js";
import { pairs, percent, table } from "./plain.js";
import { api, bytes, duration, fill, h, has, number, t, tell, whole } from "./studio.js";
import { label_in } from "./workfields.js";

/** A step of a cleaning is called as its argument is. */
const step_name = (step) => (has(`works.step.${step}`) ? t(`works.step.${step}`) : label_of(step));

function cleaned(result) {
  const busy = result.steps.filter((step) => step.changed || step.removed);
  const idle = result.steps.filter((step) => !step.changed && !step.removed);
  const file = result.sources.length === 1 ? `${result.output}/${result.sources[0].output}` : result.output;
  const values = result.name ? { dataset: [result.name] } : { train_file: [file] };
  return h("div", { class: "work-report report-clean" },
    tiles([
      [t("works.clean.n.rows"), whole(result.rows)],
      [t("works.clean.n.kept"), `${whole(result.kept)} · ${percent(result.rows ? result.kept / result.rows : 1)}`, "good"],
      [t("works.clean.n.removed"), whole(result.removed), result.removed ? "warn" : ""],
      [t("works.clean.n.bytes"), `${bytes(result.bytes.before)} → ${bytes(result.bytes.after)}`],
      result.refused ? [t("works.shard.n.refused"), whole(result.refused), "bad"] : null,
      [t("works.clean.n.time"), duration(Object.values(result.seconds ?? {}).reduce((all, each) => all + each, 0))],
    ]),
    h("p", {}, t(result.name ? "works.clean.registered" : "works.clean.not_registered", { folder: result.output, name: result.name })),
    next_row(use_in_train(values), result.name ? open_dataset(result.name) : null, go_on("datasets", "shard", values, t("works.prepare.shard")),
      result.name ? go_on("datasets", "mix", values, t("works.prepare.mix")) : null),
    card(t("works.clean.steps"),
      legend([["gone", t("works.clean.removed")], ["changed", t("works.clean.changed")]]),
      bars(busy.map((step) => ({
        label: step_name(step.step),
        parts: [{ value: step.removed, tone: "gone", title: t("works.clean.removed_rows", { count: whole(step.removed) }) }, { value: step.changed, tone: "changed", title: t("works.clean.changed_rows", { count: whole(step.changed) }) }],
        text: [step.removed && t("works.clean.removed_rows", { count: whole(step.removed) }), step.changed && t("works.clean.changed_rows", { count: whole(step.changed) })].filter(Boolean).join(" · "),
      })), { label: t("works.clean.steps") }),
      idle.length ? h("p", { class: "studio-muted" }, t("works.clean.idle", { steps: idle.map((step) => step_name(step.step)).join(t("works.and")) })) : null),
    busy.some((step) => step.samples.length) ? card(t("works.clean.samples"), busy.filter((step) => step.samples.length).map((step, at) => samples(step, at === 0))) : null,
    refusedRows({ refused: result.refused, reasons: result.bad_reasons, examples: result.bad_rows }),
    h("details", {}, h("summary", {}, t("works.clean.sources")), table(result.sources.map((each) => ({ name: each.name, rows: whole(each.rows), kept: whole(each.kept), output: each.output })), { heads: source_heads() })),
    h("details", {}, h("summary", {}, t("works.clean.recipe")), pairs(result.recipe ?? {}, (name) => label_in("clean", name))));
}

const source_heads = () => ({ kept: t("works.clean.n.kept"), output: t("works.clean.head.output") });

/** Samples of a step, closed; a reader sees at once how many there are of which reason. */
function samples(step, open) {
  const reasons = Object.entries(step.reasons ?? {});
  return h("details", { open, "data-step": step.step }, h("summary", {}, step_name(step.step), " ", h("span", { class: "studio-muted" }, reasons.slice(0, 6).map(([why, count]) => `${reason(why)} ${whole(count)}`).join(" · "))),
    step.samples.map((sample) => h("div", { class: "work-sample" },
      h("header", {}, h("span", {}, t("datasets.place_in_file", { file: sample.file, row: whole(sample.row) })),
        sample.why ? h("strong", {}, reason(sample.why)) : null,
        sample.similarity !== undefined ? h("span", {}, t("works.clean.similarity", { share: percent(sample.similarity) })) : null),
      "before" in sample ? marked(sample.before, sample.after) : h("div", { class: "work-text" }, h("del", {}, sample.text)),
      sample.like ? h("div", {}, h("div", { class: "studio-muted" }, t("works.clean.like", { file: sample.like.file, row: whole(sample.like.row) })), h("div", { class: "work-text" }, sample.like.text)) : null)));
}

function sharded(result) {
  const values = result.name ? { dataset: [result.name] } : { train_file: [result.folder] };
  return h("div", { class: "work-report report-shard" },
    tiles([
      [t("works.shard.n.rows"), whole(result.rows)], [t("works.shard.n.shards"), whole(result.shards)],
      [t("works.shard.n.packed"), bytes(result.packed)], [t("works.shard.n.unpacked"), bytes(result.unpacked)],
      [t("works.shard.n.ratio"), t("works.ratio", { ratio: number(result.unpacked / Math.max(result.packed, 1), 2) })],
      [t("works.shard.n.each"), `${bytes(result.smallest)} – ${bytes(result.largest)}`],
      [t("works.shard.n.refused"), whole(result.refused), result.refused ? "bad" : "good"],
    ]),
    h("p", {}, t(result.name ? "works.shard.registered" : "works.shard.not_registered", { folder: result.folder, name: result.name, registry: result.registry })),
    next_row(use_in_train({ ...values, streaming: true }), result.name ? open_dataset(result.name) : null,
      result.name ? go_on("datasets", "mix", values, t("works.prepare.mix")) : null),
    refusedRows(result), shardList(result),
    h("p", { class: "studio-muted" }, t("works.shard.columns", { columns: (result.columns ?? []).join(", ") }), result.shuffled ? ` ${t("works.shard.shuffled")}` : ""));
}

/** The shards as their index lists them, asked for when they are opened. */
function shardList({ folder }) {
  const place = h("div");
  const heads = Object.fromEntries(["name", "rows", "packed", "unpacked"].map((name) => [name, t(`works.shard.head.${name}`)]));
  const look = async () => {
    const { count, shards } = await api(`/works/shards?folder=${encodeURIComponent(folder)}`);
    fill(place, table(shards.map((each) => ({ name: each.name, rows: whole(each.rows), packed: bytes(each.packed), unpacked: bytes(each.unpacked) })), { heads }),
      count > shards.length ? h("p", { class: "studio-muted" }, t("works.shard.first", { shown: whole(shards.length), count: whole(count) })) : null);
  };
  const all = h("details", { class: "report-shards", ontoggle: () => { if (all.open && !place.children.length) look().catch(tell); } }, h("summary", {}, t("works.shard.list")), place);
  return all;
}

/** Rows that could not be read: why, how often, and the first of them. */
function refusedRows({ refused, reasons, examples }) {
  if (!refused) return null;
  return card(t("datasets.refused_rows"),
    h("ul", { class: "datasets-reasons" }, Object.entries(reasons ?? {}).map(([why, count]) => h("li", {}, h("strong", {}, `${whole(count)} × `), why))),
    examples?.length ? table(examples, { columns: Object.keys(examples[0]), first: false }) : null);
}

export const clean = { report: cleaned };
export const shard = { report: sharded };
