// Keeps a part of a page up to date: <div data-refresh="URL" data-seconds="5">. Without scripts the page stays as it is.
"use strict";
for (const part of document.querySelectorAll("[data-refresh]")) {
  const idle = () => !document.hidden && !part.contains(document.activeElement) && window.getSelection().isCollapsed;
  const refresh = async () => {
    if (!idle()) return;
    try {
      const answer = await fetch(part.dataset.refresh, { credentials: "same-origin", redirect: "error" });
      if (answer.ok && idle()) part.innerHTML = await answer.text();
      part.classList.toggle("do-stale", !answer.ok);
    } catch {
      part.classList.add("do-stale"); // the server is down: what is shown is old
    }
  };
  setInterval(refresh, 1000 * Number(part.dataset.seconds || 5));
}
