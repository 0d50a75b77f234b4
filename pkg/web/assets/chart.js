// The last hour: messages a minute as bars, viewers as a line under them, one time axis. A closed
// minute is filled, an open one is outlined, a partly observed one is hatched, and where nothing was
// observed there is no bar but the hatching of nothing.
import { h } from "./dom.js";
import { clock, count, covered, percent, text } from "./format.js";

const bars = 168, gap = 34, lines = 84, axis = 22, left = 58, right = 6;

function nice(max) {
  if (max <= 0) return { top: 1, step: 1 };
  const raw = max / 3, power = 10 ** Math.floor(Math.log10(raw));
  const step = Math.max(1, [1, 2, 2.5, 5, 10].find((m) => m * power >= raw) * power);
  return { top: Math.ceil(max / step) * step, step };
}

export class Chart {
  constructor(box, said) {
    this.box = box;
    this.said = said;
    this.minutes = [];
    this.at = -1;
    this.shown = false;
    this.tip = h("div", { class: "tip", hidden: true });
    new ResizeObserver(() => this.draw()).observe(box);
    box.addEventListener("pointermove", (e) => this.point(e));
    box.addEventListener("pointerleave", () => this.select(-1));
    box.addEventListener("blur", () => this.select(-1));
    box.addEventListener("keydown", (e) => this.key(e));
  }

  show(minutes) {
    this.minutes = minutes;
    this.shown = true;
    this.draw();
  }

  geometry() {
    const width = Math.max(260, this.box.clientWidth);
    const inner = width - left - right;
    // Half an hour at least, so that the first minutes are not barn doors.
    const slots = Math.max(30, this.minutes.length);
    return { width, step: inner / slots, offset: slots - this.minutes.length };
  }

  draw() {
    const { width, step, offset } = this.geometry();
    const m = this.minutes;
    const top = nice(Math.max(0, ...m.map((x) => x.messages)));
    const vs = m.filter((x) => x.viewers != null).map((x) => x.viewers);
    const vtop = nice(Math.max(0, ...vs));
    const y = (v) => 14 + bars - (v / top.top) * bars;
    const vy0 = 14 + bars + gap;
    const vy = (v) => vy0 + lines - (v / vtop.top) * lines;
    const x = (i) => left + (i + offset) * step;
    const height = vy0 + lines + axis;
    const svg = h("svg", { viewBox: `0 0 ${width} ${height}`, height, "aria-hidden": "true" });
    svg.append(h("text", { x: 0, y: 4, class: "t" }, text("chart.messages")), h("text", { x: 0, y: vy0 - 11, class: "t" }, text("chart.viewers")));
    if (this.shown && m.length === 0) svg.append(h("text", { x: left, y: 14 + bars / 2 }, text("chart.empty")));
    for (let v = top.step; m.length && v <= top.top + 1e-9; v += top.step) {
      svg.append(h("line", { class: "grid", x1: left, x2: width - right, y1: y(v), y2: y(v) }), h("text", { x: left - 9, y: y(v) + 4, "text-anchor": "end" }, count(v)));
    }
    if (vs.length) {
      svg.append(h("line", { class: "grid", x1: left, x2: width - right, y1: vy(vtop.top), y2: vy(vtop.top) }), h("text", { x: left - 9, y: vy(vtop.top) + 4, "text-anchor": "end" }, count(vtop.top)));
    } else if (m.length) svg.append(h("text", { x: left, y: vy0 + lines / 2 }, text("chart.unsampled")));
    const pad = Math.min(3, step * 0.14);
    m.forEach((q, i) => {
      const at = { x: x(i) + pad, width: Math.max(1, step - 2 * pad), y: y(q.messages), height: Math.max(1, 14 + bars - y(q.messages)) };
      if (q.state === "missing") svg.append(h("rect", { ...at, y: 14, height: bars, class: "b-missing" }));
      else if (q.state === "open") svg.append(h("rect", { ...at, class: "b-open" }));
      else if (q.chat === "complete") svg.append(h("rect", { ...at, class: "b-closed" }));
      else svg.append(h("rect", { ...at, class: "b-partial" }), h("rect", { ...at, class: "b-hatch" }));
    });
    this.viewers(svg, m, (i) => x(i) + step / 2, vy, vy0 + lines);
    for (const base of [14 + bars, vy0 + lines]) svg.append(h("line", { class: "base", x1: left, x2: width - right, y1: base + 0.5, y2: base + 0.5 }));
    const every = width < 560 ? 15 : width < 1000 ? 10 : 5;
    m.forEach((q, i) => {
      if (new Date(q.time).getUTCMinutes() % every !== 0 || x(i) + step / 2 > width - 16) return;
      svg.append(h("text", { x: x(i) + step / 2, y: height - 4, "text-anchor": "middle" }, clock(q.time)));
    });
    this.cursor = h("rect", { class: "cursor", y: 14, height: vy0 + lines - 14, width: step, visibility: "hidden" });
    svg.append(this.cursor);
    this.box.replaceChildren(svg, this.tip);
    this.select(Math.min(this.at, m.length - 1));
  }

  // Runs of sampled minutes; there is no line over what was not sampled.
  viewers(svg, m, x, y, floor) {
    let run = [];
    const flush = (open) => {
      if (run.length === 1) svg.append(h("circle", { class: "v-dot", cx: run[0][0], cy: run[0][1], r: 2.5 }));
      if (run.length > 1) {
        const d = "M" + run.map((p) => p.map((n) => n.toFixed(1)).join(" ")).join("L");
        if (!open) svg.append(h("path", { class: "v-area", d: `${d}L${run.at(-1)[0]} ${floor}L${run[0][0]} ${floor}Z` }));
        svg.append(h("path", { class: open ? "v-line v-open" : "v-line", d }));
      }
      run = run.length ? [run.at(-1)] : [];
    };
    m.forEach((q, i) => {
      if (q.viewers == null) { flush(false); run = []; return; }
      if (q.state === "open" && run.length && m[i - 1]?.state !== "open") flush(false);
      run.push([x(i), y(q.viewers)]);
    });
    flush(m.at(-1)?.state === "open");
  }

  point(e) {
    const { step, offset } = this.geometry();
    const i = Math.floor((e.clientX - this.box.getBoundingClientRect().left - left) / step) - offset;
    this.select(i >= 0 && i < this.minutes.length ? i : -1);
  }

  key(e) {
    const last = this.minutes.length - 1;
    const to = { ArrowLeft: this.at < 0 ? last : this.at - 1, ArrowRight: this.at < 0 ? last : this.at + 1, Home: 0, End: last, Escape: -1 }[e.key];
    if (to === undefined || last < 0) return;
    e.preventDefault();
    this.select(to < 0 && e.key !== "Escape" ? 0 : Math.min(to, last));
    this.said.textContent = this.tip.hidden ? "" : this.tip.innerText.replaceAll("\n", ", ");
  }

  select(i) {
    this.at = i;
    const q = this.minutes[i];
    this.tip.hidden = !q;
    if (!this.cursor) return;
    this.cursor.setAttribute("visibility", q ? "visible" : "hidden");
    if (!q) return;
    const { width, step, offset } = this.geometry();
    const x = left + (i + offset) * step;
    this.cursor.setAttribute("x", x);
    const what = q.state === "missing" ? text("chart.missing")
      : q.state === "open" ? text("chart.open")
      : q.chat === "partial" && q.covered != null ? `${text("chart.partial")}, ${percent(q.covered)}`
      : `${text("chart.closed")}, ${covered(q.chat, q.covered)}`;
    const rows = [h("p", null, h("b", null, clock(q.time)), " · ", what)];
    if (q.state !== "missing") {
      rows.push(h("p", null, `${text("min.messages")} ${count(q.messages)}`),
        h("p", null, `${text("min.viewers")} ${count(q.viewers)}`),
        h("p", null, `${text("min.chatters")} ≈ ${count(q.chatters)}`));
    }
    this.tip.replaceChildren(...rows);
    const w = this.tip.offsetWidth;
    const to = x + step + 8 + w > width ? x - w - 8 : x + step + 8;
    this.tip.style.transform = `translate(${Math.max(0, Math.round(to))}px, 20px)`;
  }
}
