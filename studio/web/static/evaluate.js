// The Evaluate tab: models measured, always beside the base that they come from.
import { note } from "./route.js";
import { on } from "./studio.js";
import { worksTab } from "./works.js";

export function mount(place) {
  worksTab(place, { tab: "evaluate", verb: "eval", note, on });
}
