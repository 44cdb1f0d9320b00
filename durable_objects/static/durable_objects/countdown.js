// Counts down to <time data-countdown datetime="…">, or up from it once it is past. Without scripts the text stays.
"use strict";
for (const place of document.querySelectorAll("[data-countdown]")) {
  const skew = Date.parse(place.dataset.now) - Date.now(); // by the database's clock, not this machine's
  const at = Date.parse(place.getAttribute("datetime"));
  const show = () => {
    const left = Math.round((at - Date.now() - skew) / 1000);
    const whole = Math.abs(left);
    const two = (number) => String(number).padStart(2, "0");
    const days = Math.floor(whole / 86400);
    const hours = Math.floor(whole / 3600) % 24;
    const clock = `${days ? `${days}d ` : ""}${days || hours ? `${two(hours)}:` : ""}${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
    place.textContent = left > 0 ? `${place.dataset.countdown} in ${clock}` : `Due for ${clock}`;
  };
  show();
  setInterval(show, 1000);
}
