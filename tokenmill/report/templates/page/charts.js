// Tables and charts. Charts are SVG with a name; the numbers behind each are in a table beside it.

// columns: {head, number, bar, wide}; rows: arrays of cells, or {cells, kind, made: called with the row's element}.
function table(name, columns, rows, foot = null) {
  const cell = (tag, column, content, extra = {}) =>
    el(tag, { class: column.bar ? "bar" : column.number ? "number" : column.wide ? "text wide-text" : "text", ...extra }, content);
  const line = (row) => {
    const cells = Array.isArray(row) ? row : row.cells;
    const made = cells.map((content, i) => cell(i === 0 ? "th" : "td", columns[i], content, i === 0 ? { scope: "row" } : {}));
    const node = el("tr", { class: row.kind }, made);
    row.made?.(node);
    return node;
  };
  const head = columns.map((column) => cell("th", column, column.bar ? hidden(column.head) : column.head, { scope: "col" }));
  const node = el(
    "table",
    null,
    el("caption", { class: "unseen" }, name),
    el("thead", null, el("tr", null, head)),
    el("tbody", null, rows.map(line)),
    foot ? el("tfoot", null, line(foot)) : null,
  );
  return scroller(name, node);
}

// The same, of which only the first rows are shown at first.
function longTable(name, columns, rows, most = 15) {
  if (rows.length <= most + 3) return table(name, columns, rows);
  const rest = [];
  const later = (cells) => ({ cells, made: (node) => { node.hidden = true; rest.push(node); } });
  const node = table(name, columns, rows.map((cells, i) => (i < most ? cells : later(cells))));
  const button = el("button", { type: "button", class: "quiet no-print", "aria-expanded": "false" }, `Show all ${rows.length}`);
  button.addEventListener("click", () => {
    const open = button.getAttribute("aria-expanded") !== "true";
    button.setAttribute("aria-expanded", String(open));
    button.textContent = open ? `Show the first ${most}` : `Show all ${rows.length}`;
    for (const row of rest) row.hidden = !open;
  });
  return el("div", null, node, button);
}

const hidden = (words) => el("span", { class: "unseen" }, words);

// Wide tables scroll in themselves; those that do can be reached by keyboard.
const watched =
  typeof ResizeObserver === "function"
    ? new ResizeObserver((entries) => {
        for (const { target } of entries) {
          if (target.scrollWidth > target.clientWidth + 1) target.tabIndex = 0;
          else target.removeAttribute("tabindex");
        }
      })
    : null;

function scroller(name, node) {
  const frame = el("div", { class: "scroll", role: "region", "aria-label": name }, node);
  watched?.observe(frame);
  return frame;
}

// One bar, or several on top of each other: parts: [[share of the full width, class]].
function bars(parts) {
  let x = 0;
  const shapes = parts.map(([share, kind]) => {
    const width = Math.max(0, Math.min(100 - x, 100 * (known(share) ? share : 0)));
    const shape = svg("rect", { x: x.toFixed(3), y: 0, width: width.toFixed(3), height: 10, class: kind });
    x += width;
    return shape;
  });
  return svg("svg", { class: "bars", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" }, shapes);
}

// A share of the largest: what is there at all stays visible.
const visible = (value, most) => (value > 0 && most > 0 ? Math.max(0.006, value / most) : 0);

// The numbers behind a chart, closed.
const numbers = (make, words = "The numbers of this chart") =>
  whenOpen(el("details", { class: "numbers" }, el("summary", null, words)), make);

function legend(...entries) {
  return el("ul", { class: "legend" }, entries.map(([kind, words]) => el("li", null, swatch(kind), words)));
}

const swatch = (kind) =>
  svg("svg", { class: "swatch", viewBox: "0 0 10 10", "aria-hidden": "true" }, svg("rect", { width: 10, height: 10, class: kind }));

// Heights grow with the square root, so that rare values beside a tall bar can be seen.
const height = (value, most) => (value > 0 && most > 0 ? Math.max(1.2, 100 * Math.sqrt(value / most)) : 0);

// The outline of bars from `from` to `to` as one path, in a box of counts.length x 100.
function outline(counts, most, from = 0, to = counts.length) {
  let path = "";
  for (let i = from; i < to; i += 1) {
    const h = height(counts[i], most);
    if (h) path += `M${(i + 0.06).toFixed(2)},100v${(-h).toFixed(2)}h.88v${h.toFixed(2)}z`;
  }
  return path;
}

function plot(name, width, ...shapes) {
  return svg(
    "svg",
    { class: "plot", role: "img", "aria-label": name, viewBox: `0 0 ${width} 100`, preserveAspectRatio: "none" },
    shapes,
  );
}

// Labels below a plot: [[place from 0 to 1, words]].
function axis(labels) {
  return el(
    "div",
    { class: "axis", "aria-hidden": "true" },
    labels.map(([place, words]) => {
      const label = el("span", { class: place < 0.04 ? "first" : place > 0.96 ? "last" : "inner" }, words);
      label.style.left = `${(100 * place).toFixed(2)}%`;
      return label;
    }),
  );
}

// Up to `most` of the edges of a histogram with n bars, evenly spread over its width.
function ticks(edges, place, format = measured, most = 5) {
  const n = edges.length;
  const chosen = new Set();
  for (let i = 0; i < Math.min(most, n); i += 1) chosen.add(Math.round((i * (n - 1)) / Math.max(1, Math.min(most, n) - 1)));
  return [...chosen].map((i) => [place(i), format(edges[i])]);
}
