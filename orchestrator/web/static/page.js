/* JavaScript of all pages. The pages can be read without it. */
import { listen, replaceParts } from "./parts.js";

const list = document.querySelector("section[data-events]");
if (list) listen(list.dataset.events, { parts: replaceParts });

// Listeners on the document also serve parts that are replaced later.
document.addEventListener("submit", (event) => {
  const question = event.target.dataset.asks;
  if (question && !confirm(question)) { event.preventDefault(); return; }
  if (event.target.method === "post") {
    // After the browser has read the pressed button: a second press must not send the form again.
    setTimeout(() => event.target.querySelectorAll("button").forEach((button) => { button.disabled = true; }));
  }
});

document.addEventListener("change", (event) => {
  if (event.target.matches("form[data-submits] select")) event.target.form.submit();
});

for (const button of document.querySelectorAll("button.copy")) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = "Copied";
  });
}
