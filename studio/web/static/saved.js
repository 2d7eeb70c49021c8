// Forms that are kept in the workspace under a name.
import { allow, api, button, dialog, fill, h, t, tell, toast, when } from "./studio.js";
import { SCHEMA, draft, fresh_run_name, is_fresh_name, replace } from "./draft.js";

export function saved_dialog() {
  const name = h("input", { id: "forms-name", type: "text", autocomplete: "off", placeholder: t("train.forms.name_hint") });
  const list = h("div", { id: "forms-list" }, t("studio.loading"));
  let box = null;

  const load = async (saved) => {
    const { form, notes } = await api(`/forms/${encodeURIComponent(saved)}`);
    const unknown = replace({ ...form, run_name: is_fresh_name(form.run_name) ? fresh_run_name() : form.run_name });
    box.close();
    toast(t("train.forms.loaded", { name: saved }), "good");
    if (unknown.length) toast(t("train.forms.unknown", { names: unknown.join(", ") }), "bad");
    for (const note of notes) toast(note);
  };
  const draw = async () => {
    const rows = await api("/forms");
    fill(list, rows.length ? h("table", {}, h("tbody", {}, rows.map((row) => h("tr", {},
      h("td", {}, row.name), h("td", { class: "studio-muted" }, when(row.changed)),
      h("td", { class: "studio-row" },
        button(t("train.forms.load"), () => load(row.name), { "data-form": row.name }),
        button(t("train.forms.delete"), async () => {
          await api(`/forms/${encodeURIComponent(row.name)}`, { method: "DELETE" });
          await draw();
        }, { kind: "danger" })))))) : h("p", { class: "studio-muted" }, t("train.forms.none")));
  };
  const keep = button(t("train.forms.save"), async () => {
    const form = { schema: SCHEMA, values: draft.values, model_name: draft.model_name, run_name: draft.run_name };
    await api(`/forms/${encodeURIComponent(name.value.trim())}`, { method: "PUT", body: form });
    toast(t("train.forms.saved", { name: name.value.trim() }), "good");
    await draw();
  }, { kind: "primary", id: "forms-save" });
  const check = () => allow(keep, name.value.trim() ? "" : t("train.forms.name_hint"));
  name.addEventListener("input", check);
  name.addEventListener("keydown", (event) => { if (event.key === "Enter") keep.click(); });
  check();
  box = dialog(t("train.forms"), h("div", { class: "studio-dialog-form" },
    h("div", { class: "studio-row" }, name, keep), list));
  draw().catch(tell);
}
