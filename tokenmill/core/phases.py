"""Phases: where a pipeline is cut, and what each piece holds."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from tokenmill.core.materialize import Materialize
from tokenmill.core.measuring import StageRules
from tokenmill.core.schema import DOC_ID, INTERNAL
from tokenmill.core.stage import Annotate, Barrier, Filter, Resources, Sink, Source, Stage, Stepped

_PASSING = INTERNAL.keys() - {DOC_ID}
"""Columns that are never published (the page as archived, as decoded, ...): 91 % of what the first phase of `fineweb`
would keep. They are handed on only to stages that read them."""


@dataclass(frozen=True)
class Phase:
    """A run of fused stages between cuts, or a step of a barrier or sink. `labels[i]` names `stages[i]`.

    `fingerprint` covers everything from the source to the last stage of the phase; `columns` are those that
    exist after it. The first phase has the source as its first stage, the last phase of documents the sink as its
    last, and the steps of a sink come behind it. A barrier stands at the end of one phase, which prepares it, and at
    the beginning of the next, which applies it; between the two are its steps, which are phases of their own.
    """

    index: int
    labels: tuple[str, ...]
    stages: tuple[Stage, ...]
    fingerprint: str
    columns: Mapping[str, pa.DataType]
    rules: Mapping[str, StageRules] = field(default_factory=dict)
    prepares: bool = False
    """The last of the fused stages is a barrier that gets its columns here."""
    applies: bool = False
    """The first of the fused stages is a barrier whose table is joined and applied here."""
    reread: bool = False
    """The phase before only read and filtered, and kept no documents: they are read from the source again."""
    step: str = ""
    """The step of the barrier or sink `stages[0]`; "" for a phase of documents."""

    @property
    def directory(self) -> str:
        """Name of the phase's folder below `phases/`."""
        step = f".{self.step}" if self.step else ""
        return f"{self.index + 1:02d}-{self.labels[0]}{step}@{self.fingerprint[:12]}"

    @property
    def source(self) -> Source | None:
        first = self.stages[0]
        return first if isinstance(first, Source) else None

    @property
    def resources(self) -> Resources:
        work = [stage for stage in self.stages if not isinstance(stage, Source | Sink)]
        plain = [stage for stage in work if not isinstance(stage, Barrier)]
        return next((stage.resources for stage in (*plain, *work)), Resources())

    @property
    def batch_rows(self) -> int:
        """Documents that its stages would like to see at once; 0: as they come."""
        return next((stage.batch_rows for stage in self.stages if isinstance(stage, Annotate) and stage.batch_rows), 0)

    @property
    def fused(self) -> tuple[tuple[str, Stage], ...]:
        """The stages that work on batches in memory: all but source and sink, with their labels."""
        pairs = zip(self.labels, self.stages, strict=True)
        return tuple((label, s) for label, s in pairs if not isinstance(s, Source | Sink))

    @property
    def counted(self) -> tuple[str, ...]:
        """The names under which the fused stages are counted: a barrier is counted where it is applied."""
        names = [label for label, _ in self.fused]
        return (*names[:-1], f"{names[-1]}.prepare") if self.prepares else tuple(names)

    @property
    def only_barriers(self) -> bool:
        """Whether nothing but barriers works on the documents: kernels of our own, which need no watched child.

        Sending the documents there and back costs as much as all the rest of a deduplication.
        """
        return all(isinstance(stage, Barrier) for _, stage in self.fused)

    @property
    def applied(self) -> Barrier | None:
        """The barrier that the phase applies."""
        found = self.stages[0] if self.applies else None
        return found if isinstance(found, Barrier) else None


def cut(
    pairs: Sequence[tuple[str, Stage]],
    fingerprints: Sequence[str],
    columns: Sequence[Mapping[str, pa.DataType]],
    rules: Mapping[str, StageRules],
    *,
    reread: bool = True,
    whole: Collection[str] = (),
) -> tuple[Phase, ...]:
    """The phases of labelled stages: cut at barriers, where resources change, and before stages of large batches and
    `Materialize`.

    fingerprints, columns: those after each stage. rules: what the plan says about each stage. reread: whether
    documents may be read from the source again instead of being kept between the first two phases. whole: barriers
    that only repeat what is stored, and cut nothing.
    """
    phases: list[Phase] = []
    for start, stop in _pieces(pairs, whole):
        labels, stages = zip(*pairs[start:stop], strict=True)
        first, last = stages[0], stages[-1]
        applies = start > 0 and isinstance(first, Barrier) and labels[0] not in whole
        ends = isinstance(last, Barrier) and labels[-1] not in whole and not (applies and stop - start == 1)
        barrier = last if ends else None
        held = dict(columns[stop - 1 if barrier is None else stop - 2])
        if barrier is not None:
            if reread and start == 0 and _only_reads(stages):
                kept = {DOC_ID, *barrier.columns_kept()}
                held = {name: dtype for name, dtype in held.items() if name in kept}
            held.update(barrier.prepares())
        later = {column for _, stage in pairs[stop - (barrier is not None) :] for column in stage.reads}
        held = {name: dtype for name, dtype in held.items() if name in later or name not in _PASSING}
        phases.append(
            Phase(
                index=len(phases),
                labels=labels,
                stages=stages,
                fingerprint=fingerprints[stop - 1],
                columns=held,
                rules={label: rules[label] for label in labels},
                prepares=barrier is not None,
                applies=applies,
                reread=reread and applies and _only_reads(data_phases(phases)[-1].stages),
            )
        )
        if barrier is not None:
            phases += _steps(barrier, labels[-1], fingerprints[stop - 1], len(phases), held)
    label, sink = pairs[-1]
    if isinstance(sink, Stepped):
        phases += _steps(sink, label, fingerprints[-1], len(phases), columns[-1])
    return tuple(phases)


def _steps(stage: Stepped, label: str, fingerprint: str, first: int, columns: Mapping[str, pa.DataType]) -> list[Phase]:
    phases = []
    for number, step in enumerate(stage.steps):
        own = hashlib.sha256(f"{fingerprint} {step}".encode()).hexdigest()
        phase = Phase(first + number, (label,), (stage,), own, columns, step=step)
        phases.append(phase)
    return phases


def _only_reads(stages: Sequence[Stage]) -> bool:
    """Whether a phase has nothing but a source and filters before a barrier that does not look at documents again."""
    *before, barrier = stages
    only = isinstance(stages[0], Source) and all(isinstance(stage, Source | Filter) for stage in before)
    return only and isinstance(barrier, Barrier) and not barrier.looks_again


def _pieces(pairs: Sequence[tuple[str, Stage]], whole: Collection[str]) -> list[tuple[int, int]]:
    """(start, stop) of each phase of documents. A barrier is the last of one piece and the first of the next."""
    pieces: list[tuple[int, int]] = []
    start = rows = 0
    current: Resources | None = None
    for position, (label, stage) in enumerate(pairs):
        if isinstance(stage, Source | Sink):
            continue
        if isinstance(stage, Barrier) and label not in whole:
            pieces.append((start, position + 1))
            start, rows, current = position, 0, None
            continue
        if isinstance(stage, Materialize) and position > start:
            # before it and not after it: so no phase begins with a barrier that is yet to be prepared
            pieces.append((start, position))
            start, rows, current = position, 0, None
        wanted = stage.batch_rows if isinstance(stage, Annotate) else 0
        if current is not None and (stage.resources != current or wanted not in (0, rows)):
            pieces.append((start, position))
            start, rows = position, 0
        current, rows = stage.resources, rows or wanted
    return [*pieces, (start, len(pairs))]


def data_phases(phases: Sequence[Phase]) -> list[Phase]:
    """The phases of documents, without steps."""
    return [phase for phase in phases if not phase.step]
