"""Thresholds as a question: which score keeps 12 % of the tokens, and what is gained and lost by it?

Three passes over the published documents. The first makes a weighted quantile sketch (one per group): it says in which
bucket of scores the threshold lies, and what is above exactly. The second looks up the scores in that bucket, so that
the threshold is the exact one. The third counts what the decision does. With groups one more goes before these, which
tells the large ones from the others. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tokenmill.classifiers.decide import FLOATS, INTEGERS
from tokenmill.classifiers.published import WEIGHTS, Part, Published
from tokenmill.core.errors import ConfigError
from tokenmill.report.groups import GroupCounts, merged
from tokenmill.report.keep import Keep
from tokenmill.report.moving import Moving, moving
from tokenmill.report.shares import Amounts, Border, Example, Mask, Share, Shares, coded, domains
from tokenmill.text.quantiles import Bucket, QuantileSketch, as_floats, bucket_keys

DOMAIN = "domain"
"""Group or label that is made from the address, where the run has no column of that name."""
MOST_GROUPS = 100_000
"""Groups that can have a threshold of their own; each has a sketch in memory. Smaller ones may be any number."""
MOST_SCORES = 4_000_000
"""Distinct scores in the buckets in question that are held in memory; float32 has 2,048 in a bucket."""
_STRINGS = frozenset(("string", "large_string"))
_LABELS = frozenset(("topic", "format", "quality_level"))
_LABEL_ENDINGS = ("_topic", "_format", "_label", "_level")
_NOWHERE = np.int32(np.iinfo(np.int32).max)
"""The key of no bucket."""


@dataclass(frozen=True)
class Question:
    """What is asked. Shares are of all documents, also of those without a score, which cannot be kept.

    `per`: a column of strings, or `domain`: the share or amount is kept of each of its values.
    """

    score: str
    keep: Keep
    per: str = ""
    by: tuple[str, ...] = ()
    """More columns whose shares are told."""
    examples: int = 5
    top: int = 20
    least_group: int = 100
    """Groups with fewer documents that have a score have no threshold of their own."""
    without: tuple[str, ...] = ()
    """Filters of an annotated run whose verdicts are left aside, besides that of the one that is moved."""


@dataclass(frozen=True)
class Amount:
    """Documents, UTF-8 bytes of their texts, tokens."""

    documents: int = 0
    bytes: int = 0
    tokens: int = 0


@dataclass
class Choice:
    """A threshold for a group (`value`), or for all. `exact`: none keeps what is nearer to the target."""

    value: str | None
    threshold: float
    exact: bool
    other: float | None
    """The threshold next in nearness to the target."""
    other_keeps: int
    """What that would keep of the weight in question."""
    short: bool
    """Whether less than what is asked for has a score, so that all of it is kept."""
    total: Amount = field(default_factory=Amount)
    kept: Amount = field(default_factory=Amount)
    ties: int = 0
    """Documents whose score is exactly the threshold; all are kept."""


@dataclass
class Answer:
    """The thresholds and what they do. `groups` is empty without `per`; `overall` is for all others then."""

    question: Question
    overall: Choice
    groups: list[Choice]
    total: Amount
    kept: Amount
    no_score: Amount
    estimated_tokens: int
    """Documents whose tokens are estimated from their bytes."""
    left_out: int
    """Documents of an annotated run that another filter has dropped."""
    shares: dict[str, list[Share]]
    above: list[Example]
    below: list[Example]
    notes: list[str]
    without: tuple[str, ...]
    """Filters whose verdicts are left aside: the one that the threshold is for, and those that were named."""
    refilter: tuple[str, ...]
    """The command that applies it, word by word; empty where the run has no filter for it. FILE: of thresholds."""

    @property
    def thresholds(self) -> dict[str, float]:
        """Threshold by value of `per`."""
        return {str(choice.value): choice.threshold for choice in self.groups}


def ask(published: Published, question: Question) -> Answer:
    """Answer the question; ConfigError where the run has no such score or group, or less than is to be kept."""
    published.require(question.score, FLOATS | INTEGERS, "score")
    for name in (question.per, *question.by):
        if name and not (name == DOMAIN and name not in published.columns):
            published.require(name, _STRINGS, "column of strings")
    move = moving(published, question.score, question.per, question.without)
    view = _View(published, question, move)
    sketches = view.sketches()
    whole = QuantileSketch(view.weights)
    for sketch in sketches.values():
        whole.merge(sketch)
    _check_enough(question, whole, published)
    large: dict[str | None, QuantileSketch] = {
        value: sketch
        for value, sketch in sketches.items()
        if question.per and value is not None and sketch.total("documents") >= question.least_group
    }
    choices = view.choices({None: whole, **large})
    overall, groups = choices.pop(None), sorted(choices.values(), key=lambda choice: str(choice.value))
    return view.count(overall, groups)


def _check_enough(question: Question, whole: QuantileSketch, published: Published) -> None:
    keep = question.keep
    total = whole.total(keep.weight)
    if not total:
        raise ConfigError(
            f"no document has the score {question.score}",
            where=published.location,
            why=f"of {int(whole.nulls[0] + whole.nans[0]):,} documents all are without it, or have no {keep.weight}",
        )
    if not keep.relative and not question.per and keep.value > total:
        raise ConfigError(
            f"--keep {keep.text} is more than there is",
            where=published.location,
            why=f"the documents that have {question.score} come to {total:,} {keep.weight}",
            fix="ask for less, or for a share",
        )


@dataclass
class _Held:
    """Distinct scores in a bucket, with their weights."""

    scores: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    weights: Amounts = field(default_factory=lambda: np.empty(0, np.int64))

    def add(self, scores: npt.NDArray[np.float64], weights: Amounts) -> None:
        if not len(scores):
            return
        scores, weights = np.concatenate([self.scores, scores]), np.concatenate([self.weights, weights])
        order = np.argsort(scores, kind="stable")
        self.scores, first = np.unique(scores[order], return_index=True)
        self.weights = np.add.reduceat(weights[order], first)


@dataclass
class _View:
    """The run under the question: its passes."""

    published: Published
    question: Question
    move: Moving

    @property
    def weights(self) -> tuple[str, ...]:
        """What the sketches count: only what the answer needs, since the size of a text costs reading it."""
        return tuple(dict.fromkeys(("documents", self.question.keep.weight)))

    def _parts(self) -> Iterator[tuple[Part, npt.NDArray[np.float64]]]:
        """(row group, scores) where it has documents."""
        for part in self.published.parts(self.move.without):
            if part.rows:
                yield part, as_floats(part.column(self.question.score))[0]

    def _strings(self, part: Part, name: str) -> pa.Array:
        return part.column(name) if name in self.published.columns else domains(part.column("url"))

    def _grouped(self, part: Part, wanted: Callable[[str], bool]) -> tuple[list[str | None], npt.NDArray[np.int64]]:
        """(groups, (n,) the place of each document's group among them); None is for all that are not wanted."""
        if not self.question.per:
            return [None], np.zeros(part.rows, np.int64)
        return merged(*coded(self._strings(part, self.question.per)), wanted)

    def _large(self) -> Callable[[str], bool]:
        """The pass before the first: which groups may be large enough for a threshold of their own."""
        least = self.question.least_group
        if not self.question.per:
            return bool
        counts = GroupCounts()
        for part, scores in self._parts():
            names, codes = coded(self._strings(part, self.question.per))
            counts.add(names, codes[~np.isnan(scores)])
        self._check_groups(counts.at_least(least))
        return lambda name: counts.may_have(name, least)

    def _check_groups(self, count: int) -> None:
        if count > MOST_GROUPS:
            raise ConfigError(
                f"more than {MOST_GROUPS:,} values of {self.question.per!r} would have a threshold",
                where=self.published.location,
                why=f"each with {self.question.least_group:,} documents or more that have a score has one",
                fix="raise --min-group, or ask --per a column with fewer values",
            )

    def sketches(self) -> dict[str | None, QuantileSketch]:
        """The first pass: a sketch per group that may be large; None is for the documents of all others."""
        found: dict[str | None, QuantileSketch] = {}
        large = self._large()
        for part, scores in self._parts():
            amounts = part.amounts(self.weights)
            names, codes = self._grouped(part, large)
            for code, rows in _by_code(codes):
                found.setdefault(names[code], QuantileSketch(self.weights)).add(scores[rows], amounts[rows])
            self._check_groups(len(found) - (None in found))
        return found

    def choices(self, sketches: Mapping[str | None, QuantileSketch]) -> dict[str | None, Choice]:
        """The second pass: the exact thresholds of the groups, and of all documents (None)."""
        keep = self.question.keep
        found = {
            value: sketch.cut(keep.target(sketch.everything(keep.weight)), keep.weight)
            for value, sketch in sketches.items()
        }
        cuts = {value: bucket for value, bucket in found.items() if bucket is not None}
        held = self._held(cuts)
        return {
            value: _choose(value, cut, sketches[value], keep, held.get(value) if held is not None else None)
            for value, cut in cuts.items()
        }

    def _held(self, cuts: Mapping[str | None, Bucket]) -> dict[str | None, _Held] | None:
        """The scores in the buckets of the cuts; None where they are too many."""
        found: dict[str | None, _Held] = {}
        for part, scores in self._parts():
            scored = ~np.isnan(scores)
            keys = np.where(scored, bucket_keys(np.where(scored, scores, 0.0)), _NOWHERE)
            names, codes = self._grouped(part, cuts.__contains__)
            wanted = np.array([cuts[n].key if n in cuts and n is not None else _NOWHERE for n in names], np.int32)
            grouped = scored & (keys == wanted[codes])
            overall = scored & (keys == cuts[None].key)
            if not (grouped | overall).any():
                continue
            weights = part.amounts([self.question.keep.weight])[:, 0]
            found.setdefault(None, _Held()).add(scores[overall], weights[overall])
            places = np.flatnonzero(grouped)
            for code, rows in _by_code(codes[places]):
                found.setdefault(names[code], _Held()).add(scores[places[rows]], weights[places[rows]])
            if sum(len(held.scores) for held in found.values()) > MOST_SCORES:
                return None
        return found

    def count(self, overall: Choice, groups: list[Choice]) -> Answer:
        """The third pass: what the thresholds keep."""
        labels = self._labels()
        choices = {choice.value: choice for choice in (overall, *groups)}
        tally = _Tally(choices, self.question, labels)
        left_out = 0
        for part in self.published.parts(self.move.without):
            left_out += part.left_out
            if part.rows:
                scores = as_floats(part.column(self.question.score))[0]
                strings = {name: self._strings(part, name) for name in labels}
                tally.add(part, scores, self._grouped(part, choices.__contains__), strings)
        shares = {name: found for name in labels if (found := tally.shares[name].largest(self.question.top))}
        notes = [] if not any(tally.shares[name].rest[2] for name in shares) else ["rare values are counted together"]
        return Answer(
            question=self.question,
            overall=overall,
            groups=groups,
            total=Amount(*tally.sums[0].tolist()),
            kept=Amount(*tally.sums[1].tolist()),
            no_score=Amount(*tally.sums[2].tolist()),
            estimated_tokens=tally.estimated,
            left_out=left_out,
            shares=shares,
            above=tally.above.examples(),
            below=tally.below.examples(),
            notes=[*self._notes(), *self.move.notes, *notes],
            without=self.move.without,
            refilter=self.move.command(overall.threshold, self.question.per),
        )

    def _labels(self) -> list[str]:
        named = [
            name
            for name, dtype in self.published.columns.items()
            if dtype in _STRINGS and (name in _LABELS or name.endswith(_LABEL_ENDINGS))
        ]
        return list(dict.fromkeys(["language", DOMAIN, *named, *self.question.by]))

    def _notes(self) -> list[str]:
        published, per = self.published, self.question.per
        notes = []
        if len(published.files) < published.shards:
            notes.append(f"the run is not finished: {len(published.files)} of {published.shards} shards are counted")
        if per and per not in published.columns:
            notes.append(f"the run has no column {per!r}: a ScoreFilter needs one to use these thresholds")
        return notes


class _Tally:
    """Sums of the third pass. `sums`: (3, 3): all documents, those kept, those without a score."""

    def __init__(self, choices: Mapping[str | None, Choice], question: Question, labels: list[str]) -> None:
        self.choices = choices
        self.weight = WEIGHTS.index(question.keep.weight)
        self.sums = np.zeros((3, 3), np.int64)
        self.estimated = 0
        self.shares = {name: Shares() for name in labels}
        self.above, self.below = Border(question.examples), Border(question.examples)
        self._groups: dict[str | None, Amounts] = {value: np.zeros((2, 3), np.int64) for value in choices}

    def add(
        self,
        part: Part,
        scores: npt.NDArray[np.float64],
        grouped: tuple[list[str | None], npt.NDArray[np.int64]],
        strings: Mapping[str, pa.Array],
    ) -> None:
        amounts = part.amounts()
        self.estimated += int(part.estimated().sum())
        names, codes = grouped
        chosen = [self.choices.get(name, self.choices[None]) for name in names]
        limits = np.array([choice.threshold for choice in chosen])[codes]
        kept = scores >= limits
        scored = ~np.isnan(scores)
        self.sums += np.stack([amounts.sum(0), amounts[kept].sum(0), amounts[~scored].sum(0)])
        for code, rows in _by_code(codes):
            self._add_group(chosen[code], amounts[rows], kept[rows], scores[rows])
        for name, values in strings.items():
            self.shares[name].add(values, amounts[:, self.weight], kept)
        columns = {name: part.column(name) for name in ("url", "text")}
        self.above.add(columns, scores, limits, kept)
        self.below.add(columns, scores, limits, scored & ~kept)

    def _add_group(self, choice: Choice, amounts: Amounts, kept: Mask, scores: npt.NDArray[np.float64]) -> None:
        sums = self._groups[choice.value]
        sums += np.stack([amounts.sum(0), amounts[kept].sum(0)])
        choice.total, choice.kept = Amount(*sums[0].tolist()), Amount(*sums[1].tolist())
        choice.ties += int((scores == choice.threshold).sum())


def _by_code(codes: npt.NDArray[np.int64]) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """(code, the rows that have it), rising."""
    if not len(codes):
        return
    order = np.argsort(codes, kind="stable")
    found, first = np.unique(codes[order], return_index=True)
    yield from zip(found.tolist(), np.split(order, first[1:]), strict=True)


def _choose(value: str | None, cut: Bucket, sketch: QuantileSketch, keep: Keep, held: _Held | None) -> Choice:
    """The threshold that keeps what is nearest to the target (the lower one of two), of all that can be told apart."""
    target = keep.target(sketch.everything(keep.weight))
    options: list[tuple[int, float]] = []
    if (higher := sketch.above(cut.key)) is not None:
        options.append((cut.above, higher))
    if held is None:
        options.append((cut.above + cut.inside, cut.low))
    else:
        kept = cut.above + held.weights[::-1].cumsum()
        options += zip(kept.tolist(), held.scores[::-1].tolist(), strict=True)
    first, *others = sorted(options, key=lambda option: (abs(option[0] - target), option[1]))
    other = next((option for option in others if option[0] != first[0]), None)
    return Choice(
        value=value,
        threshold=first[1],
        exact=held is not None,
        other=other[1] if other else None,
        other_keeps=other[0] if other else 0,
        short=target > sketch.total(keep.weight),
    )
