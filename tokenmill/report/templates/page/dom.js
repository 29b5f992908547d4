// Elements and text. Every node of this page is made here, and whatever comes from the data becomes a text node.

const SVG = "http://www.w3.org/2000/svg";
const NOT_KNOWN = "–";

// Attributes are constants of this script (and accessible names); this makes sure that it stays so.
function setAttribute(node, name, value) {
  if (/^(on|style$|src)/.test(name) || (name === "href" && !/^#[a-z-]+$/.test(value))) {
    throw new Error(`attribute ${name} is not set by this page`);
  }
  node.setAttribute(name, value === true ? "" : String(value));
}

function append(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return node;
}

function build(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value !== null && value !== undefined && value !== false) setAttribute(node, name, value);
  }
  return append(node, children);
}

const el = (name, attributes, ...children) => build(document.createElement(name), attributes, children);
const svg = (name, attributes, ...children) => build(document.createElementNS(SVG, name), attributes, children);

// A string of the data: isolated, so that marks of direction in it turn nothing around it.
const text = (value, kind = "") =>
  el("bdi", { class: kind ? `data ${kind}` : "data" }, value === null || value === undefined ? NOT_KNOWN : value);

const code = (value) => text(value, "code");

function replaceChildren(node, ...children) {
  node.replaceChildren();
  return append(node, children);
}

// Numbers

const WHOLE = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const known = (value) => typeof value === "number" && Number.isFinite(value);

const count = (value) => (known(value) ? WHOLE.format(value) : NOT_KNOWN);

const plural = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;

// 1536 -> "1.5 KiB"
function size(value) {
  if (!known(value)) return NOT_KNOWN;
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit ? value.toFixed(1) : WHOLE.format(value)} ${units[unit]}`;
}

// 0.1234 -> "12.3 %"; small shares keep two digits.
function percent(share) {
  if (!known(share)) return NOT_KNOWN;
  const hundred = 100 * share;
  const small = share !== 0 && Math.abs(share) < 0.01;
  return `${small ? String(Number(hundred.toPrecision(2))) : hundred.toFixed(1)} %`;
}

const ratio = (part, whole) => (known(part) && known(whole) && whole > 0 ? part / whole : null);

function seconds(value) {
  if (!known(value)) return NOT_KNOWN;
  if (value < 0.05) return value === 0 ? "0 s" : "< 0.1 s";
  if (value < 100) return `${value.toFixed(1)} s`;
  if (value < 6000) return `${Math.floor(value / 60)} min ${WHOLE.format(Math.floor(value % 60))} s`;
  return `${new Intl.NumberFormat("en-US", { maximumFractionDigits: 1 }).format(value / 3600)} h`;
}

// Seconds or milliseconds in a table: two digits after the point, or two that are not 0.
const fine = (value) => (!known(value) ? NOT_KNOWN : value >= 0.1 || value === 0 ? value.toFixed(2) : value.toPrecision(2));

// Four digits are enough to read a value; a threshold is shown as it must be written (exact).
const measured = (value) => {
  if (!known(value)) return NOT_KNOWN;
  if (Number.isInteger(value)) return WHOLE.format(value);
  return Math.abs(value) >= 1000 ? WHOLE.format(value) : String(Number(value.toPrecision(4)));
};
const exact = (value) => (!known(value) ? NOT_KNOWN : Number.isInteger(value) ? WHOLE.format(value) : String(value));

function signed(value, format = count) {
  if (!known(value)) return NOT_KNOWN;
  if (value === 0) return "±0";
  return `${value > 0 ? "+" : "−"}${format(Math.abs(value))}`;
}

// Sections

const sections = [];

// A part of the page with its heading, and its line in the table of contents.
function section(id, title, intro, ...children) {
  const heading = el("h2", { id: `${id}-title` }, title);
  const node = el("section", { id, "aria-labelledby": `${id}-title` }, heading, intro ? el("p", { class: "intro" }, intro) : null, children);
  sections.push({ id, title });
  return node;
}

const missing = (...words) => el("p", { class: "missing" }, words);

// Some content is made only when it is asked for: `expand` makes all of it (for printing).
const opened = new WeakSet();
const waiting = new Set();

function whenOpen(details, make) {
  const fill = () => {
    if (opened.has(details)) return;
    opened.add(details);
    waiting.delete(fill);
    append(details, [make()]);
  };
  waiting.add(fill);
  details.addEventListener("toggle", () => details.open && fill());
  if (details.open) fill();
  return details;
}

function expandAll() {
  while (waiting.size) for (const fill of [...waiting]) fill();
}
