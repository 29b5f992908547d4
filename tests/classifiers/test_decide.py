"""Deciding by a score: every limit with keep, drop and boundary, tables against `judge`, and files of thresholds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.classifiers.published_runs import page, published
from tests.executors.support import digests, rows
from tokenmill.classifiers.decide import RoundScore, ScoreFilter, write_thresholds
from tokenmill.cli.refilter import refilter_run
from tokenmill.core.decide import first_holding
from tokenmill.core.doc import Doc
from tokenmill.core.errors import ConfigError
from tokenmill.core.rule import Drop
from tokenmill.core.settings import build_stage
from tokenmill.core.stage import Filter
from tokenmill.filters.pii import RedactPii

THRESHOLDS = {"en": 2.5, "de": 1.0, "no": None}


def reason(stage: Filter, score: Any, language: str | None = None) -> str | None:
    found = stage.judge(Doc(text="", edu_score=score, language=language))
    return found.reason if isinstance(found, Drop) else found


@pytest.mark.parametrize(
    ("score", "expected"),
    [(2.5, None), (math.nextafter(2.5, 0), "low_score"), (4.0, None), (math.nextafter(4.0, 5), "high_score")],
)
def test_limits_belong_to_what_is_kept(score: float, expected: str | None) -> None:
    stage = ScoreFilter(min_score=2.5, max_score=4.0)
    assert reason(stage, score) == expected
    assert reason(ScoreFilter(), score) is None
    assert reason(ScoreFilter(min_score=2.5), score) == (expected if score < 2.5 else None)
    assert reason(ScoreFilter(max_score=4), score) == (expected if score > 4 else None)


@pytest.mark.parametrize("score", [None, math.nan])
def test_a_page_without_a_score_goes_unless_it_is_kept_or_nothing_is_limited(score: float | None) -> None:
    assert reason(ScoreFilter(min_score=0.0), score) == "no_score"
    assert reason(ScoreFilter(max_score=9.0), score) == "no_score"
    assert reason(ScoreFilter(per="language", thresholds={"en": 1.0}), score) == "no_score"
    assert reason(ScoreFilter(min_score=0.0, keep_null=True), score) is None
    assert reason(ScoreFilter(), score) is None


def test_the_record_has_score_and_threshold() -> None:
    found = ScoreFilter(per="language", thresholds=THRESHOLDS).judge(Doc(text="", edu_score=2, language="en"))
    assert found == Drop("low_score", "edu_score", 2.0, 2.5)


def test_thresholds_by_a_column() -> None:
    listed = ScoreFilter(per="language", thresholds=THRESHOLDS)
    assert reason(listed, 2.4, "en") == "low_score"
    assert [reason(listed, 2.5, "en"), reason(listed, 1.0, "de"), reason(listed, -9.0, "no")] == [None] * 3
    assert [reason(listed, -9.0, "fr"), reason(listed, -9.0, None)] == [None] * 2
    default = ScoreFilter(per="language", thresholds=THRESHOLDS, min_score=3.0)
    assert [reason(default, 2.9, key) for key in ("en", "no", "fr", None)] == [None, None, "low_score", "low_score"]
    assert listed.reads == ("edu_score", "language")


@given(
    st.lists(st.tuples(st.one_of(st.none(), st.floats(width=32)), st.sampled_from(["en", "de", "fr", None]))),
    st.sampled_from(
        [
            ScoreFilter(min_score=1.1, keep_null=True),
            ScoreFilter(min_score=0.1, max_score=2.0, keep_null=True),
            ScoreFilter(per="language", thresholds={"en": 0.1, "de": None}, max_score=3.3, keep_null=True),
        ]
    ),
)
def test_the_table_of_rules_decides_like_judge(
    pages: list[tuple[float | None, str | None]], stage: ScoreFilter
) -> None:
    assert stage.decides_by_rules
    columns = {
        "edu_score": pa.array([score for score, _ in pages], pa.float32()),
        "language": pa.array([language for _, language in pages], pa.string()),
    }
    rules = stage.rules()
    found = [rules[n].reason if n >= 0 else None for n in first_holding(rules, columns.__getitem__, len(pages))]
    assert found == [reason(stage, score, language) for score, language in pages]


def test_a_file_of_thresholds_is_read_back(tmp_path: Path) -> None:
    path = str(tmp_path / "edu.yaml")
    write_thresholds(path, "edu_score", "language", {"no": 1.5, "en": 2.2500000000000004}, 0.75, "12%-of-tokens", "run")
    stage = build_stage(ScoreFilter, {"per": "language", "thresholds": path})
    assert isinstance(stage, ScoreFilter)
    assert [stage.least(key) for key in ("no", "en", "fr", None)] == [1.5, 2.2500000000000004, 0.75, 0.75]
    assert stage.files() == (path,)
    before = stage.digests()
    assert ScoreFilter(per="language", thresholds=path, min_score=0.5).least("fr") == 0.5
    Path(path).write_text(Path(path).read_text().replace("1.5", "1.25"))
    changed = ScoreFilter(per="language", thresholds=path)
    assert changed.digests() != before
    assert changed.least("no") == 1.25
    with pytest.raises(ConfigError, match="cannot write"):
        write_thresholds(str(tmp_path / "absent" / "edu.yaml"), "edu_score", "language", {}, None, "", "")


@pytest.mark.parametrize(
    ("settings", "content", "message"),
    [
        ({"per": "language"}, None, "lacks the setting 'thresholds'"),
        ({"thresholds": {"en": 1.0}}, None, "lacks the setting 'per'"),
        ({"per": "language", "thresholds": {"en": "high"}}, None, "'high' is no number"),
        ({"per": "language", "thresholds": {"en": True}}, None, "True is no number"),
        ({"per": "language", "thresholds": {"en": math.nan}}, None, "nan is no number"),
        ({"per": "language", "thresholds": {False: 1.0}}, None, "False is no text"),
        ({"min_score": math.nan}, None, "is not a number"),
        ({"per": "language"}, "thresholds: {no: 1}", 'write "no"'),
        ({"per": "language"}, "thresholds: [1]", "has no thresholds"),
        ({"per": "language"}, "thresholds: {en: 1}\ndefualt: 2", "did you mean"),
        ({"per": "language"}, "thresholds: {en: 1}\ndefault: low", "'low' is no number"),
        ({"per": "language"}, "column: other_score\nthresholds: {en: 1}", "the thresholds are for 'other_score'"),
        ({"per": "topic"}, "per: language\nthresholds: {en: 1}", "the thresholds are for 'language'"),
        ({"per": "language"}, "thresholds: {en: [", "not YAML"),
        ({"per": "language", "thresholds": "absent.yaml"}, None, "no thresholds 'absent.yaml'"),
    ],
)
def test_wrong_settings_are_told_before_any_work(
    tmp_path: Path, settings: dict[str, Any], content: str | None, message: str
) -> None:
    if content is not None:
        path = tmp_path / "given.yaml"
        path.write_text(content)
        settings = {**settings, "thresholds": str(path)}
    with pytest.raises(ConfigError, match=message):
        ScoreFilter(**settings).digests()


@pytest.mark.parametrize("value", ["3", True, [3.0]])
def test_a_column_without_numbers_is_the_recipes_fault_not_the_pages(value: Any) -> None:
    with pytest.raises(ConfigError, match="cannot use 'edu_score' as a score"):
        ScoreFilter(min_score=1.0).judge(Doc(text="", edu_score=value))
    batch = pa.record_batch({"edu_score": pa.array([value])})
    with pytest.raises(ConfigError, match="cannot use 'edu_score' as a score"):
        RoundScore().annotate(batch)


def rounded(*scores: float | None, **settings: Any) -> list[int | None]:
    batch = pa.record_batch({"edu_score": pa.array(scores, pa.float64())})
    found: list[int | None] = RoundScore(**settings).annotate(batch)["edu_score_int"].to_pylist()
    return found


def test_halves_go_to_the_even_number_as_in_fineweb_edu() -> None:
    assert rounded(0.5, 1.5, 2.5, 3.5, 4.5) == [0, 2, 2, 4, 4]
    assert rounded(-3.0, 7.2, math.inf, -math.inf, None, math.nan) == [0, 5, 5, 0, None, None]
    assert rounded(-3.0, 12.0, low=-2, high=10) == [-2, 10]
    with pytest.raises(ConfigError, match="above"):
        RoundScore(low=3, high=1).digests()


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_rounding_is_that_of_python(scores: list[float]) -> None:
    assert rounded(*scores) == [min(max(round(score), 0), 5) for score in scores]


def test_threshold_3_of_the_integer_is_another_one_than_of_the_float() -> None:
    scores = [2.4, 2.5, np.nextafter(2.5, 3), 2.9, 3.0, 3.5]
    kept = [score for score, whole in zip(scores, rounded(*scores), strict=True) if (whole or 0) >= 3]
    assert kept == scores[2:]
    assert [score for score in scores if score >= 3] == scores[4:]


def test_refilter_moves_the_threshold_behind_a_stage_that_changes_texts(tmp_path: Path) -> None:
    """What a fresh run with the new thresholds gives, byte for byte."""
    given = [page(n, None if n == 5 else n / 10, text=f"write to a{n}@example.com", language="en") for n in range(30)]
    given += [page(30 + n, n / 10, language="de") for n in range(30)]
    path = str(tmp_path / "per.yaml")
    write_thresholds(path, "edu_score", "language", {"en": 1.0}, 2.0, "", "")
    loose, tight = ScoreFilter(), ScoreFilter(min_score=2.0, per="language", thresholds=path)
    annotated = published(given, tmp_path / "annotated", loose, RedactPii(), annotate=True)
    fresh = published(given, tmp_path / "fresh", tight, RedactPii())
    settings = ("score_filter.min_score=2.0", "score_filter.per=language", f"score_filter.thresholds={path}")
    assert refilter_run(str(annotated), str(tmp_path / "moved"), settings, 0) == 0
    data = [
        {name: digest for name, digest in digests(out).items() if name.startswith("data/")}
        for out in (tmp_path / "moved", fresh)
    ]
    assert data[0] == data[1]
    assert len(rows(fresh, "data")) == 20 + 10
    assert {row["reason"] for row in rows(fresh, "dropped")} == {"low_score", "no_score"}


def test_columns_of_other_types_are_refused_in_the_plan() -> None:
    types = {"edu_score": pa.float32(), "n": pa.uint8(), "topic": pa.string(), "big": pa.large_string()}
    limits = {"a": 1.0}
    RoundScore(column="n").check(types)
    for per in ("topic", "big"):
        ScoreFilter(per=per, thresholds=limits).check(types)
    for stage, message in (
        (ScoreFilter(column="topic"), "cannot use 'topic' as a score"),
        (RoundScore(column="big"), "cannot use 'big' as a score"),
        (ScoreFilter(per="n", thresholds=limits), "score_filter.per = 'n' is no column of strings"),
    ):
        with pytest.raises(ConfigError, match=message):
            stage.check(types)
