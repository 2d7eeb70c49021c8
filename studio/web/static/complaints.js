// Complaints at the fields that Gradio draws, and the way from a complaint to its field.
import { h } from "./studio.js";
import { schema } from "./draft.js";

const holder = (argument) => document.getElementById(`${argument.part}-${argument.name}`);

/** Show the complaint of each argument below its field, and take away those that hold no longer. */
export function complain_at(by_field) {
  for (const argument of schema.arguments) {
    if (argument.part !== "train" && argument.part !== "top") continue;
    const field = holder(argument);
    if (!field) continue;
    let told = field.querySelector(".studio-complaint");
    const text = by_field[argument.name] || "";
    if (!told && !text) continue;
    if (!told) {
      told = h("p", { class: "studio-complaint", role: "alert" });
      field.append(told);
    }
    if (told.textContent !== text) told.textContent = text;
    told.hidden = !text;
    field.classList.toggle("studio-wrong", Boolean(text));
  }
}

/** The input of an argument, wherever it is. */
export function input_of(name) {
  const found = document.getElementById(`train-${name}`) || document.getElementById(`top-${name}`);
  return found && (/^(input|select|textarea)$/i.test(found.tagName) ? found : found.querySelector("input, textarea"));
}

/** Go to the field of an argument; groups that hold it open. */
export function go_to(name) {
  const input = input_of(name);
  if (!input) return;
  input.closest("details")?.setAttribute("open", "");
  input.scrollIntoView({ block: "center", behavior: "smooth" });
  input.focus({ preventScroll: true });
}
