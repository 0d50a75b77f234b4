// Numbers, spans and times as the page's language and the event's time zone write them. The server
// writes the same (language.go) for the page without a script.
const lang = document.documentElement.lang;
const locale = lang === "fr" ? "fr-FR" : "en-GB";
const texts = JSON.parse(document.getElementById("texts").textContent);
const whole = new Intl.NumberFormat(locale, { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat(locale, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const nbsp = "\u00a0";

export function text(key, values = {}) {
  const t = texts[key] ?? key;
  return t.replace(/\{(\w+)\}/g, (all, name) => (name in values ? values[name] : all));
}
export const has = (key) => key in texts;
// The narrow space is all but invisible in the page's typeface.
const write = (format, v) => format.format(v).replaceAll("\u202f", nbsp);
export const count = (v) => (v == null ? "–" : write(whole, v));
export const rate = (v) => (v == null ? "–" : write(v < 9.95 ? tenth : whole, v));

// money writes an amount of the smallest unit without decimals, never rounded up: as money.FormatWhole of
// the server does.
export function money(cents, currency, digits) {
  const whole = Math.trunc(cents / 10 ** digits) || 0;
  const format = new Intl.NumberFormat(lang === "fr" ? "fr-FR" : "en-US", { style: "currency", currency, maximumFractionDigits: 0, minimumFractionDigits: 0 });
  return write(format, whole);
}

// percent never rounds what is not whole up to 100.
export function percent(share) {
  const v = Math.floor(share * 1000 + 1e-9) / 10;
  return (v === Math.trunc(v) ? whole : tenth).format(v) + (lang === "fr" ? nbsp + "%" : "%");
}

export function span(seconds) {
  const s = Math.max(0, seconds);
  const unit = (n, key) => whole.format(n) + nbsp + text(key);
  const two = (a, ka, b, kb) => (b ? unit(a, ka) + nbsp + unit(b, kb) : unit(a, ka));
  if (s < 0.995) return unit(Math.round(s * 1000), "unit.ms");
  if (s < 9.95) return tenth.format(s) + nbsp + text("unit.s");
  if (s < 59.5) return unit(Math.round(s), "unit.s");
  const n = Math.round(s);
  if (n < 3600) return two(Math.floor(n / 60), "unit.min", n % 60, "unit.s");
  if (n < 48 * 3600) return two(Math.floor(n / 3600), "unit.h", Math.floor((n % 3600) / 60), "unit.min");
  return two(Math.floor(n / 86400), "unit.d", Math.floor((n % 86400) / 3600), "unit.h");
}

export const ago = (s) => (s < 5 ? text("ago.now") : text("ago", { age: span(s) }));

export function bytes(n) {
  const units = ["unit.B", "unit.kB", "unit.MB", "unit.GB"];
  let i = 0;
  for (; n >= 999.5 && i < units.length - 1; i++) n /= 1000;
  return (i > 0 && n < 9.95 ? tenth : whole).format(n) + nbsp + text(units[i]);
}

let zone = "UTC";
let clocks = makeClocks();
function makeClocks() {
  const clock = { hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone: zone };
  const date = lang === "fr" ? { day: "2-digit", month: "2-digit" } : { day: "numeric", month: "short" };
  return { clock: new Intl.DateTimeFormat(locale, clock), date: new Intl.DateTimeFormat(locale, { ...date, timeZone: zone }) };
}
export function setZone(name) {
  if (!name || name === zone) return;
  const before = zone;
  zone = name;
  try { clocks = makeClocks(); } catch { zone = before; clocks = makeClocks(); } // a zone that this browser doesn't know
}
export const clock = (t) => clocks.clock.format(new Date(t));
export const day = (t) => clocks.date.format(new Date(t)) + " " + clock(t);
export const covered = (quality, share) => (quality === "partial" && share != null ? percent(share) : text(quality));
