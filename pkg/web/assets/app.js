// The page: takes snapshots from the stream, falls back to asking for them, and says how old what
// it shows is.
import { Channels } from "./channels.js";
import { Chart } from "./chart.js";
import { changed, dot, field, h, put } from "./dom.js";
import { ago, bytes, clock, count, covered, day, has, money, percent, rate, setZone, span, text } from "./format.js";

document.documentElement.classList.add("js");
const chart = new Chart(document.getElementById("plot"), document.getElementById("plot-said"));
const channels = new Channels();
let zone = "", replicas = 1;

function figures(n) {
  const through = n.through && new Date(Date.parse(n.through) + 60000);
  const all = {
    rate: [n.rate, rate, text("now.window")],
    messages: [n.messages, count, through ? text("now.exact", { n: count(n.closed), time: clock(through) }) : text("now.exact.none")],
    viewers: [n.viewers, count, n.peak.value != null && n.peak.at ? text("now.peak", { n: count(n.peak.value), time: clock(n.peak.at) }) : text("now.peak.none")],
    chatters: [n.chatters, count, n.chatters.error ? text("now.error", { n: percent(n.chatters.error) }) : text("now.error.none")],
    channels: [{ value: n.read, quality: n.read < n.channels ? "partial" : "complete" }, count, n.live == null ? text("now.live.none") : text("now.live", { n: count(n.live) }), n.channels],
    collectors: [{ value: n.up, quality: n.up < n.collectors ? "partial" : "complete" }, count, n.dead == null ? text("now.dead.none") : text("now.dead", { n: count(n.dead) }), n.collectors],
  };
  for (const [key, [x, format, note, of]] of Object.entries(all)) {
    const box = document.querySelector(`[data-figure="${key}"]`);
    box.dataset.quality = x.quality;
    box.toggleAttribute("data-provisional", !!x.provisional);
    put(box.querySelector("b"), format(x.value));
    put(box.querySelector("small"), of == null ? "" : text("of", { n: count(of) }));
    put(box.querySelector(".quality"), text(x.quality));
    put(box.querySelector(".note-text"), note);
    if (key === "chatters") box.querySelector("i").hidden = x.value == null;
  }
}

// What was raised, corrected; and as the source says it, where that is something else.
function raised(r) {
  field("money").hidden = !r;
  if (!r || !changed("money", [r, zone])) return;
  const sum = (n) => money(n, r.currency, r.digits);
  put(field("money.total"), r.corrected == null ? "–" : sum(r.corrected));
  put(field("money.note"), r.corrected == null ? text("money.none") : [
    text(r.quality), text("money.at", { source: r.source, time: clock(r.at) }),
    r.raw === r.corrected ? "" : text("money.raw", { n: sum(r.raw) }),
  ].filter(Boolean).join(" · "));
  put(field("money.count"), r.goals ? text("money.goals", { n: count(r.reached), of: count(r.goals) }) : text("money.nogoals"));
  field("money.goals").replaceChildren(...r.next.map((g) => h("li", null,
    h("h3", null, g.whose && h("span", null, g.whose), g.whose && " ", g.name),
    h("progress", { max: 1000, value: g.progress, "aria-label": text("money.progress") }),
    h("p", { class: "meta" }, [
      text("money.missing", { n: sum(g.missing), of: sum(g.amount) }),
      g.eta ? text("money.eta", { time: clock(g.eta) }) : "", text("money.sure." + g.certainty),
    ].filter(Boolean).join(" · ")))));
}

function event(s) {
  const e = s.event;
  put(field("event.name"), e ? e.name : text("event.none"));
  field("time").hidden = !e;
  const state = field("event.state");
  state.hidden = !e;
  const speed = field("event.speed");
  speed.hidden = s.speed <= 1;
  put(speed, text("event.speed", { n: count(s.speed) }));
  document.title = (e ? e.name + " · " : "") + text("title");
  if (!e) return;
  replicas = e.replicas;
  put(state, text("state." + e.state));
  state.dataset.state = e.state;
  if (changed("edges", [e.start, e.end, zone])) {
    field("event.start").replaceChildren(h("time", { datetime: e.start }, day(e.start)));
    field("event.end").replaceChildren(h("time", { datetime: e.end }, day(e.end)));
  }
  const at = Date.parse(s.at), start = Date.parse(e.start), end = Date.parse(e.end);
  const done = end > start ? Math.min(1, Math.max(0, (at - start) / (end - start))) : 0;
  for (const r of document.querySelectorAll('[data-f="coil"]')) r.setAttribute("width", (done * 100).toFixed(2) + "%");
  put(field("event.note"), at < start ? text("event.begins", { age: span((start - at) / 1000) })
    : at >= end ? text("event.over")
    : text("event.elapsed", { done: span((at - start) / 1000), left: span((end - at) / 1000) }));
  put(field("zone"), text("foot.zone", { zone: e.time_zone || "UTC" }));
}

function demo(d) {
  field("demo").hidden = !d;
  if (!d) return;
  const parts = [text("demo." + d.phase), text("demo.sent", { n: count(d.sent) })];
  if (d.elapsed > 0) parts.push(text("demo.elapsed", { age: span(d.elapsed) }));
  if (d.remaining > 0) parts.push(text("demo.remaining", { age: span(d.remaining) }));
  put(field("demo.note"), parts.join(" · "));
}

function stage(s, dead) {
  const facts = [];
  const fact = (key, values) => facts.push(text(key, values));
  let value = "–", unit = "";
  if (s.up != null && s.of != null) fact("fact.up", { n: count(s.up), of: count(s.of) });
  const lag = s.lag == null ? "" : span(s.lag);
  switch (s.name) {
    case "collectors":
      value = rate(s.rate); unit = text("unit.messages");
      if (replicas > 1) fact("fact.replicas");
      break;
    case "consumers":
      value = rate(s.rate); unit = text("unit.records");
      if (lag) fact("fact.lag", { age: lag });
      break;
    case "store":
      value = rate(s.rate); unit = text("unit.documents");
      if (lag) fact("fact.read", { age: lag });
      break;
    case "rollup":
      value = lag || "–"; unit = text("unit.behind");
      if (s.depth != null) fact("fact.marks", { n: count(s.depth) });
      break;
    default: // outbox, queue
      value = count(s.depth); unit = text("unit.batches");
      if (s.bytes != null) fact("fact.bytes", { n: bytes(s.bytes) });
      if (s.name === "outbox" && lag) fact("fact.oldest", { age: lag });
      if (s.name === "queue" && dead != null) fact("fact.dead", { n: count(dead) });
  }
  return { value, unit, facts };
}

// Stages stay the same elements, so that what moves goes on moving.
function stages(list, dead) {
  const box = field("stages");
  if (changed("stage names", list.map((s) => s.name))) {
    box.replaceChildren(...list.map((s) => h("li", { "data-stage": s.name },
      h("h3", null, text("stage." + s.name), " ", h("span", { class: "sr" })),
      h("p", { class: "value" }, h("b"), h("small")), h("p", { class: "facts" }))));
  }
  list.forEach((s, i) => {
    const li = box.children[i], { value, unit, facts } = stage(s, dead);
    li.dataset.health = s.health;
    put(li.querySelector(".sr"), text("health." + s.health));
    put(li.querySelector("b"), value);
    put(li.querySelector("small"), unit);
    if (changed("facts " + s.name, facts)) li.querySelector(".facts").replaceChildren(...facts.map((f) => h("span", null, f)));
  });
  document.documentElement.classList.toggle("flowing", list.some((s) => s.name === "collectors" && s.rate > 0));
}

function troubles(list) {
  if (!changed("troubles", [list, zone])) return;
  field("troubles").replaceChildren(list.length === 0 ? h("p", { class: "calm" }, text("trouble.none"))
    : h("ul", { class: "troubles" }, ...list.map((c) => {
      const own = has("cond." + c.name) && !c.detail;
      const told = !own && has("told." + c.name);
      const values = { n: count(c.count ?? 0), subject: c.subject ?? "" };
      const title = own ? text("cond." + c.name, values) : told ? text("told." + c.name) : c.name.replaceAll("-", " ");
      const where = own ? "" : [c.member, c.subject].filter(Boolean).join(" · ");
      return h("li", { "data-health": c.health }, dot(c.health), h("div", null,
        h("h3", null, title, " ", h("span", { class: "sr" }, `(${text("health." + c.health)})`)),
        h("p", { class: "meta" }, [where, c.since && text("trouble.since", { time: clock(c.since) })].filter(Boolean).join(" · ")),
        told ? h("p", null, text(`told.${c.name}.do`)) : null,
        h("p", { lang: own ? null : "en" }, own ? text(`cond.${c.name}.do`, values) : c.detail ?? "")));
    })));
}

function collectors(list, members) {
  const rows = list.map((c) => [c.health, c.name, c.silent ? text("silent") : c.leaving ? text("leaving") : "", c.node,
    text("ratio", { n: count(c.joined), of: count(c.assigned) }), rate(c.rate), text("ratio", { n: count(c.ready), of: count(c.connections) }),
    c.outbox_batches < 0 ? "?" : c.outbox_batches ? `${count(c.outbox_batches)} · ${bytes(c.outbox_bytes)}` : count(0), ago(c.age)]);
  if (changed("collectors", rows)) {
    field("collectors").replaceChildren(...(rows.length ? rows.map(([health, name, state, node, ...cells]) => h("tr", { "data-health": health },
      h("th", { scope: "row" }, dot(health), name, " ", state && h("em", null, state), h("span", { class: "sr" }, ` ${text("health." + health)}`)),
      h("td", null, node), ...cells.map((c) => h("td", { class: "n" }, c))))
      : [h("tr", null, h("td", { colspan: 7, class: "empty" }, text("collectors.none")))]));
  }
  const others = members.map((m) => [m.health, has("role." + m.role) ? text("role." + m.role) : m.role, m.name,
    [m.leader && text("leader", { n: m.epoch ?? 0 }), m.silent ? text("silent") : "", ago(m.age)].filter(Boolean).join(" · ")]);
  if (changed("members", others)) {
    field("members").replaceChildren(...others.map(([health, role, name, note]) =>
      h("li", { "data-health": health }, dot(health), h("b", null, role), " " + name + " ", h("span", null, note))));
  }
}

function gaps(list, from) {
  if (!changed("gaps", [list, from, zone])) return;
  field("gaps").replaceChildren(list.length === 0 ? h("p", { class: "calm" }, text(from ? "gaps.none" : "gaps.wait"))
    : h("ul", { class: "gaps" }, ...list.map((g) => {
      const whole = g.channels === g.of && g.of > 1;
      const who = g.channels === 1 ? text("gaps.one") : whole ? text("gaps.all", { n: count(g.of) }) : text("gaps.some", { n: count(g.channels), of: count(g.of) });
      const names = whole ? "" : g.names.join(", ") + (g.channels > g.names.length ? ", …" : "");
      return h("li", { "data-quality": g.quality }, h("b", null, `${clock(g.from)}–${clock(g.to)}`), h("span", null, who),
        h("span", { class: "cov" }, g.quality === "unknown" || g.covered == null ? text("gaps.unknown") : text("gaps.covered", { n: percent(g.covered) })),
        names && h("small", null, names));
    })));
}

function minutes(list) {
  if (!changed("minutes", [list, zone])) return;
  chart.show(list);
  field("minutes").replaceChildren(...list.slice(-15).reverse().map((m) => {
    const cells = m.state === "missing" ? ["–", "–", "–", "–", "–"]
      : [count(m.messages), count(m.viewers), "≈\u00a0" + count(m.chatters), count(m.emotes), count(m.subs)];
    return h("tr", { "data-state": m.state, "data-quality": m.chat }, h("th", { scope: "row" }, clock(m.time)),
      ...cells.map((c) => h("td", { class: "n" }, c)),
      h("td", { class: "st" }, h("span", null, text("min." + m.state)), m.state === "closed" ? h("span", { class: "q" }, covered(m.chat, m.covered)) : null));
  }));
  // The filament glows with the newest minutes against the hour's busiest.
  const busiest = Math.max(1, ...list.map((m) => m.messages));
  const last = list.filter((m) => m.state === "closed").at(-1);
  document.documentElement.style.setProperty("--glow", last ? (0.25 + 0.75 * last.messages / busiest).toFixed(2) : "0.35");
}

let current = null, arrived = 0;

function show(s) {
  current = s;
  arrived = performance.now();
  if (s.event) { setZone(s.event.time_zone); zone = s.event.time_zone; }
  event(s);
  demo(s.demo);
  figures(s.now);
  raised(s.raised);
  stages(s.stages ?? [], s.now.dead);
  troubles(s.conditions ?? []);
  collectors(s.collectors ?? [], s.members ?? []);
  gaps(s.gaps ?? [], s.gaps_from);
  minutes(s.minutes ?? []);
  channels.tick(s.rates ?? {});
  link();
}

function showChannels(list) {
  if (changed("channels", [list, zone])) channels.show(list ?? []);
}

// The connection: the stream; when it ends, another after a while, longer each time, and in between
// a snapshot asked for by itself.
const stale = 8000;
let source = null, retry = 0, state = "connecting", tries = 0, lost = false;

function link() {
  const age = performance.now() - arrived;
  const good = current?.store?.good;
  let is = state, note = text("link." + (state === "lost" ? "connecting" : state));
  if (current && age > stale) { is = "lost"; note = text("link.lost", { age: span(age / 1000) }); }
  else if (current && !current.store.ok) {
    is = "stale";
    note = text("link.stale", { age: good ? span((Date.now() - Date.parse(good)) / 1000) : "–" });
  } else if (current && state === "lost") { is = "live"; note = text("link.live"); }
  const box = field("link");
  if (box.dataset.link !== is) {
    box.dataset.link = is;
    box.querySelector("use").setAttribute("href", { live: "#i-ok", polling: "#i-ok", lost: "#i-bad", stale: "#i-bad" }[is] ?? "#i-unknown");
  }
  put(box.querySelector("span"), note);
  document.documentElement.classList.toggle("adrift", is === "lost" || is === "stale");
  const away = is === "lost";
  if (away !== lost) {
    lost = away;
    put(field("said"), text(away ? "link.said.lost" : "link.said.back"));
  }
}

async function poll() {
  try {
    const answer = await fetch("/api/status", { headers: { Accept: "application/json" }, cache: "no-store", signal: AbortSignal.timeout(8000) });
    if (!answer.ok) return;
    const s = await answer.json();
    if (state === "live") return;
    state = "polling";
    show(s);
    showChannels(s.channels ?? []);
  } catch {
    link(); // the server is away: the age tells
  }
}

function connect() {
  clearTimeout(retry);
  source?.close();
  const es = source = new EventSource("/api/status/stream");
  es.addEventListener("hello", (e) => {
    // Another version of the page is served now: take it.
    // Not over and over, should two versions be behind one address.
    if (JSON.parse(e.data).assets === document.documentElement.dataset.assets) return;
    if (Date.now() - Number(sessionStorage.getItem("reloaded") ?? 0) < 60000) return;
    sessionStorage.setItem("reloaded", Date.now());
    location.reload();
  });
  es.addEventListener("status", (e) => { state = "live"; tries = 0; show(JSON.parse(e.data)); });
  es.addEventListener("channels", (e) => showChannels(JSON.parse(e.data)));
  es.onerror = () => {
    if (es !== source) return;
    es.close();
    state = "lost";
    const wait = Math.min(30000, 1000 * 2 ** Math.min(tries++, 5)) * (0.7 + Math.random() * 0.6);
    retry = setTimeout(connect, wait);
    if (tries > 1) poll();
    link();
  };
}

connect();
setInterval(link, 1000);
// A stream that hangs without an error is one that has ended.
setInterval(() => {
  if (state === "live" && performance.now() - arrived > 20000) source.onerror();
}, 5000);
addEventListener("online", () => { if (state !== "live") { tries = 0; connect(); } });
