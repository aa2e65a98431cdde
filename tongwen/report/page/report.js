// Which of the page's two languages is shown, and tables that can be scrolled with the keyboard.
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
    markScrollers();
  };
  const markScrollers = () => {
    for (const box of document.querySelectorAll(".wide, pre, .top nav")) {
      const scrolls = box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1;
      if (scrolls) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
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
  addEventListener("resize", markScrollers);
  document.addEventListener("toggle", markScrollers, true);
  document.addEventListener("tongwen:shown", markScrollers);
})();
