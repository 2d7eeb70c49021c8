// The points of a run as columns, in the order of steps: what charts draw and tables tell.

// Not drawn as a curve of their own: they are axes, or say how far the run is.
const AXES = new Set(["step", "total_steps", "epoch", "elapsed_s", "eta_s", "eval_runtime"]);

const finite = (value) => (typeof value === "number" && Number.isFinite(value) ? value : null);

/** The alarms that a row raises: a word, or several. */
const kinds = (told) => (Array.isArray(told) ? told.map(String) : typeof told === "string" ? told.split(/[\s,]+/) : []).filter(Boolean);

export class Curve {
  constructor() {
    this.reset();
  }

  /** Forget everything. */
  reset() {
    this.x = { step: [], time: [], epoch: [] };
    this.columns = new Map();
    this.means = new Map();
    this.alarms = [];
    this.before_s = 0;
    this.elapsed_s = 0;
  }

  get length() {
    return this.x.step.length;
  }

  /** Names of the columns, in the order in which they came. */
  get names() {
    return [...this.columns.keys()];
  }

  /** Add rows as `progress.jsonl` has them. Rows of one step become one; a step that comes again replaces what followed it. */
  append(rows) {
    for (const row of rows) {
      const last = this.x.step[this.length - 1];
      if (last !== undefined && row.step < last) this.cut(row.step);
      if (row.step !== this.x.step[this.length - 1]) this.begin(row);
      const place = this.length - 1;
      for (const kind of kinds(row.alarm)) {
        if (!this.alarms.some((each) => each.step === row.step && each.kind === kind)) this.alarms.push({ step: row.step, kind });
      }
      for (const [name, value] of Object.entries(row)) {
        if (AXES.has(name) || finite(value) === null) continue;
        this.column(name)[place] = value;
        const mean = this.means.get(name);
        if (mean && mean.values.length > place) this.means.delete(name);
      }
    }
  }

  /** A row of its own, empty but for the axes. */
  begin(row) {
    const elapsed_s = finite(row.elapsed_s) ?? this.elapsed_s;
    // Each attempt counts its own time; the axis goes on.
    if (elapsed_s < this.elapsed_s) this.before_s += this.elapsed_s;
    this.elapsed_s = elapsed_s;
    this.x.step.push(row.step);
    this.x.time.push(this.before_s + elapsed_s);
    this.x.epoch.push(finite(row.epoch) ?? this.x.epoch[this.length - 2] ?? 0);
    for (const values of this.columns.values()) values.push(null);
  }

  /** Drop the rows from `step` on. */
  cut(step) {
    let keep = this.length;
    while (keep && this.x.step[keep - 1] >= step) keep -= 1;
    this.alarms = this.alarms.filter((each) => each.step < step);
    for (const values of [...Object.values(this.x), ...this.columns.values()]) values.length = keep;
    this.means.clear();
  }

  /** The values of a name, one for each row, null where there was none. */
  column(name) {
    if (!this.columns.has(name)) this.columns.set(name, new Array(this.length).fill(null));
    return this.columns.get(name);
  }

  /** Its running mean, corrected at the start; only what came since is computed. `keep` in [0, 1) is how much of the past stays. */
  smooth(name, keep) {
    let mean = this.means.get(name);
    if (!mean || mean.keep !== keep) this.means.set(name, (mean = { keep, mean: 0, weight: 0, values: [] }));
    const values = this.column(name);
    for (let place = mean.values.length; place < values.length; place += 1) {
      if (values[place] === null) {
        mean.values.push(null);
        continue;
      }
      mean.mean = keep * mean.mean + (1 - keep) * values[place];
      mean.weight = keep * mean.weight + (1 - keep);
      mean.values.push(mean.mean / mean.weight);
    }
    return mean.values;
  }

  /** What a person would ask of a column: its last, lowest and highest value, and where. */
  summary(name) {
    let last = null, low = null, high = null;
    this.column(name).forEach((value, place) => {
      if (value === null) return;
      const at = { value, step: this.x.step[place] };
      last = at;
      if (low === null || value < low.value) low = at;
      if (high === null || value > high.value) high = at;
    });
    return last && { name, last, low, high };
  }

  /** Everything as CSV: a line a step. */
  csv() {
    const names = this.names;
    const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const lines = [["step", "elapsed_s", "epoch", ...names].map(quoted).join(",")];
    for (let place = 0; place < this.length; place += 1) {
      const axes = [this.x.step[place], this.x.time[place], this.x.epoch[place]];
      lines.push([...axes, ...names.map((name) => this.columns.get(name)[place] ?? "")].join(","));
    }
    return `${lines.join("\n")}\n`;
  }
}
