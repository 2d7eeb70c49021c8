// Files that a script needs in the page: a style sheet, or a script that is no module.

const asked = new Map();

/** Add a style sheet of ours once. */
export function dress(name) {
  if (asked.has(name)) return;
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = new URL(name, import.meta.url).href;
  asked.set(name, link);
  document.head.append(link);
}

/** Load a script that makes a global; resolves when it is there. */
export function load(name) {
  if (!asked.has(name)) {
    asked.set(name, new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = new URL(name, import.meta.url).href;
      script.onload = resolve;
      script.onerror = () => reject(new Error(script.src));
      document.head.append(script);
    }));
  }
  return asked.get(name);
}
