// How many jobs at a time, how long a stop may take, and how often what the machine ended begins again.
import { api, dialog, h, t, tell } from "./studio.js";

const NAMES = ["cpu_jobs", "jobs_per_gpu", "serve_jobs_per_device", "light_jobs", "grace_s", "retries"];

/** Show them, and keep what was changed. */
export async function limitsDialog() {
  const now = await api("/settings");
  const fields = NAMES.filter((name) => name in now).map((name) => h("input", {
    type: "number", id: `jobs-setting-${name}`, name, min: ["grace_s", "retries"].includes(name) ? 0 : 1, step: 1, value: now[name],
  }));
  dialog(t("jobs.settings"), h("div", { class: "jobs-settings" }, fields.map((field) => h("div", { class: "studio-field" },
    h("label", { for: field.id }, t(`jobs.setting.${field.name}`)), field,
    h("span", { class: "studio-muted" }, t(`jobs.setting.${field.name}.help`))))), [
    { text: t("studio.cancel") },
    {
      text: t("jobs.save"), kind: "primary",
      run: async () => {
        const body = Object.fromEntries(fields.map((field) => [field.name, Number(field.value)]));
        try {
          await api("/settings", { method: "PUT", body });
          return true;
        } catch (error) {
          tell(error);
          return false;
        }
      },
    },
  ]);
}
