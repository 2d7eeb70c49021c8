// Charts of a run: one figure for each kind of value, drawn by uPlot, with the numbers as a table for who cannot see them.
import { alarm_title } from "./alarms.js";
import { Curve } from "./curve.js";
import { dress, load } from "./dress.js";
import { about, alarms_of, arranged, called, main_of, title_of } from "./families.js";
import { duration, fill, h, number, t, whole } from "./studio.js";

dress("vendor/uPlot.min.css");
dress("run.css");
const ready = load("vendor/uPlot.iife.min.js");

const LIGHT = ["#2563eb", "#ea580c", "#16a34a", "#9333ea", "#dc2626", "#0891b2", "#ca8a04", "#db2777"];
const DARK = ["#7aa2ff", "#fb923c", "#4ade80", "#c084fc", "#f87171", "#22d3ee", "#facc15", "#f472b6"];
/** The colour of a line, by its place among those of a figure. */
export const tint = (place) => (document.body.classList.contains("dark") ? DARK : LIGHT)[place % LIGHT.length];
// Values that jump from step to step; a running mean is drawn over them.
const ROUGH = ["loss", "reward"];
// Steps between the marks of an axis that counts.
const WHOLE = [0, 1, 2, 3, 4, 5, 6].flatMap((power) => [1, 2, 5].map((each) => each * 10 ** power));
const KEPT = "studio.charts";

/** How all charts are looked at; kept in the browser. */
// Six tenths of what was before: a smoothed curve of a short run must not hang far above the loss.
const look = { keep: 0.6, axis: "step", log: false };
try { Object.assign(look, JSON.parse(localStorage.getItem(KEPT) || "{}")); } catch { /* as it comes */ }

/** A number in few signs. */
export function brief(value) {
  if (value === null || value === undefined) return "–";
  return value !== 0 && Math.abs(value) < 1e-3 ? value.toExponential(2).replace(/\.?0+e/, "e") : number(value, 4);
}

const colour = (name, other) => getComputedStyle(document.body).getPropertyValue(name).trim() || other;
const positive = (values) => values.map((value) => (value > 0 ? value : null));

/** The lines of one figure: [{name, values, ...}] on one x axis. It is drawn again only when seen. */
export class Figure {
  constructor(title, { big = false, lines, marks = () => [], hint = "" }) {
    this.lines = lines;
    this.marks = marks;
    this.big = big;
    this.plot = null;
    this.drawn = "";
    this.zoomed = false;
    this.canvas = h("div", { class: "chart-canvas" });
    this.element = h("figure", { class: `chart ${big ? "big" : ""}`, role: "img", "aria-label": title },
      h("figcaption", { title: hint }, title, (this.value = h("span", { class: "chart-value" }))), this.canvas);
    this.title = title;
    this.dirty = false;
    this.seen = false;
    this.watch = new IntersectionObserver((entries) => {
      this.seen = entries.some((entry) => entry.isIntersecting);
      if (this.seen && this.dirty) this.draw();
    }, { rootMargin: "200px" });
    this.watch.observe(this.element);
    this.resize = new ResizeObserver(() => {
      if (this.plot && this.canvas.clientWidth) this.plot.setSize(this.size());
    });
    this.resize.observe(this.canvas);
  }

  size() {
    return { width: Math.max(this.canvas.clientWidth, 200), height: this.big ? 280 : 170 };
  }

  /** Told that there is more: draw, if anybody looks. */
  changed() {
    this.dirty = true;
    if (this.seen) this.draw();
  }

  draw() {
    if (!window.uPlot || !this.canvas.clientWidth) return;
    this.dirty = false;
    const { x, lines } = this.lines();
    const made = JSON.stringify([look.axis, look.log, lines.map((line) => [line.name, line.colour])]);
    const data = [x, ...lines.map((line) => (look.log ? positive(line.values) : line.values))];
    this.legend = this.big || lines.length > 1;
    if (made !== this.drawn) {
      this.plot?.destroy();
      this.zoomed = false;
      this.plot = new window.uPlot(this.options(lines), data, this.canvas);
      this.drawn = made;
    } else {
      this.plot.setData(data, !this.zoomed);
      if (this.zoomed) this.plot.redraw();
    }
    this.tell();
  }

  /** The value under the pointer, else the last one: beside the title, or in the legend of a figure with several lines. */
  tell() {
    const { plot } = this;
    if (!plot) return;
    const under = plot.cursor.idx;
    const at = under ?? plot.data[0].length - 1;
    if (this.legend) {
      if (under === null || under === undefined) plot.setLegend({ idx: at }, false);
      return;
    }
    let place = at;
    while (place > 0 && (plot.data[1][place] ?? null) === null) place -= 1;
    this.value.textContent = brief(plot.data[1][place]);
  }

  options(lines) {
    const text = () => colour("--body-text-color-subdued", "#6b7280");
    const rule = () => colour("--border-color-primary", "#e5e7eb");
    const axis = { stroke: text, grid: { stroke: rule, width: 1 }, ticks: { stroke: rule, width: 1 }, font: "11px sans-serif" };
    const sideways = look.axis === "time" ? (_, ticks) => ticks.map(duration) : (_, ticks) => ticks.map((tick) => number(tick, 5));
    return {
      ...this.size(),
      scales: { x: { time: false }, y: look.log ? { distr: 3 } : { range: (_, low, high) => spread(low, high) } },
      axes: [
        { ...axis, values: sideways, space: 60, size: 28, incrs: look.axis === "step" ? WHOLE : undefined },
        { ...axis, values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : brief(tick))), size: 58, space: this.big ? 36 : 28 },
      ],
      series: [
        { label: t(`run.axis.${look.axis}`), value: (_, value) => (look.axis === "time" ? duration(value) : number(value, 6)) },
        ...lines.map((line) => ({
          label: line.name,
          stroke: line.colour,
          alpha: line.faint ? 0.35 : 1,
          width: line.faint ? 1 : 1.75,
          spanGaps: true,
          points: line.dots ? { show: true, size: 5 } : undefined,
          value: (_, value) => brief(value),
        })),
      ],
      cursor: { sync: { key: "run" }, drag: { x: true, y: false } },
      legend: { show: this.legend, live: true },
      hooks: {
        setCursor: [() => this.tell()],
        draw: [(plot) => this.mark(plot)],
        setSelect: [(plot) => { this.zoomed = plot.select.width > 0; }],
        ready: [(plot) => plot.over.addEventListener("dblclick", () => { this.zoomed = false; })],
      },
    };
  }

  /** Alarms as lines from top to bottom; the big figure says which. */
  mark({ ctx, bbox, valToPos }) {
    const ratio = window.devicePixelRatio || 1;
    ctx.save();
    ctx.strokeStyle = ctx.fillStyle = colour("--studio-bad", "#dc2626");
    ctx.lineWidth = ratio;
    ctx.setLineDash([4 * ratio, 3 * ratio]);
    ctx.font = `${11 * ratio}px sans-serif`;
    let free = -Infinity;
    for (const { x, text } of this.marks()) {
      const left = Math.round(valToPos(x, "x", true));
      if (!(left >= bbox.left - 1 && left <= bbox.left + bbox.width + 1)) continue;
      ctx.beginPath();
      ctx.moveTo(left, bbox.top);
      ctx.lineTo(left, bbox.top + bbox.height);
      ctx.stroke();
      const width = ctx.measureText(text).width;
      const begin = Math.min(left + 4 * ratio, bbox.left + bbox.width - width);
      // Where alarms stand close together, the first one says what it is.
      if (!this.big || begin < free) continue;
      ctx.fillText(text, begin, bbox.top + 12 * ratio);
      free = begin + width + 8 * ratio;
    }
    ctx.restore();
  }

  destroy() {
    this.watch.disconnect();
    this.resize.disconnect();
    this.plot?.destroy();
  }
}

/** Room above and below; a level line gets some too. */
function spread(low, high) {
  if (low === null) return [0, 1];
  const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
  return [low >= 0 && low - room < 0 ? 0 : low - room, high + room];
}

/** What stands above charts: smoothing, axis, scale. `change` is called when one was moved. */
export function controls(change, ...more) {
  const keepLook = () => {
    try { localStorage.setItem(KEPT, JSON.stringify(look)); } catch { /* a browser that keeps nothing */ }
    change();
  };
  const told = h("output", { class: "studio-muted" }, number(look.keep));
  const slider = h("input", {
    type: "range", id: `run-smooth-${++made}`, min: 0, max: 0.99, step: 0.01, value: look.keep,
    oninput: () => { look.keep = Number(slider.value); told.textContent = number(look.keep); keepLook(); },
  });
  const axis = h("select", { id: `run-axis-${made}`, onchange: () => { look.axis = axis.value; keepLook(); } },
    ["step", "time", "epoch"].map((each) => h("option", { value: each, selected: each === look.axis }, t(`run.axis.${each}`))));
  const log = h("input", {
    type: "checkbox", id: `run-log-${made}`, checked: look.log, onchange: () => { look.log = log.checked; keepLook(); },
  });
  return h("div", { class: "chart-controls" },
    h("span", {}, h("label", { for: slider.id }, t("run.smoothing")), slider, told),
    h("span", {}, h("label", { for: axis.id }, t("run.axis")), axis),
    h("span", {}, log, h("label", { for: log.id }, t("run.log_scale"))),
    h("span", { class: "studio-space" }), more);
}
let made = 0;

export const smoothing = () => look.keep;
export const axisOf = (curve) => curve.x[look.axis];

/** The charts of a curve. Call `draw` after points were appended. */
export function charts(curve) {
  const figures = new Map();
  const heads = new Map();
  const grid = h("div", { class: "chart-grid" });
  const table = h("tbody");
  const numbers = h("details", { class: "chart-numbers" }, h("summary", {}, t("run.numbers")),
    h("div", { class: "studio-scroll" }, h("table", {},
      h("thead", {}, h("tr", {}, ["value", "last", "lowest", "highest"].map((each) => h("th", { scope: "col" }, t(`run.numbers.${each}`))))),
      table)));
  numbers.addEventListener("toggle", () => tabulate());
  const tabulate = () => {
    if (!numbers.open) return;
    const told = ({ value, step }) => t("run.at_step", { value: brief(value), step: whole(step) });
    fill(table, curve.names.map((name) => curve.summary(name)).filter(Boolean).map((each) => h("tr", {},
      h("th", { scope: "row" }, called(each.name)), h("td", {}, told(each.last)), h("td", {}, told(each.low)), h("td", {}, told(each.high)))));
  };
  const draw = () => {
    const main = main_of(curve.names);
    const order = [];
    for (const [section, members] of arranged(curve.names)) {
      if (section) order.push(heads.get(section) || heads.set(section, h("h4", { class: "chart-section" }, t(`run.section.${section}`))).get(section));
      for (const [name, values] of members) {
        // Which value is looked at first may be told only by a later point.
        if (figures.get(name)?.big !== (name === main)) {
          figures.get(name)?.destroy();
          figures.set(name, add(name, main));
        }
        const figure = figures.get(name);
        figure.members = values;
        figure.element.setAttribute("aria-label", spoken(curve, values));
        order.push(figure.element);
      }
    }
    if (order.length !== grid.childElementCount || order.some((each, place) => grid.children[place] !== each)) fill(grid, order);
    for (const figure of figures.values()) figure.changed();
    tabulate();
  };
  const add = (name, main) => {
    const figure = new Figure(title_of(name), {
      big: name === main,
      hint: about(name),
      lines: () => ({ x: axisOf(curve), lines: linesOf(curve, figure.members) }),
      marks: () => alarms_of(curve.alarms, name, main).map(({ step, kind }) => ({ x: axisOf(curve)[curve.x.step.indexOf(step)], text: alarm_title(kind) })),
    });
    return figure;
  };
  const element = h("section", { class: "charts", "aria-label": t("run.charts") }, controls(draw), grid, numbers);
  ready.then(draw);
  return { element, draw, figures, destroy: () => figures.forEach((figure) => figure.destroy()) };
}

function linesOf(curve, members) {
  return members.flatMap((name, place) => {
    const evaluated = name.startsWith("eval_");
    const line = { name: called(name), values: curve.column(name), colour: tint(place), dots: evaluated };
    if (!ROUGH.includes(name)) return [line];
    const smoothed = { name: t("run.smoothed"), values: curve.smooth(name, look.keep), colour: tint(place) };
    return look.keep > 0 ? [{ ...line, faint: true }, smoothed] : [line];
  });
}

function spoken(curve, members) {
  return members.map((name) => curve.summary(name)).filter(Boolean).map((each) =>
    t("run.spoken", { name: called(each.name), value: brief(each.last.value), step: whole(each.last.step) })).join("; ");
}

/** All figures under each other as one picture. */
export function picture(figures, title) {
  const canvases = [...figures.values()].filter((figure) => figure.plot).map((figure) => [figure.title, figure.plot.ctx.canvas]);
  const ratio = window.devicePixelRatio || 1;
  const head = 24 * ratio;
  const all = document.createElement("canvas");
  all.width = Math.max(...canvases.map(([, canvas]) => canvas.width), 400);
  all.height = head + canvases.reduce((sum, [, canvas]) => sum + canvas.height + head, 0);
  const pen = all.getContext("2d");
  pen.fillStyle = colour("--background-fill-primary", "#fff");
  pen.fillRect(0, 0, all.width, all.height);
  pen.fillStyle = colour("--body-text-color", "#000");
  pen.font = `${14 * ratio}px sans-serif`;
  pen.fillText(title, 8 * ratio, 17 * ratio);
  let top = head;
  for (const [name, canvas] of canvases) {
    pen.fillText(name, 8 * ratio, top + 17 * ratio);
    pen.drawImage(canvas, 0, top + head);
    top += canvas.height + head;
  }
  return new Promise((resolve) => all.toBlob(resolve, "image/png"));
}

/** Hand a file made here to the person. */
export function hand(name, blob) {
  const link = h("a", { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export { called, Curve };
