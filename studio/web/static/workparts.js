// What works have beyond a form: a head of their own, what they say before the start, how their result is drawn.
import { plain } from "./plain.js";

// By the words of the command. Each module is fetched when its work is opened first.
const PARTS = {
  "data clean": () => import("./report-data.js").then((script) => script.clean),
  "data shard": () => import("./report-data.js").then((script) => script.shard),
  "data mix": () => import("./mix.js").then((script) => script.mix),
  "tokenizer extend": () => import("./report-vocabulary.js").then((script) => script.extend),
  "tokenizer inspect": () => import("./report-vocabulary.js").then((script) => script.inspect),
  "tokenizer train": () => import("./report-vocabulary.js").then((script) => script.train),
  "tokenizer new-model": () => import("./report-vocabulary.js").then((script) => script.newModel),
  "eval choice": () => import("./report-evaluate.js").then((script) => script.evaluated),
  "eval harness": () => import("./report-evaluate.js").then((script) => script.evaluated),
  "eval answers": () => import("./report-evaluate.js").then((script) => script.evaluated),
  "eval text": () => import("./report-evaluate.js").then((script) => script.evaluated),
  "eval pairs": () => import("./report-evaluate.js").then((script) => script.evaluated),
};

/** {head(page), facts(facts, page), report(result, page, job)} of a work, as far as it has them. */
export async function parts_of(work) {
  return (await PARTS[work.words.join(" ")]?.()) ?? {};
}

/** What a work says of itself before the start. */
export function facts_of(facts) {
  // What is empty or does not hold says nothing here.
  const told = Object.entries(facts).filter(([, value]) => value !== null && value !== false && value !== "" && !(Array.isArray(value) && !value.length));
  return told.length ? plain(Object.fromEntries(told)) : null;
}
