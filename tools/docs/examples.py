"""Real kept and removed pages for the page of a stage, from the runs in annotate mode.

Which ones are shown is decided by a hash of the document's id, so that they stay the same. Personal data are masked.
"""

from __future__ import annotations

import difflib
import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tokenmill.core.doc import Doc
from tokenmill.core.errors import ConfigError
from tokenmill.core.rule import Drop, Rule
from tokenmill.core.stage import Filter, Rewrite, Stage
from tokenmill.filters.pii import RedactPii
from tools.docs.markdown import cut
from tools.docs.places import RUNS
from tools.docs.runs import RECIPES

PER_REASON = 1
KEPT = 1
CHARACTERS = 420
DIFF_LINES = 14
_LABEL = re.compile(r"^(?P<name>.+?)_verdict(?P<again>_\d+)?$")


@dataclass(frozen=True)
class Shown:
    """One page: its address, the number that decided (or ""), and the beginning of its text or what has changed."""

    url: str
    why: str
    text: str


@dataclass(frozen=True)
class Verdicts:
    """What a filter or deduplication has said of the pages of a run."""

    run: str
    documents: int
    removed: Mapping[str, tuple[int, list[Shown]]] = field(default_factory=dict)
    kept: list[Shown] = field(default_factory=list)


@dataclass(frozen=True)
class Changes:
    """What a rewrite has done to the pages of a run."""

    run: str
    documents: int
    changed: int
    dropped: Mapping[str, int]
    shown: list[Shown]


@cache
def _rows(run: str) -> list[dict[str, Any]]:
    table = pq.read_table(RUNS / run / "data")
    rows: list[dict[str, Any]] = table.to_pylist()
    return sorted(rows, key=lambda row: _order(row["doc_id"]))


@cache
def _columns(run: str) -> list[str]:
    path = next(iter(sorted((RUNS / run / "data").glob("*.parquet"))))
    return list(pq.read_schema(path).names)


def _order(doc_id: str) -> bytes:
    return hashlib.blake2b(doc_id.encode(), digest_size=8).digest()


def verdicts_of(stage: Stage) -> Verdicts | None:
    """From the first run that has the stage; None where none has."""
    column = f"{stage.name}_verdict"
    for run in (*RECIPES, "dedup"):
        if column in _columns(run):
            return _verdicts(run, column, {rule.reason: rule for rule in _rules(stage)})
    return None


def _rules(stage: Stage) -> Iterable[Rule]:
    return stage.rules() if isinstance(stage, Filter) else ()


def _verdicts(run: str, column: str, rules: Mapping[str, Rule]) -> Verdicts:
    rows = _rows(run)
    before = [name for name in _columns(run)[: _columns(run).index(column)] if _LABEL.match(name)]
    fresh = [row for row in rows if not any(row[name] for name in before)]
    reasons: dict[str, list[dict[str, Any]]] = {}
    for row in [*fresh, *(row for row in rows if row not in fresh)]:  # first those that nothing before has removed
        if row[column]:
            reasons.setdefault(row[column], []).append(row)
    removed = {}
    for reason in sorted(reasons, key=lambda name: (-len(reasons[name]), name)):
        found = reasons[reason]
        rule = rules.get(reason.partition(".")[0])
        removed[reason] = (len(found), [_shown(run, row, column, rule) for row in found[:PER_REASON]])
    kept = [row for row in fresh if not row[column]][:KEPT]
    return Verdicts(run, len(rows), removed, [Shown(row["url"], "", _masked(row["text"])) for row in kept])


def _shown(run: str, row: Mapping[str, Any], column: str, rule: Rule | None) -> Shown:
    why = ""
    if rule is not None:
        value = _value(run, row, column, rule.signal)
        if value is not None:
            why = f"{rule.signal} = {_number(value)} ({rule.comparison} {_number(rule.threshold_for(_key(row, rule)))})"
    return Shown(row["url"], why, _masked(row["text"]))


def _key(row: Mapping[str, Any], rule: Rule) -> Any:
    return row.get(rule.by) if rule.by else None


def _value(run: str, row: Mapping[str, Any], column: str, signal: str) -> Any:
    """The last measurement that stands before the verdict: a signal may be measured again behind a rewrite."""
    columns = _columns(run)
    found = [name for name in columns[: columns.index(column)] if re.fullmatch(rf"{re.escape(signal)}(_\d+)?", name)]
    return row[found[-1]] if found else None


def _number(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def changes_of(stage: Rewrite) -> Changes | None:
    """What a rewrite that reads nothing but the text does to pages with its default settings.

    The texts of `fineweb2` are main content that no other stage has changed but the redaction of personal data.
    """
    run = "raw" if isinstance(stage, RedactPii) else "fineweb2"
    if set(type(stage).reads) - {"text", "language", "doc_id", "url"}:
        return None
    try:
        stage.setup()
    except ConfigError:  # it needs files that only a user has
        return None
    shown: list[Shown] = []
    changed = 0
    dropped: dict[str, int] = {}
    for row in _rows(run):
        columns: dict[str, Any] = {name: row.get(name) for name in ("text", "language", "doc_id", "url")}
        out = stage.rewrite(Doc(**columns))
        if isinstance(out, Drop):
            dropped[out.reason] = dropped.get(out.reason, 0) + 1
        elif out.get("text", row["text"]) != row["text"]:
            changed += 1
            if len(shown) < 2:
                after = _mask(out["text"]) if type(stage) is not RedactPii else out["text"]
                shown.append(Shown(row["url"], "", difference(_mask(row["text"]), after)))
    return Changes(run, len(_rows(run)), changed, dropped, shown)


def changes_by_barrier(name: str) -> Changes | None:
    """What a deduplication of lines or passages has taken out of the texts of the run `dedup`."""
    marks = {"line_dedup": "removed", "substring_dedup": "first_words"}
    if name not in marks:
        return None
    rows = pq.read_table(RUNS / "dedup/dedup" / name, columns=["doc_id", marks[name]]).to_pylist()
    changed = [row["doc_id"] for row in rows if row[marks[name]]]
    return Changes("dedup", len(rows), len(changed), {}, [])


def difference(before: str, after: str) -> str:
    """The first lines that differ, as a unified difference without its head."""
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=1))[2:]
    shown = [line if len(line) <= 160 else line[:157] + "..." for line in lines if not line.startswith("@@")]
    return "\n".join([*shown[:DIFF_LINES], *(["[…]"] if len(shown) > DIFF_LINES else [])])


def _masked(text: str) -> str:
    return cut(_mask(text[: CHARACTERS * 2]), CHARACTERS)


@cache
def _redact() -> RedactPii:
    return RedactPii()


def _mask(text: str) -> str:
    out = _redact().rewrite(Doc(text=text, doc_id=""))
    return out.reason if isinstance(out, Drop) else str(out.get("text", text))


def archived(limit: int) -> list[dict[str, Any]]:
    """Some pages of the archive as they were decoded, with their HTML."""
    from tokenmill.core.stage import InputShard
    from tokenmill.extract.decode import DecodeHtml
    from tokenmill.io.warc import ReadWarc
    from tools.docs.places import ROOT

    path = Path(ROOT / "examples/data/example.warc.gz")
    shard = InputShard(str(path), path.name, path.stat().st_size, "")
    wanted = {row["doc_id"] for row in _rows("fineweb") if not any(row[n] for n in row if _LABEL.match(n))}
    decode, found = DecodeHtml(), []
    for batch in ReadWarc().read(shard, _Quiet()):
        for row in batch.to_pylist():
            if row["doc_id"] in wanted:
                out = decode.rewrite(Doc(**row))
                if not isinstance(out, Drop):
                    found.append({**row, **out})
    return sorted(found, key=lambda row: _order(row["doc_id"]))[:limit]


class _Quiet:
    """What a source tells is not wanted here."""

    def __call__(self, reason: str, **where: Any) -> None:
        pass

    def covered(self, first: int, end: int) -> None:
        pass
