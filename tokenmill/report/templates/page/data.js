// The data of the page: one island of JSON. Objects with keys from the data become Maps at once.

const data = JSON.parse(document.getElementById("data").textContent);
const { run, totals } = data;
const annotated = run.mode === "annotate";

const everyDocument = data.read.documents === data.read.of;

// What an annotated run keeps is what passes all of its rules: it stores the rest, too.
const KEPT = annotated ? "Pass every rule" : "Kept";
const DROPPED = annotated ? "Dropped, or would be" : "Dropped";
const GONE = annotated ? "would be dropped" : "dropped";

// Reasons by `stage.reason`, with the number of documents that have been dropped for them.
const dropCounts = new Map(
  data.funnel.flatMap((row) =>
    row.reasons.filter((one) => one.kind === "dropped").map((one) => [`${row.stage}.${one.reason}`, one.count]),
  ),
);
// The same for rules of an annotated run: documents for which the rule would be the recorded reason.
const ruleCounts = new Map((data.overlap?.rules ?? []).map((one) => [one.rule, one.first]));

// `stage.reason` -> [stage, reason]; labels of stages may hold dots themselves.
function splitRule(name) {
  const stage = data.funnel.map((row) => row.stage).filter((label) => name.startsWith(`${label}.`)).sort((a, b) => b.length - a.length)[0];
  return stage === undefined ? ["", name] : [stage, name.slice(stage.length + 1)];
}

function bytesOf(packed) {
  const raw = atob(packed);
  const found = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i += 1) found[i] = raw.charCodeAt(i);
  return found;
}

// base64 of little-endian numbers -> Uint32Array, on machines of either order
function numbersOf(packed) {
  const view = new DataView(bytesOf(packed).buffer);
  const found = new Uint32Array(view.byteLength >> 2);
  for (let i = 0; i < found.length; i += 1) found[i] = view.getUint32(4 * i, true);
  return found;
}

const groupBy = (rows, key) => {
  const found = new Map();
  for (const row of rows) {
    const name = key(row);
    if (!found.has(name)) found.set(name, []);
    found.get(name).push(row);
  }
  return found;
};

const sum = (values) => values.reduce((a, b) => a + b, 0);
const largest = (values) => values.reduce((a, b) => (b > a ? b : a), 0);

// A word of a command, safe to paste into a shell; null where no quoting makes it safe to read.
function shellWord(word) {
  if (/^[\w.,:=@%+/-]+$/.test(word)) return word;
  // controls, and marks that turn or hide what is shown: what one sees would not be what runs
  if (/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u.test(word)) return null;
  return `'${word.replaceAll("'", "'\\''")}'`;
}
