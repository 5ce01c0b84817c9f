/* Replaces the parts of a page that have changed, as an event stream sends them. The server has escaped all text. */

// While a button of the mouse is down, parts wait: a link that is replaced between press and release is not followed.
let pressed = false, waiting = {};
addEventListener("pointerdown", () => { pressed = true; }, true);
for (const kind of ["pointerup", "pointercancel"]) {
  addEventListener(kind, () => { pressed = false; setTimeout(() => { const parts = waiting; waiting = {}; replaceParts(parts); }); }, true);
}

/** Replace parts; the focus stays on the same element, which may be new. */
export function replaceParts(parts) {
  if (pressed) { Object.assign(waiting, parts); return; }
  for (const [name, html] of Object.entries(parts)) {
    const place = document.getElementById("part-" + name);
    if (!place) continue;
    // A number that is being typed in stays.
    if (place.contains(document.activeElement) && document.activeElement.matches("input:not([type=checkbox])")) continue;
    const focused = place.contains(document.activeElement) ? document.activeElement.id : "";
    const checked = [...place.querySelectorAll("input:checked")].map((box) => box.value);
    const scrolled = [...place.querySelectorAll(".scroll")].map((box) => box.scrollLeft);
    place.innerHTML = html;
    place.querySelectorAll(".scroll").forEach((box, index) => { box.scrollLeft = scrolled[index] || 0; });
    place.querySelectorAll("input[type=checkbox]").forEach((box) => { box.checked = checked.includes(box.value); });
    if (focused) document.getElementById(focused)?.focus();
  }
}

/** Open an event stream; the browser opens it again after an interruption. Returns the stream. */
export function listen(address, handlers) {
  const stream = new EventSource(address), mark = document.getElementById("live");
  const say = (text, style) => { mark.textContent = text; mark.className = "live " + style; mark.hidden = false; };
  stream.addEventListener("open", () => say("live", "on"));
  stream.addEventListener("error", () => say("no connection", "off"));
  for (const [name, handle] of Object.entries(handlers)) {
    stream.addEventListener(name, (event) => handle(JSON.parse(event.data)));
  }
  return stream;
}
