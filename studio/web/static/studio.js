// What every script of the page uses: words, elements, questions to the server, and news at intervals.

const { language, address, version } = window.studio;
const words = await fetch(address(`/studio/language/${language}.json?v=${version}`)).then((answer) => answer.json());

/** The text of a key in the person's language, with {name} filled in. A missing key shows itself. */
export function t(key, values = {}) {
  const text = words[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/** Whether there is such a string. */
export const has = (key) => key in words;

/** The keys that begin so. */
export const keys = (beginning) => Object.keys(words).filter((key) => key.startsWith(beginning));

/** An element. Children are elements or text, never HTML: what comes from data stays text. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && !["list", "form", "type", "role"].includes(name) && !name.includes("-")) {
      element[name === "class" ? "className" : name] = value;
    } else element.setAttribute(name, value === true ? "" : value);
  }
  if (attributes.class) element.className = attributes.class;
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Exchange everything inside an element. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** What the server said against a question: `complaints` are sentences, `status` is the HTTP status. */
export class Refused extends Error {
  constructor(status, body) {
    super(body.error || `HTTP ${status}`);
    this.status = status;
    this.body = body;
    this.complaints = body.complaints || [this.message];
  }
}

/** Ask our server: api("/jobs"), api("/jobs/3/stop", {method: "POST"}), api("/recipe", {body: {...}}). */
export async function api(path, { method, body, signal, raw } = {}) {
  const options = { method: method || (body === undefined ? "GET" : "POST"), signal, headers: {} };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(address(`/api${path}`), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, { error: t("studio.unreachable") });
  }
  if (answer.status === 401) throw new Refused(401, { error: t("studio.unauthorised") });
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({}));
    throw new Refused(answer.status, told.error ? told : { error: told.detail ? String(told.detail) : `HTTP ${answer.status}` });
  }
  return raw ? answer : answer.json();
}

/** Call `ask` again and again while `element` is shown: one at a time, never in a hidden page. Returns {now, stop}.
    What it throws ends nothing: the next round asks again. It is told once; a server that is away, by the bar. */
export function poll(element, ask, every_ms = 1000) {
  let timer = 0;
  let told = "";
  let busy = false;
  let ended = false;
  const round = async () => {
    clearTimeout(timer);
    if (ended || busy) return;
    const seen = !document.hidden && element.isConnected && element.offsetParent !== null;
    if (seen) {
      busy = true;
      try {
        await ask();
        told = "";
      } catch (error) {
        if (error.status !== 0 && error.message !== told) tell(error);
        told = error.message;
      } finally { busy = false; }
    }
    // What is not shown yet asks nothing, but begins at once when it is.
    if (!ended) timer = setTimeout(round, seen ? every_ms : Math.min(every_ms, 250));
  };
  document.addEventListener("visibilitychange", round);
  round();
  return {
    now: round,
    stop: () => { ended = true; clearTimeout(timer); document.removeEventListener("visibilitychange", round); },
  };
}

/** A short message that goes by itself. kind: "info", "good", "bad". */
export function toast(text, kind = "info") {
  let place = document.getElementById("studio-toasts");
  if (!place) {
    place = h("div", { id: "studio-toasts", role: "status", "aria-live": "polite" });
    document.body.append(place);
  }
  const one = h("div", { class: `studio-toast ${kind}` }, text);
  place.append(one);
  setTimeout(() => one.remove(), kind === "bad" ? 12000 : 5000);
}

/** Show what went wrong: for `catch`. */
export const tell = (error) => { if (error.name !== "AbortError") toast(error.message, "bad"); };

/** A dialog over the page. buttons: [{text, kind, run}]; `run` may return false to keep it open. Returns the <dialog>. */
export function dialog(title, content, buttons = [{ text: t("studio.close") }]) {
  const box = h("dialog", { class: "studio-dialog", "aria-label": title },
    h("h3", {}, title),
    h("div", { class: "studio-dialog-content" }, content),
    h("div", { class: "studio-row studio-dialog-buttons" }, buttons.map((each) =>
      h("button", {
        type: "button", class: `studio-button ${each.kind || ""}`,
        onclick: async () => { if ((await each.run?.()) !== false) box.close(); },
      }, each.text))));
  box.addEventListener("close", () => box.remove());
  document.body.append(box);
  box.showModal();
  return box;
}

/** A button. kind: "primary", "danger" or "". While `run` goes on it is disabled; what it throws is told. */
export function button(text, run, { kind = "", ...attributes } = {}) {
  const one = h("button", { type: "button", class: `studio-button ${kind}`, ...attributes }, text);
  one.addEventListener("click", async () => {
    if (one.getAttribute("aria-busy")) return;
    one.setAttribute("aria-busy", "true");
    try { await run(); } catch (error) { tell(error); } finally { one.removeAttribute("aria-busy"); }
  });
  return one;
}

/** Disable a button with the reason, or enable it: allow(button, "why not") / allow(button, ""). */
export function allow(one, why) {
  one.disabled = Boolean(why);
  one.title = why || "";
  one.setAttribute("aria-description", why || "");
}

/** Copy text; the toast says so. Works without the clipboard permission too. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const box = h("textarea", { value: text });
    document.body.append(box);
    box.select();
    document.execCommand("copy");
    box.remove();
  }
  toast(t("studio.copied"), "good");
}

/** The tabs of the page, in their order. */
export const TABS = ["train", "datasets", "vocabulary", "jobs", "evaluate", "chat", "export"];

/** Show a tab of the page. */
export function show(tab) {
  const own = document.querySelector(`#tab-${tab}-button`);
  if (own) {
    own.click();
    return;
  }
  // On a narrow page Gradio puts the tabs that do not fit into a menu, without their names: their place tells which is which.
  const bar = document.querySelector("#studio-tabs > .tab-wrapper");
  const text = bar?.querySelectorAll(".tab-container.visually-hidden button")[TABS.indexOf(tab)]?.textContent;
  [...(bar?.querySelectorAll(".overflow-dropdown button") || [])].find((each) => each.textContent === text)?.click();
}

/** Numbers and times as people read them. */
export const number = (value, digits = 3) =>
  value === null || value === undefined ? "–" : new Intl.NumberFormat(language, { maximumSignificantDigits: digits }).format(value);
export const whole = (value) => (value === null || value === undefined ? "–" : new Intl.NumberFormat(language).format(value));
export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const place = Math.min(Math.floor(Math.log2(Math.max(value, 1)) / 10), units.length - 1);
  return `${number(value / 1024 ** place)} ${units[place]}`;
}
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const s = Math.round(seconds);
  const parts = [Math.floor(s / 3600), Math.floor(s / 60) % 60, s % 60].map((part) => String(part).padStart(2, "0"));
  return (parts[0] === "00" ? parts.slice(1) : parts).join(":");
}
export const when = (unix_s) => (unix_s ? new Date(unix_s * 1000).toLocaleString(language) : "–");

/** Things that one script tells the others. Who comes later hears the last one too: a tab is built when it is first shown. */
const listeners = new Map();
const last = new Map();
export function on(name, run) {
  listeners.set(name, [...(listeners.get(name) || []), run]);
  if (last.has(name)) run(last.get(name));
}
export function emit(name, value) {
  last.set(name, value);
  for (const run of listeners.get(name) || []) run(value);
}
