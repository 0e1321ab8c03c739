// Shows a part of the page as the server sends it (server-sent events). Without this the page is as it was loaded.
"use strict";
for (const part of document.querySelectorAll("[data-live]")) {
  const state = document.getElementById("live-state");
  const source = new EventSource(part.dataset.live);
  const say = (text) => { if (state && state.textContent !== text) state.textContent = text; };
  source.onopen = () => say(state.dataset.liveOn);
  source.onerror = () => say(state.dataset.liveOff);
  source.addEventListener(part.id, (event) => {
    const at = document.activeElement;
    const held = at && part.contains(at) && at.getAttribute("href");
    part.innerHTML = event.data;
    // Whoever stood on a link stands there still.
    if (held) for (const link of part.querySelectorAll("a")) if (link.getAttribute("href") === held) { link.focus(); break; }
  });
  addEventListener("pagehide", () => source.close());
}
