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
from tokenmill.core.doc import Doc
from tokenmill.core.errors import ConfigError, DocumentError, TokenmillError
from tokenmill.core.rule import Drop
from tokenmill.core.stage import Annotate, Filter, Rewrite, Stage
from tokenmill.executors.frame import Frame

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
    ) -> None:
        """sample, seed: which dropped texts are kept. columns: those to give back of kept documents (None: all)."""
        self._columns = columns
        self.labels = [label for label, _ in stages]
        self.stages = [stage for _, stage in stages]
        self._sample = sample
        self._seed = seed.to_bytes(8, "little", signed=True)

    def setup(self) -> None:
        """Load models and compile kernels of every stage."""
        for stage in self.stages:
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
            count = StageCount(label, into=len(frame.docs), bytes_in=sum(frame.sizes))
            started = perf_counter()
            self._quarantine_poison(index, frame, poison or {}, count, ledger)
            if isinstance(stage, Filter | Rewrite):
                self._by_document(index, stage, frame, beat, count, ledger)
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

    def _by_document(
        self, index: int, stage: Filter | Rewrite, frame: Frame, beat: Beat, count: StageCount, ledger: _Ledger
    ) -> None:
        act = stage.judge if isinstance(stage, Filter) else stage.rewrite
        types = {**frame.types, **stage.columns_added()}
        kept: list[int] = []
        touched: set[str] = set()
        for position, (row, doc) in enumerate(zip(frame.rows, frame.docs, strict=True)):
            beat(index, row)
            try:
                outcome = act(doc)
                if isinstance(outcome, Mapping) and isinstance(stage, Rewrite):
                    _check_values(count.stage, outcome, types)
            except TokenmillError as error:
                if not isinstance(error, DocumentError):
                    raise
                self._quarantine(doc, count, ledger, "error", str(error))
                continue
            except Exception as error:
                # any library may fail on any page: the document pays, the shard goes on
                self._quarantine(doc, count, ledger, type(error).__name__, str(error))
                continue
            if outcome is None and isinstance(stage, Filter):
                kept.append(position)
            elif isinstance(outcome, str) and outcome:
                self._drop(doc, Drop(outcome), count, ledger)
            elif isinstance(outcome, Drop):
                self._drop(doc, outcome, count, ledger)
            elif isinstance(outcome, Mapping) and isinstance(stage, Rewrite):
                frame.replace(position, outcome)
                touched.update(outcome.keys() & frame.types.keys())
                kept.append(position)
            else:
                raise _wrong_outcome(stage, count.stage, outcome)
        if isinstance(stage, Rewrite):
            frame.declare({**stage.columns_added(), **{name: frame.types[name] for name in touched}})
        frame.keep(kept)

    def _by_batch(
        self,
        index: int,
        stage: Annotate,
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
                added = _annotated(stage, batch)
            except TokenmillError:
                raise
            except Exception:  # one document made the batch fail: find it below, one at a time
                added = None
        if added is None:
            kept, added = self._one_at_a_time(index, stage, batch, frame, beat, count, ledger)
        frame.keep(kept)
        for position in range(len(frame.docs)):
            frame.replace(position, {name: values[position] for name, values in added.items()})
        frame.declare(stage.columns_added())

    def _one_at_a_time(
        self,
        index: int,
        stage: Annotate,
        batch: pa.RecordBatch,
        frame: Frame,
        beat: Beat,
        count: StageCount,
        ledger: _Ledger,
    ) -> tuple[list[int], dict[str, list[Any]]]:
        kept: list[int] = []
        added: dict[str, list[Any]] = {name: [] for name in stage.columns_added()}
        for position, row in enumerate(frame.rows):
            beat(index, row)
            try:
                one = _annotated(stage, batch.slice(position, 1))
            except TokenmillError:
                raise
            except Exception as error:
                self._quarantine(frame.docs[position], count, ledger, type(error).__name__, str(error))
                continue
            kept.append(position)
            for name, values in one.items():
                added[name].extend(values)
        return kept, added

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

    def _drop(self, doc: Doc, drop: Drop, count: StageCount, ledger: _Ledger) -> None:
        before = ledger.seen.get(f"{count.stage}.{drop.reason}", 0) + count.dropped[drop.reason]
        count.dropped[drop.reason] += 1
        text = doc["text"] if "text" in doc else None
        if text is not None:
            text = text[:SAMPLE_CHARS] if before < SAMPLE_FIRST or self._sampled(doc["doc_id"]) else None
        ledger.dropped.append(
            {
                **_identity(doc),
                "stage": count.stage,
                "reason": drop.reason,
                "signal": drop.signal or None,
                "value": drop.value,
                "threshold": drop.threshold,
                "text": text,
            }
        )

    def _quarantine(self, doc: Doc, count: StageCount, ledger: _Ledger, cause: str, detail: str) -> None:
        count.quarantined[cause] += 1
        ledger.quarantined.append(
            {
                **_identity(doc),
                "stage": count.stage,
                "cause": cause,
                "detail": _ADDRESS.sub("at 0x", clean(detail))[:500],
            }
        )

    def _sampled(self, doc_id: str) -> bool:
        digest = hashlib.blake2b(doc_id.encode("utf-8", "replace"), digest_size=4, key=self._seed).digest()
        return int.from_bytes(digest, "little") < self._sample * 2**32


def _check_values(label: str, changes: Mapping[str, Any], types: Mapping[str, pa.DataType]) -> None:
    """Refuse columns that nobody declared (the author's error) and values that do not fit (the document's)."""
    unknown = changes.keys() - types.keys()
    if unknown:
        raise ConfigError(
            f"{label} sets {sorted(unknown)}, which it does not declare",
            fix="declare the columns with their types in `adds`",
        )
    for name, value in changes.items():
        if isinstance(value, str) and types[name] == pa.string():
            value.encode()  # a lone surrogate fits no column
        else:
            pa.scalar(value, types[name])


def _wrong_outcome(stage: Stage, label: str, outcome: object) -> ConfigError:
    """What a stage may return, for an author who returned something else."""
    if isinstance(stage, Filter):
        wanted = "None to keep the document, or the reason to drop it as a string that is not empty"
    else:
        wanted = "a mapping of column values, or a Drop"
    return ConfigError(f"{label} returned {outcome!r} ({type(outcome).__name__})", fix=f"return {wanted}")


def _annotated(stage: Annotate, batch: pa.RecordBatch) -> dict[str, list[Any]]:
    """The columns that the stage adds to a batch, checked: each declared one, one value per row."""
    added = stage.annotate(batch)
    declared = stage.columns_added()
    if set(added) != set(declared) or any(len(array) != batch.num_rows for array in added.values()):
        raise ConfigError(
            f"{stage.name} returned columns { ({k: len(v) for k, v in added.items()}) } for {batch.num_rows} rows",
            why=f"it declares {list(declared)} and must leave rows as they are",
            fix="an Annotate stage returns one array per declared column, as long as the batch",
        )
    return {name: array.cast(declared[name]).to_pylist() for name, array in added.items()}


def _identity(doc: Doc) -> dict[str, Any]:
    return {
        name: doc[name] if name in doc else None
        for name in ("doc_id", "id", "url", "file_path", "warc_offset", "warc_length")
    }


def clean(text: str) -> str:
    """Text that any Arrow string can hold."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")


def _no_beat(stage: int, row: int) -> None:
    pass
