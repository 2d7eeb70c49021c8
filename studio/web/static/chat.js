// The Chat tab.
import { h, t } from "./studio.js";

export function mount(place) {
  place.append(h("p", {}, t("tabs.chat")));
}
