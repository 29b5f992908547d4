"""Counts of groups are never too small, and small groups are put together."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tokenmill.report import groups
from tokenmill.report.groups import GroupCounts, merged


@pytest.fixture(autouse=True)
def few_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "CELLS", 7)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.one_of(st.none(), st.text(max_size=3)), max_size=30), max_size=4), st.integers(1, 9))
def test_a_group_that_is_large_is_told_so(parts: list[list[str | None]], least: int) -> None:
    counts = GroupCounts()
    for part in parts:
        names = list(dict.fromkeys(part))
        counts.add(names, np.array([names.index(name) for name in part], np.int64))
    exact = Counter(name for part in parts for name in part if name is not None)
    large = [name for name, count in exact.items() if count >= least]
    assert all(counts.may_have(name, least) for name in large)
    assert counts.at_least(least) <= len({name for name in exact if counts.may_have(name, least)})
    assert not counts.may_have("any", sum(exact.values()) + 1)


@given(st.lists(st.sampled_from([None, "a", "b", "c", "d"]), max_size=20), st.sets(st.sampled_from("abcd")))
def test_groups_that_are_not_wanted_are_one(rows: list[str | None], wanted: set[str]) -> None:
    given = ["a", "b", "c", "d", None]
    names, codes = merged(given, np.array([given.index(row) for row in rows], np.int64), wanted.__contains__)
    assert names == [*sorted(wanted), None]
    assert [names[code] for code in codes] == [row if row in wanted else None for row in rows]
