// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Keeps the page current: every second it asks the node for its parts, which
// the node renders, and for the samples that the charts lack.
"use strict";

(() => {
  const interval = 1000, patience = 3000; // ms between requests, and for one
  const byId = (id) => document.getElementById(id);
  const root = document.documentElement;

  // ---- the parts that the node renders ----

  // morph changes a tree into another and leaves alone what is the same, so
  // that selected text, focus and open tooltips survive.
  function morph(from, to) {
    if (from.nodeType !== to.nodeType || from.nodeName !== to.nodeName) {
      from.replaceWith(to);
      return;
    }
    if (from.nodeType === Node.TEXT_NODE) {
      if (from.data !== to.data) from.data = to.data;
      return;
    }
    if (from.nodeType !== Node.ELEMENT_NODE) return;
    for (const { name } of [...from.attributes]) if (!to.hasAttribute(name)) from.removeAttribute(name);
    for (const { name, value } of to.attributes) if (from.getAttribute(name) !== value) from.setAttribute(name, value);
    children(from, to);
  }

  function children(from, to) {
    const want = [...to.childNodes], have = [...from.childNodes];
    want.forEach((node, i) => (i < have.length ? morph(have[i], node) : from.append(node)));
    have.slice(want.length).forEach((node) => node.remove());
  }

  function show(answer) {
    for (const [id, html] of Object.entries(answer.parts)) {
      const next = document.createElement("template");
      next.innerHTML = html; // escaped by the node's templates; the page's policy runs no script in it
      children(byId(id), next.content);
    }
    document.title = answer.title;
    const icon = byId("icon"), href = icon.dataset[answer.tone];
    if (icon.getAttribute("href") !== href) icon.setAttribute("href", href);
    if (said !== answer.sentence) {
      if (said !== null) byId("announce").textContent = answer.sentence;
      said = answer.sentence;
    }
  }
  let said = null; // the sentence that was last read aloud or seen

  // ---- the samples ----

  let range = "10m";
  let series = null; // {times (s), columns, step (s), span (s)} of the range

  function keep(answer) {
    // Shown by the browser's clock, whatever the node's says.
    const shift = Date.now() - answer.at;
    const fresh = answer.times.map((t) => (t + shift) / 1000);
    if (!series) {
      series = { times: [], columns: {}, newest: null };
      for (const key of Object.keys(answer.columns)) series.columns[key] = [];
    }
    series.step = answer.step_ms / 1000;
    series.span = answer.span_ms / 1000;
    series.now = Date.now() / 1000;
    series.times.push(...fresh);
    for (const [key, values] of Object.entries(answer.columns)) series.columns[key].push(...values);
    if (answer.times.length > 0) series.newest = answer.times[answer.times.length - 1];
    const surplus = series.times.findIndex((t) => t >= series.now - series.span - series.step);
    if (surplus > 0) {
      series.times.splice(0, surplus);
      for (const values of Object.values(series.columns)) values.splice(0, surplus);
    }
  }

  // The first minutes of a node fill the chart; later it is a window.
  function windowOf(s) {
    if (!s) return { min: Date.now() / 1000 - 60, max: Date.now() / 1000 };
    const first = s.times.length > 0 ? s.times[0] : s.now;
    const shown = Math.min(s.span, Math.max(s.now - first, 60 * s.step));
    return { min: s.now - shown, max: s.now };
  }

  // ---- charts ----

  const three = (v) => (v >= 100 ? v.toFixed(0) : v >= 10 ? v.toFixed(1) : v.toFixed(2)).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");
  const grouped = (v) => Math.round(v).toString().replace(/\B(?=(\d{3})+$)/g, "\u202f");
  const two = (v, unit, name, sub, subName) => {
    const whole = Math.floor(v / unit), rest = Math.floor((v - whole * unit) / sub);
    return whole + " " + name + (rest > 0 ? " " + rest + " " + subName : "");
  };
  const units = {
    ms: (v) => (v >= 1000 ? three(v / 1000) + " s" : v < 0.1 ? three(v * 1000) + " µs" : three(v) + " ms"),
    s: (v, step) => (v >= 360000 && !(step < 3600) ? two(v, 86400, "d", 3600, "h") : v >= 3600 ? two(v, 3600, "h", 60, "min") : v >= 60 ? two(v, 60, "min", 1, "s") : v > 0 && v < 1 ? three(v * 1000) + " ms" : three(v) + " s"),
    "/s": (v) => (v >= 1000 ? grouped(v) : three(v)) + "/s",
    count: (v) => grouped(v),
  };

  // Where a second is said in minutes, its marks are round minutes.
  const durations = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 432000, 864000];
  const times = durations.filter((d) => d >= 1 && d <= 86400);
  const counts = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000];

  const color = (name) => getComputedStyle(root).getPropertyValue("--" + name).trim();

  // shade paints the times in which any log of this node was failed over.
  function shade(u) {
    if (!series) return;
    const over = Object.entries(series.columns).filter(([key]) => key.startsWith("over")).map(([, values]) => values);
    const { ctx, bbox } = u;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.fillStyle = color("shade");
    for (let i = 0; i < series.times.length; i++) {
      if (!over.some((values) => values[i] > 0)) continue;
      let end = i;
      while (end + 1 < series.times.length && over.some((values) => values[end + 1] > 0)) end++;
      const left = u.valToPos(series.times[i] - series.step, "x", true), right = u.valToPos(series.times[end], "x", true);
      ctx.fillRect(left, bbox.top, Math.max(right - left, 1), bbox.height);
      i = end;
    }
    ctx.restore();
  }

  class Chart {
    constructor(figure) {
      this.figure = figure;
      this.plot = figure.querySelector(".plot");
      this.label = this.plot.getAttribute("aria-label");
      this.lines = [...figure.querySelectorAll("[data-column]")].map((item) => ({ key: item.dataset.column, color: "c" + item.dataset.color, value: item.querySelector("b") }));
      this.format = units[figure.dataset.unit];
      this.empty = document.createElement("p");
      this.empty.className = "no-data";
      this.empty.textContent = figure.dataset.empty;
      this.empty.hidden = true;
    }

    build() {
      this.u?.destroy();
      const { unit, scale } = this.figure.dataset, log = scale === "log";
      const axis = { stroke: color("muted"), font: "12px system-ui, sans-serif", ticks: { show: false }, grid: { stroke: color("grid"), width: 1 } };
      const y = {
        ...axis, size: unit === "s" ? 80 : 62, gap: 6,
        values: (u, splits, axis, space, step) => splits.map((v) => this.format(v, step)),
      };
      if (log) y.splits = powers;
      if (unit === "s") y.incrs = durations;
      if (unit === "count") y.incrs = counts;
      const paths = "steps" in this.figure.dataset ? uPlot.paths.stepped({ align: 1 }) : uPlot.paths.linear();
      this.u = new uPlot({
        width: this.plot.clientWidth, height: this.plot.clientHeight,
        legend: { show: false },
        padding: [8, 6, 0, 0],
        cursor: { sync: { key: "time" }, drag: { x: false, y: false }, points: { size: 7 } },
        scales: {
          x: { range: () => { const w = windowOf(series); return [w.min, w.max]; } },
          y: log ? { distr: 3, range: logRange } : { range: (u, min, max) => [unit === "s" && min > 0 ? min - (max - min) * 0.1 - 0.5 : 0, top(min, max, unit)] },
        },
        axes: [{ ...axis, incrs: times, space: 72, size: 30, gap: 8, values: clock }, y],
        series: [{}, ...this.lines.map((l) => ({ stroke: color(l.color), width: l.key === "max" ? 1.25 : 1.75, paths, points: { show: false }, spanGaps: false }))],
        hooks: { drawClear: [shade], setCursor: [() => this.values()] },
      }, this.data(), this.plot);
      this.plot.append(this.empty);
      this.draw();
    }

    data() {
      const s = series;
      return [s ? s.times : [], ...this.lines.map((l) => (s && s.columns[l.key]) || [])];
    }

    draw() {
      if (!series) return;
      const data = this.data(), from = windowOf(series).min;
      const first = series.times.findIndex((t) => t >= from);
      const some = data.slice(1).some((values) => values.some((v, i) => v !== null && i >= first && first >= 0));
      this.empty.hidden = some;
      this.plot.classList.toggle("is-empty", !some);
      this.u.setData(data);
      this.values();
    }

    // values writes the figures below the chart: at the cursor, else the newest.
    values() {
      if (!series) return;
      const at = this.u?.cursor.idx ?? series.times.length - 1;
      const said = this.lines.map((l) => {
        const v = series.columns[l.key]?.[at], text = v === null || v === undefined ? "–" : this.format(v);
        if (l.value.textContent !== text) l.value.textContent = text;
        return text;
      });
      this.plot.setAttribute("aria-label", this.label + " Now: " + said.join(", ") + ".");
    }

    resize() {
      this.u?.setSize({ width: this.plot.clientWidth, height: this.plot.clientHeight });
    }
  }

  // clock writes the time under a chart; minutes are enough where marks are
  // minutes apart, and at the edges a mark has no room.
  function clock(u, splits, axis, space, step) {
    const seconds = step < 60 ? { second: "2-digit" } : {};
    const form = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hour12: false, ...seconds });
    return splits.map((t) => {
      const part = (t - u.scales.x.min) / (u.scales.x.max - u.scales.x.min);
      return part < 0.05 || part > 0.93 ? "" : form.format(new Date(t * 1000));
    });
  }

  const top = (min, max, unit) => (max === null || max === undefined ? 1 : unit === "count" ? Math.max(max * 1.15, 4) : unit === "s" && max > min ? max + (max - min) * 0.1 : Math.max(max * 1.12, 1));

  // Whole powers of ten, two at least, so that the axis does not dance.
  function logRange(u, min, max) {
    if (!(min > 0)) return [0.1, 10];
    const low = Math.floor(Math.log10(min)), high = Math.max(Math.ceil(Math.log10(max)), low + 2);
    return [10 ** low, 10 ** high];
  }

  function powers(u, axis, min, max) {
    const out = [];
    for (let e = Math.round(Math.log10(min)); 10 ** e <= max * 1.0001; e++) out.push(10 ** e);
    return out;
  }

  const charts = [...document.querySelectorAll(".chart")].map((figure) => new Chart(figure));
  const buildAll = () => charts.forEach((c) => c.build());

  // ---- the node ----

  let failing = null; // since when the node does not answer
  let request = 0; // the newest request; an answer to an older one is dropped

  async function ask() {
    const mine = ++request;
    const query = new URLSearchParams({ range });
    if (series?.newest) query.set("after", series.newest);
    try {
      const response = await fetch("/ui/data?" + query, { signal: AbortSignal.timeout(patience), cache: "no-store" });
      if (!response.ok) throw new Error(response.status + " " + (await response.text()));
      const answer = await response.json();
      if (mine !== request) return;
      if (answer.boot !== root.dataset.boot) {
        location.reload(); // the node was started anew: its history and stores are others
        return;
      }
      reached();
      show(answer);
      const first = !series;
      keep(answer);
      if (first) buildAll();
      else charts.forEach((c) => c.draw());
    } catch (error) {
      if (mine === request) unreachable(error);
    }
  }

  function reached() {
    if (failing === null) return;
    failing = null;
    document.body.classList.remove("stale");
    byId("unreachable").hidden = true;
  }

  const node = document.title.replace(/^\S+ (.*): [^:]*$/, "$1");

  function unreachable() {
    failing ??= new Date();
    const seconds = Math.round((Date.now() - failing) / 1000);
    const ago = seconds < 60 ? seconds + " s" : Math.floor(seconds / 60) + " min";
    const banner = byId("unreachable");
    if (banner.hidden) {
      // An alert that changes is read aloud; what counts on is not for the ear.
      const count = document.createElement("span");
      count.setAttribute("aria-hidden", "true");
      banner.replaceChildren("Cannot reach node since " + failing.toLocaleTimeString([], { hour12: false }), count, ". What you see is from then.");
      banner.hidden = false;
    }
    banner.querySelector("span").textContent = " (" + ago + ")";
    document.body.classList.add("stale");
    document.title = "● " + node + ": cannot reach since " + ago;
  }

  async function run() {
    for (;;) {
      const begun = performance.now();
      await ask();
      await new Promise((done) => setTimeout(done, Math.max(interval - (performance.now() - begun), 100)));
    }
  }

  document.querySelector(".ranges").hidden = false;
  for (const button of document.querySelectorAll(".ranges button")) {
    button.addEventListener("click", () => {
      if (range === button.dataset.range) return;
      range = button.dataset.range;
      series = null;
      for (const b of document.querySelectorAll(".ranges button")) b.setAttribute("aria-pressed", String(b === button));
      ask();
    });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => series && buildAll());
  const observer = new ResizeObserver((all) => all.forEach((e) => charts.find((c) => c.plot === e.target).resize()));
  charts.forEach((c) => observer.observe(c.plot));
  run();
})();
