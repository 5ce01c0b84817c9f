/* The page of a run: its charts, and its parts as they change. */
import { listen, replaceParts } from "./parts.js";

const run = document.getElementById("run"), select = document.getElementById("latency-of");
const id = (name) => document.getElementById(name);
let stream;

function draw(data) {
  id("charts").hidden = data.t.length === 0;
  if (!data.t.length) return;
  if (String([...select.options].map((option) => option.value)) !== String(data.names)) {
    select.replaceChildren(...data.names.map((name) => new Option(name.replaceAll("_", " "), name)));
  }
  select.value = data.series;
  const over = (place, unit, lines, more = {}) => Charts.draw(id(place), { x: data.t, marks: data.marks, unit, lines, ...more });
  over("throughput", "per second", [
    ...(data.due ? [{ label: "due", y: data.due, colour: "orange", dash: [2, 3] }] : []),
    { label: "started", y: data.started, colour: "purple" },
    { label: "ended", y: data.ended, colour: "blue" },
    ...(data.rounds ? [{ label: "rounds", y: data.rounds, colour: "green" }] : []),
  ]);
  over("concurrency", "instances", [
    { label: "active (mean)", y: data.active, colour: "blue" },
    { label: "highest", y: data.active_max, colour: "faint", dash: [4, 4] },
    ...(data.wanted ? [{ label: "wanted", y: data.wanted, colour: "orange", dash: [2, 3] }] : []),
  ]);
  const [p50, p95, p99] = data.latency;
  over("latency", "", [
    { label: "p50", y: p50, colour: "blue" }, { label: "p95", y: p95, colour: "orange" }, { label: "p99", y: p99, colour: "purple" },
  ], { format: Charts.ms, yValues: (u, values) => values.map(Charts.ms) });
  over("errors", "per second", [{ label: "errors", y: data.errors, colour: "red" }]);
}

function open() {
  stream?.close();
  const series = select.value ? "?series=" + encodeURIComponent(select.value) : "";
  stream = listen(run.dataset.events + series, { parts: replaceParts, charts: draw });
}

select.addEventListener("change", open);
open();
