// Runs before anything else of the page: which language is shown, and where the studio lies.
(() => {
  const { root, version, languages, tags } = window.studioSettings;
  const known = Object.keys(languages);
  let chosen = null;
  try { chosen = localStorage.getItem("studio.language"); } catch { /* a browser that keeps nothing */ }
  if (!known.includes(chosen)) {
    const wanted = (navigator.language || "en").toLowerCase().split("-")[0];
    chosen = known.includes(wanted) ? wanted : known[0];
  }
  // Gradio reads these to choose its own words.
  Object.defineProperty(navigator, "language", { get: () => tags[chosen] });
  Object.defineProperty(navigator, "languages", { get: () => [tags[chosen]] });
  document.documentElement.lang = tags[chosen];
  window.studio = {
    language: chosen,
    languages,
    version,
    root,
    address: (path) => `${root}${path}`,
    script: (name) => `${root}/studio/static/${name}.js`,
    broken: (error) => { console.error(error); throw error; },
  };
})();
