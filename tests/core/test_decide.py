"""Rules on whole columns decide as rules on single values do."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenmill.core.decide import first_holding, holds, value_of
from tokenmill.core.rule import Drop, Rule

NUMBERS = st.one_of(st.none(), st.integers(-5, 5), st.floats(-5, 5), st.just(float("nan")))
COMPARISONS = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])


@given(st.lists(NUMBERS, max_size=8), COMPARISONS, st.one_of(st.none(), st.integers(-5, 5), st.floats(-5, 5)))
def test_numbers(values: list[Any], comparison: str, threshold: float | None) -> None:
    values = [float(value) if value is not None else None for value in values]
    rule = Rule("x", comparison, threshold, "r")
    if rule.active:
        found = holds(rule, lambda name: pa.array(values, pa.float64())).to_pylist()
        assert found == [rule.drops(value) for value in values]


@given(st.lists(st.tuples(NUMBERS, st.sampled_from(["en", "de", "fr", None])), max_size=8), COMPARISONS)
def test_thresholds_by_language(rows: list[tuple[Any, Any]], comparison: str) -> None:
    rule = Rule("x", comparison, {"en": 1.5, "de": -1, "it": 0, "fr": None}, "r", by="language")
    values = [float(value) if value is not None else None for value, _ in rows]
    columns = {"x": pa.array(values, pa.float64()), "language": pa.array([key for _, key in rows], pa.string())}
    assert holds(rule, columns.__getitem__).to_pylist() == [
        rule.drops(value, key) for value, (_, key) in zip(values, rows, strict=True)
    ]


@pytest.mark.parametrize(
    ("comparison", "threshold", "expected"),
    [
        ("in", ("a", "b"), [True, True, False, False]),
        ("not in", ("a",), [False, True, True, False]),
        ("==", "b", [False, True, False, False]),
        ("!=", "b", [True, False, True, False]),
    ],
)
def test_strings(comparison: str, threshold: Any, expected: list[bool]) -> None:
    rule = Rule("x", comparison, threshold, "r")
    assert holds(rule, lambda name: pa.array(["a", "b", "c", None])).to_pylist() == expected


def test_types_that_arrow_does_not_compare_are_decided_one_by_one() -> None:
    rule = Rule("x", "==", (1, 2), "r")
    assert holds(rule, lambda name: pa.array([[1, 2], [1]])).to_pylist() == [rule.drops([1, 2]), rule.drops([1])]
    assert holds(Rule("x", "in", "abc", "r"), lambda name: pa.array(["b", "x"])).to_pylist() == [True, False]


def test_the_first_rule_that_holds_is_the_reason() -> None:
    rules = (Rule("x", "<", None, "off"), Rule("x", ">", 5, "big"), Rule("y", ">", 1, "tall"), Rule("x", ">", 3, "mid"))
    columns = {"x": pa.array([9, 4, 4, 1]), "y": pa.array([9, 9, 0, 0])}
    assert first_holding(rules, columns.__getitem__, 4) == [1, 2, 3, -1]
    assert Drop.by(rules[1], *value_of(rules[1], columns.__getitem__, 0)) == Drop("big", "x", 9.0, 5.0)
    assert first_holding(rules, columns.__getitem__, 0) == []


def test_a_rule_by_a_column_records_the_threshold_of_the_document() -> None:
    rule = Rule("x", ">", {"en": 1, "de": 2}, "r", by="language")
    assert Drop.by(rule, 3, "de") == Drop("r", "x", 3.0, 2.0)
    assert not rule.drops(3, "fr")
    assert str(rule) == "x > {en: 1, de: 2} by language"
    with pytest.raises(ValueError, match="mapping"):
        Rule("x", ">", 1, "r", by="language")
    assert not Rule("x", ">", {"en": None}, "r", by="language").active
