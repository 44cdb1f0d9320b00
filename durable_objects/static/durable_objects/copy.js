// Puts a button behind each text that is to be copied: <code data-copy>…</code>. Without scripts it is a text to select.
"use strict";
for (const text of document.querySelectorAll("[data-copy]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button do-copy";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    window.getSelection().selectAllChildren(text);
    try {
      await navigator.clipboard.writeText(text.href || text.textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Selected: press Ctrl+C"; // a browser gives its clipboard to HTTPS and to this machine only
    }
  });
  text.after(" ", button);
}
