// Keeps the panels of the overview up to date: those that are due are read together, each as often as it says or as the
// reader chose, whichever is slower. Nothing is read while nobody looks, or replaced while somebody marks or fills in.
"use strict";
for (const board of document.querySelectorAll("[data-overview]")) {
  const find = (name) => board.querySelector(`[data-${name}]`);
  const [pace, refreshed, trouble, announce] = ["pace", "refreshed", "trouble", "announce"].map(find);
  const panels = [...board.querySelectorAll("[data-panel]")];
  const read = new Map(panels.map((panel) => [panel, Date.now()]));
  const chosen = pace.querySelector("select");
  let answered = Date.now();
  let waiting = false;
  let last = "";
  pace.hidden = refreshed.hidden = false;

  chosen.addEventListener("change", () => {
    document.cookie = `durable_objects_refresh=${chosen.value}; path=/; max-age=31536000; samesite=lax`;
  });
  board.addEventListener("input", (event) => {
    const panel = event.target.closest("[data-panel]");
    if (panel) panel.dataset.dirty = "";
  });

  const isIdle = (panel) =>
    !("dirty" in panel.dataset) &&
    !panel.contains(document.activeElement) &&
    !panel.querySelector("details[open]") &&
    (getSelection().isCollapsed || !getSelection().containsNode(panel, true));
  const every = (panel) => {
    const asked = Number(chosen.value);
    const usual = Number(panel.dataset.seconds);
    return usual <= 5 ? asked : Math.max(usual, asked);
  };
  const isDue = (panel) => isIdle(panel) && Date.now() - read.get(panel) >= 1000 * every(panel) - 250;

  // What changes with each look, the figures, is not read out.
  const speak = () => {
    const text = board.querySelector("[data-panel=sentence] .do-text")?.textContent ?? "";
    const words = text.replace(/[\d.,:]+/g, "");
    if (last && words !== last) announce.textContent = text;
    last = words;
  };

  const refresh = async (due) => {
    const asked = new URLSearchParams(location.search);
    for (const panel of due) asked.append("panel", panel.dataset.panel);
    waiting = true;
    try {
      const signal = AbortSignal.timeout(30_000);
      const answer = await fetch(`${board.dataset.overview}?${asked}`, { credentials: "same-origin", redirect: "error", signal });
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      answered = Date.now();
      for (const panel of due) {
        const fresh = page.querySelector(`[data-panel="${panel.dataset.panel}"]`);
        if (fresh && isIdle(panel)) panel.replaceChildren(...fresh.childNodes);
        read.set(panel, Date.now());
      }
      speak();
    } catch {
      // the server is down: how long it has been is told below
    } finally {
      waiting = false;
    }
  };

  const tell = () => {
    const seconds = Math.round((Date.now() - answered) / 1000);
    const asked = Number(chosen.value);
    const isLate = asked > 0 && !document.hidden && seconds > 2 * asked + 5 && Date.now() - shown > 1000 * (2 * asked + 5);
    refreshed.textContent = asked ? `Refreshed ${seconds} s ago.` : "Not refreshed.";
    refreshed.hidden = isLate;
    board.classList.toggle("do-stale", isLate && due().length > 0);
    const text = isLate && due().length > 0 ? `The server has not answered for ${seconds} s.` : "";
    if (text !== trouble.textContent) trouble.textContent = text;
  };
  const due = () => (Number(chosen.value) && !document.hidden ? panels.filter(isDue) : []);
  let shown = Date.now();
  document.addEventListener("visibilitychange", () => {
    shown = Date.now();
  });

  speak();
  setInterval(() => {
    tell();
    const now = due();
    if (now.length && !waiting) refresh(now);
  }, 1000);
}
