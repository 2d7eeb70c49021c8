// Runs before anything else of the page: which language and theme are shown, and where the studio lies.
(() => {
  const { root, version, languages, tags } = window.studioSettings;
  const kept = (name) => { try { return localStorage.getItem(`studio.${name}`); } catch { return null; } };
  const known = Object.keys(languages);
  let chosen = kept("language");
  if (!known.includes(chosen)) {
    const wanted = (navigator.language || "en").toLowerCase().split("-")[0];
    chosen = known.includes(wanted) ? wanted : known[0];
  }
  // Gradio reads these to choose its own words.
  Object.defineProperty(navigator, "language", { get: () => tags[chosen] });
  Object.defineProperty(navigator, "languages", { get: () => [tags[chosen]] });
  document.documentElement.lang = tags[chosen];

  // Gradio takes its address from what the server hears, which behind a proxy is not what the browser asks.
  let config;
  Object.defineProperty(window, "gradio_config", {
    configurable: true,
    get: () => config,
    set: (value) => { config = value; if (config) config.root = location.origin + root; },
  });

  // Light, dark, or as the system has it.
  const system = matchMedia("(prefers-color-scheme: dark)");
  const themes = ["system", "light", "dark"];
  let theme = themes.includes(kept("theme")) ? kept("theme") : "system";
  const dress = () => {
    const dark = theme === "dark" || (theme === "system" && system.matches);
    document.documentElement.style.colorScheme = dark ? "dark" : "light";
    document.documentElement.classList.toggle("studio-dark", dark);
    document.body?.classList.toggle("dark", dark);
  };
  dress();
  system.addEventListener("change", dress);
  // Gradio sets the class by the system alone, once, when it begins.
  document.addEventListener("DOMContentLoaded", () => {
    dress();
    new MutationObserver(() => {
      const dark = document.documentElement.classList.contains("studio-dark");
      if (document.body.classList.contains("dark") !== dark) dress();
    }).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  });

  window.studio = {
    language: chosen,
    languages,
    version,
    root,
    address: (path) => `${root}${path}`,
    script: (name) => `${root}/studio/static/${version}/${name}.js`,
    file: (name) => `${root}/studio/static/${version}/${name}`,
    theme: () => theme,
    setTheme: (name) => {
      theme = name;
      try { localStorage.setItem("studio.theme", name); } catch { /* a browser that keeps nothing */ }
      dress();
    },
    broken: (error) => { console.error(error); throw error; },
  };
})();
