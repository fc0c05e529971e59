// Keys, focus, the list of classes, and what is said when the server does not answer. Deciding itself is htmx's forms.
"use strict";

const find = (selector) => document.querySelector(selector);
const TYPING = "input:not([type=checkbox]), select, textarea";
let busy = false; // a key that is pressed while a card is on its way belongs to no card

history.replaceState(null, "", location.pathname + withoutToken(location.search)); // the cookie has it now

function withoutToken(search) {
  const query = new URLSearchParams(search);
  query.delete("token");
  return query.size ? "?" + query : "";
}

function keysOn() {
  try { return localStorage.getItem("leadline-keys") !== "off"; } catch { return true; }
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
  if (event.target.id === "class-search") { if (event.key === "Enter") takeFirstClass(event); return; }
  if (event.key === "Escape" && event.target.matches(TYPING)) { event.preventDefault(); find("#card-title")?.focus(); return; } // a search field would be emptied
  if (event.target.matches(TYPING) || find("dialog[open]")) return;
  if (event.key === "?") { event.preventDefault(); find("#help").showModal(); return; }
  if (event.key === "/") { event.preventDefault(); find("#search").select(); find("#search").focus(); return; }
  if (!keysOn() || event.repeat && !event.key.startsWith("Arrow")) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const button = [...document.querySelectorAll("#card [data-key]")].find((each) => each.dataset.key === key);
  if (!button) return;
  event.preventDefault();
  if (!busy) button.click();
});

// The list of many classes.
document.addEventListener("click", (event) => {
  if (event.target.closest("#help-button")) find("#help").showModal();
  if (event.target.closest("#relabel")) { find("#classes").showModal(); find("#class-search").focus(); }
  if (event.target.closest("#class-close")) find("#classes").close();
  if (event.target.closest("#clear")) clearFilters();
});

document.addEventListener("input", (event) => {
  if (event.target.id !== "class-search") return;
  const part = event.target.value.trim().toLowerCase();
  for (const button of document.querySelectorAll("#class-list button")) button.hidden = !button.dataset.name.includes(part);
});

function takeFirstClass(event) {
  event.preventDefault(); // Enter in a form presses its first button
  if (!busy) find("#class-list button:not([hidden])")?.click();
}

let changed; // Enter in a field changes it and submits the form: one request, not two
find("#filters").addEventListener("change", (event) => { changed = setTimeout(() => event.target.form.requestSubmit(), 30); });
find("#filters").addEventListener("submit", () => clearTimeout(changed));

function clearFilters() {
  const form = find("#filters");
  for (const field of form.querySelectorAll("input")) field.value = "";
  for (const field of form.querySelectorAll("select")) if (field.name !== "draw") field.selectedIndex = 0;
  form.requestSubmit();
}

// Answers and failures.
const trouble = (words) => { find("#trouble").textContent = words; find("#trouble").hidden = !words; };

const forCard = (event) => event.detail.target?.id === "card";
document.addEventListener("htmx:beforeRequest", (event) => { if (forCard(event)) busy = true; });
document.addEventListener("htmx:afterRequest", (event) => { if (forCard(event)) busy = false; });
for (const failure of ["htmx:sendError", "htmx:timeout"]) document.addEventListener(failure, () =>
  trouble("The server does not answer, so this may not be saved. Is `leadline review` still running? The same key again tries again; nothing counts twice."));
document.addEventListener("htmx:responseError", (event) => trouble("Not done: " + event.detail.xhr.responseText));
document.addEventListener("htmx:afterSwap", (event) => {
  trouble("");
  const asked = event.detail.requestConfig?.elt;
  if (asked?.matches(".unfold")) asked.remove();
  if (event.detail.target.id !== "card" && event.target.id !== "card") return;
  const title = find("#card-title");
  if (document.activeElement === document.body || document.activeElement === null) title.focus({ preventScroll: true });
  if (title.getBoundingClientRect().top < 0) find("#card").scrollIntoView();
});

const box = find("#keys-on");
box.checked = keysOn();
box.addEventListener("change", () => {
  try { localStorage.setItem("leadline-keys", box.checked ? "on" : "off"); } catch { /* a browser that keeps nothing */ }
});
if (matchMedia("(max-width: 60rem)").matches) find("#map-box")?.removeAttribute("open");
if (!find("dialog[open]")) find("#card-title")?.focus({ preventScroll: true });
