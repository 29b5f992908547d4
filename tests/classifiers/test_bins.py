"""Bins of equal weight: edges against exact weighted percentiles, the stages, and the file between them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from tests.classifiers.published_runs import page, pages, published
from tests.executors.support import rows
from tokenmill.classifiers import bins
from tokenmill.classifiers.bins import QualityLevel, ScoreBins, edges_of, load_bins, write_bins
from tokenmill.classifiers.decide import ScoreFilter
from tokenmill.classifiers.ensemble import Ensemble
from tokenmill.core.errors import ConfigError
from tokenmill.core.scorer import Scorer
from tokenmill.text.quantiles import QuantileSketch


def written(path: Path, scores: Mapping[str, Any], **more: Any) -> str:
    entries = {name: {"edges": edges} for name, edges in scores.items()}
    path.write_text(yaml.safe_dump({"format": "tokenmill-bins-1", "scores": entries, **more}))
    return str(path)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 2.0, 0.001, 1e6]))
def test_every_bin_holds_its_share_of_the_bytes(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    scores, sizes = rng.normal(size=3000) * scale, rng.integers(1, 100, 3000)
    sketch = QuantileSketch(("bytes",))
    sketch.add(scores, sizes[:, None])
    edges = np.array(edges_of(sketch))
    assert (np.diff(edges) > 0).all()
    assert len(edges) == 19
    order = np.argsort(scores)
    cumulated = sizes[order].cumsum()
    exact = scores[order][np.searchsorted(cumulated, np.arange(1, 20) / 20 * cumulated[-1])]
    assert (np.abs(edges - exact) <= np.abs(exact) * 2.0**-12).all()
    places = np.searchsorted(edges, scores, side="right")
    share = np.bincount(places, weights=sizes, minlength=20) / sizes.sum()
    assert share == pytest.approx(np.full(20, 0.05), abs=0.004)


def test_ties_make_equal_edges_and_leave_bins_empty() -> None:
    sketch = QuantileSketch(("bytes",))
    sketch.add(np.array([0.0, 1.0]), np.array([[90], [10]]))
    edges = edges_of(sketch)
    assert edges[:17] == [edges[0]] * 17
    assert edges[-1] == 1.0
    assert np.searchsorted(edges, [0.0, 1.0], side="right").tolist() == [0, 19]
    infinite = QuantileSketch(("bytes",))
    infinite.add(np.array([-math.inf, math.inf]), np.array([[1], [1]]))
    assert np.isfinite(edges_of(infinite, 2)).all()
    assert np.isfinite(edges_of(infinite, 8)).all()
    with pytest.raises(ConfigError, match="no document has a score"):
        edges_of(QuantileSketch(("bytes",)))


@example([1, 40, 40, 40, 19, 40, 40], 20, 7.0)  # 0.55 * 220 > 121 in floating point
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(2, 20), st.sampled_from([-1.0, 0.001, 7.0]))
def test_a_score_of_many_documents_is_in_the_bin_in_which_these_begin(
    sizes: list[int], bins: int, scale: float
) -> None:
    """sizes: documents of each score, rising; a score that holds two percentiles or more begins in its bin."""
    scores = np.sort((np.arange(len(sizes)) - 3) * scale)
    sketch = QuantileSketch(("documents",))
    sketch.add(scores, np.array(sizes)[:, None])
    found = np.searchsorted(edges_of(sketch, bins, "documents"), scores, side="right")
    assert (np.diff(found) >= 0).all()
    through, total = np.cumsum(sizes), sum(sizes)
    for size, last, place in zip(sizes, through.tolist(), found.tolist(), strict=True):
        inside = [step for step in range(1, bins) if (last - size) * bins < step * total <= last * bins]
        begins = sum(step * total <= (last - size) * bins for step in range(1, bins))
        assert place == (inside[0] if len(inside) == 1 else begins)


def test_an_edge_is_in_the_bin_above_it(tmp_path: Path) -> None:
    stage = ScoreBins(columns=("a", "b"), edges=written(tmp_path / "e.yaml", {"a": [1, 2.5], "b": [0], "c": [1]}))
    values = [math.nextafter(1, 0), 1.0, 2.5, math.inf, -math.inf, math.nan, None]
    batch = pa.record_batch({"a": pa.array(values, pa.float64()), "b": pa.array([-1, 0, 1, 2, 3, None, 0])})
    found = stage.annotate(batch)
    assert found["a_bin"].to_pylist() == [0, 1, 2, 2, 0, None, None]
    assert found["b_bin"].to_pylist() == [0, 1, 1, 1, 1, None, 1]
    assert {name: array.type for name, array in found.items()} == stage.columns_added()
    assert stage.files() == (str(tmp_path / "e.yaml"),)
    before = stage.digests()
    written(tmp_path / "e.yaml", {"a": [1, 2.25], "b": [0]})
    assert ScoreBins(columns=("a", "b"), edges=stage.edges).digests() != before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file has no bins"),
        ("format: tokenmill-bins-1", "the file has no bins"),
        ("format: other\nscores: {a: {edges: [1]}}", "the file has no bins"),
        ("format: tokenmill-bins-1\nscores: {b: {edges: [1]}}", "no bins for 'a'"),
        ("format: tokenmill-bins-1\nscores: {a: [1]}", "'a' has no edges"),
        ("format: tokenmill-bins-1\nscores: {a: {edges: []}}", "'a' has no edges"),
        ("format: tokenmill-bins-1\nscores: {a: {edges: [1, .nan]}}", "'a' has no edges"),
        ("format: tokenmill-bins-1\nscores: {a: {edges: [1, yes]}}", "'a' has no edges"),
        ("format: tokenmill-bins-1\nscores: {a: {edges: [2, 1]}}", "the edges of 'a' fall"),
        ("{", "not YAML"),
    ],
)
def test_wrong_files_are_told_before_any_work(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "e.yaml").write_text(content)
    with pytest.raises(ConfigError, match=message):
        ScoreBins(columns=("a",), edges=str(tmp_path / "e.yaml")).digests()
    with pytest.raises(ConfigError, match="cannot be read"):
        ScoreBins(columns=("a",), edges=str(tmp_path / "absent.yaml")).digests()


def test_levels_begin_at_their_bin() -> None:
    def levels(stage: QualityLevel, *values: float | None) -> list[str | None]:
        batch = pa.record_batch({"ensemble_score": pa.array(values, pa.float64())})
        found: list[str | None] = stage.annotate(batch)["quality_level"].to_pylist()
        return found

    bins = (0, 2, 3, 6, 7, 11, 12, 17, 18, 19, None, math.nan)
    names = ["low", "low", "medium_low", "medium_low", "medium", "medium", "medium_high", "medium_high", "high", "high"]
    assert levels(QualityLevel(), *bins) == [*names, None, None]
    assert levels(QualityLevel(levels={"good": 3, "rest": 1}), 0, 1, 2.9, 3) == [None, "rest", "rest", "good"]
    wrong: Any
    for wrong in ({}, {"a": 1, "b": 1}, {"a": math.nan}, {"a": True}, {"a": "1"}):
        with pytest.raises(ConfigError, match="makes no levels"):
            QualityLevel(levels=wrong).digests()


def test_bins_of_a_reference_run_are_used_by_another(tmp_path: Path) -> None:
    """Nemotron-CC: two scores in bins, the largest of them, levels; documents that a filter drops do not count."""
    given = pages(400)
    dropped = ScoreFilter(column="edu_score", max_score=3.5, keep_null=True)
    reference = published(given, tmp_path / "reference", dropped, files=3, annotate=True)
    path = str(tmp_path / "bins.yaml")
    write_bins(str(reference), ("edu_score", "dclm_score"), path)
    content = yaml.safe_load(Path(path).read_text())
    assert content["scores"]["edu_score"]["digests"] == {"model": "0123abcd"}
    assert (content["weight"], content["bins"], content["run"]["recipe"]) == ("bytes", 20, "scored")
    kept = [row for row in rows(reference, "data") if row["score_filter_verdict"] is None]
    assert len(kept) < 400
    scored = [(row["edu_score"], len(row["text"].encode())) for row in kept if is_score(row["edu_score"])]
    entry = content["scores"]["edu_score"]
    assert (entry["documents"], entry["without_score"]) == (len(scored), len(kept) - len(scored))
    total, known = sum(size for _, size in scored), load_bins(path)
    for place, edge in enumerate(known["edu_score"], 1):
        below = sum(size for score, size in scored if score < edge)
        through = sum(size for score, size in scored if score <= edge + abs(edge) * 2.0**-12)
        assert below <= place / 20 * total <= through
    stages = (
        ScoreBins(columns=("edu_score", "dclm_score"), edges=path),
        Ensemble(expression="max(edu_score_bin, dclm_score_bin)"),
        QualityLevel(),
    )
    for row in rows(published(given, tmp_path / "used", *stages), "data"):
        bins = row["edu_score_bin"], row["dclm_score_bin"]
        assert (bins[0] is not None) == is_score(row["edu_score"])
        assert row["ensemble_score"] == (None if None in bins else max(bins))
        assert (row["quality_level"] == "high") == (None not in bins and max(bins) >= 18)


def is_score(value: float | None) -> bool:
    return value is not None and not math.isnan(value)


def test_what_cannot_be_binned_is_refused(tmp_path: Path) -> None:
    out = str(published([page(1, None)], tmp_path, files=1))
    path = str(tmp_path / "bins.yaml")
    for scores, options, message in (
        (("absent",), {}, "no column 'absent'"),
        (("topic",), {}, "'topic' is no score"),
        ((), {}, "cannot be made"),
        (("edu_score",), {"bins": 1}, "cannot be made"),
        (("edu_score",), {"weight": "letters"}, "no weight 'letters'"),
        (("edu_score",), {}, "no document has a score"),
    ):
        with pytest.raises(ConfigError, match=message):
            write_bins(out, scores, path, **options)
    assert not Path(path).exists()


class GoneScore(Scorer):
    """A scorer whose columns are known only where its model is."""

    model: str
    column: str = "gone"

    def columns_added(self) -> Mapping[str, pa.DataType]:
        Path(self.model).read_bytes()
        return {self.column: pa.float64(), f"{self.column}_other": pa.float64()}

    def model_digest(self) -> str:
        return hashlib.sha256(Path(self.model).read_bytes()).hexdigest()

    def score(self, texts: Sequence[str]) -> Mapping[str, Sequence[float]]:
        return {name: [float(len(text)) for text in texts] for name in self.columns_added()}


def test_bins_need_no_model(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.write_text("weights")
    out = published(pages(30), tmp_path / "run", GoneScore(model=str(model)), annotate=True)
    model.unlink()
    path = str(tmp_path / "bins.yaml")
    write_bins(str(out), ("gone", "gone_other", "edu_score"), path)
    scores = yaml.safe_load(Path(path).read_text())["scores"]
    made = {"model": hashlib.sha256(b"weights").hexdigest()}
    assert [scores[name]["digests"] for name in scores] == [made, made, {"model": "0123abcd"}]


def test_a_file_that_cannot_be_written_is_told_before_any_document_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = str(published([page(1, 1.0)], tmp_path / "run"))
    monkeypatch.setattr(bins, "sketch_scores", None)
    for path, why in ((tmp_path / "absent" / "bins.yaml", "there is no folder"), (tmp_path, "it is a folder")):
        with pytest.raises(ConfigError, match=why):
            write_bins(out, ("edu_score",), str(path))


def test_columns_of_strings_are_refused_in_the_plan() -> None:
    types = {"edu_score": pa.float32(), "edu_score_bin": pa.int32(), "topic": pa.string()}
    ScoreBins(columns=("edu_score", "edu_score_bin")).check(types)
    QualityLevel(column="edu_score_bin").check(types)
    for stage in (ScoreBins(columns=("edu_score", "topic")), QualityLevel(column="topic")):
        with pytest.raises(ConfigError, match="cannot use 'topic' as a score"):
            stage.check(types)
