"""The plan of a mixture: what every stage takes of every source, and how often documents are seen, before any work."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenmill.core.errors import ConfigError
from tokenmill.tokens.mix.allocate import allocate, stage_tokens
from tokenmill.tokens.mix.measure import Counted, Measured, measure, totals_by_source
from tokenmill.tokens.mix.select import Atom
from tokenmill.tokens.mix.spec import Mixture, MixtureStage, exactly, parse_mixture

MANY_EPOCHS = 4.0
"""Up to this, training on repeated tokens is nearly as good as on new ones (Muennighoff et al. 2023, "Scaling
Data-Constrained Language Models", arXiv 2305.16264)."""


@dataclass(frozen=True)
class PlanRow:
    """What a stage takes of a source, or of a part of one that it upweights."""

    stage: str
    stream: str
    source: str
    share: float
    """Of the tokens of the stage."""
    tokens: int
    """EOS included, as everywhere here."""
    unique_tokens: int
    epochs: float
    """Tokens by unique tokens."""
    epochs_so_far: float
    """The same with the stages before."""
    used: float
    """Share of its unique tokens that have been seen by the end of the stage."""
    natural: float
    """Its share of the unique tokens of all that the stage takes."""
    natural_in_source: float
    """Its share of the unique tokens of its source: 1 but for parts."""
    estimated: bool
    synthetic: bool


@dataclass(frozen=True)
class PlanTotal:
    """A source over all stages."""

    source: str
    tokens: int
    share: float
    documents: int
    unique_tokens: int
    epochs: float
    used: float
    estimated: bool
    synthetic: bool


@dataclass(frozen=True)
class MixturePlan:
    """What `plan_mixture` has found. `errors` are what a run would be refused for."""

    name: str
    tokens: int
    bytes: int
    """Of ids that would be written; 0 where the type of ids is not known yet."""
    stages: Mapping[str, int]
    """Name -> tokens."""
    rows: tuple[PlanRow, ...]
    totals: tuple[PlanTotal, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    errors: tuple[str, ...]

    def check(self) -> None:
        """ConfigError where the mixture must not be made."""
        if self.errors:
            raise ConfigError(
                f"the mixture {self.name} repeats documents more often than it allows",
                why="; ".join(self.errors),
                fix="take fewer tokens of it, add documents, or raise max_epochs",
            )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self)


def plan_mixture(mixture: Mixture) -> MixturePlan:
    """The plan of a mixture. Unique tokens are exact for token sets, estimated for runs that are not tokenized.

    ConfigError where a set is missing or unlike the others, a tag does not exist, or a stage wants of what is empty.
    """
    mixture = parse_mixture(mixture.to_json(), f"mixture {mixture.name}")
    return plan_of(mixture, measure(mixture))


def plan_of(mixture: Mixture, measured: Measured) -> MixturePlan:
    """The plan, once it is known what the streams hold."""
    unique = {atom: one.tokens for atom, one in measured.streams.items()}
    taken = dict.fromkeys(unique, 0)
    rows: list[PlanRow] = []
    stages: dict[str, int] = {}
    passing: list[tuple[str, dict[Atom, int], dict[Atom, int]]] = []
    for stage in mixture.stages:
        given = allocate(stage, unique)
        before = dict(taken)
        taken = {atom: taken[atom] + given[atom] for atom in taken}
        stages[stage.name] = stage_tokens(stage, unique)
        passing.append((stage.name, before, taken))
        rows += _rows(mixture, stage, measured.streams, given, taken)
    total = sum(stages.values())
    warnings, errors = _repeated(mixture, measured.streams, taken)
    return MixturePlan(
        name=mixture.name,
        tokens=total,
        bytes=total * measured.width,
        stages=stages,
        rows=tuple(rows),
        totals=tuple(_totals(mixture, measured.streams, taken, total)),
        warnings=(*warnings, *_overlapping(measured)),
        notes=(*_weights(mixture), *_upweighted(rows), *_exhausted(unique, passing), *_synthetic(rows, stages)),
        errors=tuple(errors),
    )


def _rows(
    mixture: Mixture,
    stage: MixtureStage,
    streams: Mapping[Atom, Counted],
    given: Mapping[Atom, int],
    taken: Mapping[Atom, int],
) -> list[PlanRow]:
    """The rows of a stage: a row for each source, or for each value of a tag that the stage upweights."""
    members: dict[Atom, list[Atom]] = {}
    for atom in streams:
        if not stage.weights or stage.weights.get(atom.source):
            members.setdefault(_shown_as(stage, atom), []).append(atom)
    of_source = totals_by_source(streams)
    sources = {atom.source for atom in members}
    whole = sum(of_source[source].tokens for source in sources)
    tokens = sum(given.values())
    found = []
    for label, atoms in members.items():
        mine, unique = sum(given[a] for a in atoms), sum(streams[a].tokens for a in atoms)
        seen = sum(min(taken[a], streams[a].tokens) for a in atoms)
        found.append(
            PlanRow(
                stage=stage.name,
                stream=label.name,
                source=label.source,
                share=mine / tokens,
                tokens=mine,
                unique_tokens=unique,
                epochs=mine / max(1, unique),
                epochs_so_far=sum(taken[a] for a in atoms) / max(1, unique),
                used=seen / max(1, unique),
                natural=unique / max(1, whole),
                natural_in_source=unique / max(1, of_source[label.source].tokens),
                estimated=any(streams[a].estimated for a in atoms),
                synthetic=mixture.sources[label.source].synthetic,
            )
        )
    return found


def _shown_as(stage: MixtureStage, atom: Atom) -> Atom:
    """The part of a source that a stream belongs to in a stage."""
    upweight = stage.upweight.get(atom.source)
    if upweight is None:
        return Atom(atom.source)
    value = dict(atom.values)[upweight.by]
    return Atom(atom.source, ((upweight.by, value if value in upweight.values else None),))


def _totals(
    mixture: Mixture, streams: Mapping[Atom, Counted], taken: Mapping[Atom, int], total: int
) -> Sequence[PlanTotal]:
    found = []
    for source, one in totals_by_source(streams).items():
        mine = [atom for atom in streams if atom.source == source]
        tokens = sum(taken[atom] for atom in mine)
        found.append(
            PlanTotal(
                source=source,
                tokens=tokens,
                share=tokens / max(1, total),
                documents=one.documents,
                unique_tokens=one.tokens,
                epochs=tokens / max(1, one.tokens),
                used=sum(min(taken[a], streams[a].tokens) for a in mine) / max(1, one.tokens),
                estimated=one.estimated,
                synthetic=mixture.sources[source].synthetic,
            )
        )
    return found


def _repeated(
    mixture: Mixture, streams: Mapping[Atom, Counted], taken: Mapping[Atom, int]
) -> tuple[list[str], list[str]]:
    """(warnings, errors) on how often documents are seen."""
    warnings, errors = [], []
    for atom, one in streams.items():
        epochs = taken[atom] / max(1, one.tokens)
        about = "about " if one.estimated else ""
        of_source = mixture.sources[atom.source].max_epochs
        most = of_source if of_source is not None else mixture.max_epochs
        if most is not None and taken[atom] > exactly(most) * one.tokens:
            errors.append(f"{atom.name} is seen {about}{epochs:.2f} times, max_epochs is {most:g}")
        elif epochs > MANY_EPOCHS:
            warnings.append(
                f"{atom.name} is seen {about}{epochs:.1f} times: above {MANY_EPOCHS:g} epochs repeated tokens are worth"
                " clearly less than new ones (Muennighoff et al. 2023)"
            )
    return warnings, errors


def _overlapping(measured: Measured) -> list[str]:
    of_source = totals_by_source(measured.streams)
    found = []
    for overlap in measured.overlaps:
        least = min(overlap.sources, key=lambda source: of_source[source].documents)
        share = overlap.documents / max(1, of_source[least].documents)
        about = "about " if overlap.estimated else ""
        found.append(
            f"{about}{overlap.documents:,} documents are in both {' and '.join(overlap.sources)}"
            f" ({share:.1%} of {least}): a stage that takes both repeats them"
        )
    return found


def _weights(mixture: Mixture) -> list[str]:
    found = []
    for stage in mixture.stages:
        total = sum(exactly(weight) for weight in stage.weights.values())
        if stage.weights and total != 1:
            found.append(f"the weights of {stage.name} add up to {float(total):g}; shares are in proportion to them")
        if not stage.weights:
            found.append(f"{stage.name} has no weights: sources are in proportion to their unique tokens")
    return found


def _upweighted(rows: Sequence[PlanRow]) -> list[str]:
    of_source: dict[tuple[str, str], int] = {}
    for row in rows:
        of_source[row.stage, row.source] = of_source.get((row.stage, row.source), 0) + row.tokens
    found = []
    for row in rows:
        share = row.tokens / max(1, of_source[row.stage, row.source])
        if row.stream != row.source and not row.stream.endswith("[rest]") and (share or row.unique_tokens):
            factor = share / row.natural_in_source if row.natural_in_source else 0.0
            found.append(
                f"{row.stream} is {row.natural_in_source:.2%} of its source,"
                f" and {share:.2%} in {row.stage} ({factor:.1f}x)"
            )
    return found


def _exhausted(
    unique: Mapping[Atom, int], passing: Sequence[tuple[str, Mapping[Atom, int], Mapping[Atom, int]]]
) -> list[str]:
    return [
        f"{atom.name} is used up in {stage}: its documents begin again, in another order"
        for stage, before, after in passing
        for atom, tokens in unique.items()
        if before[atom] <= tokens < after[atom]
    ]


def _synthetic(rows: Sequence[PlanRow], stages: Mapping[str, int]) -> list[str]:
    found = []
    for stage, tokens in stages.items():
        share = sum(row.tokens for row in rows if row.stage == stage and row.synthetic) / tokens
        if share:
            found.append(f"{share:.1%} of {stage} is synthetic")
    return found
