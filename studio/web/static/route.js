// The tab, and what is open in it, stand in the page's address (#jobs/12): they survive a reload and can be sent to others.
import { emit, show, TABS } from "./studio.js";

const opened = new Map();
// A busy machine may take long to make the page hear clicks.
const PATIENCE_MS = 10_000;

/** What the address says: {tab, detail}. */
export function here() {
  const [tab, ...rest] = decodeURIComponent(location.hash.slice(1)).split("/");
  return { tab: TABS.includes(tab) ? tab : "", detail: rest.join("/") };
}

/** Note what is open in a tab; "" for nothing. */
export function note(tab, detail) {
  opened.set(tab, String(detail ?? ""));
  if (selected() === tab) write(tab);
}

/** The tab that is shown: its panel is the one that is seen. A narrow page has no button of its name. */
function selected() {
  return TABS.find((name) => document.getElementById(`tab-${name}`)?.checkVisibility()) || "";
}

function write(tab) {
  const detail = opened.get(tab);
  const wanted = `#${tab}${detail ? `/${encodeURIComponent(detail)}` : ""}`;
  if (location.hash !== wanted) history.pushState(null, "", wanted);
}

/** Show what the address asks for. */
function go() {
  const { tab, detail } = here();
  if (!tab) return;
  opened.set(tab, detail);
  if (selected() !== tab) show(tab);
  emit(`route-${tab}`, detail);
}

/** Follow the address, and write it when a tab is chosen. Called once, by the bar. */
export function follow() {
  let told = "";
  const look = () => {
    const tab = selected();
    if (!tab || tab === told) return;
    told = tab;
    write(tab);
    emit("tab", tab);
  };
  const asked = here().tab;
  const until = Date.now() + PATIENCE_MS;
  const begin = () => {
    if (!selected()) {
      setTimeout(begin, 20);
      return;
    }
    // The tab that was asked for may be drawn before it hears a click; until it is shown, the first one
    // must not take the address.
    if (asked && selected() !== asked && Date.now() < until) {
      show(asked);
      setTimeout(begin, 50);
      return;
    }
    if (asked) go();
    // However a tab is chosen, by a click, the keyboard, or the menu of a narrow page: a panel appears.
    const tabs = document.querySelector("#studio-tabs");
    const panels = () => [...tabs.children].filter((each) => each.getAttribute("role") === "tabpanel");
    const watch = new MutationObserver(() => {
      for (const panel of panels()) watch.observe(panel, { attributeFilter: ["style", "class"] });
      look();
    });
    watch.observe(tabs, { childList: true });
    for (const panel of panels()) watch.observe(panel, { attributeFilter: ["style", "class"] });
    look();
  };
  addEventListener("popstate", go);
  begin();
}
