// A command or a settings file, pasted: what it says goes into the form.
import { allow, api, button, dialog, fill, h, t, toast } from "./studio.js";
import { draft, fresh_run_name, replace } from "./draft.js";

export function paste_dialog() {
  const text = h("textarea", { id: "paste-text", class: "code", rows: 10, "aria-label": t("train.paste.label"), placeholder: t("train.paste.hint") });
  text.spellcheck = false;
  const told = h("div", { id: "paste-told", role: "status" });
  let read = null;
  let turn = 0;
  let box = null;

  const take = button(t("train.paste.fill"), () => {
    replace({ ...draft, values: read.values, run_name: fresh_run_name(), model_name: "" });
    toast(t("train.paste.filled", { number: Object.keys(read.values).length }), "good");
    box.close();
  }, { kind: "primary", id: "paste-fill" });
  const look = async () => {
    const mine = ++turn;
    read = null;
    if (!text.value.trim()) { fill(told); allow(take, t("train.paste.empty")); return; }
    const answer = await api("/recipe/read", { body: { text: text.value } }).catch((error) => ({ values: {}, notes: [], complaints: error.complaints || [error.message] }));
    if (mine !== turn) return;
    const names = Object.keys(answer.values);
    read = answer;
    fill(told,
      answer.complaints.length ? h("ul", { class: "studio-complaints" }, answer.complaints.map((each) => h("li", {}, each))) : null,
      answer.notes.length ? h("ul", { class: "studio-notes" }, answer.notes.map((each) => h("li", {}, each))) : null,
      names.length ? h("p", {}, t("train.paste.found", { number: names.length }), " ", h("code", {}, names.join(", "))) : null);
    allow(take, names.length ? "" : t("train.paste.nothing"));
  };
  let timer = 0;
  text.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(look, 120); });
  allow(take, t("train.paste.empty"));
  box = dialog(t("train.paste"), h("div", { class: "studio-dialog-form" }, h("p", { class: "studio-muted" }, t("train.paste.about")), text, told, h("div", { class: "studio-row" }, take)));
  text.focus();
}
