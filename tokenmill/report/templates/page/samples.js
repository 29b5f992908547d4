// Texts: some that were kept, and some for every reason. Each pool is in a seeded order; the page goes round in it.

const SHOWN = 5;

function samplesSection() {
  const dropped = Object.entries(data.samples.dropped);
  const countOf = (key) => dropCounts.get(key) ?? ruleCounts.get(key) ?? null;
  dropped.sort(([a], [b]) => (countOf(b) ?? 0) - (countOf(a) ?? 0) || (a < b ? -1 : 1));
  const keptTitle = annotated ? "Texts that pass every rule" : "Kept texts";
  const kept = el("details", { class: "pool", open: true }, poolHead(keptTitle, annotated ? data.overlap?.kept ?? null : totals.kept));
  if (data.samples.kept.length) whenOpen(kept, () => pool(data.samples.kept));
  const removed = dropped.map(([key, found]) => {
    const node = el("details", { class: "pool" }, poolHead(text(key, "code"), countOf(key)));
    return whenOpen(node, () => pool(found));
  });
  return section(
    "samples", "Samples",
    "Chosen by a hash of the document, so that everybody who opens this run sees the same ones; cut to their beginning, with e-mail and IP addresses, cards, accounts and keys masked. What is dropped before the extraction has no text yet and is listed in dropped/.",
    data.samples.kept.length ? kept : missing("No kept text is stored in this run."),
    el("h3", null, annotated ? "Texts that would be dropped, by reason" : "Dropped texts, by reason"),
    removed.length ? removed : missing("No dropped text is stored. Texts of dropped documents are stored for a share of them: ", el("code", null, "tokenmill run ... --sample-dropped 0.05"), "."),
  );
}

function poolHead(title, n) {
  return el("summary", null, el("span", { class: "pool-name" }, title), n === null ? null : el("span", { class: "soft" }, plural(n, "document")));
}

function pool(found) {
  const list = el("div", { class: "samples" });
  const say = el("span", { class: "soft", role: "status" });
  let from = 0;
  const show = () => {
    const some = Math.min(SHOWN, found.length);
    const chosen = Array.from({ length: some }, (_, i) => found[(from + i) % found.length]);
    replaceChildren(list, chosen.map(sample));
    const last = ((from + some - 1) % found.length) + 1;
    say.textContent = `${from + 1} to ${last} of ${found.length} in this report`;
  };
  const others = el("button", { type: "button", class: "quiet no-print" }, "Show others");
  others.addEventListener("click", () => {
    from = (from + SHOWN) % found.length;
    show();
  });
  show();
  return el("div", null, list, el("p", { class: "row" }, found.length > SHOWN ? others : null, say));
}

function sample(one) {
  const reason = [];
  if (one.signal !== null && (one.value !== null || !one.why)) {
    reason.push(text(one.signal, "code"), one.value === null ? "" : ` = ${measured(one.value)}`);
    if (one.threshold !== null) reason.push(el("span", { class: "soft" }, ` (threshold ${exact(one.threshold)})`));
  }
  if (one.why) reason.push(reason.length ? " · " : "", text(one.why));
  return el(
    "article", { class: "sample" },
    el("p", { class: "address" }, text(one.url, "url")),
    el("p", { class: "why" }, reason.length ? [reason, " · "] : null, el("span", { class: "soft id" }, text(one.doc_id, "code"))),
    passage(one.text, one.cut),
  );
}

const passage = (words, cut = false) =>
  el("div", { class: "passage" }, el("p", { class: "words", dir: "auto" }, words), cut ? el("p", { class: "soft cut-note" }, "The text goes on.") : null);
