// The funnel and its cost: what went into each stage, what came out, why the rest did not, and how long it took.

function funnelSection() {
  const accounted = totals.kept + totals.dropped + totals.quarantined;
  const share = percent(ratio(accounted, totals.records));
  const toggle = el("button", { type: "button", class: "quiet no-print", "aria-expanded": "false" }, "Show all reasons");
  const rows = [];
  const groups = [];
  for (const row of data.funnel) {
    const [line, reasons, group] = stageRows(row);
    rows.push(line, ...reasons);
    if (group) groups.push(group);
  }
  toggle.addEventListener("click", () => {
    const open = toggle.getAttribute("aria-expanded") !== "true";
    toggle.setAttribute("aria-expanded", String(open));
    toggle.textContent = open ? "Hide the reasons" : "Show all reasons";
    for (const group of groups) group(open);
  });
  const withTokens = data.funnel.some((row) => known(row.tokens_out));
  const drop = (cells) => (withTokens ? cells : cells.filter((_, i) => i !== 7));
  const columns = drop([
    { head: "Stage" },
    { head: "In", number: true },
    { head: "Out", number: true },
    { head: "Lost", number: true },
    { head: "Of all", number: true },
    { head: "Share of all records", bar: true },
    { head: "Bytes out", number: true },
    { head: "Tokens out", number: true },
    { head: "Seconds", number: true },
  ]);
  for (const row of rows) row.cells = drop(row.cells);
  const foot = drop([
    "Accounted for", count(totals.records), count(totals.kept), count(totals.dropped + totals.quarantined), share, null,
    size(totals.bytes_kept), known(totals.tokens_kept) ? tokens() : NOT_KNOWN, seconds(totals.seconds),
  ]);
  return section(
    "funnel",
    "Funnel",
    "Stages in their order. Shares are of all records read, so what was kept and every reason below add up to 100 %. Bytes are those of the archived page before the text is extracted, and those of the text after. Seconds are summed over all workers.",
    recordStrip(),
    annotated && data.overlap ? verdictStrip() : null,
    el("div", { class: "row" }, groups.length ? toggle : null),
    table("Documents by stage and reason", columns, rows, { cells: foot }),
    balance(accounted, share),
  );
}

function balance(accounted, share) {
  const parts = `${count(totals.kept)} ${annotated ? "stored" : "kept"} + ${count(totals.dropped)} dropped + ${count(totals.quarantined)} in quarantine`;
  if (accounted === totals.records) {
    return el("p", { class: "balance" }, `${plural(totals.records, "record")} = ${parts}: ${totals.records ? "it adds up to 100 %" : "nothing was read yet"}.`);
  }
  if (run.shards_done < run.shards) {
    return el("p", { class: "balance" }, `${plural(totals.records, "record")} so far, ${parts}: stages of a run under way are at different shards, so this adds up only at its end.`);
  }
  return el("p", { class: "warn" }, `${plural(totals.records, "record")}, but ${parts}: that is ${share} of them.`);
}

function stageRows(row) {
  const all = totals.records || 1;
  const lost = row.into - row.out;
  const lines = [];
  let name = text(row.stage, "code");
  let group = null;
  if (row.reasons.length) {
    const button = el("button", { type: "button", class: "open-reasons", "aria-expanded": "false" }, text(row.stage, "code"));
    const nodes = [];
    group = (open) => {
      button.setAttribute("aria-expanded", String(open));
      for (const node of nodes) node.hidden = !open;
    };
    button.addEventListener("click", () => group(button.getAttribute("aria-expanded") !== "true"));
    for (const one of row.reasons) {
      const kind = one.kind === "quarantined" ? "quarantined" : "removed";
      lines.push({
        kind: "reason",
        made: (node) => {
          node.hidden = true;
          nodes.push(node);
        },
        cells: [
          [text(one.reason), kind === "quarantined" ? " (quarantine)" : ""], null, null, count(one.count),
          percent(one.count / all), bars([[visible(one.count, all), kind]]), null, null, null,
        ],
      });
    }
    name = button;
  }
  const gone = lost > 0 ? Math.max(visible(lost, all), 0.006) : 0;
  const line = {
    kind: lost > 0 ? "stage loses" : "stage",
    cells: [
      name, count(row.into), count(row.out), lost ? count(lost) : "0", percent(row.out / all),
      bars([[row.out / all, "kept"], [gone, "removed"]]), size(row.bytes_out), count(row.tokens_out), seconds(row.seconds),
    ],
  };
  return [line, lines, group];
}

// One strip of 100 %: parts: [words, documents, class].
function strip(title, whole, parts) {
  const shown = parts.filter((part) => part[1] > 0);
  const name = `${title}: ${shown.map(([words, n]) => `${words} ${percent(n / (whole || 1))}`).join(", ")}`;
  let x = 0;
  const shapes = shown.map(([, n, kind]) => {
    const width = (100 * n) / (whole || 1);
    const shape = svg("rect", { x: x.toFixed(3), y: 0, width: Math.max(0.15, width).toFixed(3), height: 10, class: `${kind} cut` });
    x += width;
    return shape;
  });
  return el(
    "figure",
    { class: "strip" },
    el("figcaption", null, title),
    svg("svg", { class: "bars tall", role: "img", "aria-label": name, viewBox: "0 0 100 10", preserveAspectRatio: "none" }, shapes),
    el(
      "ul",
      { class: "legend" },
      shown.map(([words, n, kind]) => el("li", null, swatch(kind), text(words), ` ${count(n)} `, el("span", { class: "soft" }, percent(n / (whole || 1))))),
    ),
  );
}

function recordStrip() {
  const parts = [[annotated ? "stored" : "kept", totals.kept, "kept"]];
  for (const row of data.funnel) {
    const dropped = sum(row.reasons.filter((one) => one.kind === "dropped").map((one) => one.count));
    parts.push([row.stage, dropped, "removed"]);
  }
  parts.push(["quarantine", totals.quarantined, "quarantined"]);
  return strip(`All ${plural(totals.records, "record")}`, totals.records, parts);
}

// What filters would drop: each document counts for the first rule that removes it.
function verdictStrip() {
  const { documents, kept, rules } = data.overlap;
  const places = new Map(data.funnel.map((row, i) => [row.stage, i]));
  const order = [...groupBy(rules, (one) => splitRule(one.rule)[0])].sort(([a], [b]) => (places.get(a) ?? 0) - (places.get(b) ?? 0));
  const parts = [["pass every rule", kept, "kept"]];
  for (const [filter, found] of order) {
    parts.push([filter, sum(found.map((one) => one.first)), "removed"]);
  }
  return strip(`The ${plural(documents, "stored document")} by verdict: each counts for the first filter that would drop it`, documents, parts);
}

function costSection() {
  const whole = sum(data.funnel.map((row) => row.seconds)) || 1;
  const most = largest(data.funnel.map((row) => row.seconds));
  const rate = (amount, row, format) => (row.seconds > 0 && amount > 0 ? format(amount / row.seconds) : NOT_KNOWN);
  const rows = data.funnel.map((row) => [
    text(row.stage, "code"), fine(row.seconds), percent(row.seconds / whole), bars([[visible(row.seconds, most), "plain"]]),
    rate(row.into, row, (v) => measured(Number(v.toPrecision(3)))), rate(row.bytes_in, row, size),
    fine(ratio(1000 * row.seconds, row.into)),
  ]);
  return section(
    "cost",
    "Cost per stage",
    "Where the time went, in core-seconds: one core busy for one second, summed over all workers. Rates are for one core, of what came into the stage.",
    table(
      "Cost by stage",
      [
        { head: "Stage" }, { head: "Core-seconds", number: true }, { head: "Share", number: true }, { head: "Share of all core-seconds", bar: true },
        { head: "Documents/s", number: true }, { head: "Bytes/s", number: true }, { head: "ms each", number: true },
      ],
      rows,
      { cells: ["All stages", fine(sum(data.funnel.map((row) => row.seconds))), "100.0 %", null, rate(totals.records, totals, (v) => measured(Number(v.toPrecision(3)))), rate(totals.bytes_read, totals, size), fine(ratio(1000 * totals.seconds, totals.records))] },
    ),
  );
}
