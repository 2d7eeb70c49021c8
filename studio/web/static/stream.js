// An answer on its way from a loaded model to the page.
import { t } from "./studio.js";

const { address } = window.studio;

async function sentence(answer) {
  if (answer.status === 401) return t("studio.unauthorised");
  const told = await answer.json().catch(() => ({}));
  return told.error?.message || (typeof told.error === "string" && told.error) || `HTTP ${answer.status}`;
}

async function post(job, path, body, signal) {
  let answer;
  try {
    answer = await fetch(address(`/api/serve/${job}/v1/${path}`), {
      method: "POST", signal, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(t("studio.unreachable"));
  }
  if (!answer.ok) throw new Error(await sentence(answer));
  return answer;
}

/** What a model would read: {prompt, count, context, token_ids, texts}. */
export const prompt_of = (job, body) => post(job, "prompt", body).then((answer) => answer.json());

/** What a reward model finds: {scores}, one for each conversation. */
export const score = (job, body) => post(job, "score", body).then((answer) => answer.json());

/** Ask, and hand every event to `take` as it comes. Throws when the model refuses, fails or breaks off. */
export async function stream(job, body, signal, take) {
  const answer = await post(job, "chat/completions", { ...body, stream: true, stream_options: { include_usage: true } }, signal);
  const reader = answer.body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  let whole = false;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    rest += decoder.decode(value, { stream: true });
    const blocks = rest.split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const data = block.replace(/^data: ?/, "");
      if (data === "[DONE]") {
        whole = true;
        continue;
      }
      const event = JSON.parse(data);
      if (event.error) throw new Error(event.error.message);
      take(event);
    }
  }
  if (!whole) throw new Error(t("chat.broken_off"));
}

/**
 * Fill one side of an answer: text, thinking, calls, how it ended and how fast it was. `changed` is called for
 * every piece. Nothing is thrown: what went wrong stands in side.error.
 */
export async function fill_side(side, body, signal, changed) {
  const since = performance.now();
  let first = 0;
  side.error = side.finish = "";
  const before = side.tokens || 0;
  try {
    await stream(side.job, body, signal, (event) => {
      const [choice] = event.choices;
      if (choice?.delta) take(side, choice.delta);
      if (!first && (side.text || side.thought || side.calls.length)) first = performance.now();
      if (choice?.finish_reason) side.finish = choice.finish_reason;
      if (event.usage) {
        side.tokens = before + event.usage.completion_tokens;
        side.prompt_tokens = event.usage.prompt_tokens - before;
        const seconds = (performance.now() - (first || since)) / 1000;
        side.speed = event.usage.completion_tokens > 1 ? (event.usage.completion_tokens - 1) / Math.max(seconds, 1e-3) : null;
      }
      changed();
    });
    side.finish ||= "stop";
  } catch (error) {
    side.finish = error.name === "AbortError" ? "stopped" : "failed";
    if (side.finish === "failed") side.error = error.message;
  }
  if (first && side.first_s === null) side.first_s = (first - since) / 1000;
  changed();
}

function take(side, delta) {
  side.text += delta.content || "";
  side.thought += delta.reasoning_content || "";
  for (const { id, type, function: called } of delta.tool_calls || []) side.calls.push({ id, type, function: called });
}
