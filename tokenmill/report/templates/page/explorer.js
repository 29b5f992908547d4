// The what-if explorer: a histogram and a slider for every threshold, and what the moved ones would keep together.

const timing = { opened: null, recompute: null, slowest: 0, moves: 0 };

const SYMBOLS = { "<": "<", "<=": "≤", ">": ">", ">=": "≥" };

function explorerSection() {
  const title = "Try other thresholds";
  if (!data.rules.length && (annotated || run.mode === "refilter")) {
    return section("explorer", title, null, missing(
      annotated ? "No rule of this recipe compares a signal with a threshold."
        : ["Thresholds are tried in the report of the annotated run that this one was made of: ", text(run.annotated_run, "code"), "."]));
  }
  if (!data.rules.length) {
    return section(
      "explorer", title, null,
      missing(
        "No signals are stored in this run, so other thresholds cannot be tried here. ",
        "Signals are stored with ", el("code", null, "tokenmill run ... --mode annotate"),
        "; the report of such a run has a histogram and a slider for every threshold.",
      ),
    );
  }
  const engine = new WhatIf(data.rules, data.whatif, data.read.documents);
  const dock = makeDock(engine);
  const cards = new Map();
  const changed = (rule) => {
    const before = performance.now();
    if (rule === null) for (const card of cards.values()) card.show();
    else cards.get(rule)?.show();
    dock.show();
    timing.recompute = performance.now() - before;
    timing.slowest = Math.max(timing.slowest, timing.recompute);
    timing.moves += 1;
  };
  dock.reset.addEventListener("click", () => {
    engine.positions = data.rules.map((rule) => rule.current);
    changed(null);
  });
  const places = data.rules.map((rule, i) => i);
  const groups = [...groupBy(places, (i) => data.rules[i].filter)];
  const removes = (i) => (data.rules[i].current === OFF ? 0 : data.rules[i].removes[data.rules[i].current]);
  const most = largest(groups.map(([, found]) => sum(found.map(removes))));
  let first = true;
  const parts = groups.map(([filter, found]) => {
    const weight = sum(found.map(removes));
    const active = found.filter((i) => removes(i) > 0).length;
    const node = el(
      "details",
      { class: "filter", open: first && weight === most },
      el(
        "summary", null, el("h3", null, text(filter, "code")),
        el("span", { class: "soft" }, `${plural(found.length, "threshold")}; ${active ? `${count(active)} ${active === 1 ? "removes" : "remove"} something` : "none removes anything"}`),
      ),
    );
    if (node.open) first = false;
    const grid = el("div", { class: "cards" });
    return whenOpen(node, () => {
      for (const i of found) {
        const card = makeCard(engine, i, () => changed(i));
        cards.set(i, card);
        grid.append(card.node);
      }
      return grid;
    });
  });
  dock.show();
  return section("explorer", title, null, explanation(), later(engine), legendOfCards(), parts, dock.node);
}

// What comes behind the filters takes some of the documents that pass them.
function later(engine) {
  const kept = data.overlap?.kept ?? null;
  const passing = engine.run?.documents ?? null;
  if (!everyDocument || kept === null || passing === null || passing === kept) return null;
  return el("p", { class: "intro" },
    `As the thresholds are, ${plural(passing, "document")} pass the filters; ${count(kept)} are left after the deduplication behind them, which refilter does again.`);
}

function explanation() {
  const read = everyDocument
    ? ["All stored documents are counted: with one threshold moved the numbers are those that ", el("code", null, "tokenmill refilter"), " gives. "]
    : `Counted over a fixed choice of ${count(data.read.documents)} of ${plural(data.read.of, "document")}, so shares can be read for the run, and counts are those of the choice. `;
  const packed = data.whatif;
  const together = packed
    ? packed.documents < packed.of
      ? `Several moved together are estimated from a fixed sample of ${plural(packed.documents, "document")}, with an interval of 95 %.`
      : "Several moved together are counted exactly, too."
    : "Several moved together cannot be counted in this report.";
  return el(
    "p", { class: "intro" },
    "Each chart shows how the documents are spread over a signal. A bar is one step of the slider, so steps need not be equally wide; heights grow with the square root of the number of documents. ",
    "Move a slider (arrow keys work) and the bar at the bottom says what would be kept. ",
    read, together,
  );
}

const legendOfCards = () =>
  legend(["kept", "passes this threshold"], ["removed", "removed by it"], ["mark-now", "the slider"], ["mark-run", "the run's threshold"]);

// The condition under which the rule removes a document, in words of the rule.
function condition(rule, value) {
  return [text(rule.signal, "code"), ` ${Object.hasOwn(SYMBOLS, rule.comparison) ? SYMBOLS[rule.comparison] : "?"} `, value];
}

// "50 words", "0.3 (share of lines)"
function withUnit(rule, value) {
  if (value === null) return "off";
  const isRatio = /^share|\bper\b/.test(rule.unit);
  return [exact(value), " ", rule.unit ? [isRatio ? "(" : "", text(rule.unit), isRatio ? ")" : ""] : null];
}

const by = (rule) =>
  rule.by ? el("span", { class: "soft" }, rule.by.value === null ? " for all other values of " : " for ", text(rule.by.column), rule.by.value === null ? null : [" ", text(rule.by.value)]) : null;

function makeCard(engine, index, changed) {
  const rule = data.rules[index];
  const n = rule.edges.length;
  const id = `rule-${index}`;
  const most = largest(rule.counts);
  const below = rule.comparison.startsWith("<");
  const place = (i) => (i + 1) / (n + 1);
  const keptPath = svg("path", { class: "kept" });
  const removedPath = svg("path", { class: "removed" });
  const lineNow = svg("line", { class: "mark-now", y1: 0, y2: 100 });
  const lineRun = svg("line", { class: "mark-run", y1: 0, y2: 100, x1: rule.current + 1, x2: rule.current + 1 });
  lineRun.style.display = rule.current === OFF ? "none" : "";
  const chart = plot(
    `Histogram of ${rule.signal} over ${plural(sum(rule.counts), "document")}; ${rule.current === OFF ? "the rule is off" : `the run's threshold is ${exact(rule.edges[rule.current])}`}`,
    n + 1, keptPath, removedPath, lineRun, lineNow,
  );
  const range = el("input", { type: "range", id, min: 0, max: n - 1, step: 1 });
  range.style.marginLeft = `calc(${(100 * place(0)).toFixed(4)}% - 9px)`;
  range.style.width = `calc(${((100 * (n - 1)) / (n + 1)).toFixed(4)}% + 18px)`;
  const off = el("input", { type: "checkbox", id: `${id}-off` });
  const readout = el("output", { class: "readout", for: id });
  const node = el(
    "article", { class: "card", "aria-labelledby": `${id}-name` },
    el("h4", { id: `${id}-name` }, text(rule.reason, "code"), by(rule)),
    el("p", { class: "rule" }, rule.threshold === null ? ["Off in this run; removes where ", condition(rule, rule.unit ? ["a number of ", text(rule.unit)] : "a threshold")] : ["Removes where ", condition(rule, withUnit(rule, rule.threshold))]),
    el("p", { class: "meaning" }, rule.meaning ? [text(rule.meaning), rule.source ? [" ", text(rule.source), "."] : null] : text(rule.about ?? "")),
    el("div", { class: "figure-box" }, chart, el("label", { class: "unseen", for: id }, "Threshold of ", text(rule.reason)), range, axis(ticks(rule.edges, place))),
    readout,
    el("p", { class: "card-foot" },
      el("label", { class: "off no-print" }, off, " switch off"),
      rule.nulls ? el("span", { class: "soft" }, `${plural(rule.nulls, "document")} without this signal: never removed by it`) : null,
      rule.again ? el("span", { class: "soft" }, "before ", text(rule.again, "code"), ", which refilter does again: its numbers may differ a little") : null),
    numbers(() => edgesTable(rule)),
  );
  const show = () => {
    const at = engine.positions[index];
    if (at !== OFF) range.value = String(at);
    off.checked = at === OFF;
    const split = at === OFF ? (below ? 0 : n + 1) : at + 1;
    keptPath.setAttribute("d", below ? outline(rule.counts, most, split) : outline(rule.counts, most, 0, split));
    removedPath.setAttribute("d", below ? outline(rule.counts, most, 0, split) : outline(rule.counts, most, split));
    lineNow.style.display = at === OFF ? "none" : "";
    for (const end of ["x1", "x2"]) lineNow.setAttribute(end, split);
    node.classList.toggle("moved", at !== rule.current);
    range.setAttribute("aria-valuetext", at === OFF ? "off" : `${exact(rule.edges[at])} ${rule.unit}, ${plural(rule.kept[at], "document")} pass`);
    replaceChildren(readout, readoutOf(engine, rule, at));
  };
  range.addEventListener("input", () => {
    engine.positions[index] = Number(range.value);
    changed();
  });
  off.addEventListener("change", () => {
    engine.positions[index] = off.checked ? OFF : rule.current === OFF ? Number(range.value) : rule.current;
    changed();
  });
  if (rule.current === OFF) range.value = String(below ? 0 : n - 1);
  show();
  return { node, show };
}

function readoutOf(engine, rule, at) {
  if (at === OFF) return [cellOf("threshold", "off"), cellOf("removed by this rule", "0")];
  const run = engine.run?.documents ?? null;
  const change = run === null ? null : rule.kept[at] - run;
  return [
    cellOf(["threshold", rule.unit ? [" (", text(rule.unit), ")"] : null], exact(rule.edges[at])),
    cellOf("removed by this rule", count(rule.removes[at])),
    cellOf("pass if only this moves", count(rule.kept[at]), change),
  ];
}

const cellOf = (words, value, change = null) =>
  el("span", { class: "pair" },
    el("span", null, el("span", { class: "value" }, value), change ? el("span", { class: "delta" }, ` ${signed(change)}`) : null), " ",
    el("span", { class: "soft" }, words));

function edgesTable(rule) {
  const rows = rule.edges.map((edge, i) => ({
    kind: i === rule.current ? "now" : null,
    cells: [exact(edge), count(rule.counts[i]), count(rule.removes[i]), count(rule.kept[i]), size(rule.kept_bytes[i])],
  }));
  rows.push({ cells: ["and more", count(rule.counts.at(-1)), null, null, null] });
  return table(
    "Documents by threshold",
    [
      { head: "Threshold", number: true }, { head: "Documents from the last one", number: true },
      { head: "Removes", number: true }, { head: "Pass", number: true }, { head: "Bytes that pass", number: true },
    ],
    rows,
  );
}

// What all sliders together would keep, and the command for it.
function makeDock(engine) {
  const whole = data.whatif?.of ?? data.overlap?.documents ?? data.read.documents;
  const reset = el("button", { type: "button", class: "quiet" }, "Reset all");
  const copy = el("button", { type: "button", class: "quiet" }, "Copy");
  const figures = el("output", { class: "figures" });
  const command = el("pre", { class: "command" });
  const unsaid = el("p", { class: "soft unsaid" });
  const say = el("span", { class: "unseen", role: "status" });
  copy.addEventListener("click", async () => {
    let done = "Copied";
    try {
      await navigator.clipboard.writeText(command.textContent);
    } catch {
      getSelection().selectAllChildren(command); // no clipboard here: the reader presses the keys
      done = "Selected";
    }
    copy.textContent = done;
    say.textContent = done;
    setTimeout(() => { copy.textContent = "Copy"; }, 1500);
  });
  const node = el(
    "aside", { class: "dock", "aria-label": "What the moved thresholds keep" },
    el("div", { class: "dock-line" }, figures, el("span", { class: "buttons no-print" }, reset)),
    el("div", { class: "dock-line second" }, command, el("span", { class: "buttons no-print" }, copy)), unsaid, say,
  );
  const show = () => {
    const found = engine.result();
    const { moved } = engine;
    reset.disabled = !moved.length;
    replaceChildren(figures, found ? dockFigures(engine, found, whole, moved) : "Several thresholds together cannot be counted: this report holds no codes of the documents.");
    const [words, lacking] = commandFor(engine, moved);
    command.textContent = words ?? "";
    node.classList.toggle("idle", !moved.length);
    command.hidden = words === null;
    copy.hidden = words === null;
    replaceChildren(unsaid, lacking);
    unsaid.hidden = lacking === null;
  };
  return { node, reset, show };
}

function dockFigures(engine, found, whole, moved) {
  const about = found.exact ? "" : "about ";
  const change = (key, format) => {
    const by = found[key] === null || engine.run[key] === null ? null : found[key] - engine.run[key];
    return moved.length && by !== null ? signed(by, format) : null;
  };
  const pair = (value, words, delta) =>
    el("span", { class: "pair" }, el("b", { class: "value" }, value), " ", words, delta ? el("span", { class: "delta" }, ` ${delta}`) : null);
  return [
    pair(`${about}${count(found.documents)}`, `of ${plural(whole, "document")} pass the filters (${percent(ratio(found.documents, whole))})`, change("documents", count)),
    pair(size(found.bytes), "of text", change("bytes", size)),
    found.tokens === null ? null : pair(count(found.tokens), "tokens", change("tokens", count)),
    found.exact ? null : el("span", { class: "pair" }, `95 %: ${count(found.low)} to ${count(found.high)}`),
    moved.length ? el("span", { class: "pair soft" }, `${plural(moved.length, "threshold")} moved`) : el("span", { class: "pair soft" }, "as in the run: nothing is moved"),
  ];
}

// [command or null, what cannot be said in it or null]
function commandFor(engine, moved) {
  if (!moved.length) return [null, null];
  const settings = new Map();
  const lacking = [];
  for (const index of moved) {
    const rule = data.rules[index];
    const at = engine.positions[index];
    const value = at === OFF ? "null" : String(rule.edges[at]);
    const word = rule.setting === null ? null : shellWord(`${rule.filter}.${rule.setting}=${value}`);
    if (word === null || (settings.has(`${rule.filter}.${rule.setting}`) && rule.by)) lacking.push(index);
    else settings.set(`${rule.filter}.${rule.setting}`, word);
  }
  const words = [...settings.values()].map((word) => ` --set ${word}`).join("");
  const note = lacking.length
    ? ["No option of the command sets ", lacking.map((i, k) => [k ? ", " : "", text(data.rules[i].id, "code")]), ": change it in the recipe."]
    : null;
  return [settings.size ? `tokenmill refilter RUN${words} --output NEW` : null, note];
}
