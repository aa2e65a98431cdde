// The only script of the report: which of its two languages is shown, and remembering that.
(() => {
  const key = "tongwen.report.language";
  const kept = () => {
    try {
      return localStorage.getItem(key);
    } catch {
      return null; // some browsers give a local file no storage
    }
  };
  const show = (language) => {
    document.documentElement.lang = language;
  };
  show(kept() ?? (navigator.language.toLowerCase().startsWith("zh") ? "zh-Hans" : "en"));
  document.getElementById("language").addEventListener("click", () => {
    const language = document.documentElement.lang === "en" ? "zh-Hans" : "en";
    show(language);
    try {
      localStorage.setItem(key, language);
    } catch {
      // it lasts until the page is closed
    }
  });
})();
