"""The plan of a mixture: what every stage takes of every source, and how often documents are seen, before any work."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenmill.core.errors import ConfigError
from tokenmill.tokens.mix.measure import Counted, Measured, measure, totals_by_source
from tokenmill.tokens.mix.positions import TableReader
from tokenmill.tokens.mix.select import Atom
from tokenmill.tokens.mix.spec import Mixture, MixtureStage, exactly, parse_mixture
from tokenmill.tokens.mix.stream import Stream
from tokenmill.tokens.mix.window import schedule

MANY_EPOCHS = 4.0
"""Up to this, training on repeated tokens is nearly as good as on new ones (Muennighoff et al. 2023, "Scaling
Data-Constrained Language Models", arXiv 2305.16264)."""

MUCH_CUT = 0.01
"""Share of what is taken of a stream; where more than this is cut off besides, the plan says so."""


SYNTHETIC = "synthetic"
"""Tag of documents that a model has worded (`tokenmill rephrase`)."""


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
    """Tokens by unique tokens; 0 where these are not known at all."""
    epochs_so_far: float
    """Where its stream stands by the end of the stage: the same with the stages before, and what these cut off."""
    used: float
    """Share of its unique tokens that its stream has passed by the end of the stage, what was cut off included."""
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
    """The plan, once it is known what the streams hold: from the positions that a run would take."""
    streams = _streams(mixture, measured)
    reached, tokens = dict.fromkeys(streams, 0), dict.fromkeys(streams, 0)
    cut = dict.fromkeys(streams, 0)
    rows: list[PlanRow] = []
    stages: dict[str, int] = {}
    passing: list[tuple[str, dict[Atom, int], dict[Atom, int]]] = []
    for stage, found in zip(mixture.stages, schedule(mixture, streams, _ends(measured)), strict=True):
        given = dict.fromkeys(streams, 0) | {taking.atom: taking.tokens for taking in found.takings}
        before = dict(reached)
        for taking in found.takings:
            reached[taking.atom] = taking.start + taking.tokens
            tokens[taking.atom] += taking.tokens
            cut[taking.atom] += taking.end - reached[taking.atom]
        stages[stage.name] = found.tokens
        passing.append((stage.name, before, dict(reached)))
        rows += _rows(mixture, stage, measured.streams, given, reached)
    total = sum(stages.values())
    warnings, errors = _repeated(mixture, measured.streams, reached)
    unique = {atom: one.tokens for atom, one in measured.streams.items() if one.tokens or not one.estimated}
    return MixturePlan(
        name=mixture.name,
        tokens=total,
        bytes=total * measured.width,
        stages=stages,
        rows=tuple(rows),
        totals=tuple(_totals(mixture, measured.streams, tokens, reached, total)),
        warnings=(*warnings, *_overlapping(measured), *_unmarked(mixture, measured)),
        notes=(
            *_weights(mixture),
            *_upweighted(rows),
            *_exhausted(unique, passing),
            *_cut(tokens, cut),
            *_synthetic(rows, stages),
            *_absent(mixture, measured, tokens),
        ),
        errors=tuple(errors),
    )


def _streams(mixture: Mixture, measured: Measured) -> dict[Atom, Stream]:
    """The streams as a run would lay them out. One of which a sample has shown nothing is taken to hold something."""
    names = {source: list(one.shards) for one in measured.sets for source in one.sources}
    found = {}
    for atom, one in measured.streams.items():
        tokens = measured.of_shards.get(atom, [max(1, one.tokens) if one.estimated else one.tokens])
        found[atom] = Stream(atom, names.get(atom.source, [""]), tokens, mixture.seed, one.documents)
    return found


def _ends(measured: Measured) -> Callable[[Stream, int], int]:
    """Where documents end; of runs that is not known before they are tokenized."""
    readers = {source: TableReader(one) for one in measured.sets for source in one.sources}

    def end_of(stream: Stream, position: int) -> int:
        reader = readers.get(stream.atom.source)
        return reader.end_of(stream, position) if reader is not None else position + 1

    return end_of


def _rows(
    mixture: Mixture,
    stage: MixtureStage,
    streams: Mapping[Atom, Counted],
    given: Mapping[Atom, int],
    reached: Mapping[Atom, int],
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
        seen = sum(min(reached[a], streams[a].tokens) for a in atoms)
        found.append(
            PlanRow(
                stage=stage.name,
                stream=label.name,
                source=label.source,
                share=mine / tokens,
                tokens=mine,
                unique_tokens=unique,
                epochs=mine / unique if unique else 0.0,
                epochs_so_far=sum(reached[a] for a in atoms) / unique if unique else 0.0,
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
    mixture: Mixture,
    streams: Mapping[Atom, Counted],
    taken: Mapping[Atom, int],
    reached: Mapping[Atom, int],
    total: int,
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
                epochs=sum(reached[a] for a in mine) / one.tokens if one.tokens else 0.0,
                used=sum(min(reached[a], streams[a].tokens) for a in mine) / max(1, one.tokens),
                estimated=one.estimated,
                synthetic=mixture.sources[source].synthetic,
            )
        )
    return found


def _repeated(
    mixture: Mixture, streams: Mapping[Atom, Counted], reached: Mapping[Atom, int]
) -> tuple[list[str], list[str]]:
    """(warnings, errors) on how often documents are seen. What is only estimated is no reason to refuse."""
    warnings, errors = [], []
    for atom, one in streams.items():
        if one.estimated and not one.tokens:
            continue  # `_absent` tells it
        epochs = reached[atom] / max(1, one.tokens)
        about = "about " if one.estimated else ""
        of_source = mixture.sources[atom.source].max_epochs
        most = of_source if of_source is not None else mixture.max_epochs
        if most is not None and reached[atom] > exactly(most) * one.tokens:
            told = f"{atom.name} is seen {about}{epochs:.2f} times, max_epochs is {most:g}"
            if one.estimated:
                warnings.append(f"{told}: if it is so once the run is tokenized, the mixture is refused then")
            else:
                errors.append(told)
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


def _cut(tokens: Mapping[Atom, int], cut: Mapping[Atom, int]) -> list[str]:
    """Streams that lose a good part where stages end within documents."""
    return [
        f"{atom.name}: {cut[atom]:,} tokens are cut off where stages end within a document, beside {tokens[atom]:,}"
        " that are taken: fewer or longer stages lose less"
        for atom in tokens
        if cut[atom] > MUCH_CUT * tokens[atom]
    ]


def _absent(mixture: Mixture, measured: Measured, tokens: Mapping[Atom, int]) -> list[str]:
    """Values that are asked for, and that no document has."""
    found = [
        f"no document of {source} has {tag} {value!r}, which its `where` asks for"
        for source, pairs in measured.absent.items()
        for tag, value in pairs
    ]
    asked = {
        Atom(source, ((upweight.by, value),)): value
        for stage in mixture.stages
        for source, upweight in stage.upweight.items()
        for value in upweight.values
    }
    for part, value in asked.items():
        mine = [a for a in measured.streams if a.source == part.source and part.values[0] in a.values]
        if any(measured.streams[atom].tokens for atom in mine) or any(measured.streams[a].estimated for a in mine):
            continue
        hint = "; YAML reads no and yes as false and true: quote them" if value in ("false", "true") else ""
        found.append(f"no document of {part.source} is one of {part.name}, which a stage upweights{hint}")
    for atom, one in measured.streams.items():
        if one.estimated and not one.tokens and tokens[atom]:
            found.append(
                f"no document of the sample of {atom.source} is one of {atom.name}: what there is of it, and whether"
                " the mixture can be made, is known when the run is tokenized"
            )
    return found


def _unmarked(mixture: Mixture, measured: Measured) -> list[str]:
    """Sources of which some documents are marked as synthetic, and which do not say so."""
    return [
        f"source {source} has documents that are marked as synthetic: its share is told with `synthetic: true`"
        for one in measured.sets
        for source in one.sources
        if SYNTHETIC in one.schema.names and not mixture.sources[source].synthetic
    ]


def _synthetic(rows: Sequence[PlanRow], stages: Mapping[str, int]) -> list[str]:
    found = []
    for stage, tokens in stages.items():
        share = sum(row.tokens for row in rows if row.stage == stage and row.synthetic) / tokens
        if share:
            found.append(f"{share:.1%} of {stage} is synthetic")
    return found
