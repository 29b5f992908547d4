"""Rules on whole columns: which documents of a batch a table of rules drops, and by which rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tokenmill.core.rule import Rule

_COMPUTE = {
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
    "==": pc.equal,
    "!=": pc.not_equal,
}

Column = Callable[[str], pa.Array]
"""Gives the column of a name (a signal, or the column `by` of a rule), one value per document."""


def holds(rule: Rule, column: Column) -> pa.BooleanArray:
    """For each document whether the rule holds; never null. Equals `Rule.drops` on every value."""
    values = column(rule.signal)
    keys = column(rule.by) if rule.by else None
    try:
        found = _compared(rule, values, keys)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
        found = None
    if found is None:  # types that Arrow does not compare: one by one
        selected = keys.to_pylist() if keys is not None else [None] * len(values)
        pairs = zip(values.to_pylist(), selected, strict=True)
        found = pa.array([rule.drops(value, key) for value, key in pairs], pa.bool_())
    return found.fill_null(False)


def _compared(rule: Rule, values: pa.Array, keys: pa.Array | None) -> pa.BooleanArray | None:
    if rule.comparison in ("in", "not in"):
        exact = pa.types.is_string(values.type) or pa.types.is_int64(values.type)
        if keys is not None or not exact or not isinstance(rule.threshold, tuple | list):
            return None
        inside = pc.is_in(values, value_set=pa.array(list(rule.threshold), values.type))
        listed = inside if rule.comparison == "in" else pc.invert(inside)
        return pc.and_(listed, values.is_valid())
    if keys is None:
        return _COMPUTE[rule.comparison](values, rule.threshold)
    known = [key for key, threshold in rule.threshold.items() if threshold is not None]
    places = pc.index_in(keys, value_set=pa.array(known, keys.type))
    return _COMPUTE[rule.comparison](values, pa.array([rule.threshold[key] for key in known]).take(places))


def first_holding(rules: Sequence[Rule], column: Column, rows: int) -> list[int]:
    """For each of `rows` documents the index of the first rule that holds, -1 where none does."""
    first = [-1] * rows
    if not rows:
        return first
    for index in reversed([i for i, rule in enumerate(rules) if rule.active]):
        held = holds(rules[index], column)
        if held.true_count:
            for row in pc.indices_nonzero(held).to_pylist():
                first[row] = index
    return first


def value_of(rule: Rule, column: Column, row: int) -> tuple[Any, Any]:
    """(value, key) of a document for `Drop.by`."""
    key = column(rule.by)[row].as_py() if rule.by else None
    return column(rule.signal)[row].as_py(), key
