// How the columns of a file are read: the format, and which column is what. Gives the keys of an entry.
import { fill, h, has, t } from "./studio.js";

const SAMPLES = ["line", "paragraph", "document"];

export function mapping_form(found, changed) {
  const entry = found.entry || {};
  const by_name = Object.fromEntries(found.formats.map((each) => [each.name, each]));
  const likely = [...found.formats].sort((one, other) => other.reads - one.reads)[0]?.name;
  const format = h("select", { id: "add-format", onchange: () => { draw({}); changed(); } },
    found.formats.map((each) => h("option", { value: each.name }, each.reads ? t("datasets.format_reads", { name: each.name }) : each.name)));
  format.value = entry.formatting || (found.entry ? "alpaca" : likely || "alpaca");
  const ranking = h("input", { id: "add-ranking", type: "checkbox", checked: Boolean(entry.ranking), onchange: () => { draw(chosen()); changed(); } });
  const pairs = h("div", { class: "studio-row" }, ranking, h("label", { for: "add-ranking" }, t("datasets.ranking")));
  const sample = h("select", { id: "add-sample_by", onchange: changed }, SAMPLES.map((each) => h("option", { value: each }, t(`datasets.sample.${each}`))));
  sample.value = entry.sample_by || "line";
  const is_text = /\.txt(\.\w+)?$/i.test(found.path);
  const columns = h("div", { class: "studio-grid", id: "add-columns" });
  const tags = h("div", { class: "studio-grid", id: "add-tags" });
  const tag_box = h("details", {}, h("summary", {}, t("datasets.tags")), h("p", { class: "studio-muted" }, t("datasets.tags_about")), tags);
  let selects = {};
  let inputs = {};

  const chosen = () => Object.fromEntries(Object.entries(selects).map(([meaning, select]) => [meaning, select.value]).filter(([, value]) => value));
  /** One select a meaning; `kept` are choices that stay, else the entry's, else the defaults where there are such columns. */
  function draw(kept) {
    const known = by_name[format.value];
    if (!known) return;
    const has_column = (name) => found.columns.some((each) => each.name === name);
    const of_entry = format.value === (entry.formatting || "alpaca") ? entry.columns : undefined;
    const start = Object.keys(kept).length ? kept : of_entry || Object.fromEntries(Object.entries(known.columns).filter(([, name]) => has_column(name)));
    const hidden = new Set(known.ranking && !ranking.checked && !("chosen" in known.columns) ? ["chosen", "rejected"] : []);
    selects = {};
    fill(columns, known.meanings.filter((meaning) => !hidden.has(meaning)).map((meaning) => {
      const id = `add-column-${meaning}`;
      const select = h("select", { id, onchange: changed }, h("option", { value: "" }, t("datasets.no_column")),
        found.columns.map((each) => h("option", { value: each.name }, `${each.name} (${has(`datasets.holds.${each.holds}`) ? t(`datasets.holds.${each.holds}`) : each.holds})`)));
      select.value = start[meaning] || "";
      selects[meaning] = select;
      const said = has(`datasets.meaning.${meaning}`) ? t(`datasets.meaning.${meaning}`) : meaning;
      return h("div", { class: "studio-field" }, h("label", { for: id }, said, h("span", { class: "studio-muted" }, ` ${meaning}`)), select);
    }));
    pairs.hidden = !known.ranking || "chosen" in known.columns;
    inputs = {};
    fill(tags, Object.entries(known.tags).map(([tag, word]) => {
      const id = `add-${tag}`;
      const input = h("input", { id, type: "text", value: entry.tags?.[tag] || word, autocomplete: "off", onchange: changed });
      inputs[tag] = [input, word];
      return h("div", { class: "studio-field" }, h("label", { for: id }, tag), input);
    }));
    tag_box.hidden = !Object.keys(known.tags).length;
  }
  draw({});
  return {
    element: h("div", { class: "add-mapping" },
      h("div", { class: "studio-grid" },
        h("div", { class: "studio-field" }, h("label", { for: "add-format" }, t("datasets.format")), format),
        is_text ? h("div", { class: "studio-field" }, h("label", { for: "add-sample_by" }, t("datasets.sample")), sample) : null),
      pairs, columns, tag_box),
    get() {
      const known = by_name[format.value];
      const mapped = chosen();
      const usual = Object.entries(known.columns).filter(([, name]) => found.columns.some((each) => each.name === name));
      const same = usual.length === Object.keys(mapped).length && usual.every(([meaning, name]) => mapped[meaning] === name);
      const own = Object.fromEntries(Object.entries(inputs).filter(([, [input, word]]) => input.value && input.value !== word).map(([tag, [input]]) => [tag, input.value]));
      const made = {};
      if (format.value !== "alpaca") made.formatting = format.value;
      if (ranking.checked && !pairs.hidden) made.ranking = true;
      if (!same && Object.keys(mapped).length) made.columns = mapped;
      if (Object.keys(own).length) made.tags = own;
      if (is_text && sample.value !== "line") made.sample_by = sample.value;
      if (entry.split) made.split = entry.split;
      return made;
    },
  };
}
