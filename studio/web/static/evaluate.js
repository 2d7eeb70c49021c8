// The Evaluate tab: models measured, always beside the base that they come from; below, what was measured before.
import { pastEvaluations } from "./past.js";
import { note } from "./route.js";
import { on } from "./studio.js";
import { worksTab } from "./works.js";

export function mount(place) {
  worksTab(place, { tab: "evaluate", verb: "eval", note, on });
  place.append(pastEvaluations());
}
