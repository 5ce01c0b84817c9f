"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const id = (name) => document.getElementById(name);

  function overTime(name, lines, more = {}) {
    if (id(name)) Charts.draw(id(name), { x: data.t, marks: data.marks, lines, ...more });
  }

  function choose(name, names, first, show) {
    const select = id(name);
    for (const value of names) select.add(new Option(value, value, value === first, value === first));
    select.addEventListener("change", () => show(select.value));
    if (names.length) show(select.value);
  }

  if (data.t) {
    overTime("throughput", [
      ...(data.due ? [{ label: "due", y: data.due, colour: "orange", dash: [2, 3] }] : []),
      { label: "started", y: data.started, colour: "purple" },
      { label: "ended", y: data.ended, colour: "blue" },
      ...(data.rounds ? [{ label: "rounds", y: data.rounds, colour: "green" }] : []),
    ], { unit: "per second" });
    overTime("concurrency", [
      { label: "under way (mean)", y: data.active, colour: "blue" },
      { label: "highest", y: data.active_max, colour: "faint", dash: [4, 4] },
      ...(data.wanted ? [{ label: "wanted", y: data.wanted, colour: "orange", dash: [2, 3] }] : []),
      ...(data.offered ? [{ label: "in their rounds", y: data.offered, colour: "green" }] : []),
    ], { unit: "instances" });
    overTime("errors", [{ label: "errors", y: data.errors, colour: "red" }], { unit: "per second" });
    overTime("memory", [{ label: "memory", y: data.memory, colour: "green" }], { unit: "MB" });
    const names = Object.keys(data.latency);
    choose("latency-of", names, data.main, (name) => {
      const [p50, p95, p99] = data.latency[name];
      overTime("latency", [
        { label: "p50", y: p50, colour: "blue" },
        { label: "p95", y: p95, colour: "orange" },
        { label: "p99", y: p99, colour: "purple" },
      ], { format: Charts.ms, yValues: (u, vs) => vs.map(Charts.ms) });
    });
    choose("curve-of", Object.keys(data.curves), data.main, (name) => Charts.curve(id("curve"), data.percentiles, [{ label: name, y: data.curves[name], colour: "blue" }]));
  } else {
    choose("curve-of", Object.keys(data.curves), data.main, (name) => Charts.curve(id("curve"), data.percentiles, [
      { label: data.runs[0], y: data.curves[name][0], colour: "blue" },
      { label: data.runs[1], y: data.curves[name][1], colour: "orange" },
    ]));
  }
})();
