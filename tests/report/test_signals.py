"""Thresholds that a slider offers, and the settings that move them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenmill.classifiers.decide import ScoreFilter
from tokenmill.core.errors import ConfigError
from tokenmill.core.rule import Rule
from tokenmill.core.stage import Filter, Sink, Source, Stage
from tokenmill.dedup.exact import ExactDedup
from tokenmill.filters.c4 import C4Quality
from tokenmill.filters.gopher import GopherQuality
from tokenmill.filters.language import LanguageFilter
from tokenmill.io.jsonl import ReadJsonl
from tokenmill.io.parquet import WriteParquet
from tokenmill.report.page_data_recipe import Recipe
from tokenmill.report.signals import Signals, find_signals
from tokenmill.report.signals_edges import MOST_EDGES, edges
from tokenmill.report.signals_settings import allowed, movers


class TwoInOne(Filter):
    """One setting that is the threshold of two rules, and one that refuses values."""

    limit: float = 0.5
    least: int | None = 4
    word: str = "x"

    def __post_init__(self) -> None:
        if self.least is not None and self.least < 3:
            raise ConfigError("too small")

    def rules(self) -> tuple[Rule, ...]:
        return (
            Rule("a", ">", self.limit, "much"),
            Rule("b", ">", self.limit, "more"),
            Rule("c", "<", self.least, "few"),
            Rule("c", "<", 1, "none"),
        )


@pytest.mark.parametrize(
    ("stage", "settings_by_rule"),
    [
        (LanguageFilter(), {"low_score": "min_score"}),
        (LanguageFilter(min_score=None), {"low_score": "min_score"}),
        (TwoInOne(), {"few": "least"}),
        (
            C4Quality(),
            {
                "lorem_ipsum": "max_lorem_ipsum_lines",
                "curly_bracket": "max_curly_bracket_lines",
                "too_few_sentences": "min_sentences",
            },
        ),
    ],
)
def test_settings_are_found_by_trying(stage: Filter, settings_by_rule: dict[str, str]) -> None:
    moved = movers(stage)
    assert {stage.rules()[place].reason: name for place, name in moved.setting.items()} == settings_by_rule


def test_a_rule_that_settings_of_others_switch_has_no_slider() -> None:
    assert movers(C4Quality()).follows == {0}
    assert movers(C4Quality(max_curly_bracket_lines=1)).follows == set()


def test_every_threshold_of_gopher_has_a_setting_and_whole_numbers_are_known() -> None:
    stage = GopherQuality()
    moved = movers(stage)
    assert len(moved.setting) == len(stage.rules())
    assert {stage.rules()[place].reason for place in moved.whole} == {
        "too_few_words",
        "too_many_words",
        "too_few_stop_words",
    }


def test_edges_that_a_filter_refuses_are_left_out() -> None:
    stage = TwoInOne()
    assert allowed(stage, "least", 4.0, [0.0, 1.0, 3.0, 4.0, 9.0], whole=True) == [3.0, 4.0, 9.0]
    assert allowed(stage, "limit", 0.5, [0.0, 0.5], whole=False) == [0.0, 0.5]


@pytest.mark.parametrize(
    ("threshold", "low", "high", "kind", "some"),
    [
        (0.3, 0.0, 0.9, "share", [0.0, 0.3, 0.31, 1.0]),
        (0.005, 0.0, 0.9, "share", [0.001, 0.005, 0.01]),
        (0.018112, 0.0, 0.99, "", [0.018112, 0.02, 1.0]),
        (50.0, 0.0, 32000.0, "integer", [0.0, 7.0, 50.0, 100.0, 40000.0]),
        (None, None, None, "integer", [0.0, 10.0]),
        (3.0, 1.2, 250.0, "", [1.5, 3.0, 6.0, 500.0]),
        (2.5, -1.5, 4.8, "", [-1.5, 2.5, 5.0]),
        (0.1, 0.0, 3.7, "share", [0.1, 1.0, 2.0, 5.0]),
        (None, 0.0, 7e8, "", [0.1, 1.0, 1000.0]),
    ],
)
def test_edges(threshold: float | None, low: float | None, high: float | None, kind: str, some: list[float]) -> None:
    found = edges(threshold, low, high, integer=kind == "integer", share=kind == "share")
    assert set(some) <= set(found)


@settings(max_examples=30, deadline=None)
@given(
    st.none() | st.floats(-1e12, 1e12),
    st.none() | st.floats(),
    st.none() | st.floats(),
    st.booleans(),
    st.booleans(),
)
def test_edges_are_few_ascending_and_have_the_threshold(
    threshold: float | None, low: float | None, high: float | None, integer: bool, share: bool
) -> None:
    if integer and threshold is not None:
        threshold = float(round(threshold))
    found = edges(threshold, low, high, integer=integer, share=share)
    assert 1 <= len(found) <= MOST_EDGES
    assert found == sorted(set(found))
    assert all(math.isfinite(edge) for edge in found)
    if threshold is not None:
        assert threshold in found
    if integer:
        assert all(edge == int(edge) for edge in found)


def found_in(*stages: tuple[str, Stage | None], **columns: str) -> Signals:
    verdicts = {f"{label}_verdict": "string" for label, stage in stages if not isinstance(stage, Source | Sink)}
    return find_signals({"mode": "annotate", "columns": {**columns, **verdicts}}, Recipe(stages), {})


READ, WRITE = ("read_jsonl", ReadJsonl()), ("write_parquet", WriteParquet())


def test_rules_without_a_finite_threshold_or_a_number_are_fixed() -> None:
    one = ("two_in_one", TwoInOne(limit=math.inf))
    found = found_in(READ, one, WRITE, a="double", b="string", c="int64")
    assert [(s.reason, s.setting, s.integer, s.again) for s in found.sliders] == [
        ("few", "least", True, None),
        ("none", None, True, None),
    ]
    (table,) = found.tables
    assert (list(table.fixed), list(table.follows)) == ([0, 1], [])
    assert found.notes == []


def test_a_filter_without_its_columns_counts_by_its_verdict() -> None:
    found = found_in(READ, ("two_in_one", TwoInOne()), WRITE, a="double", b="double")
    assert (found.sliders, found.tables, found.stored) == ([], [], ["two_in_one"])
    assert found.columns == ["two_in_one_verdict"]
    assert "not stored as it was" in found.notes[0]


def test_barriers_count_where_filters_stand_behind_them() -> None:
    one, score = ("two_in_one", TwoInOne()), ("score_filter", ScoreFilter(column="score", min_score=2.0))
    columns = {"a": "double", "b": "double", "c": "int64", "score": "float"}
    between = found_in(
        READ, one, ("exact_dedup", ExactDedup()), score, ("exact_dedup_2", ExactDedup()), WRITE, **columns
    )
    assert (between.stored, between.left_out) == (["exact_dedup"], ["exact_dedup_2"])
    assert {s.label: s.again for s in between.sliders} == {"two_in_one": "exact_dedup", "score_filter": None}
    assert [(s.setting, s.threshold, s.nulls_fall) for s in between.sliders if s.label == "score_filter"] == [
        ("min_score", 2.0, True),
        ("max_score", None, True),
    ]
    assert len(between.notes) == 2
    gone = found_in(READ, ("gone", None), score, WRITE, **columns)
    assert (gone.sliders, gone.tables) == ([], [])
    assert "gone" in gone.notes[0]
