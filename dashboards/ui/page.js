// The page works without this file; it keeps the view up to date, filters lists and copies commands.
"use strict";

const main = document.getElementById("content");
const live = document.getElementById("live");

// Replaces what has changed, unless somebody is writing or has opened something.
let busy = false;
async function refresh() {
  if (busy || document.hidden || main.querySelector("form[data-keep] :focus, dialog[open]")) return;
  busy = true;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" }, cache: "no-store" });
    if (!answer.ok || answer.redirected) return;
    const next = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = next.getElementById("content");
    if (fresh && fresh.innerHTML !== shown) {
      shown = fresh.innerHTML;
      const open = [...main.querySelectorAll("details[open][id]")].map((details) => details.id);
      const filter = main.querySelector("[data-filter]");
      const wanted = filter ? filter.value : "";
      const focused = document.activeElement && document.activeElement.id;
      main.replaceChildren(...fresh.childNodes);
      open.forEach((id) => document.getElementById(id)?.setAttribute("open", ""));
      prepare();
      const again = main.querySelector("[data-filter]");
      if (again && wanted) {
        again.value = wanted;
        again.dispatchEvent(new Event("input"));
      }
      if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
      document.title = next.title;
    }
  } catch {
    // The server is away; the next event tries again.
  } finally {
    busy = false;
  }
}
let shown = main.innerHTML;

function prepare() {
  for (const input of main.querySelectorAll("[data-filter]")) {
    const rows = document.querySelectorAll(input.dataset.filter);
    input.closest("form")?.removeAttribute("hidden");
    input.addEventListener("input", () => {
      const wanted = input.value.toLowerCase();
      for (const row of rows) row.hidden = !row.dataset.name.toLowerCase().includes(wanted);
    });
  }
}
prepare();

if (window.EventSource) {
  let timer = 0;
  const soon = () => {
    if (!timer) timer = setTimeout(() => { timer = 0; refresh(); }, 400);
  };
  const source = new EventSource("/v1/stream");
  source.addEventListener("open", () => { live.hidden = false; });
  source.addEventListener("error", () => { live.hidden = true; });
  for (const change of ["report", "alert", "run", "operation", "reset"]) source.addEventListener(change, soon);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) soon(); });
  // The browser keeps few connections to one host: a page that is left gives its own back.
  addEventListener("pagehide", () => source.close());
}
