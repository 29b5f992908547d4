// What other thresholds would keep. One moved threshold is read off counts that were made over all documents; several
// together are counted here, over the codes of the documents. No part of this touches the page.

const OFF = -1;

class WhatIf {
  constructor(rules, packed, read) {
    this.rules = rules;
    this.read = read;
    this.positions = rules.map((rule) => rule.current);
    this.packed = packed && {
      documents: packed.documents,
      of: packed.of,
      bytes: numbersOf(packed.bytes),
      tokens: packed.tokens === null ? null : numbersOf(packed.tokens),
      fixed: bytesOf(packed.fixed),
      codes: packed.codes.map(bytesOf),
    };
    this.removed = packed ? new Uint8Array(packed.documents) : null;
    this.start = this.packed ? this.passing(this.positions) : null;
    this.run = this.base();
  }

  // Whether the document is removed with the threshold at edge i: "<" iff i >= code, ">" iff i < code.
  mark(rule, position) {
    const codes = this.packed.codes[rule];
    const { removed } = this;
    if (position === OFF) return;
    if (this.rules[rule].comparison.startsWith("<")) {
      for (let i = 0; i < codes.length; i += 1) if (position >= codes[i]) removed[i] = 1;
    } else {
      for (let i = 0; i < codes.length; i += 1) if (position < codes[i]) removed[i] = 1;
    }
  }

  // (documents) 1 where one of the thresholds, or what no threshold moves, removes it
  passing(positions) {
    this.removed.set(this.packed.fixed);
    positions.forEach((position, rule) => this.mark(rule, position));
    return this.removed.slice();
  }

  // Documents, bytes, tokens of the run as it is.
  base() {
    const at = this.rules.findIndex((rule) => rule.current !== OFF);
    const counted = this.start ? this.total(this.start) : null;
    if (at < 0) return counted;
    const rule = this.rules[at];
    return {
      documents: rule.kept[rule.current],
      bytes: rule.kept_bytes[rule.current],
      tokens: counted?.tokens ?? null,
    };
  }

  // What is left, scaled up where only a sample of the documents is here.
  total(removed) {
    const { bytes, tokens, documents, of } = this.packed;
    const found = { documents: 0, bytes: 0, tokens: 0 };
    for (let i = 0; i < documents; i += 1) {
      if (removed[i]) continue;
      found.documents += 1;
      found.bytes += bytes[i];
      if (tokens) found.tokens += tokens[i];
    }
    const scale = documents ? of / documents : 0;
    return {
      documents: Math.round(found.documents * scale),
      bytes: Math.round(found.bytes * scale),
      tokens: tokens ? Math.round(found.tokens * scale) : null,
    };
  }

  get sampled() {
    return this.packed !== null && this.packed.documents < this.packed.of;
  }

  get moved() {
    return this.positions.flatMap((position, rule) => (position === this.rules[rule].current ? [] : [rule]));
  }

  // {documents, bytes, tokens, exact, low, high}: null where it cannot be told. low, high: an interval of 95 %.
  result() {
    const { moved } = this;
    if (!moved.length) return this.run && { ...this.run, exact: true };
    if (moved.length === 1) {
      const single = this.single(moved[0]);
      if (single) return single;
    }
    return this.packed ? this.several() : null;
  }

  // From the counts over all documents. A rule that is off keeps what it keeps at an edge where it removes nothing.
  single(rule) {
    const { kept, kept_bytes, removes } = this.rules[rule];
    let at = this.positions[rule];
    if (at === OFF) at = removes[0] === 0 ? 0 : removes.at(-1) === 0 ? removes.length - 1 : OFF;
    if (at === OFF) return null;
    const tokens = this.packed?.tokens ? this.several().tokens : null;
    return { documents: kept[at], bytes: kept_bytes[at], tokens, exact: true };
  }

  // A sample tells the difference to the run, whose own figures are known for all documents.
  several() {
    const now = this.passing(this.positions);
    const counted = this.total(now);
    if (!this.sampled) return { ...counted, exact: true };
    const before = this.total(this.start);
    const { documents: n, of } = this.packed;
    let more = 0;
    let fewer = 0;
    for (let i = 0; i < n; i += 1) {
      if (now[i] < this.start[i]) more += 1;
      else if (now[i] > this.start[i]) fewer += 1;
    }
    const mean = (more - fewer) / n;
    const variance = Math.max(0, (more + fewer) / n - mean * mean) / n;
    const margin = 1.96 * of * Math.sqrt(variance * (1 - n / of));
    const shifted = (key) => (this.run[key] === null ? null : Math.max(0, this.run[key] + counted[key] - before[key]));
    const documents = shifted("documents");
    return {
      documents, bytes: shifted("bytes"), tokens: shifted("tokens"), exact: false,
      low: Math.max(0, Math.round(documents - margin)), high: Math.min(this.read, Math.round(documents + margin)),
    };
  }
}
