// The table of channels: searched, sorted and brought up to date in place.
import { field, h, put } from "./dom.js";
import { clock, count, covered, rate, text } from "./format.js";

const values = {
  name: (c) => c.name.toLocaleLowerCase(),
  rate: (c, rates) => rates[c.id] ?? 0,
  messages: (c) => (c.minute ? c.messages : -1),
  viewers: (c) => (c.stream === "live" ? c.viewers : c.stream === "offline" ? -1 : -2),
  chatters: (c) => (c.minute ? c.chatters : -1),
  coverage: (c) => (c.status !== "active" ? -2 : c.chat === "complete" ? 1 : c.covered ?? -1),
};

function spark(trend) {
  const known = trend.filter((v) => v >= 0);
  if (known.length < 2) return null;
  const top = Math.max(1, ...known), w = 92, step = w / 29, from = 30 - trend.length;
  let d = "", pen = "M";
  trend.forEach((v, i) => {
    if (v < 0) { pen = "M"; return; }
    d += `${pen}${((from + i) * step).toFixed(1)} ${(18 - (v / top) * 16).toFixed(1)}`;
    pen = "L";
  });
  return h("svg", { viewBox: "0 0 92 20", "aria-hidden": "true" }, h("path", { class: "spark", d }));
}

export class Channels {
  constructor() {
    this.body = field("channels");
    this.rows = new Map();
    this.list = [];
    this.rates = {};
    this.by = "messages";
    this.down = true;
    this.query = document.getElementById("q");
    this.only = document.getElementById("incomplete");
    this.query.addEventListener("input", () => this.arrange());
    this.only.addEventListener("change", () => this.arrange());
    field("tools").addEventListener("submit", (e) => e.preventDefault());
    for (const th of document.querySelectorAll("th[data-sort]")) {
      const key = th.dataset.sort;
      if (!values[key]) continue;
      const button = h("button", { type: "button" }, th.textContent);
      button.addEventListener("click", () => this.sort(key));
      th.replaceChildren(button);
    }
    this.mark();
  }

  sort(key) {
    this.down = key === this.by ? !this.down : key !== "name" && key !== "coverage";
    this.by = key;
    this.mark();
    this.arrange();
  }

  mark() {
    for (const th of document.querySelectorAll("th[data-sort]")) {
      if (th.dataset.sort === this.by) th.setAttribute("aria-sort", this.down ? "descending" : "ascending");
      else th.removeAttribute("aria-sort");
    }
  }

  show(list) {
    this.list = list;
    const seen = new Set();
    for (const c of list) {
      const key = c.id || "login:" + c.login;
      seen.add(key);
      const row = h("tr", null,
        h("th", { scope: "row", title: c.name === c.login ? c.name : `${c.name} (${c.login})` }, c.name),
        h("td", { class: "n c-rate" }),
        h("td", { class: "n c-messages" }, c.minute ? count(c.messages) : "–"),
        h("td", { class: "n c-trend" }, spark(c.trend)),
        h("td", { class: "n c-viewers" }, c.stream === "live" ? count(c.viewers) : h("span", { class: "dim" }, text("ch." + c.stream))),
        h("td", { class: "n c-chatters" }, c.minute ? "≈\u00a0" + count(c.chatters) : "–"),
        h("td", { class: "n c-coverage", "data-quality": c.chat }, c.status === "active" ? covered(c.chat, c.covered) : text("ch." + c.status)),
        h("td", { class: "c-readby" }, c.read_by.length ? c.read_by.join(", ") : h("span", { class: "dim" }, text("ch.unread"))));
      this.rows.set(key, row);
    }
    for (const key of this.rows.keys()) if (!seen.has(key)) this.rows.delete(key);
    const minute = list.find((c) => c.minute)?.minute;
    put(field("channels.minute"), minute ? text("channels.minute", { time: clock(minute) }) : text("channels.minute.none"));
    this.arrange();
  }

  tick(rates) {
    this.rates = rates;
    for (const c of this.list) {
      const cell = this.rows.get(c.id || "login:" + c.login)?.children[1];
      if (cell) put(cell, rates[c.id] ? rate(rates[c.id]) : "·");
    }
    // Rows that jump each second can't be read: the present rate sorts when asked, not by itself.
  }

  arrange() {
    const q = this.query.value.trim().toLocaleLowerCase();
    const value = values[this.by], sign = this.down ? -1 : 1;
    const list = this.list.filter((c) =>
      (!q || c.name.toLocaleLowerCase().includes(q) || c.login.includes(q) || c.id === q) &&
      (!this.only.checked || c.chat !== "complete" || c.status !== "active" || !c.read_by.length));
    const keyed = list.map((c) => [value(c, this.rates), c]);
    keyed.sort(([a, x], [b, y]) => (a < b ? -sign : a > b ? sign : x.login < y.login ? -1 : 1));
    const rows = keyed.map(([, c]) => this.rows.get(c.id || "login:" + c.login));
    this.body.replaceChildren(...(rows.length ? rows : [h("tr", null, h("td", { colspan: 8, class: "empty" }, text("channels.none")))]));
    put(field("channels.shown"), text("channels.shown", { n: count(list.length), of: count(this.list.length) }));
    this.tick(this.rates);
  }
}
