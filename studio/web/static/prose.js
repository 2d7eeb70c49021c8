// What a model wrote, as elements: it is text, whatever it looks like. Fenced code stands in a block of its own.
import { copy, h, t } from "./studio.js";

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([\w+#.-]*)\s*$/;

/** Elements for a text. Nothing in it is HTML, a link or a picture. */
export function prose(text) {
  const parts = [];
  let lines = [];
  let fence = null;
  const close = () => {
    const said = lines.join("\n");
    lines = [];
    if (fence) parts.push(code(said, fence.language));
    else if (said.trim()) parts.push(h("div", { class: "chat-prose", dir: "auto" }, said.replace(/^\n+|\n+$/g, "")));
  };
  for (const line of text.split("\n")) {
    const found = FENCE.exec(line);
    if (!fence && found) {
      close();
      fence = { mark: found[1], language: found[2] };
    } else if (fence && found && !found[2] && found[1].startsWith(fence.mark)) {
      close();
      fence = null;
    } else {
      lines.push(line);
    }
  }
  close();
  return parts;
}

function code(text, language) {
  return h("figure", { class: "chat-code" },
    h("figcaption", {}, h("span", {}, language || t("chat.code")),
      h("button", { type: "button", class: "chat-link", onclick: () => copy(text) }, t("studio.copy"))),
    h("pre", {}, h("code", {}, text)));
}

// A loop is a piece that comes again and again at the end of a text.
const LONGEST = 200;
const LEAST = 60;
const TIMES = 5;

/** The piece that a text repeats without end, or "". */
export function loop_in(text) {
  const tail = text.slice(-LONGEST * TIMES);
  for (let size = 1; size <= LONGEST && size * TIMES <= tail.length; size++) {
    const piece = tail.slice(-size);
    const times = Math.max(TIMES, Math.ceil(LEAST / size));
    // Rules and blanks are drawn on purpose.
    if (size * times <= tail.length && /[^\s\-=_*.~#|+]/.test(piece) && tail.endsWith(piece.repeat(times))) return piece;
  }
  return "";
}
