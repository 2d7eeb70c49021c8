// The mix of sources: a slider for each, what it means for a pass, and the file that the training command reads.
import { tiles } from "./figures.js";
import { normalised, pass_of, rounded, tempered } from "./mixture.js";
import { next_row, use_in_train } from "./next.js";
import { noted } from "./phase.js";
import { percent, table } from "./plain.js";
import { tint } from "./chart.js";
import { bytes, fill, h, number, t, whole } from "./studio.js";

// Sizes to the power of 1/T: 1 as they are, larger ones lift what is small.
const TEMPERATURES = [1, 1.5, 2, 3.3, Infinity];
// A source that is named is drawn at least so often; more passes than these teach little.
const LEAST = 0.001;
const OFTEN = 4;
const DRAWN = ["interleave_under", "interleave_over", "interleave_once"];

/** The sources as the server tells them before the start, in the order of the command. */
const sources_of = (facts) => (facts?.sources ?? []).map((each) => ({
  name: each.name, bytes: each.bytes ?? null, rows: each.rows ?? null, tokens: each.tokens ?? null,
}));

class MixHead {
  constructor(page) {
    this.page = page;
    this.taken = ["mix_strategy", "interleave_probs", "mix_temperature", "sample_policy_file"];
    this.sources = [];
    this.policy = null;
    this.weights = new Map();
    this.rows = h("tbody");
    this.total = h("tfoot");
    this.strips = h("div", { class: "mix-strips" });
    this.said = h("p", { class: "studio-muted", id: "mix-said", role: "status" });
    this.presets = h("div", { class: "studio-row", role: "group", "aria-label": t("works.mix.presets") },
      h("span", { class: "studio-muted" }, t("works.mix.presets")),
      TEMPERATURES.map((temperature) => h("button", {
        type: "button", class: "studio-button", "data-temperature": String(temperature), title: t("works.mix.preset.about"),
        onclick: () => this.preset(temperature),
      }, temperature === 1 ? t("works.mix.preset.size") : temperature === Infinity ? t("works.mix.preset.equal") : `T = ${number(temperature)}`)));
    const heads = ["source", "size", "rows", "tokens", "in_size", "slider", "in_sampling", "epochs"];
    this.table = h("div", { class: "studio-scroll" }, h("table", { class: "work-table mix-table", id: "mix-table" },
      h("thead", {}, h("tr", {}, heads.map((name) => h("th", { scope: "col", class: `m-${name}` }, t(`works.mix.head.${name}`))))), this.rows, this.total));
    this.empty = h("p", { class: "studio-muted" }, t("works.mix.empty"));
    this.count = h("p", { class: "studio-muted", id: "mix-count" }, t("works.mix.count"));
    this.element = h("section", { class: "studio-card mix", "aria-label": t("works.mix.shares") }, h("h4", {}, t("works.mix.shares")),
      this.empty, this.presets, this.table, this.strips, this.said, this.count,
      h("div", { class: "studio-grid work-grid" }, this.taken.map((name) => page.fields[name].element)));
    page.on_answer((answer) => this.hear(answer));
    this.draw();
  }

  get strategy() { return this.page.value("mix_strategy") || "concat"; }

  hear(answer) {
    const told = sources_of(answer.facts);
    // While something is wrong, what was known stays.
    const list = told.length ? told : this.named();
    const now = JSON.stringify([list, answer.facts?.policy ?? null]);
    const anew = now !== this.shown;
    this.shown = now;
    this.sources = list;
    this.policy = answer.facts?.policy ?? null;
    const asked = (this.page.value("interleave_probs") ?? []).map(Number);
    if (!this.moving) {
      const fits = asked.length === list.length && asked.length > 0 && asked.every((each) => each > 0);
      this.weights = fits ? new Map(list.map((each, at) => [each.name, asked[at]])) : new Map();
    }
    this.draw(anew);
  }

  /** The names that the form has, before the server knows more of them. */
  named() {
    const names = [...(this.page.value("dataset") ?? []), ...(this.page.value("train_file") ?? [])];
    return names.map((name) => this.sources.find((each) => each.name === name) ?? { name, bytes: null, rows: null, tokens: null });
  }

  /** What shares are counted in: as the form says, else what is known of all sources. */
  get sizes() {
    const wanted = [this.page.value("mix_by"), "rows", "bytes"];
    const best = wanted.find((name) => name && this.sources.every((each) => each[name] > 0));
    return this.sources.map((each) => (best ? each[best] : 1));
  }

  /** The shares of sampling, as the file, the sliders, the temperature or nothing says. */
  get shares() {
    if (this.policy) return normalised(this.sources.map((each) => this.policy[each.name] ?? Object.values(this.policy)[this.sources.indexOf(each)] ?? 0));
    if (this.weights.size) return normalised(this.sources.map((each) => this.weights.get(each.name) ?? 0));
    const temperature = this.page.value("mix_temperature");
    if (temperature) return temperature === "uniform" ? normalised(this.sources.map(() => 1)) : tempered(this.sizes, Number(temperature) || 1);
    return DRAWN.includes(this.strategy) ? normalised(this.sources.map(() => 1)) : normalised(this.sizes);
  }

  preset(temperature) {
    const shares = temperature === Infinity ? normalised(this.sources.map(() => 1)) : tempered(this.sizes, temperature);
    this.put(shares);
    this.draw();
  }

  /** Take these shares, and say them in the form a moment later. */
  put(shares) {
    this.weights = new Map(this.sources.map((each, at) => [each.name, shares[at]]));
    this.moving = true;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      const { fields } = this.page;
      if (!DRAWN.includes(this.strategy)) fields.mix_strategy.set("interleave_over");
      fields.mix_temperature.set("");
      this.moving = false;
      this.page.set("interleave_probs", rounded(this.shares).map(String));
    }, 150);
  }

  /** One share is moved; the others keep their ratio to each other, and have what is left. */
  move(at, value) {
    const { shares } = this;
    const share = Math.min(Math.max(value / 100, LEAST), 1 - LEAST * (shares.length - 1));
    const rest = shares.reduce((sum, each, place) => sum + (place === at ? 0 : each), 0);
    this.put(shares.map((each, place) => (place === at ? share : rest > 0 ? Math.max((each / rest) * (1 - share), LEAST) : (1 - share) / (shares.length - 1))));
    this.numbers();
  }

  /** The share that a person wrote; an emptied field asks for nothing, and shows what holds. */
  exactly(at, input) {
    if (input.value === "") input.value = (100 * this.shares[at]).toFixed(1); else this.move(at, Number(input.value));
  }

  draw(anew = false) {
    const some = this.sources.length > 0;
    this.empty.hidden = this.sources.length > 1;
    for (const each of [this.presets, this.table, this.strips]) each.hidden = !some;
    this.presets.hidden ||= Boolean(this.policy);
    const counts_tokens = Boolean(this.page.value("model_name_or_path"));
    this.count.hidden = !some || this.sources.every((each) => each.rows && (each.tokens !== null || !counts_tokens));
    if (anew) {
      this.cells = this.sources.map((each, at) => this.row(each, at));
      fill(this.rows, this.cells.map((cell) => cell.element));
    }
    this.numbers();
  }

  row(source, at) {
    const id = `mix-share-${at}`;
    const still = Boolean(this.policy) || this.sources.length < 2;
    const why = still ? t(this.policy ? "works.mix.of_file" : "works.mix.alone") : "";
    const slider = h("input", { type: "range", id, min: 0, max: 100, step: 0.1, disabled: still, title: why, "aria-label": t("works.mix.share_of", { name: source.name }), oninput: () => this.move(at, Number(slider.value)) });
    const exact = h("input", { type: "number", id: `${id}-exact`, min: 0, max: 100, step: 0.1, disabled: still, title: why, "aria-label": t("works.mix.percent_of", { name: source.name }), onchange: () => this.exactly(at, exact) });
    const epochs = h("td", { class: "number m-epochs" });
    const element = h("tr", { "data-source": source.name },
      h("th", { scope: "row" }, h("span", { class: "work-key", style: `background: ${tint(at)}` }), source.name),
      h("td", { class: "number" }, bytes(source.bytes)), h("td", { class: "number" }, whole(source.rows)), h("td", { class: "number" }, whole(source.tokens && Math.round(source.tokens))),
      h("td", { class: "number" }, percent(normalised(this.sizes)[at])), h("td", { class: "m-slider" }, slider), h("td", { class: "m-in_sampling" }, h("span", { class: "mix-exact" }, exact, "%")), epochs);
    return { element, slider, exact, epochs };
  }

  /** One pass over the mix, and how much of it the training sees. */
  seen(shares) {
    const rows = this.sources.map((each) => each.rows);
    if (this.policy) {
      // Shares of a file are of all bytes, and may repeat a source.
      const sum = this.sources.reduce((all, each) => all + (each.bytes || 0), 0);
      const asked = this.sources.map((each, at) => this.policy[each.name] ?? Object.values(this.policy)[at] ?? 0);
      const epochs = this.sources.map((each, at) => (each.bytes ? (asked[at] * sum) / each.bytes : null));
      const known = rows.every(Boolean) && epochs.every((each) => each !== null);
      return this.times({ rows: known ? rows.reduce((all, each, at) => all + each * epochs[at], 0) : null, epochs });
    }
    return this.times(pass_of(rows, this.weights.size || this.page.value("mix_temperature") ? shares : null, this.strategy));
  }

  times(pass) {
    const value = (name) => Number(this.page.value(name)) || 0;
    const per_row = this.sources.every((each) => each.tokens && each.rows) ? this.shares.reduce((all, share, at) => all + share * (this.sources[at].tokens / this.sources[at].rows), 0) : 0;
    const wanted = value("total_rows") || value("max_steps") * value("rows_per_step") || (per_row ? value("total_tokens") / per_row : 0);
    const times = wanted && pass.rows ? wanted / pass.rows : value("num_train_epochs") || 1;
    return { rows: pass.rows === null ? null : pass.rows * times, epochs: pass.epochs.map((each) => (each === null ? null : each * times)) };
  }

  /** Everything that follows from the shares. */
  numbers() {
    this.said.textContent = "";
    if (!this.sources.length) return;
    const { shares } = this;
    const drawn = DRAWN.includes(this.strategy) || Boolean(this.policy);
    const seen = this.seen(shares);
    this.cells.forEach((cell, at) => {
      const value = (100 * shares[at]).toFixed(shares[at] < 0.01 ? 2 : 1);
      if (document.activeElement !== cell.slider) cell.slider.value = value;
      if (document.activeElement !== cell.exact) cell.exact.value = value;
      cell.slider.setAttribute("aria-valuetext", `${value} %`);
      cell.epochs.textContent = seen.epochs[at] === null ? "–" : number(seen.epochs[at], 3);
      cell.epochs.classList.toggle("studio-warn", seen.epochs[at] > OFTEN);
      cell.epochs.title = seen.epochs[at] > OFTEN ? t("works.mix.often") : "";
    });
    const sum = (name) => (this.sources.every((each) => each[name] !== null) ? this.sources.reduce((all, each) => all + each[name], 0) : null);
    fill(this.total, h("tr", {}, h("th", { scope: "row" }, t("works.mix.total")), h("td", { class: "number" }, bytes(sum("bytes"))), h("td", { class: "number" }, whole(sum("rows"))),
      h("td", { class: "number" }, whole(sum("tokens") && Math.round(sum("tokens")))), h("td", { class: "number" }, percent(1)), h("td", {}), h("td", { class: "number", id: "mix-sum" }, percent(shares.reduce((all, each) => all + each, 0))), h("td", {})));
    const counted = this.sources.every((each) => each.tokens && each.rows);
    fill(this.strips, strip(t("works.mix.head.in_size"), this.sources, normalised(this.sizes)), strip(t("works.mix.head.in_sampling"), this.sources, shares),
      counted ? strip(t("works.mix.head.in_tokens"), this.sources, normalised(this.sources.map((each, at) => shares[at] * (each.tokens / each.rows)))) : null);
    this.said.textContent = t(`works.mix.pass.${drawn ? "drawn" : "once"}`, { rows: seen.rows === null ? "?" : whole(Math.round(seen.rows)) });
  }
}

/** One bar of all sources, each as wide as its share. */
function strip(title, sources, shares) {
  return h("div", { class: "mix-strip" }, h("span", { class: "studio-muted" }, title), h("div", { class: "line", role: "img", "aria-label": sources.map((each, at) => `${each.name} ${percent(shares[at])}`).join(", ") },
    sources.map((each, at) => h("span", { style: `width: ${100 * shares[at]}%; background: ${tint(at)}`, title: `${each.name} · ${percent(shares[at])}` }))));
}

/** An argument of a command as it was asked for. */
const asked_of = (argv, name) => {
  const at = argv?.indexOf(`--${name}`) ?? -1;
  return at < 0 ? "" : argv[at + 1];
};

function mixed(result, page, job) {
  const values = Object.fromEntries(["dataset", "train_file", "sample_policy_file"].map((name) => [name, asked_of(job?.argv, name)]));
  const into = result.strategy === "policy" ? { dataset: [], train_file: [], mix_strategy: "concat", interleave_probs: [], sample_policy_file: values.sample_policy_file }
    : { dataset: values.dataset, train_file: values.train_file, mix_strategy: result.strategy, interleave_probs: result.probabilities, sample_policy_file: "" };
  const policy_file = result.file.endsWith(".json") ? { ...into, dataset: [], train_file: [], mix_strategy: "concat", interleave_probs: [], sample_policy_file: result.file } : into;
  return h("div", { class: "work-report report-mix" },
    tiles([
      [t("works.mix.n.epoch"), whole(Math.round(result.epoch.rows))], [t("works.mix.n.epochs"), number(result.epochs, 4)],
      [t("works.mix.n.rows"), whole(Math.round(result.total.seen_rows))],
      result.total.seen_tokens === null || result.total.seen_tokens === undefined ? null : [t("works.mix.n.tokens"), whole(Math.round(result.total.seen_tokens))],
    ]),
    next_row(use_in_train(policy_file)),
    table(result.sources.map((each) => ({
      source: each.name, size: bytes(each.bytes), rows: whole(each.rows), tokens: whole(each.tokens === null ? null : Math.round(each.tokens)),
      in_size: percent(each.share_rows), in_sampling: percent(each.share_seen_rows), in_tokens: percent(each.share_seen_tokens), epochs: number(each.epochs, 3),
    })), { heads: Object.fromEntries(["source", "size", "rows", "tokens", "in_size", "in_sampling", "in_tokens", "epochs"].map((name) => [name, t(`works.mix.head.${name}`)])) }),
    h("div", { class: "mix-strips" }, [["in_size", "share_rows"], ["in_sampling", "share_seen_rows"], ["in_tokens", "share_seen_tokens"]]
      .filter(([, name]) => result.sources.every((each) => Number.isFinite(each[name])))
      .map(([head, name]) => strip(t(`works.mix.head.${head}`), result.sources, result.sources.map((each) => each[name])))),
    h("p", {}, result.file ? t("works.mix.file", { file: result.file }) : t("works.mix.no_file")),
    h("div", { class: "work-sides" }, h("pre", { tabindex: 0, class: "mix-content" }, result.content), h("pre", { tabindex: 0 }, result.command)),
    result.notes?.length ? h("ul", { class: "work-notes studio-muted" }, result.notes.map((text) => h("li", {}, noted(text)))) : null);
}

export const mix = { head: (page) => new MixHead(page), facts: () => null, report: mixed };
