"""The engine: a batch through a group of fused stages, with every document accounted for."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import pyarrow as pa

from tokenmill.core.accounting import DROPPED, QUARANTINED, StageCount
from tokenmill.core.barrier import DETAIL, JOINED, VERDICT
from tokenmill.core.decide import first_holding, value_of
from tokenmill.core.doc import Doc
from tokenmill.core.errors import ConfigError, DocumentError, TokenmillError
from tokenmill.core.measuring import StageRules
from tokenmill.core.rule import Drop
from tokenmill.core.signals import is_signal
from tokenmill.core.stage import Annotate, Barrier, Filter, Rewrite, Stage
from tokenmill.executors.frame import Frame
from tokenmill.executors.outcomes import (
    Preparing,
    annotated,
    check_values,
    checked_columns,
    clean,
    identity,
    settable,
    wrong_outcome,
)

Beat = Callable[[int, int], None]
"""Called with (stage index, row) before a document is given to a stage; row -1 is the whole batch."""

Poison = Mapping[int, tuple[int, str, str]]
"""Rows of a batch that killed a process before: row -> (stage index, cause, detail)."""

_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]+")
"""Memory addresses in the text of an error: no two runs share them."""

SAMPLE_CHARS = 4000
"""Most characters of a sampled dropped text."""
SAMPLE_FIRST = 3
"""So many documents of each reason keep their text in every shard, whatever the sampled share is."""


@dataclass
class ChainResult:
    """What became of a batch. `dropped` and `quarantined` have the schemas of `accounting`."""

    kept: pa.RecordBatch
    dropped: pa.RecordBatch
    quarantined: pa.RecordBatch
    counts: list[StageCount]


@dataclass
class _Ledger:
    """Rows for the two tables of one batch."""

    seen: Mapping[str, int]
    dropped: list[dict[str, Any]] = field(default_factory=list)
    quarantined: list[dict[str, Any]] = field(default_factory=list)


class Chain:
    """Fused stages. `setup()` once, then `run(batch)` for every batch; pure, so a batch can be run again."""

    def __init__(
        self,
        stages: Sequence[tuple[str, Stage]],
        *,
        sample: float = 0.05,
        seed: int = 0,
        columns: Sequence[str] | None = None,
        rules: Mapping[str, StageRules] | None = None,
        applies: bool = False,
    ) -> None:
        """sample, seed: which dropped texts are kept. columns: those to give back of kept documents (None: all).

        rules: what the plan says about each stage; without it, signals are measured where they are needed.
        applies: the first stage is a barrier whose table is joined to the batches; any other barrier is prepared.
        """
        self._applies = applies
        self._columns = columns
        self._rules = rules or {}
        self.memory_is_fatal = False
        """Let MemoryError through: a process that can be replaced is better off dead. Compiled code does not give
        back what it had allocated before, and the documents after would pay."""
        self.labels = [label for label, _ in stages]
        self.stages = [stage for _, stage in stages]
        self._sample = sample
        self._seed = seed.to_bytes(8, "little", signed=True)

    def setup(self) -> None:
        """Load models and compile kernels of every stage."""
        for index, stage in enumerate(self.stages):
            if isinstance(stage, Barrier) and self._applies and not index:
                stage.setup_apply()
            else:
                stage.setup()

    def run(
        self,
        batch: pa.RecordBatch,
        beat: Beat | None = None,
        *,
        poison: Poison | None = None,
        isolate: bool = False,
        seen: Mapping[str, int] | None = None,
    ) -> ChainResult:
        """Send the batch through all stages.

        poison: rows that are quarantined when they reach their stage instead of being given to it.
        isolate: give batch stages one document at a time, so that a crash names its document.
        seen: drops so far in the shard by `stage.reason`; the first of each reason keep their text.
        """
        frame = Frame(batch)
        ledger = _Ledger(seen or {})
        beat = beat or _no_beat
        counts = []
        for index, (label, stage) in enumerate(zip(self.labels, self.stages, strict=True)):
            about = self._rules.get(label, StageRules())
            prepares = isinstance(stage, Barrier) and not about.stored and (index > 0 or not self._applies)
            name = f"{label}.prepare" if prepares else label
            count = StageCount(name, into=len(frame.docs), bytes_in=sum(frame.sizes))
            started = perf_counter()
            self._quarantine_poison(index, frame, poison or {}, count, ledger)
            frame.measured.clear()
            frame.measured.update(about.measured)
            if about.stored:
                self._by_stored(about.stored, frame, count, ledger)
            elif isinstance(stage, Barrier) and prepares:
                self._by_batch(index, Preparing(stage, about.before), frame, beat, isolate, count, ledger)
            elif isinstance(stage, Barrier):
                beat(index, -1)
                self._by_table(stage, about, frame, count, ledger)
            elif isinstance(stage, Filter) and stage.decides_by_rules:
                if not self._by_rules(index, stage, about, frame, beat, count, ledger):
                    self._by_document(index, stage, about, frame, beat, count, ledger)
            elif isinstance(stage, Rewrite) and not isolate and self._by_rewriting(index, stage, frame, beat, count):
                pass
            elif isinstance(stage, Filter | Rewrite):
                self._by_document(index, stage, about, frame, beat, count, ledger)
            elif isinstance(stage, Annotate):
                self._by_batch(index, stage, frame, beat, isolate, count, ledger)
            else:
                raise ConfigError(f"stage {label!r} cannot run inside a phase", why=f"it is a {type(stage).__name__}")
            count.seconds = perf_counter() - started
            count.out, count.bytes_out = len(frame.docs), sum(frame.sizes)
            counts.append(count)
        return ChainResult(
            kept=frame.to_batch(self._columns),
            dropped=pa.RecordBatch.from_pylist(ledger.dropped, schema=DROPPED),
            quarantined=pa.RecordBatch.from_pylist(ledger.quarantined, schema=QUARANTINED),
            counts=counts,
        )

    def _by_stored(self, column: str, frame: Frame, count: StageCount, ledger: _Ledger) -> None:
        """Drop what an earlier run found to be dropped here."""
        kept = []
        for position, reason in enumerate(frame.column(column).to_pylist()):
            if reason is None:
                kept.append(position)
            else:
                self._drop(frame.docs[position], Drop(reason), count, ledger)
        frame.keep(kept)

    def _by_table(self, stage: Barrier, about: StageRules, frame: Frame, count: StageCount, ledger: _Ledger) -> None:
        """What a barrier makes of documents that are joined with their rows of its table."""
        joined = [JOINED + name for name in stage.table]
        changed = dict(stage.apply(frame.to_batch((*stage.reads, *joined))))
        verdicts = changed.pop(VERDICT, pa.nulls(len(frame.docs), pa.string()))
        details = changed.pop(DETAIL, pa.nulls(len(frame.docs), pa.string()))
        frame.rewrite(checked_columns(count.stage, changed, settable(stage, frame), len(frame.docs)))
        if about.verdict:
            frame.add({about.verdict: verdicts.cast(pa.string())})
            return
        kept = []
        for position, (reason, detail) in enumerate(zip(verdicts.to_pylist(), details.to_pylist(), strict=True)):
            if reason is None:
                kept.append(position)
            else:
                self._drop(frame.docs[position], Drop(reason), count, ledger, detail)
        frame.keep(kept)

    def _by_rules(
        self, index: int, stage: Filter, about: StageRules, frame: Frame, beat: Beat, count: StageCount, ledger: _Ledger
    ) -> bool:
        """Decide the whole batch by columns. False when a document must be judged on its own to find the fault."""
        beat(index, -1)
        rules = stage.rules()
        arrays: dict[str, pa.Array] = {}

        def column(name: str) -> pa.Array:
            if name not in arrays:
                held = about.measured.get(name, "" if is_signal(name) else name)
                if held in frame.types:
                    arrays[name] = frame.column(held)
                else:
                    arrays[name] = pa.array([doc.value(name) for doc in frame.docs])
            return arrays[name]

        try:
            first = first_holding(rules, column, len(frame.docs))
        except Exception as error:
            self._mind(error)
            return False
        if about.verdict:
            reasons = [rules[rule].reason if rule >= 0 else None for rule in first]
            frame.add({about.verdict: pa.array(reasons, pa.string())})
            return True
        for row, number in enumerate(first):
            if number >= 0:
                rule = rules[number]
                note = column(rule.note)[row].as_py() if rule.note else None
                self._drop(frame.docs[row], Drop.by(rule, *value_of(rule, column, row), note), count, ledger)
        frame.keep([row for row, number in enumerate(first) if number < 0])
        return True

    def _by_rewriting(self, index: int, stage: Rewrite, frame: Frame, beat: Beat, count: StageCount) -> bool:
        """Rewrite the whole batch. False when the stage does not, or when one document made it fail."""
        if type(stage).rewrite_batch is Rewrite.rewrite_batch:
            return False
        beat(index, -1)
        try:
            changed = stage.rewrite_batch(frame.to_batch(stage.reads))
        except Exception as error:
            self._mind(error)
            return False
        if changed is None:
            return False
        types = settable(stage, frame)
        frame.rewrite(checked_columns(count.stage, changed, types, len(frame.docs)))
        return True

    def _by_document(
        self,
        index: int,
        stage: Filter | Rewrite,
        about: StageRules,
        frame: Frame,
        beat: Beat,
        count: StageCount,
        ledger: _Ledger,
    ) -> None:
        act = stage.judge if isinstance(stage, Filter) else stage.rewrite
        types = settable(stage, frame)
        kept: list[int] = []
        touched: set[str] = set()
        verdicts: list[str | None] = []
        for position, (row, doc) in enumerate(zip(frame.rows, frame.docs, strict=True)):
            beat(index, row)
            try:
                outcome = act(doc)
                if isinstance(outcome, Mapping) and isinstance(stage, Rewrite):
                    check_values(count.stage, outcome, types)
            except Exception as error:
                # any library may fail on any page: the document pays, the shard goes on
                self._mind(error)
                self._quarantine(doc, count, ledger, _cause(error), str(error))
                continue
            if outcome is None and isinstance(stage, Filter):
                kept.append(position)
                verdicts.append(None)
            elif isinstance(outcome, Drop) or (isinstance(outcome, str) and outcome):
                drop = outcome if isinstance(outcome, Drop) else Drop(outcome)
                if about.verdict:
                    kept.append(position)
                    verdicts.append(drop.reason)
                else:
                    self._drop(doc, drop, count, ledger)
            elif isinstance(outcome, Mapping) and isinstance(stage, Rewrite):
                frame.replace(position, outcome)
                touched.update(outcome.keys() & frame.types.keys())
                kept.append(position)
            else:
                raise wrong_outcome(stage, count.stage, outcome)
        if isinstance(stage, Rewrite):
            frame.declare({**stage.columns_added(), **{name: frame.types[name] for name in touched}})
        frame.keep(kept)
        if about.verdict:
            frame.add({about.verdict: pa.array(verdicts, pa.string())})

    def _by_batch(
        self,
        index: int,
        stage: Annotate | Preparing,
        frame: Frame,
        beat: Beat,
        isolate: bool,
        count: StageCount,
        ledger: _Ledger,
    ) -> None:
        batch = frame.to_batch(stage.reads)
        beat(index, -1)
        kept = list(range(len(frame.docs)))
        added = None
        if not isolate:
            try:
                added = annotated(stage, batch)
            except Exception as error:  # one document made the batch fail: find it below, one at a time
                self._mind(error)
                added = None
        if added is None:
            kept, added = self._one_at_a_time(index, stage, batch, frame, beat, count, ledger)
        frame.keep(kept)
        frame.add(added)

    def _one_at_a_time(
        self,
        index: int,
        stage: Annotate | Preparing,
        batch: pa.RecordBatch,
        frame: Frame,
        beat: Beat,
        count: StageCount,
        ledger: _Ledger,
    ) -> tuple[list[int], dict[str, pa.Array]]:
        kept: list[int] = []
        added: dict[str, list[pa.Array]] = {name: [] for name in stage.columns_added()}
        for position, row in enumerate(frame.rows):
            beat(index, row)
            try:
                one = annotated(stage, batch.slice(position, 1))
            except Exception as error:
                self._mind(error)
                self._quarantine(frame.docs[position], count, ledger, _cause(error), str(error))
                continue
            kept.append(position)
            for name, values in one.items():
                added[name].append(values)
        types = stage.columns_added()
        return kept, {n: pa.concat_arrays(parts) if parts else pa.array([], types[n]) for n, parts in added.items()}

    def _mind(self, error: Exception) -> None:
        """Raise what is more than one document's matter."""
        if isinstance(error, TokenmillError) and not isinstance(error, DocumentError):
            raise error
        if self.memory_is_fatal and isinstance(error, MemoryError):
            raise error

    def _quarantine_poison(self, index: int, frame: Frame, poison: Poison, count: StageCount, ledger: _Ledger) -> None:
        if not poison:
            return
        kept = []
        for position, (row, doc) in enumerate(zip(frame.rows, frame.docs, strict=True)):
            stage_index, cause, detail = poison.get(row, (-1, "", ""))
            if stage_index == index:
                self._quarantine(doc, count, ledger, cause, detail)
            else:
                kept.append(position)
        frame.keep(kept)

    def _drop(self, doc: Doc, drop: Drop, count: StageCount, ledger: _Ledger, detail: str | None = None) -> None:
        before = ledger.seen.get(f"{count.stage}.{drop.reason}", 0) + count.dropped[drop.reason]
        count.dropped[drop.reason] += 1
        text = doc["text"] if "text" in doc else None
        if text is not None:
            text = text[:SAMPLE_CHARS] if before < SAMPLE_FIRST or self._sampled(doc["doc_id"]) else None
        ledger.dropped.append(
            {
                **identity(doc),
                "stage": count.stage,
                "reason": drop.reason,
                "signal": drop.signal or None,
                "value": drop.value,
                "threshold": drop.threshold,
                "detail": detail or clean(drop.detail)[:500] or None,
                "text": text,
            }
        )

    def _quarantine(self, doc: Doc, count: StageCount, ledger: _Ledger, cause: str, detail: str) -> None:
        count.quarantined[cause] += 1
        ledger.quarantined.append(
            {
                **identity(doc),
                "stage": count.stage,
                "cause": cause,
                "detail": _ADDRESS.sub("at 0x", clean(detail))[:500],
            }
        )

    def _sampled(self, doc_id: str) -> bool:
        digest = hashlib.blake2b(doc_id.encode("utf-8", "replace"), digest_size=4, key=self._seed).digest()
        return int.from_bytes(digest, "little") < self._sample * 2**32


def _no_beat(stage: int, row: int) -> None:
    pass


def _cause(error: Exception) -> str:
    """Under what a failure is counted: stages that say it themselves mean `error`."""
    return "error" if isinstance(error, DocumentError) else type(error).__name__
