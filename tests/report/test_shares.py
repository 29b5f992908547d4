"""Shares before and after against plain counting, examples nearest to the threshold, domains of addresses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenmill.report import shares
from tokenmill.report.shares import Border, Shares, coded, domain_of, domains

documents = st.lists(st.tuples(st.sampled_from(["a", "b", "c", "", None]), st.integers(0, 50), st.booleans()))


def counted(table: Shares, documents: Sequence[tuple[str | None, int, bool]]) -> None:
    values, weights, kept = ([document[place] for document in documents] for place in range(3))
    table.add(pa.array(values, pa.string()), np.array(weights, np.int64), np.array(kept, np.bool_))


@given(documents, documents)
def test_shares_are_those_of_plain_counting(first: list[Any], second: list[Any]) -> None:
    table = Shares()
    counted(table, first)
    counted(table, second)
    before: Counter[Any] = Counter()
    after: Counter[Any] = Counter()
    for value, weight, kept in first + second:
        before[value] += weight
        after[value] += weight * kept
    named = {value for value, _, _ in first + second if value}
    found = table.largest(10)
    assert {share.value for share in found} == (named if len(named) > 1 and before.total() else set())
    for share in found:
        assert share.before == pytest.approx(before[share.value] / before.total())
        assert share.after == pytest.approx(after[share.value] / max(after.total(), 1))
        assert share.ratio == pytest.approx(share.after / share.before if share.before else 0)
        assert share.documents == sum(value == share.value for value, _, _ in first + second)
        assert share.documents_kept == sum(kept for value, _, kept in first + second if value == share.value)
    changes = [abs(share.after - share.before) for share in found]
    assert changes == sorted(changes, reverse=True)
    assert table.largest(1) == found[:1]


def test_rare_values_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "MOST_VALUES", 10)
    table = Shares()
    for start in range(0, 40, 4):
        counted(
            table, [(f"rare{n}", 1, True) for n in range(start, start + 4)] + [("often", 50, n > 1) for n in (1, 2)]
        )
    assert len(table.table) <= 10
    assert sum(row[2] for row in table.table.values()) + table.rest[2] == 60
    (found,) = table.largest(1)
    assert (found.value, found.documents, found.documents_kept) == ("often", 20, 10)
    assert (found.before, found.after) == pytest.approx((1000 / 1040, 500 / 540))


def test_examples_are_the_nearest_and_of_equal_ones_the_first() -> None:
    border = Border(3)
    for start in (0, 4):
        scores = np.array([3.0, 2.0, 2.5, 9.0]) + start / 4
        columns = {
            "url": pa.array([f"http://e.org/{start + n}" for n in range(4)]),
            "text": pa.array(["one\n two " + "x" * 300, None, "\t", "y"]),
        }
        border.add(columns, scores, np.full(4, 2.0), scores >= 2.0)
    found = border.examples()
    assert [(one.url, one.score, one.threshold) for one in found] == [
        ("http://e.org/1", 2.0, 2.0),
        ("http://e.org/2", 2.5, 2.0),
        ("http://e.org/0", 3.0, 2.0),
    ]
    assert [one.text for one in found[:2]] == ["", ""]
    assert found[2].text == ("one two " + "x" * 300)[:120]
    nothing = Border(0)
    nothing.add({"url": pa.array(["u"]), "text": pa.array(["t"])}, np.ones(1), np.ones(1), np.ones(1, np.bool_))
    assert nothing.examples() == []


def test_domains() -> None:
    urls = ["http://News.bbc.co.uk/x", "https://a.b.example.com:8080/", "http://192.0.2.7/", "no address", "", None]
    found = domains(pa.array([*urls, "http://user@x.github.io/"])).to_pylist()
    assert found[:3] == ["bbc.co.uk", "example.com", "192.0.2.7"]
    assert found[4:6] == [None, None]
    assert domain_of("localhost") == "localhost"
    assert domain_of("") is None


@given(st.lists(st.one_of(st.none(), st.sampled_from(["x", "y", ""]))))
def test_codes_name_every_row(values: list[str | None]) -> None:
    names, codes = coded(pa.array(values, pa.string()))
    assert [names[code] for code in codes.tolist()] == values
    assert names[-1] is None
