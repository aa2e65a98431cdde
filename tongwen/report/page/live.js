// Asks the server for the page again while the run goes on; what is open stays open.
(() => {
  const key = new URLSearchParams(location.hash.slice(1)).get("key");
  const headers = key ? { authorization: `Bearer ${key}` } : {};
  if (key) history.replaceState(null, "", location.pathname); // not into screenshots and bookmarks
  const main = document.getElementById("main");
  const lost = document.getElementById("live-lost");
  let digest = main.dataset.digest ?? "";
  let shownAt = new Date();

  const name = (item) => item.closest("section, article, details")?.querySelector("summary")?.textContent;
  const put = (html) => {
    const open = new Set([...main.querySelectorAll("details[open]")].map(name));
    main.innerHTML = html;
    for (const item of main.querySelectorAll("details")) {
      if (open.has(name(item))) item.open = true;
    }
    document.dispatchEvent(new Event("tongwen:shown"));
  };
  const ask = async () => {
    let wait = 5;
    try {
      const answer = await fetch(`status?digest=${digest}`, { headers, cache: "no-store" });
      if (!answer.ok) throw new Error(answer.statusText);
      const found = await answer.json();
      wait = found.wait_seconds;
      digest = found.digest;
      document.title = found.title;
      if (found.html !== null) put(found.html);
      shownAt = new Date();
      lost.hidden = true;
    } catch {
      for (const time of lost.querySelectorAll("time")) time.textContent = shownAt.toLocaleTimeString();
      lost.hidden = false;
    }
    setTimeout(ask, 1000 * wait);
  };
  ask();
})();
