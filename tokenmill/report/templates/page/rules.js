// Rules side by side: what each removes, what only it removes, and which remove the same documents.

const MATRIX_RULES = 24; // most rules in the table of pairs: those that remove most

function rulesSection() {
  const title = "Rules and how they overlap";
  const rules = data.overlap?.rules ?? [];
  if (!data.overlap) {
    return section(
      "rules", title, null,
      missing(
        "A run that drops documents asks no later rule about them, so overlaps are not known. ",
        "They are with ", el("code", null, "tokenmill run ... --mode annotate"), ".",
      ),
    );
  }
  const { documents, kept } = data.overlap;
  const both = pairCounts(data.overlap.pairs);
  const order = rules.map((rule, i) => i).sort((a, b) => rules[b].removes - rules[a].removes || a - b);
  return section(
    "rules", title,
    `Of ${plural(documents, "document")}, ${count(kept)} pass every rule. Removes: documents for which the rule holds, whatever other rules say. First: those for which it would be the recorded reason. Only it: those that would be kept without this rule; a rule with 0 here costs nothing to drop.`,
    rules.length ? [rulesTable(rules, order, both, documents), order.length > 1 ? matrix(rules, order.slice(0, MATRIX_RULES), both) : null] : missing("No rule removes a document."),
  );
}

function pairCounts(pairs) {
  const found = new Map();
  for (const [i, j, n] of pairs) {
    found.set(`${i},${j}`, n);
    found.set(`${j},${i}`, n);
  }
  return (i, j) => found.get(`${i},${j}`) ?? 0;
}

// The reason, and below it the filter and when it drops a document.
function ruleName(name, rank, rule) {
  const [filter, reason] = splitRule(name);
  return el(
    "span", { class: "ruled" }, el("span", { class: "rank" }, `${rank + 1}`),
    el("span", null, text(reason, "code"),
      el("span", { class: "when soft" }, text(filter, "code"), rule ? [": ", condition(rule, withUnit(rule, rule.threshold)), by(rule)] : null)),
  );
}

function rulesTable(rules, order, both, documents) {
  const described = groupBy(data.rules, (rule) => rule.id);
  const most = largest(rules.map((rule) => rule.removes));
  const rows = order.map((i, rank) => {
    const rule = rules[i];
    const near = order.filter((j) => j !== i && both(i, j) > 0).sort((a, b) => both(i, b) - both(i, a))[0];
    return [
      ruleName(rule.rule, rank, described.get(rule.rule)?.[0]),
      count(rule.removes), percent(ratio(rule.removes, documents)), bars([[visible(rule.removes, most), "removed"]]), count(rule.first), count(rule.only),
      near === undefined ? "none" : [el("span", { class: "soft" }, `${order.indexOf(near) + 1} `), text(splitRule(rules[near].rule)[1], "code"), el("span", { class: "soft nowrap" }, ` ${percent(both(i, near) / rule.removes)}`)],
    ];
  });
  const node = table(
    "Rules by the documents that they remove",
    [
      { head: "Rule" }, { head: "Removes", number: true }, { head: "Share", number: true },
      { head: "Documents removed", bar: true }, { head: "First", number: true }, { head: "Only it", number: true }, { head: "Most in common with", wide: true },
    ],
    rows,
  );
  node.classList.add("narrow-bar");
  return node;
}

function matrix(rules, shown, both) {
  const columns = [{ head: "Rule" }, ...shown.map((i, k) => ({ head: String(k + 1), number: true }))];
  const rows = shown.map((i, k) => [
    [el("span", { class: "rank" }, `${k + 1}`), text(splitRule(rules[i].rule)[1], "code")],
    ...shown.map((j) => {
      const share = rules[i].removes ? both(i, j) / rules[i].removes : 0;
      const node = el("span", { class: "heat" }, share ? String(Math.round(100 * share)) : "");
      node.style.setProperty("--share", `${(52 * share).toFixed(0)}%`);
      return node;
    }),
  ]);
  const node = table("Shares of documents that two rules have in common", columns, rows);
  node.classList.add("matrix");
  return [
    el("h3", null, "Which rules remove the same documents"),
    el("p", { class: "intro" }, `Read along a row: of the documents that this rule removes, the share in % that the rule of the column (numbers as in the rows) removes, too.${rules.length > shown.length ? ` The ${shown.length} rules that remove most.` : ""}`),
    node,
  ];
}
