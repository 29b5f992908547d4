// What asks for care: personal data, opt-outs, machine-written text; then rephrased pages and remarks.

const KINDS = new Map([
  ["emails", "e-mail addresses"], ["ips", "IP addresses"], ["cards", "payment cards"], ["ibans", "bank accounts (IBAN)"],
  ["keys", "keys and passwords"], ["ssns", "US social security numbers"], ["phones", "telephone numbers"],
]);

function piiSection() {
  const title = "Personal data";
  if (!data.pii.length) {
    return section("pii", title, null,
      missing("No stage of this run looked for personal data. ", el("code", null, "redact_pii"), " finds and replaces it."));
  }
  return section(
    "pii", title,
    "What was found and replaced in the texts: how many documents had some, and how many pieces there were. The values themselves are stored nowhere. Names and postal addresses are not looked for.",
    table(
      "Personal data by kind",
      [{ head: "Kind" }, { head: "Documents", number: true }, { head: "Share", number: true }, { head: "Pieces", number: true }, { head: "Documents", bar: true }],
      data.pii.map((row) => [
        text(KINDS.get(row.kind) ?? row.kind), count(row.documents), percent(ratio(row.documents, data.read.documents)), count(row.spans),
        bars([[visible(row.documents, largest(data.pii.map((one) => one.documents))), "plain"]]),
      ]),
    ),
  );
}

function optoutSection() {
  const title = "Opt-out signals";
  if (!data.optout.length) {
    return section("optout", title, null,
      missing("No page of this run carried a signal about reuse, or no stage read them: reading WARC archives records robots directives, tdm-reservation and licence links."));
  }
  const most = largest(data.optout.map((row) => row.documents));
  return section(
    "optout", title,
    "What pages said about their reuse, in their headers or their markup: robots directives, text-and-data-mining reservations, licences. Recorded without judging; an opt-out filter acts on them where the recipe has one.",
    legend(["kept", KEPT], ["removed", DROPPED]),
    longTable(
      "Documents by what their page says about reuse",
      [{ head: "Signal" }, { head: "Documents", number: true }, { head: "Share", number: true }, { head: KEPT, number: true }, { head: "Both", bar: true }],
      data.optout.map((row) => [
        text(row.signal, "code"), count(row.documents), percent(ratio(row.documents, data.read.documents)), count(row.kept),
        bars([[visible(row.kept, most), "kept"], [visible(row.documents - row.kept, most), "removed"]]),
      ]),
    ),
  );
}

// Interval of 95 % of a share (Wilson 1927).
function wilson(part, whole) {
  if (!whole) return [0, 0];
  const z = 1.96;
  const share = part / whole;
  const below = 1 + (z * z) / whole;
  const centre = (share + (z * z) / (2 * whole)) / below;
  const half = (z * Math.sqrt((share * (1 - share)) / whole + (z * z) / (4 * whole * whole))) / below;
  return [Math.max(0, centre - half), Math.min(1, centre + half)];
}

function phrasesSection() {
  const title = "Machine-written text";
  const found = data.phrases;
  if (found === null) {
    return section("phrases", title, null, missing("Phrases are counted in English texts that were kept; this run has none."));
  }
  const { months } = found;
  const shares = months.map((row) => (row.documents ? row.with / row.documents : 0));
  const highs = months.map((row) => wilson(row.with, row.documents)[1]);
  const most = Math.max(largest(shares), Math.min(largest(highs), 3 * largest(shares))) || 1;
  const n = months.length;
  const shapes = months.map((row, i) => {
    const h = (100 * shares[i]) / most;
    return svg("rect", { class: "plain", x: i + 0.12, width: 0.76, y: 100 - h, height: h });
  });
  const intervals = months.map((row, i) => {
    const [low, high] = wilson(row.with, row.documents).map((share) => Math.max(0, 100 - (100 * share) / most));
    return svg("line", { class: "interval", x1: i + 0.5, x2: i + 0.5, y1: low, y2: high });
  });
  const all = sum(months.map((row) => row.with));
  const docs = sum(months.map((row) => row.documents));
  const step = Math.max(1, Math.ceil(n / 8));
  const labels = months.flatMap((row, i) => (i % step === 0 ? [[(i + 0.5) / n, row.month]] : []));
  const chart = () => [
    el("figure", null,
      el("figcaption", null, `${count(all)} of ${plural(docs, "document")} (${percent(ratio(all, docs))}); the chart reaches up to ${percent(most)}`),
      plot(`Share of documents with such phrases by month, from ${months[0].month} to ${months[n - 1].month}`, n, shapes, intervals), axis(labels)),
    numbers(() => monthsTable(months)),
  ];
  const few = () => monthsTable(months); // a chart of one bar says less than its numbers
  return section(
    "phrases", title,
    "The share of documents that hold at least one phrase which language models write far more often than people do, by the month in which the page was fetched. One phrase proves nothing about one page; a rising share says something about a crawl. Lines are intervals of 95 %.",
    !n ? missing("The documents have no dates.") : all ? (n < 3 ? few() : chart()) : el("p", null, `None of ${plural(docs, "document")} holds one of the phrases.`),
    found.phrases.length
      ? [
          el("h3", null, "The phrases found most"),
          table("Phrases by documents", [{ head: "Phrase" }, { head: "Documents", number: true }, { head: "Documents", bar: true }],
            found.phrases.map((row) => [text(row.phrase), count(row.documents), bars([[visible(row.documents, largest(found.phrases.map((one) => one.documents))), "plain"]])])),
        ]
      : null,
  );
}

const monthsTable = (months) =>
  table(
    "Documents with such phrases by month",
    [{ head: "Month" }, { head: "Documents", number: true }, { head: "With a phrase", number: true }, { head: "Share", number: true }, { head: "95 %", number: true }],
    months.map((row) => {
      const [low, high] = wilson(row.with, row.documents);
      return [text(row.month), count(row.documents), count(row.with), percent(ratio(row.with, row.documents)), `${percent(low)} to ${percent(high)}`];
    }),
  );

const dollars = (value, digits) => `${value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits })} dollars`;

function rephrasedSection() {
  const found = data.rephrased;
  if (found === null) return null;
  const rows = [];
  for (const row of found.styles) {
    const all = row.accepted + row.rejected + (row.skipped ?? 0) || 1;
    rows.push([
      text(row.style, "code"), count(row.accepted + row.rejected), count(row.accepted), percent(row.share),
      bars([[row.share, "kept"]]), count(row.tokens_in), count(row.tokens_out),
    ]);
    for (const [reason, n] of row.reasons) {
      rows.push({ kind: "reason", cells: [text(reason), null, count(n), percent(n / all), bars([[n / all, "removed"]]), null, null] });
    }
  }
  const money = found.dollars
    ? ` ${dollars(found.dollars, 2)} in all${known(found.dollars_per_billion_kept) ? `, ${dollars(found.dollars_per_billion_kept, 0)} for a billion kept tokens` : ""}.`
    : "";
  return section(
    "rephrased", "Rephrased",
    ["Texts of ", text(found.model, "code"), ", in rephrased/data/; what was rejected lies with its reason in rephrased/rejected/. Tokens are those of all attempts.", money],
    found.warnings.map((words) => el("p", { class: "warn" }, text(words))),
    table(
      "Outputs by style and reason",
      [{ head: "Style and reason" }, { head: "Outputs", number: true }, { head: "Accepted", number: true }, { head: "Share", number: true }, { head: "Share", bar: true }, { head: "Tokens in", number: true }, { head: "Tokens out", number: true }],
      rows,
    ),
    found.rates.length ? ratesTable(found.rates) : null,
    found.judged ? el("p", null, `The judge read ${plural(found.judged.judged, "accepted output")}: ${count(found.judged.supported)} say what their source says, ${count(found.judged.unsupported)} do not, ${plural(found.judged.unreadable, "answer")} of the judge could not be read.`) : null,
    sides("Accepted, side by side", found.accepted),
    sides("Rejected, side by side", found.rejected),
  );
}

function ratesTable(rates) {
  return [
    el("h3", null, "Accepted by bucket"),
    el("p", { class: "intro" }, "Which pages the checks favour; intervals of 95 % (Wilson)."),
    table(
      "Accept rates",
      [{ head: "Bucket" }, { head: "Outputs", number: true }, { head: "Accepted", number: true }, { head: "Share", number: true }, { head: "Interval", number: true }],
      rates.map((row) => [
        [text(row.style, "code"), ", ", text(row.column), " = ", text(row.value)], count(row.accepted + row.rejected), count(row.accepted), percent(row.share),
        `${percent(row.low)} to ${percent(row.high)}`,
      ]),
    ),
  ];
}

function sides(title, found) {
  return [
    el("h3", null, title),
    found.length
      ? found.map((one, i) =>
          whenOpen(
            el("details", { class: "pool", open: i < 2 },
              el("summary", null, el("span", { class: "pool-name" }, text(one.style, "code")), el("span", { class: "soft" }, one.why ? text(one.why) : text(one.url, "url")))),
            () =>
              el("div", null, one.why ? el("p", { class: "address" }, text(one.url, "url")) : null, el("p", { class: "why soft" }, text(one.id, "code id")),
                el("div", { class: "two" },
                  el("div", null, el("h4", null, "Source"), passage(one.source || "not kept in data/")),
                  el("div", null, el("h4", null, "Output"), passage(one.output || "none")))),
          ))
      : missing("None."),
  ];
}

function notesSection() {
  return section(
    "notes", "Remarks", null,
    el("ul", { class: "remarks" },
      el("li", null, everyDocument ? `Every one of the ${plural(data.read.documents, "document")} in the published tables was read for this report.` : `${count(data.read.documents)} of the ${plural(data.read.of, "document")} in the published tables were read for this report; shares below the funnel are of those.`),
      el("li", null, "The page holds all of its data, loads nothing and links to nothing. Addresses are shown as text on purpose: they are those of crawled pages."),
      data.notes.map((words) => el("li", null, text(words)))),
  );
}
