// The end of a log: appended as it grows, followed while one wants to, the whole file as a download.
import { dress } from "./dress.js";
import { h, t } from "./studio.js";

dress("run.css");
const LINES = 2000;
let made = 0;

/** The log of a job. `append(text, reset)` adds what came; `find(text)` shows the line that holds it. */
export function logView(id) {
  const text = h("pre", { class: "run-log", role: "log", tabindex: 0, "aria-label": t("run.log"), "aria-live": "off" });
  const empty = h("p", { class: "studio-muted run-log-empty" }, t("run.log.empty"));
  const follow = h("input", { type: "checkbox", id: `run-follow-${++made}`, checked: true, onchange: () => end() });
  const cut = h("span", { class: "studio-muted", hidden: true }, t("run.log.cut", { lines: LINES }));
  // Each piece with the number of its line ends, so that the oldest can go without counting again.
  let pieces = [];
  let lines = 0;
  const end = () => { if (follow.checked) text.scrollTop = text.scrollHeight; };
  text.addEventListener("wheel", (event) => { if (event.deltaY < 0) follow.checked = false; }, { passive: true });

  const append = (more, reset) => {
    if (reset) {
      text.replaceChildren();
      pieces = [];
      lines = 0;
      cut.hidden = true;
    }
    if (!more) return;
    // A bar that is drawn over itself leaves its last state only.
    const plain = more.replace(/\r\n/g, "\n").replace(/[^\n]*\r(?!\n)/g, "");
    for (const piece of plain.match(/(?:[^\n]*\n){1,200}|[^\n]+$/g) || []) {
      const node = document.createTextNode(piece);
      const count = piece.split("\n").length - 1;
      pieces.push({ node, count });
      lines += count;
      text.append(node);
    }
    while (lines - pieces[0].count > LINES) {
      const oldest = pieces.shift();
      lines -= oldest.count;
      oldest.node.remove();
      cut.hidden = false;
    }
    empty.hidden = true;
    end();
  };

  const find = (wanted) => {
    follow.checked = false;
    text.scrollIntoView({ block: "center" });
    text.focus({ preventScroll: true });
    for (const { node } of pieces) {
      const at = wanted ? node.data.lastIndexOf(wanted) : -1;
      if (at < 0) continue;
      const range = document.createRange();
      range.setStart(node, at);
      range.setEnd(node, at + wanted.length);
      const selection = getSelection();
      selection.removeAllRanges();
      selection.addRange(range);
      text.scrollTop += range.getBoundingClientRect().top - text.getBoundingClientRect().top - text.clientHeight / 2;
      return;
    }
    text.scrollTop = text.scrollHeight;
  };

  const file = window.studio.address(`/api/jobs/${encodeURIComponent(id)}/log`);
  const element = h("section", { class: "studio-card run-part", "aria-label": t("run.log") },
    h("div", { class: "studio-row" }, h("h4", {}, t("run.log")), cut, h("span", { class: "studio-space" }),
      h("span", { class: "run-check" }, follow, h("label", { for: follow.id }, t("run.log.follow"))),
      h("a", { class: "studio-button", href: file, download: "" }, t("run.log.whole"))),
    empty, text);
  return { element, append, find };
}
