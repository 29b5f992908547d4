"""Refilter makes cheap columns anew from stored scores: the bytes of a fresh run, without a model."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pytest

from tests.classifiers.published_runs import GivenScores, page, pages, published
from tests.classifiers.test_bins import written
from tests.executors.support import digests, rows
from tokenmill.classifiers.bins import QualityLevel, ScoreBins
from tokenmill.classifiers.decide import RoundScore, ScoreFilter
from tokenmill.classifiers.ensemble import Ensemble
from tokenmill.cli.refilter import refilter_run
from tokenmill.core.doc import Doc
from tokenmill.core.errors import ConfigError
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.plan import Annotation, make_plan
from tokenmill.core.stage import Annotate, Filter, Stage
from tokenmill.dedup.exact import ExactDedup
from tokenmill.executors.local import InlineExecutor
from tokenmill.executors.run import execute
from tokenmill.executors.runspec import Options, RunSpec
from tokenmill.filters.pii import RedactPii
from tokenmill.io.filesystem import list_inputs
from tokenmill.io.jsonl import ReadJsonl
from tokenmill.io.parquet import WriteParquet
from tokenmill.io.runfolder import RunFolder

MAXIMUM, OTHER = "max(edu_score_bin, dclm_score_bin)", "edu_score_bin * 2 - dclm_score"


class Doubled(Annotate):
    """Stands for a model that reads a score: not derived."""

    reads = ("ensemble_score",)
    adds: ClassVar[Mapping[str, pa.DataType]] = {"doubled": pa.float64()}

    def annotate(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        return {"doubled": batch.column("ensemble_score")}


class Strict(Filter):
    """Fails for large scores; such a document goes to quarantine."""

    column: str = "ensemble_score"

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        return (self.column,)

    def judge(self, doc: Doc) -> str | None:
        if (doc[self.column] or 0) > 3:
            raise ValueError("too large")
        return None


class Overwrites(Annotate):
    """Overwrites a score that earlier stages have read."""

    reads = ("url",)
    adds: ClassVar[Mapping[str, pa.DataType]] = {"dclm_score": pa.float64()}

    def annotate(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        return {"dclm_score": pa.nulls(batch.num_rows, pa.float64())}


def data(out: Path) -> dict[str, str]:
    return {name: digest for name, digest in digests(out).items() if name.startswith("data/")}


def stages(expression: str, edges: str, least: float, *tail: Stage) -> tuple[Stage, ...]:
    return (
        ScoreBins(columns=("edu_score", "dclm_score"), edges=edges),
        Ensemble(expression=expression),
        RoundScore(column="ensemble_score", high=19),
        QualityLevel(),
        ScoreFilter(column="ensemble_score_int", min_score=least),
        *tail,
    )


@pytest.fixture
def edges(tmp_path: Path) -> tuple[str, str]:
    return (
        written(tmp_path / "a.yaml", {"edu_score": [1, 2, 3], "dclm_score": [0.1, 0.2, 0.6]}),
        written(tmp_path / "b.yaml", {"edu_score": [1.5, 2, 2.5], "dclm_score": [0.1, 0.3, 0.6]}),
    )


@pytest.mark.parametrize("tail", [(), (RedactPii(),), pytest.param((ExactDedup(),), marks=pytest.mark.ci)])
def test_new_expressions_and_edges_give_what_a_fresh_run_gives(
    tmp_path: Path, edges: tuple[str, str], tail: tuple[Stage, ...]
) -> None:
    given = pages(200)
    annotated = published(given, tmp_path / "annotated", *stages(MAXIMUM, edges[0], 1, *tail), annotate=True)
    for number, (path, expression, least) in enumerate(((edges[1], OTHER, 2), (edges[0], OTHER, 1))):
        fresh = published(given, tmp_path / f"fresh{number}", *stages(expression, path, least, *tail))
        settings = (f"ensemble.expression={expression}", f"score_filter.min_score={least}", f"score_bins.edges={path}")
        moved = tmp_path / f"moved{number}"
        assert refilter_run(str(annotated), str(moved), settings, 0) == 0
        assert data(moved) == data(fresh)
        assert 0 < len(rows(fresh, "data")) < 190


@pytest.mark.parametrize(
    ("stage", "message"),
    [(Doubled(), "from which doubled has made columns"), (Overwrites(), "dclm_score, not stored as it was")],
)
def test_what_is_not_stored_as_it_was_is_refused(
    tmp_path: Path, edges: tuple[str, str], stage: Stage, message: str
) -> None:
    annotated = published(pages(20), tmp_path / "annotated", *stages(MAXIMUM, edges[0], 1, stage), annotate=True)
    with pytest.raises(ConfigError, match=message):
        refilter_run(str(annotated), str(tmp_path / "moved"), ("ensemble.expression=2 * dclm_score",), 0)


def enforced(folder: Path, *stages: Stage, enforce: tuple[str, ...]) -> Path:
    """An annotated run on the inputs of another run, with some filters that drop all the same."""
    pipeline = Pipeline("scored", [ReadJsonl(), GivenScores(), *stages, WriteParquet()])
    plan = make_plan(
        pipeline, list_inputs(str(folder.parent / "fresh" / "in"), ReadJsonl.suffixes), Annotation(enforce)
    )
    spec = RunSpec.of(plan, Options(), str(folder.parent / "fresh" / "in"))
    assert execute(spec, RunFolder(str(folder)), InlineExecutor()).failures == {}
    return folder


def test_an_enforced_filter_that_reads_what_is_made_anew_is_refused(tmp_path: Path) -> None:
    def recipe(factor: float, column: str) -> tuple[Stage, ...]:
        return Ensemble(expression=f"{factor} * edu_score"), ScoreFilter(column=column, min_score=1.0)

    fresh = published(pages(60), tmp_path / "fresh", *recipe(2, "edu_score"))
    setting = ("ensemble.expression=2.0 * edu_score",)
    other = enforced(tmp_path / "other", *recipe(1, "edu_score"), enforce=("score_filter",))
    assert refilter_run(str(other), str(tmp_path / "moved"), ("ensemble.expression=2 * edu_score",), 0) == 0
    assert data(tmp_path / "moved") == data(fresh)
    out = enforced(tmp_path / "out", *recipe(1, "ensemble_score"), enforce=("score_filter",))
    with pytest.raises(ConfigError, match="score_filter depends on it, and the run enforced it"):
        refilter_run(str(out), str(tmp_path / "refused"), setting, 0)


def test_a_filter_that_failed_on_what_is_made_anew_is_refused(tmp_path: Path, edges: tuple[str, str]) -> None:
    def recipe(factor: int, column: str) -> tuple[Stage, ...]:
        return Ensemble(expression=f"{factor} * edu_score"), Strict(column=column)

    setting = ("ensemble.expression=1 * edu_score",)
    other = published(pages(60), tmp_path / "other", *recipe(2, "edu_score"), annotate=True)
    assert refilter_run(str(other), str(tmp_path / "moved"), setting, 0) == 0
    assert data(tmp_path / "moved") == data(published(pages(60), tmp_path / "fresh", *recipe(1, "edu_score")))
    out = published(pages(60), tmp_path / "out", *recipe(2, "ensemble_score"), annotate=True)
    with pytest.raises(ConfigError, match="strict put documents into quarantine"):
        refilter_run(str(out), str(tmp_path / "refused"), setting, 0)
    # the same settings, but another file
    bins = ScoreBins(columns=("edu_score",), edges=edges[0]), Ensemble(expression="2 * edu_score_bin"), Strict()
    out = published(pages(60), tmp_path / "bins", *bins, annotate=True)
    written(Path(edges[0]), {"edu_score": [8, 9]})
    with pytest.raises(ConfigError, match="strict put documents into quarantine"):
        refilter_run(str(out), str(tmp_path / "refused"), (), 0)


def test_a_score_that_was_overwritten_does_not_come_back(tmp_path: Path) -> None:
    def recipe(column: str) -> Ensemble:
        return Ensemble(expression="2 * edu_score", column=column)

    out = published(pages(20), tmp_path / "out", recipe("dclm_score"), annotate=True)
    with pytest.raises(ConfigError, match="ensemble cannot leave dclm_score alone"):
        refilter_run(str(out), str(tmp_path / "refused"), ("ensemble.column=twice",), 0)
    once = published(pages(20), tmp_path / "once", recipe("once"), annotate=True)
    assert refilter_run(str(once), str(tmp_path / "moved"), ("ensemble.column=dclm_score",), 0) == 0
    assert data(tmp_path / "moved") == data(published(pages(20), tmp_path / "fresh", recipe("dclm_score")))


@pytest.mark.parametrize("enforce", [(), ("score_filter_2",)])
def test_a_barrier_is_not_done_again_without_what_ended_behind_it(tmp_path: Path, enforce: tuple[str, ...]) -> None:
    """A copy would be kept whose original is in quarantine, or was dropped for good."""
    given = [page(number, number / 2, text=f"page {number // 2}") for number in range(12)]
    behind = ScoreFilter(max_score=3.0) if enforce else Strict(column="edu_score")
    stages = ScoreFilter(min_score=1.0), ExactDedup(), behind
    published(given, tmp_path / "fresh")
    out = enforced(tmp_path / "out", *stages, enforce=enforce)
    with pytest.raises(ConfigError, match="exact_dedup cannot be done again after the run"):
        refilter_run(str(out), str(tmp_path / "moved"), ("score_filter.min_score=0.5",), 0)


def _random_stage(rng: random.Random, columns: list[str]) -> Stage:
    """A stage on some of the columns; what it makes is added to them."""
    one, other = rng.choice(columns), rng.choice(columns)
    kind = rng.choice("EEERFFFSD")
    if kind == "F":
        return ScoreFilter(column=one, min_score=rng.choice([0.3, 1.0, 2.0]), keep_null=rng.random() < 0.5)
    if kind == "R":
        columns.append(f"{one}_int")
        return RoundScore(column=one)
    if kind == "E":
        expression = rng.choice([f"2 * {one}", f"{one} + {other}", f"max({one}, {other})"])
        columns.append(rng.choice([name for name in ("a", "b", "dclm_score", "z") if name not in (one, other)]))
        return Ensemble(expression=expression, column=columns[-1])
    return Strict(column=one) if kind == "S" else ExactDedup()


def _random_settings(rng: random.Random, pipeline: Pipeline, columns: list[str]) -> list[tuple[str, str, object]]:
    found: list[tuple[str, str, object]] = []
    for label, stage in zip(pipeline.labels, pipeline.stages, strict=True):
        if rng.random() < 0.6:
            continue
        if isinstance(stage, ScoreFilter):
            found.append((label, "min_score", rng.choice([0.5, 1.5])))
        elif isinstance(stage, Ensemble) and rng.random() < 0.5:
            found.append((label, "column", rng.choice(["a", "b", "dclm_score", "n"])))
        elif isinstance(stage, Ensemble):
            found.append((label, "expression", f"{rng.choice([1, 4])} * {rng.choice(columns)}"))
    return found


@pytest.mark.ci
@pytest.mark.parametrize("seed", range(80))
def test_any_recipe_is_refused_or_gives_what_a_fresh_run_gives(tmp_path: Path, seed: int) -> None:
    rng, columns = random.Random(seed), ["edu_score", "dclm_score"]
    stages = [_random_stage(rng, columns) for _ in range(rng.randint(2, 6))]
    given = [{**row, "text": f"page {number % 9}"} for number, row in enumerate(pages(40))]
    published(given, tmp_path / "fresh")
    pipeline = Pipeline("scored", [ReadJsonl(), GivenScores(), *stages, WriteParquet()])
    filters = [
        label for label, stage in zip(pipeline.labels, pipeline.stages, strict=True) if isinstance(stage, Filter)
    ]
    enforce = tuple(label for label in filters if rng.random() < 0.2)
    try:
        out = enforced(tmp_path / "out", *stages, enforce=enforce)
        settings = _random_settings(rng, pipeline, columns)
        texts = tuple(f"{label}.{name}={value}" for label, name, value in settings)
        assert refilter_run(str(out), str(tmp_path / "moved"), texts, 0) == 0
    except ConfigError:
        return
    changed = pipeline.with_settings(settings)
    assert data(tmp_path / "moved") == data(published(given, tmp_path / "again", *changed.stages[2:-1]))
