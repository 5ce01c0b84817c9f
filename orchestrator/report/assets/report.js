"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const plots = [];
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  const clock = (s) => {
    const whole = Math.round(s), h = Math.floor(whole / 3600), m = Math.floor((whole % 3600) / 60), rest = String(whole % 60).padStart(2, "0");
    return h ? `${h}:${String(m).padStart(2, "0")}:${rest}` : `${m}:${rest}`;
  };
  const ms = (v) => (v == null ? "" : v === 0 ? "0" : v >= 1000 ? +(v / 1000).toFixed(2) + " s" : v >= 100 ? v.toFixed(0) + " ms" : v.toFixed(1) + " ms");
  const short = (v) => (v == null ? "" : Math.abs(v) >= 100 ? v.toFixed(0) : String(+v.toFixed(2)));

  // The end of the warm-up, and every interruption, as a line with a word beside it.
  const marks = (u) => {
    const { ctx } = u, box = u.bbox;
    ctx.save();
    ctx.font = `${11 * devicePixelRatio}px system-ui`;
    ctx.textAlign = "left";
    ctx.setLineDash([4, 4]);
    for (const [x, text] of data.marks || []) {
      const at = u.valToPos(x, "x", true);
      if (at < box.left || at > box.left + box.width) continue;
      ctx.strokeStyle = ctx.fillStyle = colour("faint");
      ctx.beginPath(); ctx.moveTo(at, box.top); ctx.lineTo(at, box.top + box.height); ctx.stroke();
      const fits = at + 5 + ctx.measureText(text).width < box.left + box.width;
      ctx.textAlign = fits ? "left" : "right";
      ctx.fillText(text, at + (fits ? 5 : -5), box.top + 12 * devicePixelRatio);
    }
    ctx.restore();
  };

  const axis = (values, label, size) => ({
    stroke: colour("faint"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line") }, values, size,
    label, labelSize: label ? 18 : 0, labelFont: "12px system-ui", labelGap: 0,
  });

  // The values under the pointer, over the chart: the page keeps its layout.
  function showValues(u, spec) {
    const box = u.over.querySelector(".values") || u.over.appendChild(Object.assign(document.createElement("div"), { className: "values" }));
    const at = u.cursor.idx;
    box.hidden = at == null || u.cursor.left < 0;
    if (box.hidden) return;
    const rows = [[spec.xLabel || "time", (spec.xValue || clock)(spec.x[at])], ...spec.lines.map((line) => [line.label, (spec.format || short)(line.y[at])])];
    box.replaceChildren(...rows.map((cells) => {
      const row = document.createElement("div");
      row.append(...cells.map((text) => Object.assign(document.createElement("span"), { textContent: text })));
      return row;
    }));
    const right = u.cursor.left > u.over.clientWidth / 2;
    box.style.left = right ? "" : u.cursor.left + 12 + "px";
    box.style.right = right ? u.over.clientWidth - u.cursor.left + 12 + "px" : "";
  }

  function legend(lines) {
    const box = Object.assign(document.createElement("p"), { className: "legend" });
    for (const line of lines) {
      const item = document.createElement("span"), mark = document.createElement("i");
      mark.style.color = colour(line.colour);
      if (line.dash) mark.className = "dashed";
      item.append(mark, line.label);
      box.append(item);
    }
    return box;
  }

  function draw(place, spec) {
    const old = plots.findIndex((p) => p.place === place);
    if (old >= 0) { plots[old].plot.destroy(); plots.splice(old, 1); }
    const width = place.clientWidth;
    const options = {
      width, height: spec.height || 220, padding: [12, 12, 0, 0],
      legend: { show: false },
      cursor: { drag: { x: true, y: false } },
      scales: { x: { time: false, distr: spec.logX ? 100 : 1, ...(spec.scaleX || {}) }, y: { range: (u, low, high) => [0, high > 0 ? high * 1.06 : 1] } },
      axes: [{ ...axis(spec.xValues || ((u, vs) => vs.map(clock)), spec.xUnit || "time, min:s", 32), ...(spec.xSplits ? { splits: () => spec.xSplits } : {}) }, axis(spec.yValues || ((u, vs) => vs.map(short)), spec.unit, 62)],
      series: [{}, ...spec.lines.map((line) => ({ stroke: colour(line.colour), width: 1.8, dash: line.dash, points: { show: spec.x.length < 40, size: 5 }, spanGaps: false }))],
      hooks: { draw: spec.marks === false ? [] : [marks], setCursor: [(u) => showValues(u, spec)] },
    };
    if (spec.logX) delete options.scales.x.distr;
    place.textContent = "";
    plots.push({ place, spec, plot: new uPlot(options, [spec.x, ...spec.lines.map((line) => line.y)], place) });
    place.append(legend(spec.lines));
  }

  const id = (name) => document.getElementById(name);
  const redraw = () => plots.slice().forEach((p) => draw(p.place, p.spec));

  function overTime(name, lines, more = {}) {
    if (id(name)) draw(id(name), { x: data.t, lines, ...more });
  }

  function choose(name, names, first, show) {
    const select = id(name);
    for (const value of names) select.add(new Option(value, value, value === first, value === first));
    select.addEventListener("change", () => show(select.value));
    if (names.length) show(select.value);
  }

  // Percentiles are laid out by the number of nines, so that the tail has as much room as the middle.
  const nines = (p) => (p >= 100 ? 5 : -Math.log10(1 - p / 100));
  const NINES = [0, 1, 2, 3, 4], NAMES = ["0 %", "90 %", "99 %", "99.9 %", "99.99 %"];

  function curve(place, curves) {
    const x = data.percentiles.map(nines);
    draw(place, {
      x, marks: false, height: 240, format: ms, yValues: (u, vs) => vs.map(ms), xLabel: "percentile", xUnit: "percentile of all",
      xSplits: NINES, xValues: () => NAMES, xValue: (v) => (v >= 5 ? "max" : (100 * (1 - Math.pow(10, -v))).toFixed(v > 3 ? 3 : v > 2 ? 2 : 1) + " %"),
      lines: curves,
    });
  }

  if (data.t) {
    overTime("throughput", [
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
      ], { format: ms, yValues: (u, vs) => vs.map(ms) });
    });
    choose("curve-of", Object.keys(data.curves), data.main, (name) => curve(id("curve"), [{ label: name, y: data.curves[name], colour: "blue" }]));
  } else {
    choose("curve-of", Object.keys(data.curves), data.main, (name) => curve(id("curve"), [
      { label: data.runs[0], y: data.curves[name][0], colour: "blue" },
      { label: data.runs[1], y: data.curves[name][1], colour: "orange" },
    ]));
  }

  let pending;
  addEventListener("resize", () => { clearTimeout(pending); pending = setTimeout(redraw, 150); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  matchMedia("print").addEventListener("change", redraw);
})();
