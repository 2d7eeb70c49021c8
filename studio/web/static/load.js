// Which models are loaded: what the server says, how to load one more, and how to let one go.
import { failureCard } from "./card.js";
import { dress } from "./dress.js";
import { api, bytes, button, emit, fill, h, on, poll, show, t, toast } from "./studio.js";
import { load_form } from "./load-form.js";
import { keep, kept } from "./talks.js";

const EVERY_MS = 1500;
const DISMISSED = "studio.chat.dismissed";

/** The card of loaded models. `told(models)` hears of every change: those that are ready to answer, the newest first; `pick(id, beside)` which one a person asked for. */
export function models_card(told, pick) {
  dress("run.css");
  const list = h("div", { id: "chat-models-list", class: "chat-models-list" });
  const holder = h("div", { id: "chat-load-holder", hidden: true });
  const opener = h("button", {
    type: "button", id: "chat-open-load", class: "studio-button", "aria-expanded": "false", "aria-controls": "chat-load-holder",
    onclick: () => form_shown(holder.hidden),
  }, t("chat.load"));
  const element = h("section", { class: "studio-card chat-models", "aria-label": t("chat.models") },
    h("div", { class: "studio-row" }, h("h3", {}, t("chat.models")), h("span", { class: "studio-space" }), opener), list, holder);
  const form = load_form((model, base) => {
    form_shown(false);
    seen.set(model.id, model);
    pick(model.id, base?.id);
    news.now();
  });
  holder.append(form.element);
  const seen = new Map();
  const cards = new Map();

  function form_shown(open) {
    holder.hidden = !open;
    opener.setAttribute("aria-expanded", String(open));
    opener.textContent = open ? t("studio.close") : t("chat.load");
    opener.classList.toggle("primary", !open && !list.childElementCount);
    if (open) form.ready();
  }

  let before = "";
  const news = poll(element, async () => {
    const { models } = await api("/serve").catch((error) => (error.status === 0 ? { models: null } : Promise.reject(error)));
    if (!models) return;
    for (const model of models) {
      const old = seen.get(model.id);
      if (old?.active && !model.active && model.state !== "failed") toast(t("chat.unloaded", { model: model.title }), "good");
      seen.set(model.id, model);
    }
    const now = JSON.stringify(models.map((model) => ({ ...model, memory: Math.round(model.memory / 2 ** 20) })));
    if (now === before) return;
    before = now;
    draw(models);
    told(models.filter((model) => model.ready));
  }, EVERY_MS);

  function draw(models) {
    const dismissed = kept(DISMISSED, []);
    const shown = models.filter((model) => model.active || (model.failure && !dismissed.includes(model.id)));
    fill(list, shown.map((model) => (model.active ? chip(model) : failed(model))));
    if (!shown.length) list.append(h("p", { class: "studio-muted" }, t("chat.none_loaded")));
    if (holder.hidden) opener.classList.toggle("primary", !shown.some((model) => model.active));
    for (const model of shown.filter((one) => !one.active)) cards.get(model.id)?.show(model.failure);
  }

  function chip(model) {
    const leaving = model.state === "stopping";
    const state = model.ready ? "ready" : leaving ? "stopping" : "loading";
    const facts = [model.head === "score" ? t("top.judge") : "", [model.model, ...model.adapters].join(" + "), model.devices.length ? t("chat.on_gpu", { gpus: model.devices.join(", ") }) : "",
      model.memory ? bytes(model.memory) : ""].filter(Boolean).join(" · ");
    return h("div", { class: `chat-model ${state}`, "data-job": model.id },
      h("span", { class: "chat-dot", "aria-hidden": "true" }),
      h("div", { class: "chat-model-text" },
        h("strong", {}, model.title), " ", h("span", { class: "studio-muted" }, t(`chat.state.${state}`)),
        h("div", { class: "studio-muted" }, facts),
        !model.ready && (model.sentence || model.tail.at(-1)) && h("details", { class: "chat-tail" },
          h("summary", { class: "studio-muted" }, model.sentence || model.tail.at(-1)), h("pre", {}, model.tail.join("\n")))),
      button(leaving ? t("chat.unloading") : model.ready ? t("chat.unload") : t("studio.cancel"), async () => {
        await api(`/serve/${model.id}/unload`, { method: "POST" });
        before = "";
        await news.now();
      }, { disabled: leaving, title: leaving ? t("chat.unloading") : t("chat.unload.help"), class: "studio-button chat-unload" }));
  }

  function failed(model) {
    const card = failureCard(() => {
      emit("open-job", model.id);
      show("jobs");
    });
    cards.set(model.id, card);
    return h("div", { class: "chat-model failed", "data-job": model.id },
      h("div", { class: "chat-model-text" }, h("strong", {}, t("chat.not_loaded", { model: model.title })), card.element,
        h("details", { class: "chat-tail" }, h("summary", { class: "studio-muted" }, t("chat.log")), h("pre", {}, model.tail.join("\n")))),
      button(t("chat.dismiss"), () => {
        keep(DISMISSED, [...kept(DISMISSED, []), model.id].slice(-50));
        before = "";
        return news.now();
      }));
  }

  // Another tab asks to talk with something: show it when it is loaded, else offer to load it.
  on("chat", (asked) => {
    if (!asked?.path) return;
    const there = [...seen.values()].find((model) => model.active && [model.model, ...model.adapters].includes(asked.path));
    if (there) {
      pick(there.id);
      return;
    }
    form.prefill({ model_name_or_path: asked.path, adapter_name_or_path: [] }, true);
    form_shown(true);
  });
  on("top", (values) => form.prefill(values || {}));
  return { element, open: () => form_shown(true) };
}
