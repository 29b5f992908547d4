// The top of the page: what run this is, what came of it in words, and its main figures.

const MODES = {
  filter: "filter mode: what a rule removes is dropped as the run goes",
  annotate: "annotate mode: filters write verdicts and drop nothing",
  refilter: "refilter: thresholds applied to the stored signals of an annotated run",
};

function header() {
  const facts = [
    el("span", null, "tokenmill ", text(run.version)),
    el("span", null, Object.hasOwn(MODES, run.mode) ? MODES[run.mode] : text(run.mode)),
    el("span", null, `${count(run.shards_done)} of ${plural(run.shards, "shard")}`),
    el("span", null, "fingerprint ", text(run.fingerprint.slice(0, 12), "code")),
  ];
  return el(
    "header",
    { class: "top", id: "top" },
    el("p", { class: "kicker" }, "What was read, what was kept, and why"),
    el("h1", null, text(run.recipe)),
    el("p", { class: "facts" }, facts),
    summary(),
    warnings(),
    tiles(),
  );
}

const tokens = () =>
  totals.tokens_estimated ? `about ${count(Number(totals.tokens_kept.toPrecision(3)))}` : count(totals.tokens_kept);

const amount = () =>
  known(totals.tokens_kept)
    ? `${size(totals.bytes_kept)} of text, ${tokens()} tokens`
    : `${size(totals.bytes_kept)} of text`;

function summary() {
  const stored = percent(ratio(totals.kept, totals.records));
  if (annotated) {
    const pass = data.overlap?.kept;
    const words = [
      `Of ${count(totals.records)} records, ${plural(totals.kept, "document")} (${stored}) have a text and are stored with their signals: ${amount()}. `,
      "Nothing was filtered yet: filters only wrote down what they would remove. ",
    ];
    if (known(pass)) {
      words.push(
        el("strong", null, `${plural(pass, "document")} (${percent(ratio(pass, data.overlap.documents))} of those stored) ${pass === 1 ? "passes" : "pass"} every rule`),
        " as it is set now.",
      );
    }
    return el("p", { class: "lead" }, words);
  }
  const words = [
    `Of ${count(totals.records)} records, `,
    el("strong", null, `${plural(totals.kept, "document")} (${stored}) ${totals.kept === 1 ? "was" : "were"} kept`),
    `: ${amount()}. `,
  ];
  const worst = data.funnel.filter((row) => row.into > row.out).sort((a, b) => b.into - b.out - (a.into - a.out))[0];
  if (worst) {
    words.push("Most were lost at ", text(worst.stage, "code"), ` (${count(worst.into - worst.out)}`);
    if (worst.reasons.length) words.push(", first of all for ", text(worst.reasons[0].reason, "code"));
    words.push("). ");
  }
  return el("p", { class: "lead" }, words, "Every dropped record has a reason.");
}

function warnings() {
  const found = [];
  if (run.mode === "refilter") {
    found.push(
      el("p", { class: "aside" }, "Thresholds were applied to the signals of the annotated run ", text(run.annotated_run, "code"),
        "; what that run could not bring to an end is counted at its reading stage."),
    );
  }
  if (run.shards_done < run.shards) {
    found.push(
      el("p", { class: "warn" }, `This run is not finished: the figures are those of ${count(run.shards_done)} committed shards of ${count(run.shards)}. The same command goes on with it.`),
    );
  }
  if (run.balance !== 0) {
    found.push(el("p", { class: "warn" }, `${plural(run.balance, "record")} are not accounted for. This should never be; please report it.`));
  }
  return found;
}

function tiles() {
  const tile = (value, words, note = null, kind = null) =>
    el("li", { class: kind ? `tile ${kind}` : "tile" }, el("span", { class: "figure" }, value), el("span", { class: "what" }, words), note ? el("span", { class: "note" }, note) : null);
  const of = (n) => `${percent(ratio(n, totals.records))} of all records`;
  const speed = ratio(totals.records, totals.seconds);
  const found = [
    tile(count(totals.records), "records read", size(totals.bytes_read)),
    tile(count(totals.kept), annotated ? "stored with signals" : "documents kept", of(totals.kept), "is-kept"),
  ];
  if (annotated && data.overlap) {
    found.push(tile(count(data.overlap.kept), "pass every rule", `${percent(ratio(data.overlap.kept, data.overlap.documents))} of those stored`, "is-kept"));
  }
  found.push(
    tile(count(totals.dropped), "dropped", of(totals.dropped), "is-removed"),
    tile(count(totals.quarantined), "in quarantine", totals.quarantined ? "crashed or hung a library" : "nothing crashed", "is-quarantined"),
    tile(size(totals.bytes_kept), annotated ? "text stored" : "text kept", !annotated && known(totals.tokens_kept) ? `${tokens()} tokens` : "UTF-8 bytes"),
  );
  if (annotated && known(totals.tokens_kept)) {
    found.push(tile(count(totals.tokens_estimated ? Number(totals.tokens_kept.toPrecision(3)) : totals.tokens_kept), "tokens", totals.tokens_estimated ? "estimated from the bytes" : "as the tokenizer counts"));
  }
  found.push(tile(seconds(totals.seconds), "of core time", known(speed) ? `${measured(Number(speed.toPrecision(3)))} records a second and core` : null));
  return el("ul", { class: found.length % 4 ? "tiles" : "tiles fours" }, found);
}
