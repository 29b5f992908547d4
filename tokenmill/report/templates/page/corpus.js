// What the documents are: languages, domains, near-duplicates, lengths.

function languagesSection() {
  const rows = data.languages;
  if (!rows.length) {
    return section("languages", "Languages", null,
      missing("No stage of this run told languages. ", el("code", null, "language_id"), " does; every recipe except raw has it."));
  }
  const most = largest(rows.map((row) => row.kept + (row.dropped ?? 0)));
  const all = sum(rows.map((row) => row.kept)) || 1;
  const withDropped = rows.some((row) => known(row.dropped));
  const shown = (cells) => (withDropped ? cells : cells.filter((_, i) => i !== 3));
  return section(
    "languages", "Languages",
    `As the language identifier told them. Share: of the documents that ${annotated ? "pass every rule" : "were kept"}. ${withDropped ? "Dropped documents are counted where their language was known by then." : "A run that drops documents does not keep their language: it is known with --mode annotate."}`,
    withDropped ? legend(["kept", KEPT], ["removed", DROPPED]) : null,
    longTable(
      "Documents by language",
      shown([{ head: "Language" }, { head: KEPT, number: true }, { head: "Share", number: true }, { head: DROPPED, number: true }, { head: "Both", bar: true }]),
      rows.map((row) => shown([
        row.name === null ? "not known" : text(row.name, "code"), count(row.kept), percent(row.kept / all), count(row.dropped),
        bars([[visible(row.kept, most), "kept"], [visible(row.dropped ?? 0, most), "removed"]]),
      ])),
    ),
  );
}

function domainsSection() {
  const { kept, dropped, distinct_kept, distinct_dropped } = data.domains;
  const total = (rows) => largest(rows.map((row) => row.documents));
  const part = (title, rows, distinct, kind) => {
    const most = total(rows);
    const withBytes = rows.some((row) => known(row.bytes));
    const columns = [{ head: "Domain" }, { head: "Documents", number: true }, { head: "Documents", bar: true }];
    if (withBytes) columns.splice(2, 0, { head: "Bytes", number: true });
    return el(
      "div", null, el("h3", null, title),
      rows.length
        ? [
            el("p", { class: "soft" }, rows.length < distinct ? `The ${rows.length} largest of ${plural(distinct, "domain")}.` : `${plural(distinct, "domain")} in all.`),
            table(title, columns, rows.map((row) => {
              const cells = [text(row.name, "url"), count(row.documents), bars([[visible(row.documents, most), kind]])];
              if (withBytes) cells.splice(2, 0, size(row.bytes));
              return cells;
            })),
          ]
        : missing("None."),
    );
  };
  return section(
    "domains", "Domains",
    "Registrable domains (example.co.uk, not www.example.co.uk), those with the most documents. A domain that is high on both sides is worth a look at its samples.",
    el("div", { class: "two" },
      part(KEPT, kept, distinct_kept, "kept"),
      part(DROPPED, dropped, distinct_dropped, "removed")),
  );
}

function clustersSection() {
  const title = "Near-duplicates";
  if (!data.clusters.length) {
    return section("clusters", title, null,
      missing("No deduplication of whole documents is through in this run. The stage ", el("code", null, "minhash_dedup"), " finds near-duplicates."));
  }
  return section(
    "clusters", title,
    "Documents that resemble each other, directly or through others, make a cluster; one of each is kept, and every one that a comparison found unlike.",
    data.clusters.map((one) => {
      const most = largest(one.sizes.map((row) => row[3] ?? row[2]));
      const rows = one.sizes.map(([from, to, clusters, documents]) => [
        from === to ? count(from) : `${count(from)} to ${count(to)}`, count(clusters), count(documents), bars([[visible(documents ?? clusters, most), "plain"]]),
      ]);
      return [
        el("h3", null, text(one.stage, "code")),
        el("p", null, `Of ${plural(one.documents, "document")}, ${count(one.dropped)} (${percent(ratio(one.dropped, one.documents))}) ${annotated ? "would be dropped" : "were dropped"} as copies of another.`, rows.length && one.measure ? [" Sizes count ", text(one.measure), "."] : null),
        rows.length
          ? table(
              "Clusters by their size",
              [{ head: "Documents in a cluster" }, { head: "Clusters", number: true }, { head: "Documents", number: true }, { head: "Size", bar: true }],
              rows,
            )
          : el("p", { class: "soft" }, "No two documents resemble each other so much."),
      ];
    }),
    el("p", { class: "soft" }, el("code", null, "tokenmill clusters RUN"), " shows members, reasons and differences."),
  );
}

function lengthsSection() {
  const title = "Lengths";
  if (!data.lengths.length) {
    return section("lengths", title, null, missing("No document was kept, so there are no lengths."));
  }
  return section(
    "lengths", title,
    "How long the documents are, on a scale where every bar is one step; the height grows with the square root of their number, both charts alike.",
    data.lengths.map((one) => {
      const most = Math.max(largest(one.kept), one.dropped ? largest(one.dropped) : 0);
      const n = one.kept.length;
      const labels = ticks(one.edges, (i) => i / n, short, 6);
      const chart = (counts, kind, words) =>
        el("figure", null,
          el("figcaption", null, `${words}: ${plural(sum(counts), "document")}, half of them under about ${short(middle(one.edges, counts))} ${one.unit}`),
          plot(`${words}, by ${one.unit}`, n, svg("path", { class: kind, d: outline(counts, most) })), axis(labels));
      return [
        el("h3", null, one.unit === "tokens" ? "Tokens" : "Characters"),
        el("div", { class: one.dropped ? "two" : null },
          chart(one.kept, "kept", KEPT),
          one.dropped ? chart(one.dropped, "removed", DROPPED) : null),
        numbers(() =>
          table(
            `Documents by ${one.unit}`,
            [{ head: "From", number: true }, { head: "To", number: true }, { head: KEPT, number: true }, ...(one.dropped ? [{ head: DROPPED, number: true }] : [])],
            one.kept.map((value, i) => [count(one.edges[i]), count(one.edges[i + 1]), count(value), ...(one.dropped ? [count(one.dropped[i])] : [])]),
          )),
      ];
    }),
  );
}

// 12345 -> "12k"
function short(value) {
  if (!known(value)) return NOT_KNOWN;
  for (const [unit, letter] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (value >= unit) return `${Number((value / unit).toPrecision(value >= 100 * unit ? 3 : 2))}${letter}`;
  }
  return measured(value);
}

// The upper edge of the bar that holds the median.
function middle(edges, counts) {
  const half = sum(counts) / 2;
  let seen = 0;
  for (let i = 0; i < counts.length; i += 1) {
    seen += counts[i];
    if (seen >= half) return edges[i + 1];
  }
  return null;
}
