"""Codes of documents: the page's arithmetic, said again in plain Python."""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenmill.core.rule import Rule
from tokenmill.report.signals import Signals, Slider, Table
from tokenmill.report.whatif import Joined, WhatIf, codes_of, removed


def kept_with(data: Mapping[str, Any], move: Mapping[str, int]) -> int:
    """Documents that pass with rules (by id) at these edges, -1 for off, by what the page is given."""
    codes = data["whatif"]
    fixed = base64.b64decode(codes["fixed"])
    rules = [
        (rule["comparison"] in ("<", "<="), move.get(rule["id"], rule["current"]), base64.b64decode(row))
        for rule, row in zip(data["rules"], codes["codes"], strict=True)
    ]
    kept = 0
    for document in range(codes["documents"]):
        gone = bool(fixed[document])
        for below, edge, row in rules:
            if edge >= 0:
                gone |= edge >= row[document] if below else edge < row[document]
        kept += not gone
    return kept


def sizes_of(data: Mapping[str, Any]) -> list[int]:
    raw = base64.b64decode(data["whatif"]["bytes"])
    return list(struct.unpack(f"<{len(raw) // 4}I", raw))


def slider(comparison: str, threshold: float | None, **options: Any) -> Slider:
    return Slider("f", 0, "r", "x", "x", comparison, threshold, **options)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(["<", "<=", ">", ">="]),
    st.lists(st.none() | st.floats(), max_size=8),
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=6, unique=True),
)
def test_codes_say_what_the_rule_says(comparison: str, values: list[float | None], ends: list[float]) -> None:
    found = np.array(sorted(x + 0.0 for x in ends))
    null = np.array([value is None or math.isnan(value) for value in values], bool)
    numbers = np.array([0.0 if value is None or math.isnan(value) else value for value in values], float)
    codes = codes_of(slider(comparison, None), found, numbers, null)
    for edge, threshold in enumerate(found.tolist()):
        rule = Rule("x", comparison, threshold, "r")
        assert removed(slider(comparison, None), codes, edge).tolist() == [rule.drops(value) for value in values]
    assert not removed(slider(comparison, None), codes, -1).any()


def test_a_document_without_a_score_may_fall_with_any_threshold() -> None:
    null = np.array([True, False])
    for comparison in ("<", ">"):
        codes = codes_of(slider(comparison, 1.0, nulls_fall=True), np.array([1.0, 2.0]), np.array([0.0, 1.5]), null)
        for edge in (0, 1):
            assert removed(slider(comparison, 1.0), codes, edge)[0]


def counted(values: list[tuple[float | None, float | None, str | None]], sizes: list[int]) -> tuple[WhatIf, Joined]:
    """A filter with two sliders and a fixed rule, over these documents."""
    rules = (Rule("x", "<", 2, "low"), Rule("y", ">=", 5, "high"), Rule("z", "in", ("bad",), "named"))
    sliders = [slider("<", 2.0), Slider("f", 1, "high", "y", "y", ">=", 5.0)]
    table = Table("f", rules, {"x": "x", "y": "y", "z": "z"}, [2], [])
    batch = pa.RecordBatch.from_pydict(
        {
            "x": pa.array([x for x, _, _ in values], pa.float64()),
            "y": pa.array([y for _, y, _ in values], pa.float64()),
            "z": pa.array([z for _, _, z in values], pa.string()),
        }
    )
    verdicts = [next((r.reason for r, v in zip(rules, row, strict=True) if r.drops(v)), None) for row in values]
    batch = batch.append_column("f_verdict", pa.array(verdicts, pa.string()))
    found = WhatIf(Signals(sliders, [table]), [np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0])])
    found.add(batch, np.array(sizes, np.int64), np.zeros(len(sizes), np.int64), list(range(len(sizes))))
    return found, found.joined()


VALUES: list[tuple[float | None, float | None, str | None]] = [
    (0.5, 1.0, None), (1.5, 4.5, None), (2.0, 5.0, None), (2.5, None, "bad"), (None, 4.0, None), (9.0, 0.0, "good"),
]  # fmt: skip


def test_curves_are_counts_of_documents_and_bytes() -> None:
    found, joined = counted(VALUES, [1, 10, 100, 1000, 10_000, 100_000])
    low, high = joined.curves()
    assert low == {"removes": [1, 2, 4], "kept": [3, 2, 2], "kept_bytes": [110_010, 110_000, 110_000]}
    assert high == {"removes": [3, 1], "kept": [1, 2], "kept_bytes": [100_000, 110_000]}
    assert found.nulls.tolist() == [1, 1]
    assert [one.tolist() for one in found.histograms] == [[1, 1, 2, 1], [2, 2, 1]]
    assert found.unlike == 0
    assert joined.kept({0: -1, 1: -1}).tolist() == [True, True, True, False, True, True]
    assert joined.kept({0: 0, 1: 1}).tolist() == joined.kept({0: 0}).tolist() == [False, True, False, False, True, True]


def test_a_sample_is_by_hash_and_says_of_how_many() -> None:
    _, joined = counted(VALUES, [2**40, 10, 100, 1000, 10_000, 100_000])
    some = joined.sample(3)
    assert len(some.fixed) == 3
    assert set(some.keys.tolist()) == set(sorted(joined.keys.tolist())[:3])
    data = some.to_json(6)
    assert (data["documents"], data["of"], data["tokens"]) == (3, 6, None)
    assert sizes_of({"whatif": joined.to_json(6)}) == [2**32 - 1, 10, 100, 1000, 10_000, 100_000]
    assert len(json.dumps(joined.to_json(6)["codes"][0])) <= 6 * 4 / 3 + 4


def test_stored_verdicts_that_do_not_fit_the_signals_are_counted() -> None:
    found, _ = counted(VALUES, [1] * 6)
    batch = pa.RecordBatch.from_pydict(
        {"x": [9.0], "y": [0.0], "z": ["good"], "f_verdict": pa.array(["low"], pa.string())}
    )
    found.add(batch, np.array([1]), np.array([0]), ["new"])
    assert found.unlike == 1
