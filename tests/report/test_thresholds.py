"""Thresholds against all thresholds tried one by one on the rows of small runs."""

# ruff: noqa: F811 - fixtures are imported

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.classifiers.published_runs import GivenScores, page, pages, published
from tests.executors.support import rows, run
from tests.io.s3 import Bucket, bucket, store  # noqa: F401
from tokenmill.classifiers.decide import ScoreFilter
from tokenmill.classifiers.published import Published
from tokenmill.core.errors import ConfigError
from tokenmill.core.pipeline import Pipeline
from tokenmill.io.jsonl import ReadJsonl
from tokenmill.io.parquet import WriteParquet
from tokenmill.report import groups, thresholds
from tokenmill.report.keep import Keep
from tokenmill.report.shares import domain_of
from tokenmill.report.thresholds import Answer, Question, _choose, _Held, ask
from tokenmill.text.quantiles import QuantileSketch, bucket_keys

Rows = list[dict[str, Any]]
QUESTION = Question("edu_score", Keep.parse("12%-of-tokens"), per="language")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published(pages(500), tmp_path_factory.mktemp("plain"), files=3)


def asked(out: Path, keep: str, score: str = "edu_score", **more: Any) -> Answer:
    return ask(Published.open(str(out)), Question(score, Keep.parse(keep), **more))


def weight_of(row: Mapping[str, Any], weight: str) -> int:
    return {"documents": 1, "bytes": len(row["text"].encode()), "tokens": int(row["token_count"])}[weight]


def scored(row: Mapping[str, Any], score: str = "edu_score") -> bool:
    return row[score] is not None and not math.isnan(row[score])


def kept_at(documents: Iterable[Mapping[str, Any]], threshold: float, weight: str, score: str = "edu_score") -> int:
    return sum(weight_of(row, weight) for row in documents if scored(row, score) and row[score] >= threshold)


def nearest(documents: Rows, target: float, weight: str, score: str = "edu_score") -> float:
    """The least distance from the target that any threshold can reach that keeps something."""
    options = {row[score] for row in documents if scored(row, score)}
    return min(abs(kept_at(documents, option, weight, score) - target) for option in options)


@pytest.mark.parametrize("score", ["edu_score", "dclm_score"])
@pytest.mark.parametrize("keep", ["12%-of-tokens", "50%-of-bytes", "85%-of-documents", "0.01%-of-tokens", "700-tokens"])
def test_the_threshold_is_the_best_of_all(plain: Path, keep: str, score: str) -> None:
    answer, documents = asked(plain, keep, score), rows(plain, "data")
    weight = answer.question.keep.weight
    total = sum(weight_of(row, weight) for row in documents)
    target = answer.question.keep.target(total)
    kept = kept_at(documents, answer.overall.threshold, weight, score)
    assert abs(kept - target) == pytest.approx(nearest(documents, target, weight, score))
    assert (answer.overall.exact, answer.overall.short, answer.groups) == (True, False, [])
    for amount, chosen in (
        (answer.kept, [row for row in documents if scored(row, score) and row[score] >= answer.overall.threshold]),
        (answer.total, documents),
        (answer.no_score, [row for row in documents if not scored(row, score)]),
    ):
        assert amount.documents == len(chosen)
        assert amount.bytes == sum(weight_of(row, "bytes") for row in chosen)
        assert amount.tokens == sum(weight_of(row, "tokens") for row in chosen)
    assert answer.overall.ties == sum(row[score] == answer.overall.threshold for row in documents)
    if answer.overall.other is None:  # already the best page alone is more than asked for
        assert kept > target
        assert answer.overall.ties == answer.kept.documents == 1
    else:
        other = kept_at(documents, answer.overall.other, weight, score)
        assert other == answer.overall.other_keeps
        assert abs(other - target) >= abs(kept - target)
    assert (answer.estimated_tokens, answer.left_out, answer.refilter) == (0, 0, ())


def test_the_filter_keeps_what_was_promised(tmp_path: Path, plain: Path) -> None:
    answer = asked(plain, "25%-of-tokens")
    kept = published(pages(500), tmp_path, ScoreFilter(min_score=answer.overall.threshold), files=3)
    found = rows(kept, "data")
    assert answer.kept.documents == len(found)
    assert answer.kept.tokens == sum(row["token_count"] for row in found)


def test_shares_and_examples(plain: Path) -> None:
    answer, documents = asked(plain, "20%-of-tokens", by=("dump",), examples=2), rows(plain, "data")
    threshold = answer.overall.threshold
    assert list(answer.shares) == ["language", "domain", "topic"]
    kept = [row for row in documents if scored(row) and row["edu_score"] >= threshold]
    for name, value_of in (
        ("language", lambda row: row["language"]),
        ("topic", lambda row: row["topic"]),
        ("domain", lambda row: domain_of(row["url"].split("/")[2])),
    ):
        for share in answer.shares[name]:
            for part, whole in ((share.before, documents), (share.after, kept)):
                mine = sum(row["token_count"] for row in whole if value_of(row) == share.value)
                assert part == pytest.approx(mine / sum(row["token_count"] for row in whole))
    assert {share.value for share in answer.shares["domain"]} == {"a.co.uk", "b.com", "c.org", "192.0.2.7"}
    (gains,) = [share for share in answer.shares["topic"] if share.value == "science"]
    assert gains.ratio > 1.2
    scores = sorted(row["edu_score"] for row in documents if scored(row))
    assert [one.score for one in answer.above] == [score for score in scores if score >= threshold][:2]
    assert [one.score for one in answer.below] == [score for score in scores if score < threshold][:-3:-1]
    assert all(one.text.startswith("page ") and one.url.startswith("http://") for one in answer.above)


@pytest.mark.parametrize(("per", "keep"), [("language", "15%-of-tokens"), ("topic", "900-tokens")])
def test_every_group_has_its_own_threshold(tmp_path: Path, plain: Path, per: str, keep: str) -> None:
    answer, documents = asked(plain, keep, per=per), rows(plain, "data")
    assert [choice.value for choice in answer.groups] == sorted({row[per] for row in documents})
    for choice in answer.groups:
        mine = [row for row in documents if row[per] == choice.value]
        target = answer.question.keep.target(sum(row["token_count"] for row in mine))
        kept = kept_at(mine, choice.threshold, "tokens")
        assert abs(kept - target) == pytest.approx(nearest(mine, target, "tokens"))
        assert (choice.kept.tokens, choice.total.documents) == (kept, len(mine))
    assert answer.kept.tokens == sum(choice.kept.tokens for choice in answer.groups)
    assert answer.overall.total.documents == 0
    limits = answer.thresholds
    stage = ScoreFilter(per=per, thresholds={**limits}, min_score=answer.overall.threshold)
    assert len(rows(published(pages(500), tmp_path, stage), "data")) == answer.kept.documents


def test_small_groups_share_the_threshold_of_all(plain: Path) -> None:
    documents = rows(plain, "data")
    small = asked(plain, "15%-of-tokens", per="language", least_group=10_000)
    assert small.groups == []
    assert small.overall.threshold == asked(plain, "15%-of-tokens").overall.threshold
    assert small.overall.kept == small.kept
    domains = asked(plain, "15%-of-tokens", per="domain", least_group=50)
    assert sorted(domains.thresholds) == ["192.0.2.7", "a.co.uk", "b.com", "c.org"]
    assert "no column 'domain'" in " ".join(domains.notes)
    assert sum(choice.total.documents for choice in domains.groups) == len(documents)


def test_more_than_what_has_a_score_is_kept_as_far_as_it_goes(plain: Path) -> None:
    answer = asked(plain, "99%-of-tokens")
    assert answer.overall.short
    assert answer.kept.documents == answer.total.documents - answer.no_score.documents < 0.95 * answer.total.documents


def test_groups_with_less_than_asked_for_are_kept_whole(plain: Path) -> None:
    answer = asked(plain, "1T-tokens", per="language")
    assert all(choice.short for choice in answer.groups)
    assert answer.kept.documents == answer.total.documents - answer.no_score.documents


def test_an_annotated_run_counts_without_the_verdict_in_question(tmp_path: Path) -> None:
    given = [page(n, n / 10, dclm=n / 40, language="en" if n % 2 else "de") for n in range(40)]
    stages = ScoreFilter(min_score=1.0), ScoreFilter(column="dclm_score", max_score=0.7, keep_null=True)
    out = published(given, tmp_path, *stages, annotate=True)
    answer = asked(out, "50%-of-documents")
    assert (answer.total.documents, answer.kept.documents, answer.left_out) == (
        29,
        15,
        11,
    )  # of two equally near ones the lower
    assert answer.estimated_tokens == 29
    setting = f"score_filter.min_score={answer.overall.threshold!r}"
    assert answer.refilter == ("tokenmill", "refilter", str(out), "--output", "NEW", "--set", setting)
    grouped = asked(out, "50%-of-documents", per="language", least_group=5)
    assert answer.without == ("score_filter",)
    assert grouped.refilter[-3::2] == ("score_filter.per=language", "score_filter.thresholds=FILE")
    assert "no filter" not in " ".join(answer.notes)
    assert "put ScoreFilter(column='edu_score')" in " ".join(
        asked(published(given, tmp_path / "bare", annotate=True), "50%-of-documents").notes
    )


@pytest.mark.ci
def test_a_run_on_an_object_store_is_read_there(plain: Path, bucket: Bucket) -> None:
    pipeline = Pipeline("scored", [ReadJsonl(), GivenScores(), WriteParquet()])
    run(pipeline, plain.parent / "in", bucket.url("out"))
    there, here = (ask(Published.open(place), QUESTION) for place in (bucket.url("out"), str(plain)))
    assert there == here


def test_notes_tell_what_the_answer_does_not_cover(tmp_path: Path) -> None:
    out = published(pages(200), tmp_path, ScoreFilter(min_score=1.0), files=2)
    answer = asked(out, "50%-of-documents")
    assert "score_filter has dropped pages by edu_score before" in " ".join(answer.notes)
    assert answer.refilter == ()
    (last,) = [path for path in out.glob("phases/*/manifests/*.json") if path.stem.startswith("1")]
    last.unlink()
    assert "1 of 2 shards are counted" in " ".join(asked(out, "50%-of-documents").notes)


def test_questions_without_an_answer(tmp_path: Path, plain: Path) -> None:
    for keep, more, message in (
        ("1T-tokens", {}, "more than there is"),
        ("5%-of-tokens", {"score": "url"}, "'url' is no score"),
        ("5%-of-tokens", {"score": "edu_scores"}, "did you mean"),
        ("5%-of-tokens", {"per": "edu_score"}, "is no column of strings"),
        ("5%-of-tokens", {"per": "absent"}, "no column 'absent'"),
        ("5%-of-tokens", {"by": ("absent",)}, "no column 'absent'"),
    ):
        with pytest.raises(ConfigError, match=message):
            asked(plain, keep, **more)
    with pytest.raises(ConfigError, match="no document has the score edu_score"):
        asked(published([page(1, None)], tmp_path), "5%-of-tokens")


def test_bounds_on_memory_are_told(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = asked(plain, "12%-of-tokens")
    monkeypatch.setattr(thresholds, "MOST_SCORES", 0)
    rough = asked(plain, "12%-of-tokens")
    assert not rough.overall.exact
    assert rough.overall.threshold == pytest.approx(exact.overall.threshold, rel=2**-11)
    monkeypatch.setattr(thresholds, "MOST_GROUPS", 2)
    with pytest.raises(ConfigError, match="more than 2 values of 'language' would have a threshold"):
        asked(plain, "12%-of-tokens", per="language")


@pytest.mark.parametrize("cells", [groups.CELLS, 1])
def test_small_groups_may_be_any_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    given = [page(n, n / 10, "large.org" if n % 2 else f"small{n}.org", token_count=n) for n in range(100)]
    out = published(given, tmp_path)
    free = asked(out, "25%-of-tokens", per="domain", least_group=20)
    assert list(free.thresholds) == ["large.org"]
    assert free.total.documents == 100
    monkeypatch.setattr(groups, "CELLS", cells)  # all in one: each group seems large, and is counted on its own
    monkeypatch.setattr(thresholds, "MOST_GROUPS", 1 if cells > 1 else 51)
    assert asked(out, "25%-of-tokens", per="domain", least_group=20) == free


documents = st.lists(
    st.tuples(st.one_of(st.sampled_from([0.0, 0.5, 1.0, 1.00001]), st.floats(-3, 3, width=32)), st.integers(0, 9)),
    min_size=1,
    max_size=30,
)


@given(documents, st.floats(0.001, 1))
def test_sketch_and_second_look_find_the_best_threshold(given: list[tuple[float, int]], share: float) -> None:
    scores = np.array([score for score, _ in given]) + 0.0
    weights = np.array([weight for _, weight in given], np.int64)
    sketch = QuantileSketch(("tokens",))
    sketch.add(scores, weights[:, None])
    keep = Keep("", share, True, "tokens")
    cut = sketch.cut(keep.target(sketch.total("tokens")), "tokens")
    if cut is None:
        assert not weights.sum()
        return
    held = _Held()
    inside = bucket_keys(scores) == cut.key
    for half in (slice(0, 10), slice(10, None)):
        held.add(scores[half][inside[half]], weights[half][inside[half]])
    choice = _choose(None, cut, sketch, keep, held)
    distances = {
        option: abs(int(weights[scores >= option].sum()) - share * weights.sum()) for option in scores.tolist()
    }
    chosen = abs(int(weights[scores >= choice.threshold].sum()) - share * weights.sum())
    assert chosen == min(distances.values())
