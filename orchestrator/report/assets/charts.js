"use strict";
/* Draws charts with uPlot, for the report of a run and for the live page. */
const Charts = (() => {
  const plots = [];
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  const clock = (s) => {
    const whole = Math.round(s), h = Math.floor(whole / 3600), m = Math.floor((whole % 3600) / 60), rest = String(whole % 60).padStart(2, "0");
    return h ? `${h}:${String(m).padStart(2, "0")}:${rest}` : `${m}:${rest}`;
  };
  const ms = (v) => (v == null ? "" : v === 0 ? "0" : v >= 1000 ? +(v / 1000).toFixed(2) + " s" : v >= 100 ? v.toFixed(0) + " ms" : v.toFixed(1) + " ms");
  const short = (v) => (v == null ? "" : Math.abs(v) >= 100 ? v.toFixed(0) : String(+v.toFixed(2)));

  // The end of the warm-up, and every interruption, as a line with a word beside it. The scale leaves room for the words above the lines.
  const marks = (u, spec) => {
    const { ctx } = u, box = u.bbox;
    ctx.save();
    ctx.font = `${11 * devicePixelRatio}px system-ui`;
    ctx.textAlign = "left";
    ctx.setLineDash([4, 4]);
    let taken = -Infinity, row = 0;
    for (const [x, text] of spec.marks || []) {
      const at = u.valToPos(x, "x", true);
      if (at < box.left || at > box.left + box.width) continue;
      ctx.strokeStyle = ctx.fillStyle = colour("faint");
      ctx.beginPath(); ctx.moveTo(at, box.top); ctx.lineTo(at, box.top + box.height); ctx.stroke();
      const fits = at + 5 + ctx.measureText(text).width < box.left + box.width;
      ctx.textAlign = fits ? "left" : "right";
      // A word that would cover the one before goes a line lower.
      row = at < taken ? row + 1 : 0;
      taken = Math.max(taken, at + (fits ? 10 + ctx.measureText(text).width : 0));
      ctx.fillText(text, at + (fits ? 5 : -5), box.top + (12 + 13 * (row % 4)) * devicePixelRatio);
    }
    ctx.restore();
  };

  // Seconds between two ticks: a clock shows no fractions.
  const CLOCK = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400];

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

  const sameLines = (one, other) => String(one.lines.map((line) => line.label)) === String(other.lines.map((line) => line.label));

  function remove(old) {
    if (!old) return;
    old.plot.destroy();
    plots.splice(plots.indexOf(old), 1);
  }

  function draw(place, spec) {
    const old = plots.find((p) => p.place === place);
    if (old && sameLines(old.spec, spec)) {
      // New values in the same chart: the plot keeps its zoom and the pointer its place.
      Object.assign(old.spec, spec);
      const whole = old.plot.scales.x.min === old.first && old.plot.scales.x.max === old.last;
      old.plot.setData([spec.x, ...spec.lines.map((line) => line.y)], whole);
      if (!whole) old.plot.redraw();
      [old.first, old.last] = [spec.x[0], spec.x.at(-1)];
      return;
    }
    remove(old);
    const width = place.clientWidth;
    const options = {
      width, height: spec.height || 220, padding: [12, 12, 0, 0],
      legend: { show: false },
      cursor: { drag: { x: true, y: false } },
      scales: { x: { time: false }, y: { range: (u, low, high) => [0, high > 0 ? high * (spec.marks?.length ? 1.2 : 1.06) : 1] } },
      axes: [{ ...axis(spec.xValues || ((u, vs) => vs.map(clock)), spec.xUnit || "time, min:s", 32), ...(spec.xSplits ? { splits: () => spec.xSplits } : spec.xValues ? {} : { incrs: CLOCK }) }, axis(spec.yValues || ((u, vs) => vs.map(short)), spec.unit, 62)],
      series: [{}, ...spec.lines.map((line) => ({ stroke: colour(line.colour), width: 1.8, dash: line.dash, points: { show: spec.x.length < 40, size: 5 }, spanGaps: false }))],
      hooks: { draw: [(u) => marks(u, spec)], setCursor: [(u) => showValues(u, spec)] },
    };
    place.textContent = "";
    plots.push({ place, spec, first: spec.x[0], last: spec.x.at(-1), plot: new uPlot(options, [spec.x, ...spec.lines.map((line) => line.y)], place) });
    place.append(legend(spec.lines));
  }

  const redraw = () => plots.slice().forEach((p) => { remove(p); draw(p.place, p.spec); });

  // Percentiles are laid out by the number of nines, so that the tail has as much room as the middle.
  const nines = (p) => (p >= 100 ? 5 : -Math.log10(1 - p / 100));
  const NINES = [0, 1, 2, 3, 4], NAMES = ["0 %", "90 %", "99 %", "99.9 %", "99.99 %"];

  function curve(place, percentiles, curves) {
    const x = percentiles.map(nines);
    draw(place, {
      x, height: 240, format: ms, yValues: (u, vs) => vs.map(ms), xLabel: "percentile", xUnit: "percentile of all",
      xSplits: NINES, xValues: () => NAMES, xValue: (v) => (v >= 5 ? "max" : (100 * (1 - Math.pow(10, -v))).toFixed(v > 3 ? 3 : v > 2 ? 2 : 1) + " %"),
      lines: curves,
    });
  }

  let pending;
  addEventListener("resize", () => { clearTimeout(pending); pending = setTimeout(redraw, 150); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  matchMedia("print").addEventListener("change", redraw);

  return { draw, curve, clock, ms, short };
})();
