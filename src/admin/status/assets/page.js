// Keeps a page up to date: fetches it again, and puts its new parts (data-part) in place of the old.
// Nothing here is needed: without it, every page is whole, and shows what was so when it was opened.
"use strict";

(() => {
  const every = 5000;
  const live = document.getElementById("live");
  const fresh = document.getElementById("fresh");
  const pause = document.getElementById("pause");
  const said = document.getElementById("said");
  let paused = false;
  let busy = false;

  // Buttons that do nothing without this script are hidden until it is there.
  function equip(root) {
    for (const button of root.querySelectorAll("[data-copy]")) {
      button.hidden = false;
      button.addEventListener("click", async () => {
        const field = document.getElementById(button.dataset.copy);
        field.select();
        try {
          await navigator.clipboard.writeText(field.value);
        } catch {
          document.execCommand("copy"); // Where the page is not served from a secure place.
        }
        said.textContent = "Copied.";
        button.textContent = "Copied";
      });
    }
    const all = document.getElementById("choose-all");
    if (all && all.hidden) {
      all.hidden = false;
      all.addEventListener("change", () => {
        for (const box of boxes()) box.checked = all.checked;
      });
    }
  }

  const boxes = () => document.querySelectorAll('input[type="checkbox"][name="id"]');

  // What somebody has chosen, and where they are, stays as it is.
  function keeping(swap) {
    const chosen = new Set([...boxes()].filter((box) => box.checked).map((box) => box.id));
    const here = document.activeElement;
    const place = here && here.closest("[data-part]") ? trace(here) : null;
    const scrolled = [...document.querySelectorAll(".scroll")].map((one) => one.scrollLeft);
    swap();
    for (const box of boxes()) box.checked = chosen.has(box.id);
    document.querySelectorAll(".scroll").forEach((one, n) => { one.scrollLeft = scrolled[n] ?? 0; });
    const again = place && place();
    if (again && again !== document.activeElement) again.focus({ preventScroll: true });
  }

  function trace(element) {
    if (element.id) return () => document.getElementById(element.id);
    const part = element.closest("[data-part]").id;
    const address = element.getAttribute("href");
    const kind = address ? "a" : element.tagName;
    const same = (root) => [...root.querySelectorAll(kind)].filter((one) => one.getAttribute("href") === address);
    const nth = same(document.getElementById(part)).indexOf(element);
    return () => { const root = document.getElementById(part); return root && same(root)[nth]; };
  }

  function news(root) {
    return [...root.querySelectorAll("[data-said]")].map((one) => one.dataset.said).join(" ");
  }

  async function look() {
    if (paused || busy || document.hidden) return;
    // Nobody's text is taken from under them.
    if (getSelection() && !getSelection().isCollapsed) return;
    busy = true;
    try {
      const answer = await fetch(location.href, { redirect: "manual", cache: "no-store", credentials: "same-origin" });
      if (answer.type === "opaqueredirect") return stop("Logged out: reload to log in");
      if (!answer.ok) throw new Error(String(answer.status));
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const was = news(document);
      keeping(() => {
        for (const part of page.querySelectorAll("[data-part]")) {
          const old = document.getElementById(part.id);
          if (old && old.outerHTML !== part.outerHTML) old.replaceWith(document.importNode(part, true));
        }
      });
      equip(document);
      const is = news(document);
      if (is !== was) said.textContent = is;
      document.documentElement.dataset.looked = String(Number(document.documentElement.dataset.looked || 0) + 1);
      fresh.textContent = "Kept up to date";
      fresh.classList.remove("bad");
    } catch {
      fresh.textContent = "No answer: this may be old";
      fresh.classList.add("bad");
    } finally {
      busy = false;
    }
  }

  function stop(why) {
    clearInterval(timer);
    fresh.textContent = why;
    fresh.classList.add("bad");
    pause.hidden = true;
  }

  equip(document);
  if (!live || !("live" in document.body.dataset)) return;
  // A page that was the answer to a form is not asked for again; nor does "done" stay in the address.
  const address = new URL(location.href);
  if (address.searchParams.has("done")) {
    address.searchParams.delete("done");
    address.searchParams.delete("count");
    history.replaceState(null, "", address);
  }
  live.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Go on" : "Pause";
    fresh.textContent = paused ? "Not kept up to date" : "Kept up to date";
    if (!paused) look();
  });
  const timer = setInterval(look, every);
  document.addEventListener("visibilitychange", look);
})();
