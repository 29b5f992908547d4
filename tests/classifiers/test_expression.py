"""Expressions against Python's own arithmetic, row by row; anything else is refused with its place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tokenmill.classifiers.expression import parse_expression
from tokenmill.core.errors import ConfigError

NAMES = ("edu_score", "dclm_bin", "x")


def twin_divide(left: float, right: float) -> float:
    if right:
        return left / right
    return math.nan if not left or math.isnan(left) else math.copysign(math.inf, left) * math.copysign(1.0, right)


def twin_sigmoid(value: float) -> float:
    """By the same function as the expression, for the last digit may decide a comparison; see the test of its own."""
    return 0.5 * (1.0 + float(np.tanh(0.5 * value)))


def largest(*values: float) -> float:
    return math.nan if any(map(math.isnan, values)) else max(values)


def least(*values: float) -> float:
    return math.nan if any(map(math.isnan, values)) else min(values)


def mean(*values: float) -> float:
    total = values[0]
    for value in values[1:]:
        total += value
    return total / len(values)


TWIN: dict[str, Any] = {
    "max": largest,
    "min": least,
    "mean": mean,
    "where": lambda condition, then, otherwise: then if condition else otherwise,
    "sigmoid": twin_sigmoid,
    "divide": twin_divide,
    "truth": float,
}


def joined(children: st.SearchStrategy[tuple[str, str]]) -> st.SearchStrategy[tuple[str, str]]:
    """(text of an expression, the same in the words of the twin)."""

    def infix(left: tuple[str, str], sign: str, right: tuple[str, str]) -> tuple[str, str]:
        shown = f"({left[0]} {sign} {right[0]})"
        if sign == "/":
            return shown, f"divide({left[1]}, {right[1]})"
        inner = f"({left[1]} {sign} {right[1]})"
        return shown, inner if sign in "+-*" else f"truth({inner})"

    def call(name: str, arguments: list[tuple[str, str]]) -> tuple[str, str]:
        return tuple(f"{name}({', '.join(one[side] for one in arguments)})" for side in (0, 1))  # type: ignore[return-value]

    return st.one_of(
        st.builds(infix, children, st.sampled_from(["+", "-", "*", "/", "<", "<=", ">", ">=", "==", "!="]), children),
        st.builds(call, st.sampled_from(["max", "min", "mean"]), st.lists(children, min_size=1, max_size=4)),
        st.builds(call, st.just("where"), st.lists(children, min_size=3, max_size=3)),
        st.builds(call, st.just("sigmoid"), st.lists(children, min_size=1, max_size=1)),
        children.map(lambda one: (f"-{one[0]}", f"-({one[1]})")),
    )


leaves = st.one_of(
    st.sampled_from([(name, name) for name in NAMES]),
    st.one_of(st.integers(0, 9), st.floats(0, 5)).map(lambda number: (repr(number), f"float({number!r})")),
)
expressions = st.recursive(leaves, joined, max_leaves=8).map(lambda one: (f"{one[0]} + x", f"({one[1]}) + x"))
values = st.one_of(st.floats(-5, 5), st.sampled_from([0.0, 1.0, math.nan]))
tables = st.lists(st.tuples(values, values, values), min_size=1, max_size=5)


@examples(40, 100)
@given(expressions, tables)
def test_expressions_give_what_python_gives(texts: tuple[str, str], table: list[tuple[float, float, float]]) -> None:
    text, twin = texts
    found = parse_expression(text)
    columns = {name: np.array([row[place] for row in table]) for place, name in enumerate(NAMES)}
    numbers, valid = found(columns)
    assert numbers.shape == valid.shape == (len(table),)
    for place, row in enumerate(table):
        given = dict(zip(NAMES, row, strict=True))
        wanted = expected(twin, {name: given[name] for name in found.names}, given)
        assert bool(valid[place]) == (wanted is not None)
        if wanted is not None:
            assert numbers[place] == pytest.approx(wanted, rel=1e-9, abs=1e-9)


def expected(twin: str, used: Mapping[str, float], given: Mapping[str, float]) -> float | None:
    if any(map(math.isnan, used.values())):
        return None
    value = float(eval(twin, {"__builtins__": {"float": float}}, {**TWIN, **given}))
    return value if math.isfinite(value) else None


@given(st.one_of(st.text(max_size=40), st.text("ab+-*/<=>().,'1e9 max[]:", max_size=30)))
def test_any_text_is_an_expression_or_one_clear_error(text: str) -> None:
    try:
        found = parse_expression(text, "ensemble.expression")
    except ConfigError:
        return
    numbers, valid = found({name: np.array([1.0, np.nan]) for name in found.names})
    assert len(numbers) == 2
    assert not valid[1]


@pytest.mark.parametrize(
    ("text", "place", "why"),
    [
        ("a + __import__('os').system('x')", "character 5", "no such function"),
        ("a.real", "character 1", "an expression has columns"),
        ("a + b[0]", "character 5", "an expression has columns"),
        ("a ** 2", "character 1", "an expression has columns"),
        ("a + 'b'", "character 5", "no finite number"),
        ("a + True", "character 5", "no finite number"),
        ("a + 1e999", "character 5", "no finite number"),
        ("a + 1" + "0" * 400, "character 5", "no finite number"),
        ("a if b else 1", "character 1", "an expression has columns"),
        ("a and b", "character 1", "an expression has columns"),
        ("not a", "character 1", "an expression has columns"),
        ("1 < a < 2", "character 1", "two sides"),
        ("a in b", "character 1", "two sides"),
        ("lambda: a", "character 1", "an expression has columns"),
        ("[a for a in b]", "character 1", "an expression has columns"),
        ("maximum(a, b)", "character 1", "did you mean 'max'"),
        ("where(a, b)", "character 1", "where takes 3 arguments"),
        ("max()", "character 1", "max takes 1 to 100 arguments"),
        ("max(a, key=b)", "character 1", "arguments without names"),
        ("max(*a)", "character 5", "an expression has columns"),
        ("max + a", "character 1", "max is a function"),
        ("max(größe,\n  b.c)", "character 14", "an expression has columns"),
        ("(a := 1)", "character 2", "an expression has columns"),
        ("a +", "character", "invalid syntax"),
        ("1 + 2", "ensemble.expression: 1 + 2", ""),
        ("", "ensemble.expression", ""),
        ("(" * 5000, "ensemble.expression", ""),
        ("-" * 9000 + "a", "ensemble.expression", ""),
        ("a" * 10_001, "ensemble.expression", "10000 are the most"),
        ("a\0", "ensemble.expression", ""),
    ],
)
def test_anything_else_is_refused_with_its_place(text: str, place: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_expression(text, "ensemble.expression")
    assert place in str(caught.value)
    assert why in str(caught.value)


def test_names_and_rows() -> None:
    found = parse_expression(" max(b, a, 1) ")
    assert (found.text, found.names) == ("max(b, a, 1)", ("a", "b"))
    numbers, valid = found({"a": np.empty(0), "b": np.empty(0)})
    assert (len(numbers), len(valid)) == (0, 0)
    numbers, valid = parse_expression("1 / a")({"a": np.array([2.0, 0.0, np.inf, np.nan])})
    assert valid.tolist() == [True, False, True, False]
    assert numbers[:3:2].tolist() == [0.5, 0.0]
    assert np.isnan(numbers[[1, 3]]).all()


@given(st.floats(-700, 700))
def test_sigmoid_is_the_logistic_function(value: float) -> None:
    numbers, valid = parse_expression("sigmoid(a)")({"a": np.array([value, 1e6, -1e6])})
    assert valid.all()
    assert numbers.tolist() == pytest.approx([1 / (1 + math.exp(-value)), 1.0, 0.0], abs=1e-15)


def test_a_comparison_with_nothing_is_nothing() -> None:
    """NaN > 3 is false in floating point; here no column that is named may be missing."""
    _, valid = parse_expression("where(a > 3, b, 0)")({"a": np.array([np.nan, 1.0]), "b": np.array([1.0, np.nan])})
    assert not valid.any()
