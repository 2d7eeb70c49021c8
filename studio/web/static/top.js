// What stands above the tabs: the model, and what is shared by them.
import { h } from "./studio.js";

export function mount(place) {
  place.append(h("div", {}));
}
