// Elements are made of nodes and text, never of markup: whatever a channel calls itself stays text.
const svgTags = new Set(["svg", "use", "path", "rect", "line", "text", "circle", "g"]);

export function h(tag, attributes, ...children) {
  const el = svgTags.has(tag) ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value != null && value !== false) el.setAttribute(name, value === true ? "" : value);
  }
  el.append(...children.filter((c) => c != null && c !== ""));
  return el;
}

export const dot = (health) => h("svg", { class: "dot", "aria-hidden": "true", focusable: "false" }, h("use", { href: "#i-" + health }));

export const field = (name) => document.querySelector(`[data-f="${name}"]`);

export function put(el, value) {
  if (el.textContent !== value) el.textContent = value;
}

// changed says whether a part's data differ from those it shows, so that what stays is left alone:
// selection, scrolling and focus live in it.
const shown = new Map();
export function changed(part, data) {
  const now = JSON.stringify(data);
  if (shown.get(part) === now) return false;
  shown.set(part, now);
  return true;
}
