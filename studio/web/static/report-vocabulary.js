// What came of works on vocabularies: tokens before and after, the text coloured by token, ids that changed.
import { label_of } from "./fields.js";
import { bars, card, coloured, legend, tiles } from "./figures.js";
import { chat_with, go_on, next_row, train_on } from "./next.js";
import { noted, reason } from "./phase.js";
import { percent, pairs, table, text_of } from "./plain.js";
import { bytes, h, has, number, t, whole } from "./studio.js";

const script_name = (name) => (has(`works.script.${name}`) ? t(`works.script.${name}`) : name);
const per = (value) => number(value, 3);

/** Tokens per character of texts, one or two bars for each. rows: compare.measures of the server. */
function perCharacter(rows, title, label_of = (name) => name) {
  if (!rows?.length) return null;
  const two = Boolean(rows[0].before && rows[0].after);
  const one = (row) => row.after ?? row.tokens ?? row.before;
  const list = rows.flatMap((row) => (two ? [
    { label: label_of(row.name), parts: [{ value: row.before.tokens_per_character, tone: "faint" }], text: per(row.before.tokens_per_character) },
    { label: "", parts: [{ value: row.after.tokens_per_character, tone: "kept" }],
      text: `${per(row.after.tokens_per_character)} (${percent(row.after.tokens_per_character / (row.before.tokens_per_character || 1) - 1)})` },
  ] : [{ label: label_of(row.name), parts: [{ value: one(row)?.tokens_per_character ?? 0, tone: "kept" }], text: per(one(row)?.tokens_per_character) }]));
  const flat = rows.map((row) => ({
    name: label_of(row.name), texts: whole(row.texts), characters: whole(row.characters),
    ...(two ? { before: per(row.before.tokens_per_character), after: per(row.after.tokens_per_character), saved: percent(1 - row.after.tokens / (row.before.tokens || 1)), bytes_per_token: per(row.after.bytes_per_token) }
      : { tokens: whole(one(row)?.tokens), tokens_per_character: per(one(row)?.tokens_per_character), bytes_per_token: per(one(row)?.bytes_per_token) }),
  }));
  return card(title,
    two ? legend([["faint", t("works.vocabulary.before")], ["kept", t("works.vocabulary.after")]]) : null,
    bars(list, { label: title }),
    h("details", {}, h("summary", {}, t("datasets.as_table")), table(flat, { heads: heads() })));
}

const heads = () => Object.fromEntries(["name", "text", "texts", "characters", "before", "after", "saved", "bytes_per_token", "tokens", "tokens_per_character"]
  .map((name) => [name, t(`works.vocabulary.head.${name}`)]));

/** Both sides of the measures of a comparison. */
export const measured = (measures) => (measures ? [
  perCharacter(measures.scripts, t("works.vocabulary.by_script"), script_name),
  perCharacter(measures.datasets, t("works.vocabulary.by_dataset")),
] : null);

const pieces = (list) => coloured(list.map((piece) => ({ text: piece.text, title: t("works.vocabulary.token", { ids: (piece.ids ?? [piece.id]).join(", ") }), tone: piece.new ? "new" : "" })));

/** A text in one vocabulary or two, token by token. */
export function example(found) {
  if (!found?.text) return null;
  const side = (list, title) => (list?.length ? h("div", {}, h("div", { class: "who" }, title, " · ", t("works.vocabulary.tokens", { count: whole(list.reduce((sum, each) => sum + (each.ids?.length ?? 1), 0)) })), pieces(list)) : null);
  return card(t("works.vocabulary.example"), h("p", { class: "studio-muted" }, t("works.vocabulary.example.about")),
    h("div", { class: "work-sides" }, found.before && found.after ? [side(found.before, t("works.vocabulary.before")), side(found.after, t("works.vocabulary.after"))] : side(found.after ?? found.before ?? found.tokens, t("works.vocabulary.this"))));
}

/** Whether old text keeps its ids. */
export function oldText(found) {
  if (!found) return null;
  const same = !found.changed;
  return card(t("works.vocabulary.old"),
    h("p", { class: same ? "studio-good" : "studio-bad" }, t(same ? "works.vocabulary.old.same" : "works.vocabulary.old.changed", { changed: whole(found.changed), texts: whole(found.texts), characters: whole(found.characters) })),
    (found.samples ?? []).map((sample) => h("div", { class: "work-sample" },
      h("div", { class: "work-text" }, sample.text),
      h("dl", { class: "run-pairs" }, ["before", "after"].flatMap((side) => [h("dt", {}, t(`works.vocabulary.${side}`)), h("dd", {}, String(sample[side]))])))));
}

const notes = (list) => (list?.length ? h("ul", { class: "work-notes studio-muted" }, list.map((text) => h("li", {}, noted(text)))) : null);
const change = ({ before, after }) => (before === after ? whole(after) : `${whole(before)} → ${whole(after)}`);

function newTokens(found) {
  if (!found?.first?.length) return null;
  return card(t("works.vocabulary.new"), ["first", "last"].filter((side) => found[side]?.length).map((side) => [
    h("div", { class: "who studio-muted" }, t(`works.vocabulary.new.${side}`)), chips(found[side])]));
}

function leftOut(found) {
  if (!found || !Object.keys(found).length) return null;
  return h("details", { class: "work-card" }, h("summary", {}, t("works.vocabulary.left_out")), pairs(found, reason));
}

/** Tokens whose text cannot be told from others: numbers with them. */
const chips = (list) => h("div", { class: "work-chips" }, list.map((each) => h("span", { class: "work-chip", title: t("works.vocabulary.token", { ids: each.id }) }, seen(each))));

/** White space as signs; a part of a character, which has no text, by its number. */
const seen = ({ id, text }) => (/^\uFFFD*$/.test(text) ? `#${id}` : text.replaceAll(" ", "␣").replaceAll("\n", "⏎").replaceAll("\t", "⇥"));

function roundTrip(found) {
  if (!found) return null;
  return h("p", { class: found.lost ? "studio-bad" : "studio-good" }, t(found.lost ? "works.vocabulary.trip.lost" : "works.vocabulary.trip.whole", { lost: whole(found.lost), texts: whole(found.texts) }));
}

function inspected(result) {
  const { tokens, vocabulary } = result;
  return h("div", { class: "work-report report-inspect" },
    tiles([
      [t("works.vocabulary.n.tokens"), tokens.before === undefined ? whole(tokens.after) : change(tokens)],
      result.rows === null ? null : [t("works.vocabulary.n.rows"), whole(result.rows)],
      vocabulary && [t("works.vocabulary.n.same"), whole(vocabulary.same), "good"], vocabulary && [t("works.vocabulary.n.added"), whole(vocabulary.added)],
      vocabulary && [t("works.vocabulary.n.gone"), whole(vocabulary.gone), vocabulary.gone ? "warn" : ""],
      vocabulary && [t("works.vocabulary.n.moved"), whole(vocabulary.moved), vocabulary.moved ? "bad" : "good"],
      [t("works.vocabulary.n.unused"), t("works.vocabulary.of", { count: whole(result.unused.count), of: whole(result.unused.of) })],
    ]),
    h("p", { class: "studio-muted" }, result.before_folder ? t("works.vocabulary.compared", { folder: result.folder, before: result.before_folder }) : result.folder),
    roundTrip(result.round_trip),
    measured(result.measures), example(result.example), oldText(result.changed),
    vocabulary?.moved_samples?.length ? card(t("works.vocabulary.n.moved"), table(vocabulary.moved_samples, { heads: heads() })) : null,
    result.unused.samples.length ? h("details", {}, h("summary", {}, t("works.vocabulary.unused")), chips(result.unused.samples)) : null,
    notes(result.notes));
}

const made = (result) => h("div", { class: "work-report report-tokenizer" },
  tiles([
    [t("works.vocabulary.n.tokens"), whole(result.tokens.all), result.tokens.all < result.tokens.asked ? "warn" : "good"],
    [t("works.vocabulary.n.special"), whole(Object.keys(result.tokens.special).length)],
    [t("works.vocabulary.n.read"), whole(Object.values(result.texts ?? {}).reduce((all, each) => all + each.characters, 0))],
  ]),
  next_row(go_on("vocabulary", "new-model", { tokenizer_name_or_path: result.folder }, t("works.next.new_model")),
    go_on("vocabulary", "inspect", { model_name_or_path: result.folder }, t("works.next.inspect"))),
  roundTrip(result.round_trip), measured(result.measures), example(result.example), newTokens(result.new_tokens), notes(result.notes));

/** Parameters as people say them, and what they are made of. */
function parameters({ all, layers, embeddings }) {
  return card(t("works.vocabulary.n.parameters"), legend([["kept", t("works.model.layers")], ["faint", t("works.model.embeddings")]]),
    bars([{ label: whole(all), parts: [{ value: layers, tone: "kept" }, { value: embeddings, tone: "faint" }], text: `${percent(layers / all)} / ${percent(embeddings / all)}` }]));
}

const shape_of = (shape) => h("dl", { class: "run-pairs" }, Object.entries(shape).flatMap(([name, value]) => [h("dt", {}, label_of(name)), h("dd", {}, text_of(value, name))]));

const newModelReport = (result) => h("div", { class: "work-report report-model" },
  tiles([
    [t("works.vocabulary.n.parameters"), whole(result.parameters.all), "good"], [t("works.vocabulary.n.tokens"), whole(result.tokens)],
    [t("works.vocabulary.n.rows"), whole(result.rows)], [t("works.model.bytes"), bytes(result.bytes)],
  ]),
  h("p", {}, t("works.model.made", { folder: result.folder, tokenizer: result.tokenizer })),
  next_row(train_on(result.folder, { stage: "pt", finetuning_type: "full" })), parameters(result.parameters), h("details", {}, h("summary", {}, t("works.group.shape")), shape_of(result.shape)), notes(result.notes));

/** A new model before it is written: its parameters, and those of the other sizes. */
const newModelFacts = (facts) => (facts.parameters ? h("div", {},
  h("p", {}, h("strong", { id: "work-new-model-count" }, t("works.model.count", { count: whole(facts.parameters.all), told: facts.told }))),
  h("dl", { class: "run-pairs" }, [[t("works.model.layers"), whole(facts.parameters.layers)], [t("works.model.embeddings"), whole(facts.parameters.embeddings)], [t("works.model.bytes"), bytes(facts.bytes)]]
    .flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
  h("details", {}, h("summary", {}, t("works.model.sizes")), bars(Object.entries(facts.sizes).map(([name, value]) => ({ label: name, parts: [{ value }], text: whole(value) }))))) : null);

export const extend = {
  report: (result) => h("div", { class: "work-report" },
    tiles([
      [t("works.vocabulary.n.tokens"), change(result.tokens)], [t("works.vocabulary.n.added"), whole(result.tokens.added), "good"],
      [t("works.vocabulary.n.rows"), change(result.rows)], result.parameters && [t("works.vocabulary.n.parameters"), change(result.parameters)],
      [t("works.vocabulary.n.start"), has(`works.start_of.${result.start}`) ? t(`works.start_of.${result.start}`) : result.start],
    ]),
    next_row(train_on(result.folder), chat_with(result.folder),
      go_on("vocabulary", "inspect", { model_name_or_path: result.folder }, t("works.next.inspect"))),
    measured(result.measures), example(result.example), oldText(result.old_text), newTokens(result.new_tokens), leftOut(result.left_out), notes(result.notes)),
};
export const inspect = { report: inspected };
export const train = { report: made };
export const newModel = { report: newModelReport, facts: newModelFacts };
