// How a reward model scores pairs, split by split: how often the chosen answer is ahead, and where the scores lie.
import { brief } from "./chart.js";
import { api, fill, h, number, t, whole } from "./studio.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDE = 320;
const HIGH = 110;

function drawn(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** The section; `look(path)` asks for the scores of a job, and is hidden while there are none. */
export function scoresView() {
  const grid = h("div", { class: "score-grid" });
  const element = h("section", { class: "studio-card run-part run-scores", hidden: true, "aria-label": t("run.scores") },
    h("h4", {}, t("run.scores")), h("p", { class: "studio-muted" }, t("run.scores.about")), grid);
  let shown = "";
  const look = async (path) => {
    const { splits } = await api(`${path}/scores`);
    const now = JSON.stringify(splits);
    if (now === shown) return;
    shown = now;
    element.hidden = !Object.keys(splits).length;
    fill(grid, Object.entries(splits).map(([name, split]) => figure(name, split)));
  };
  return { element, look };
}

const percent = (share) => `${number(100 * share, 3)} %`;

function figure(name, split) {
  const title = ["train", "eval", "validation"].includes(name) ? t(`run.scores.${name}`) : name;
  const [low, high] = Array.isArray(split.interval) ? split.interval : [null, null];
  const share = t("run.scores.accuracy", { accuracy: percent(split.accuracy) });
  const span = typeof low === "number" && typeof high === "number" ? t("run.scores.interval", { low: percent(low), high: percent(high) }) : "";
  // Half is what a coin reaches: below it nothing was shown.
  const unsure = typeof low === "number" && low <= 0.5;
  const facts = [t("run.scores.pairs", { pairs: whole(split.pairs) }), typeof split.margin === "number" ? t("run.scores.margin", { margin: brief(split.margin) }) : ""];
  return h("figure", { class: "chart score", role: "img", "aria-label": [title, share, span, ...facts].filter(Boolean).join("; "), "data-split": name },
    h("figcaption", {}, title),
    h("p", { class: "score-share" }, h("strong", {}, share), " ", span && h("span", { class: unsure ? "studio-warn" : "studio-muted" }, span)),
    histogram(split),
    h("p", { class: "score-legend" }, h("span", { class: "score-key chosen" }), t("run.scores.chosen"), " ", h("span", { class: "score-key rejected" }), t("run.scores.rejected")),
    h("p", { class: "studio-muted" }, facts.filter(Boolean).join(" · ")),
    unsure ? h("p", { class: "studio-warn" }, t("run.scores.unsure")) : null);
}

/** Both sides over one axis; where they lie over each other, both are seen. */
function histogram({ edges, chosen, rejected }) {
  const [first, last] = [edges[0], edges.at(-1)];
  const most = Math.max(1, ...chosen, ...rejected);
  const x = (value) => (last > first ? ((value - first) / (last - first)) * WIDE : 0);
  const bars = (counts, side) => counts.map((count, place) => {
    const tall = (count / most) * HIGH;
    const bar = drawn("rect", { class: side, x: x(edges[place]), y: HIGH - tall, width: Math.max(x(edges[place + 1]) - x(edges[place]) - 1, 1), height: tall });
    bar.append(drawn("title", {}, t("run.scores.bar", { low: brief(edges[place]), high: brief(edges[place + 1]), side: t(`run.scores.${side}`), count: whole(count) })));
    return bar;
  });
  const ticks = [first, (first + last) / 2, last].map((value) => h("span", {}, brief(value)));
  return h("div", {},
    drawn("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", class: "score-bars" }, ...bars(rejected, "rejected"), ...bars(chosen, "chosen")),
    h("div", { class: "score-axis studio-muted" }, ticks));
}
