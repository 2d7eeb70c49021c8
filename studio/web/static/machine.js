// Meters of the machine, and how many jobs run: in the bar of the page, on every tab.
import { dress } from "./dress.js";
import { api, bytes, dialog, fill, h, on, poll, show, t, whole } from "./studio.js";

dress("run.css");
const EVERY_MS = 4000;

/** A small meter: what, how full, and the text of it. */
function meter(name, share, text, { warns = true } = {}) {
  const full = Math.round(Math.min(Math.max(share ?? 0, 0), 1) * 100);
  return h("span", { class: `meter ${warns && share > 0.92 ? "full" : ""}` },
    h("span", { class: "meter-name" }, name),
    share === null ? null : h("span", { class: "meter-bar", role: "meter", "aria-label": name, "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": full },
      h("span", { style: `width:${full}%` })),
    h("span", { class: "meter-text" }, text));
}

const part = (used, total) => (used === null || used === undefined || !total ? null : used / total);
const foreign = (gpu) => gpu.processes.filter((each) => !each.ours);

function meters(now) {
  const gpus = now.gpus.map((gpu) => meter(now.gpus.length > 1 ? t("machine.gpu_of", { index: gpu.index }) : t("machine.gpu"),
    part(gpu.memory_used, gpu.memory_total),
    [`${bytes(gpu.memory_used)} / ${bytes(gpu.memory_total)}`, gpu.utilisation === null ? "" : `${whole(gpu.utilisation)} %`,
      foreign(gpu).length ? t("machine.foreign", { count: foreign(gpu).length }) : ""].filter(Boolean).join(" · ")));
  const processor = gpus.length ? [] : [meter(t("machine.cpu"), now.cpu.share, `${whole(Math.round(now.cpu.share * 100))} %`, { warns: false })];
  return [...gpus, ...processor,
    meter(t("machine.memory"), part(now.memory.used, now.memory.total), `${bytes(now.memory.used)} / ${bytes(now.memory.total)}`),
    meter(t("machine.disk"), part(now.disk.used, now.disk.total), t("machine.disk_left", { left: bytes(now.disk.free) }))];
}

/** All of it, in words. */
function details(now) {
  const rows = (entries) => h("dl", { class: "run-pairs" }, entries.filter(([, value]) => value).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
  const gpu = (each) => h("section", {}, h("h4", {}, t("machine.gpu_named", { index: each.index, name: each.name })),
    rows([
      [t("machine.memory"), `${bytes(each.memory_used)} / ${bytes(each.memory_total)}`],
      [t("machine.utilisation"), each.utilisation === null ? "" : `${whole(each.utilisation)} %`],
      [t("machine.temperature"), each.temperature === null ? "" : `${whole(each.temperature)} °C`],
      [t("machine.power"), each.power === null ? "" : `${whole(each.power)} W`],
    ]),
    each.processes.length
      ? h("ul", {}, each.processes.map((one) => h("li", {}, t(one.ours ? "machine.process.ours" : "machine.process.foreign",
        { name: one.name, pid: one.pid, memory: bytes(one.memory) }))))
      : h("p", { class: "studio-muted" }, t("machine.process.none")));
  return h("div", { class: "machine-details" },
    now.gpus.length ? now.gpus.map(gpu) : h("p", {}, now.gpu_note || t("machine.no_gpu")),
    rows([
      [t("machine.cpu"), t("machine.cpu.told", { name: now.cpu.name, cores: now.cpu.cores, share: whole(Math.round(now.cpu.share * 100)) })],
      [t("machine.memory"), t("machine.used_of", { used: bytes(now.memory.used), total: bytes(now.memory.total) })],
      [t("machine.disk"), t("machine.disk.told", { folder: now.disk.folder, free: bytes(now.disk.free), total: bytes(now.disk.total) })],
    ]));
}

/** The strip for the bar. */
export function strip() {
  let now = null;
  const chip = h("button", { type: "button", id: "bar-jobs", class: "studio-button bar-jobs", onclick: () => show("jobs") });
  const gauges = h("button", {
    type: "button", id: "bar-machine", class: "bar-machine", "aria-label": t("machine.title"), title: t("machine.title"),
    onclick: () => { if (now) dialog(t("machine.title"), details(now)); },
  });
  const element = h("div", { class: "bar-strip" }, chip, gauges);
  const draw = () => {
    const { running, queued } = now.jobs;
    chip.classList.toggle("busy", running > 0);
    chip.textContent = [t(running === 1 ? "machine.jobs.one" : "machine.jobs", { running }), queued ? t("machine.jobs.queued", { queued }) : ""].filter(Boolean).join(" · ");
    fill(gauges, meters(now));
  };
  chip.hidden = true;
  const look = async () => {
    let trouble = "";
    try {
      now = await api("/machine");
    } catch (error) {
      // The next round tries again; until then the old numbers would be a lie.
      trouble = error.message;
    }
    chip.hidden = false;
    chip.classList.toggle("away", Boolean(trouble));
    if (trouble) {
      chip.textContent = trouble;
      fill(gauges);
    } else draw();
  };
  const ticks = poll(element, look, EVERY_MS);
  on("job", () => ticks.now());
  on("jobs-changed", () => ticks.now());
  return element;
}
