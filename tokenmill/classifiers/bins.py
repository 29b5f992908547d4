"""Scores in bins of equal weight, as Nemotron-CC does (arXiv:2412.02595): 20 bins, cut at the percentiles 5, 10, .. 95
of the scores weighted by the UTF-8 bytes of the texts. So scores of different models can be compared.

The edges come from a reference run and are a small YAML file; they differ a little from exact percentiles (each is the
beginning of the bucket of `QuantileSketch` that holds it, or, where several are equal, its end: 0.025 % of its value
away at most).
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import field
from fractions import Fraction
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from tokenmill.classifiers.decide import FLOATS, INTEGERS, check_score, check_writable, scores_in
from tokenmill.classifiers.published import WEIGHTS, Published
from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.core.stage import Annotate, Stage
from tokenmill.text.quantiles import QuantileSketch

BINS = 20
"""Source: Nemotron-CC."""
_FORMAT = "tokenmill-bins-1"


class ScoreBins(Annotate):
    """Adds `<score>_bin`: the number of the bin in which a score lies (int32, from 0); an edge is in the bin above it.

    Null and NaN give null. The edges file is part of the fingerprint, and a copy of it of the data set.
    """

    derived = True

    columns: tuple[str, ...]
    """Columns with scores."""
    edges: str = ""
    """YAML file with their edges, as `tokenmill bins` makes it from a reference run. "": all bins are null until
    `refilter` is given a file."""

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.columns

    def columns_added(self) -> Mapping[str, pa.DataType]:
        return {f"{name}_bin": pa.int32() for name in self.columns}

    def digests(self) -> Mapping[str, str]:
        if not self.edges:
            return {"edges": ""}
        _ = self._edges
        return {"edges": hashlib.sha256(_content(self.edges)).hexdigest()}

    def check(self, types: Mapping[str, pa.DataType]) -> None:
        for name in self.columns:
            check_score(self.name, name, types)

    def files(self) -> tuple[str, ...]:
        return (self.edges,) if self.edges else ()

    @cached_property
    def _edges(self) -> Mapping[str, tuple[float, ...]]:
        known = load_bins(self.edges)
        for name in self.columns:
            if name not in known:
                raise ConfigError(f"no bins for {name!r}", where=self.edges, why=did_you_mean(name, known))
        return {name: known[name] for name in self.columns}

    def annotate(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        if not self.edges:
            return {f"{name}_bin": pa.nulls(batch.num_rows, pa.int32()) for name in self.columns}
        found = {}
        for name, edges in self._edges.items():
            numbers = scores_in(batch, name, self.name)
            places = np.searchsorted(np.array(edges), numbers, side="right").astype(np.int32)
            found[f"{name}_bin"] = pa.array(places, mask=np.isnan(numbers))
        return found


class QualityLevel(Annotate):
    """Adds a name for the bin, such as Nemotron-CC's five levels of quality, for buckets, reports and mixtures."""

    derived = True

    column: str = "ensemble_score"
    """Column with bins: an `Ensemble` of `<score>_bin`, or one of these."""
    levels: dict[str, float] = field(
        default_factory=lambda: {"low": 0, "medium_low": 3, "medium": 7, "medium_high": 12, "high": 18}
    )
    """Level -> its least bin. `high` is what Nemotron-CC's recipe rephrases as high quality (18, 19), `medium_high`
    begins where NeMo Curator's tutorial cuts (> 11); the others are set by hand, no published ones. The paper grouped
    bins by training on each: measure again for yours."""
    adds_column: str = "quality_level"
    """Column that is added (a string)."""

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        return (self.column,)

    def columns_added(self) -> Mapping[str, pa.DataType]:
        return {self.adds_column: pa.string()}

    def digests(self) -> Mapping[str, str]:
        wrong = [name for name, least in self.levels.items() if isinstance(least, bool) or not _is_number(least)]
        if wrong or not self.levels or len(set(self.levels.values())) < len(self.levels):
            raise ConfigError(
                f"{self.name}.levels = {self.levels!r} makes no levels",
                why="each level needs a least bin of its own, a number",
                fix="levels={'low': 0, 'high': 18}",
            )
        return {}

    def check(self, types: Mapping[str, pa.DataType]) -> None:
        check_score(self.name, self.column, types)

    def annotate(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        ordered = sorted(self.levels.items(), key=lambda item: item[1])
        numbers = scores_in(batch, self.column, self.name)
        places = np.searchsorted(np.array([least for _, least in ordered]), numbers, side="right") - 1
        missing = np.isnan(numbers) | (places < 0)  # below the least level: none
        names = pa.array([name for name, _ in ordered], pa.string())
        return {self.adds_column: names.take(pa.array(np.where(missing, 0, places), mask=missing))}


def sketch_scores(
    published: Published, scores: Sequence[str], weights: Sequence[str] = WEIGHTS
) -> dict[str, QuantileSketch]:
    """One sketch per score over the documents that no filter has dropped. weights: some of `WEIGHTS`. One pass."""
    sketches = {name: QuantileSketch(weights) for name in scores}
    for part in published.parts():
        amounts = part.amounts(weights)
        for name, sketch in sketches.items():
            sketch.add(part.column(name), amounts)
    return sketches


def edges_of(sketch: QuantileSketch, bins: int = BINS, weight: str = "bytes") -> list[float]:
    """The `bins` - 1 lower edges of all bins but the first, not falling; ConfigError without any weight.

    Where many documents have one score, several percentiles fall on it. These edges lie just above the bucket of
    that score, so that its documents are in the bin where they begin, and not in the last one that they fill.
    """
    found = [sketch.quantile(Fraction(place, bins), weight) for place in range(1, bins)]
    buckets = [bucket for bucket in found if bucket is not None]
    if len(buckets) < bins - 1:
        raise ConfigError("no document has a score", fix="choose a run whose scorer has scored its documents")
    times = Counter(bucket.key for bucket in buckets)
    edges = [bucket.low if times[bucket.key] == 1 else math.nextafter(bucket.high, math.inf) for bucket in buckets]
    return [min(max(edge, -sys.float_info.max), sys.float_info.max) for edge in edges]


def write_bins(run: str, scores: Sequence[str], out: str, *, bins: int = BINS, weight: str = "bytes") -> None:
    """Write the edges of some scores of a reference run to the YAML file `out`, for `ScoreBins`.

    weight: what each bin holds an equal share of: bytes (Nemotron-CC), tokens or documents. The file names the run by
    its fingerprint and each score by the digests of the stage that made it. ConfigError where a score is not there.
    """
    if weight not in WEIGHTS:
        raise ConfigError(f"no weight {weight!r}", why=did_you_mean(weight, WEIGHTS))
    if not scores or not 2 <= bins <= 10_000:
        raise ConfigError(f"{bins} bins of {len(scores)} scores cannot be made", fix="at least one score and two bins")
    published = Published.open(run)
    for name in scores:
        published.require(name, FLOATS | INTEGERS, "score")
    check_writable(out)
    made = _makers(published)
    sketches = sketch_scores(published, scores, tuple(dict.fromkeys(("documents", weight))))
    content = {
        "format": _FORMAT,
        "run": {"recipe": published.run["recipe"], "fingerprint": published.run["fingerprint"]},
        "weight": weight,
        "bins": bins,
        "scores": {
            name: {
                "digests": _digests_of(name, made),
                "documents": sketch.total("documents"),
                "without_score": int(sketch.nulls[0] + sketch.nans[0]),
                "edges": edges_of(sketch, bins, weight),
            }
            for name, sketch in sketches.items()
        },
    }
    try:
        Path(out).write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {out}", why=str(error.strerror), fix="give another file") from error


def load_bins(path: str) -> dict[str, tuple[float, ...]]:
    """Score -> edges of a file that `write_bins` made; ConfigError where it is none."""
    return _parsed(_content(path), path)


def _makers(published: Published) -> list[tuple[set[str], str, dict[str, str]]]:
    """(columns, beginning of the names of others, digests) of each stage of a run, those that name all columns last.

    The digests are those that the run has frozen: no model is needed. A stage that cannot name its columns without
    its model (or whose code is not here) is known by its setting `column`, with which theirs begin.
    """
    sure: list[tuple[set[str], str, dict[str, str]]] = []
    guessed: list[tuple[set[str], str, dict[str, str]]] = []
    for entry, (label, stage) in zip(published.run["stages"], published.stages, strict=True):
        digests = dict(published.run["digests"].get(label, {}))
        columns = _columns(stage)
        if columns is not None:
            sure.append((columns, "", digests))
        elif name := (entry.get("config") or {}).get("column"):
            guessed.append(({str(name)}, f"{name}_", digests))
    return [*guessed, *sure]


def _columns(stage: Stage | None) -> set[str] | None:
    try:
        return None if stage is None else set(stage.columns_added())
    except Exception:  # whatever the code of a stage raises without its model
        return None


def _digests_of(score: str, makers: Sequence[tuple[set[str], str, dict[str, str]]]) -> dict[str, str]:
    """The digests of the stage that has added the score last; none where it is not known."""
    for columns, begins, digests in reversed(makers):
        if score in columns or (begins and score.startswith(begins)):
            return digests
    return {}


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(
            f"no bins {path!r}",
            why=f"the file cannot be read: {error.strerror}",
            fix="write_bins(run, scores, out) makes one from a run with these scores",
        ) from error


@lru_cache(16)
def _parsed(content: bytes, path: str) -> dict[str, tuple[float, ...]]:
    try:
        raw = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError("the bins are not YAML", where=path, why=str(error)) from error
    if not isinstance(raw, dict) or raw.get("format") != _FORMAT or not isinstance(raw.get("scores"), dict):
        raise ConfigError("the file has no bins", where=path, why=f"it needs `format: {_FORMAT}` and `scores`")
    found = {}
    for name, entry in raw["scores"].items():
        edges = entry.get("edges") if isinstance(entry, dict) else None
        if not isinstance(edges, list) or not edges or not all(_is_number(edge) for edge in edges):
            raise ConfigError(f"{name!r} has no edges", where=path, why="they are a list of finite numbers")
        if any(after < before for before, after in pairwise(edges)):
            raise ConfigError(f"the edges of {name!r} fall", where=path, fix="write them in rising order")
        found[str(name)] = tuple(map(float, edges))
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
