// The Vocabulary tab: what is done to a tokenizer and to the embeddings of a model.
import { note } from "./route.js";
import { on } from "./studio.js";
import { worksTab } from "./works.js";

export function mount(place) {
  worksTab(place, { tab: "vocabulary", verb: "tokenizer", note, on });
}
