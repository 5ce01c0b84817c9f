/* The charts of two runs, over each other. */
const data = JSON.parse(document.getElementById("data").textContent), select = document.getElementById("curve-of");
const id = (name) => document.getElementById(name), colours = ["blue", "orange"];

id("charts").hidden = false;

/** The values of both runs at the moments of either: a line needs a value, or null, at each. */
function over(place, unit, key) {
  const moments = [...new Set(data.over_time.flatMap((one) => one.t))].sort((a, b) => a - b);
  const lines = data.over_time.map((one, index) => {
    const at = new Map(one.t.map((moment, place) => [moment, one[key][place]]));
    return { label: data.runs[index], y: moments.map((moment) => at.has(moment) ? at.get(moment) : undefined), colour: colours[index] };
  });
  if (moments.length) Charts.draw(id(place), { x: moments, unit, lines });
}

over("ended", "per second", "ended");
over("active", "instances", "active");
over("errors", "per second", "errors");

const curve = (name) => Charts.curve(id("curve"), data.percentiles, data.curves[name].map((values, index) => ({ label: data.runs[index], y: values, colour: colours[index] })));
for (const name of Object.keys(data.curves)) select.add(new Option(name.replaceAll("_", " "), name, name === data.main, name === data.main));
select.addEventListener("change", () => curve(select.value));
if (select.value) curve(select.value);
