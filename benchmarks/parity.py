"""The filter families against datatrove 0.10.1 on the same texts: every disagreement, with the values that caused it.

    make bench-env && .venv/bin/python benchmarks/parity.py [--words spacy] [--limit 200]

`--words own` (default) is what a run does. `--words spacy` gives tokenmill the peer's tokens and the peer's count of
sentences in the lines that tokenmill keeps: what differs then is no matter of words, and nothing should. The table of
disagreements is printed and written to .bench/parity.tsv. Texts are those of `texts.py`, made if they are not there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent))
from texts import ROOT, TEXTS, prepared

from tokenmill import C4Lines, C4Quality, FineWebQuality, GopherQuality, GopherRepetition
from tokenmill.core.decide import first_holding
from tokenmill.core.rule import Rule
from tokenmill.text.measure import measure

QUALITY = {
    "gopher_short_doc": "too_few_words",
    "gopher_long_doc": "too_many_words",
    "gopher_below_avg_threshold": "short_mean_word_length",
    "gopher_above_avg_threshold": "long_mean_word_length",
    "gopher_too_many_hashes": "too_many_hashes",
    "gopher_too_many_ellipsis": "too_many_ellipses",
    "gopher_too_many_bullets": "too_many_bullet_lines",
    "gopher_too_many_end_ellipsis": "too_many_ellipsis_lines",
    "gopher_below_alpha_threshold": "too_few_alpha_words",
    "gopher_enough_stop_words": "too_few_stop_words",
}
REPETITION = {
    "empty": "empty",
    "dup_para_frac": "dup_paragraph_share",
    "dup_para_char_frac": "dup_paragraph_char_share",
    "dup_line_frac": "dup_line_share",
    "dup_line_char_frac": "dup_line_char_share",
    **{f"top_{n}_gram": f"top_{n}gram" for n in (2, 3, 4)},
    **{f"duplicated_{n}_n_grams": f"dup_{n}gram" for n in range(5, 11)},
}
C4 = {name: name for name in ("curly_bracket", "lorem_ipsum", "too_few_sentences")}
FINEWEB = {
    "empty": "empty",
    "line_punct_ratio": "too_few_punctuated_lines",
    "short_line_ratio": "too_many_short_lines",
    "char_dup_ratio": "duplicate_lines",
    "list_ratio": "too_many_newlines",
}
REASONS = {
    "gopher_repetition": REPETITION,
    "gopher_quality": QUALITY,
    "c4": C4,
    "fineweb": FINEWEB,
    "fineweb_after_c4": FINEWEB,
}
"""Family -> their reason -> ours."""


@dataclass(frozen=True)
class Family:
    """Our verdicts of one family: the first rule that holds per text (-1 keeps), and all values."""

    rules: tuple[Rule, ...]
    first: list[int]
    values: Mapping[str, pa.Array]

    def reason(self, row: int) -> str | None:
        return self.rules[self.first[row]].reason if self.first[row] >= 0 else None

    def value(self, reason: str, row: int) -> tuple[Any, Any]:
        """(value, threshold) of the rule with that reason."""
        rule = [rule for rule in self.rules if rule.reason == reason][-1]
        return self.values[rule.signal][row].as_py(), rule.threshold


def decided(rules: Sequence[Rule], values: Mapping[str, pa.Array], count: int) -> Family:
    return Family(tuple(rules), first_holding(rules, lambda name: values[name], count), values)


def measured(rules: Sequence[Rule], texts: pa.Array, spans: list[Any] | None) -> Family:
    """Our verdicts by rules on signals, as the plan's stage measures them."""
    names = list(dict.fromkeys(rule.signal for rule in rules if rule.active))
    return decided(rules, measure(texts, names, spans=spans), len(texts))


def ask_peer(python: str, table: pa.Table) -> pa.Table:
    """The answers of `parity_peer.py`."""
    with tempfile.TemporaryDirectory(prefix="tokenmill-parity-") as folder:
        texts, answers = Path(folder, "texts.parquet"), Path(folder, "answers.parquet")
        pq.write_table(table, texts)
        script = str(Path(__file__).with_name("parity_peer.py"))
        subprocess.run([python, script, str(texts), str(answers)], check=True)
        return pq.read_table(answers).combine_chunks()


def spans_of(answers: pa.Table, column: str) -> list[Any]:
    return [np.array(flat, np.int32).reshape(-1, 2) for flat in answers[column].to_pylist()]


def our_families(
    texts: pa.Array, rewritten: Mapping[str, pa.Array], answers: pa.Table, spacy: bool
) -> dict[str, Family]:
    """All families on all texts; with the peer's words and sentences where `spacy`."""
    spans = spans_of(answers, "spans") if spacy else None
    after = spans_of(answers, "c4_spans") if spacy else None
    counts = dict(rewritten)
    if spacy:
        counts["c4_sentences"] = answers["c4_sentences"].combine_chunks()
    return {
        "gopher_repetition": measured(GopherRepetition().rules(), texts, spans),
        "gopher_quality": measured(GopherQuality().rules(), texts, spans),
        "c4": decided(C4Quality().rules(), counts, len(texts)),
        "fineweb": measured(FineWebQuality().rules(), texts, spans),
        "fineweb_after_c4": measured(FineWebQuality().rules(), rewritten["text"], after),
    }


def disagreements(
    family: str, ours: Family, theirs: Sequence[str | None], values: Sequence[Any], rows: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """A row per rule that only one of the two found to hold first."""
    names = REASONS[family]
    back = {mine: name for name, mine in names.items()}
    for row in rows:
        mine, their = ours.reason(row), theirs[row]
        translated = names[their] if their else None
        if mine == translated:
            continue
        kind = "reason" if mine and their else "verdict"
        for reason in dict.fromkeys(filter(None, (translated, mine))):
            our_value, threshold = ours.value(reason, row)
            yield {
                "family": family,
                "row": row,
                "kind": kind,
                "datatrove": their or "keep",
                "tokenmill": mine or "keep",
                "rule": reason,
                "our_value": our_value,
                "their_value": values[row][family].get(back[reason]),
                "threshold": threshold,
            }


def main() -> None:
    """Ask the peer, decide, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--texts", type=Path, default=TEXTS)
    parser.add_argument("--words", choices=("own", "spacy"), default="own")
    parser.add_argument("--limit", type=int, help="only so many texts, spread over the table")
    parser.add_argument("--output", type=Path, default=ROOT / ".bench/parity.tsv")
    parser.add_argument("--peer-python", default=str(ROOT / ".bench/datatrove/bin/python"))
    arguments = parser.parse_args()
    if not Path(arguments.peer_python).exists():
        sys.exit(f"no peer environment at {arguments.peer_python}: run `make bench-env` first")
    table = pq.read_table(arguments.texts if arguments.texts.exists() else prepared(output=arguments.texts))
    if arguments.limit and arguments.limit < table.num_rows:
        table = table.take(np.linspace(0, table.num_rows - 1, arguments.limit).astype(np.int64))
    texts = table["text"].combine_chunks()
    rewritten = C4Lines(terminal_punctuation=False)._lines(texts)
    asked = table.append_column("c4_text", rewritten["text"].cast(pa.string())).select(["text", "c4_text"])
    answers = ask_peer(arguments.peer_python, asked)
    families = our_families(texts, rewritten, answers, arguments.words == "spacy")
    found = compared(families, answers)
    ids = table["id"].to_pylist()
    print_summary(families, answers, found, arguments.words, len(texts))
    unequal = other_texts(rewritten["text"], answers, families["c4"])
    print(f"\ntexts kept by both C4 that differ afterwards: {len(unequal)}{''.join(f' {ids[row]}' for row in unequal)}")
    write(found, ids, arguments.output)


def after_c4(families: Mapping[str, Family], answers: pa.Table) -> list[int]:
    """Texts that both C4 keep: FineWeb's rules see them afterwards."""
    theirs = answers["c4"].to_pylist()
    return [row for row, reason in enumerate(theirs) if reason is None and families["c4"].reason(row) is None]


def compared(families: Mapping[str, Family], answers: pa.Table) -> list[dict[str, Any]]:
    """All disagreements."""
    values = [json.loads(one) for one in answers["values"].to_pylist()]
    found = []
    for family, ours in families.items():
        rows = after_c4(families, answers) if family == "fineweb_after_c4" else range(answers.num_rows)
        found += disagreements(family, ours, answers[family].to_pylist(), values, rows)
    return found


def other_texts(ours: pa.Array, answers: pa.Table, c4: Family) -> list[int]:
    pairs = enumerate(zip(ours.to_pylist(), answers["their_c4_text"].to_pylist(), strict=True))
    return [row for row, (mine, their) in pairs if their is not None and c4.reason(row) is None and mine != their]


def print_summary(
    families: Mapping[str, Family], answers: pa.Table, found: list[dict[str, Any]], words: str, count: int
) -> None:
    """Agreement per family, in Markdown."""
    print(f"\n{count:,} texts, words: {words}\n")
    print("| family | texts | kept by datatrove | by tokenmill | same verdict | same reason among dropped by both |")
    print("|---|---:|---:|---:|---:|---:|")
    for family, ours in families.items():
        rows = after_c4(families, answers) if family == "fineweb_after_c4" else list(range(count))
        theirs = answers[family].to_pylist()
        other = {entry["row"] for entry in found if entry["family"] == family and entry["kind"] == "verdict"}
        renamed = {entry["row"] for entry in found if entry["family"] == family and entry["kind"] == "reason"}
        both = sum(theirs[row] is not None and ours.reason(row) is not None for row in rows)
        kept = sum(theirs[row] is None for row in rows), sum(ours.reason(row) is None for row in rows)
        same = 100 * (1 - len(other) / max(len(rows), 1))
        named = 100 * (1 - len(renamed) / max(both, 1))
        print(
            f"| {family} | {len(rows):,} | {kept[0]:,} | {kept[1]:,} | {same:.2f} % ({len(other)} differ)"
            f" | {named:.2f} % ({len(renamed)} of {both:,} differ) |"
        )


def write(found: list[dict[str, Any]], ids: Sequence[str], path: Path) -> None:
    """Every disagreement, printed and as tab-separated values."""
    lines = ["\t".join(["id", "family", "kind", "datatrove", "tokenmill", "rule", "ours", "theirs", "threshold"])]
    for entry in found:
        numbers = [shown(entry[name]) for name in ("our_value", "their_value", "threshold")]
        names = [str(entry[name]) for name in ("family", "kind", "datatrove", "tokenmill", "rule")]
        lines.append("\t".join([ids[entry["row"]], *names, *numbers]))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"\n{len(found)} rows of disagreement, also in {path}\n")
    print("\n".join(lines[: len(found) + 1]))


def shown(value: Any) -> str:
    return "" if value is None else f"{value:.6g}"


if __name__ == "__main__":
    main()
