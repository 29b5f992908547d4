"""The model behind progress, status, logs and metrics, fed with events and a clock that is set by hand."""

from __future__ import annotations

import json
import statistics
from typing import Any

import pytest

from tests.executors.events import Told, manifest
from tokenmill.executors.tracking import RECENT_SECONDS, STRAGGLER_RECENT, snapshot


def test_counts_rates_and_the_time_left_go_by_bytes() -> None:
    told = Told([100, 100, 300])
    told.begin()
    state = told.tracker.phases[0]
    assert state.eta(told.clock()) is None
    told.start(0)
    told.progress(0, 4, 2)
    assert (state.now("documents"), state.now("kept")) == (4, 2)
    told.clock.now = 10
    told.done(0)
    assert (state.committed, state.waiting, state.now("documents"), state.now("quarantined")) == (1, 2, 10, 1)
    assert state.dropped == {"rule.short": 3}
    assert state.rate(told.clock()) == pytest.approx(1.0)
    assert state.eta(told.clock()) == pytest.approx(40.0)  # 100 of 500 bytes in 10 s
    assert state.kept_share == 0.6
    told.end()
    assert state.eta(99) == 0.0
    assert told.tracker.open_phases == []


def test_without_sizes_the_time_left_goes_by_number_and_one_unknown_size_is_the_mean() -> None:
    told = Told([0, 0, 0, 0])
    told.begin()
    state = told.tracker.phases[0]
    assert not state.sized
    told.start(0)
    told.clock.now = 5
    told.done(0)
    assert state.eta(told.clock()) == pytest.approx(15.0)
    mixed = Told([100, 0, 300])
    mixed.begin()
    assert list(mixed.tracker.phases[0].weights) == [100, 200, 300]


def test_what_was_committed_before_counts_in_totals_and_not_in_rates() -> None:
    told = Told([100, 100, 100])
    told.begin({told.spec.slugs[1]: manifest(1000, 600)})
    state = told.tracker.phases[0]
    assert (state.committed, state.before, state.now("documents")) == (1, 1, 1000)
    told.start(0)
    told.clock.now = 10
    told.done(0)
    assert state.rate(told.clock()) == pytest.approx(1.0)
    assert state.eta(told.clock()) == pytest.approx(10.0)


def test_a_retried_shard_is_not_counted_twice_and_a_failed_one_is_told() -> None:
    told = Told([1, 1])
    told.begin()
    state = told.tracker.phases[0]
    told.start(0)
    told.progress(0, 9)
    told.retry(0)
    assert (state.now("documents"), state.retries, state.active) == (0, 1, {})
    told.start(0)
    told.fail(0)
    assert list(state.failed) == [0]
    assert (state.committed, state.waiting) == (0, 1)


def test_a_committed_shard_that_is_done_again_counts_once() -> None:
    told = Told([100, 100], spans=True)
    told.begin()
    state = told.tracker.phases[0]
    told.start(0)
    told.done(0, 10, 6)
    told.start(0)  # a span that had begun inside a record
    assert (state.committed, state.now("documents"), state.weight_done) == (0, 0, 0)
    told.done(0, 8, 5)
    assert (state.committed, state.now("documents"), state.dropped["rule.short"]) == (1, 8, 2)


def test_stragglers_are_much_slower_than_the_median_for_their_size() -> None:
    told = Told([100, 100, 100, 100, 1000])
    told.begin()
    state = told.tracker.phases[0]
    for index in range(5):
        told.start(index, f"node {index}")
    told.clock.now = 30
    for index in range(3):
        told.done(index)
    assert state.stragglers(89) == {}  # 3 x 30 s is the limit
    assert state.stragglers(91) == {3: 91}  # the last one is ten times as large
    told.clock.now = 1000
    assert {index for _, index, _ in told.tracker.stragglers()} == {3, 4}
    values = snapshot(told.tracker)
    assert [(one["shard"], one["where"]) for one in values["stragglers"]] == [("s3", "node 3"), ("s4", "node 4")]


def test_short_shards_and_few_finished_ones_make_no_stragglers() -> None:
    told = Told([1, 1, 1, 1])
    told.begin()
    for index in range(4):
        told.start(index)
    told.clock.now = 1
    for index in range(2):
        told.done(index)
    assert told.tracker.phases[0].stragglers(3600) == {}
    told.done(2)
    assert told.tracker.phases[0].stragglers(59) == {}
    assert told.tracker.phases[0].stragglers(61) == {3: 61}


def test_the_recent_rate_forgets_what_is_old() -> None:
    told = Told([100])
    told.begin()
    told.start(0)
    for second in range(100):
        told.clock.now = float(second)
        told.progress(0, min(second, 40) * 100)
    state = told.tracker.phases[0]
    assert state.recent_rate(99) == pytest.approx(100 * (40 - (99 - RECENT_SECONDS)) / RECENT_SECONDS, abs=2)


def test_a_snapshot_is_json_and_bounded() -> None:
    told = Told([1] * 300)
    told.begin()
    for index in range(300):
        told.start(index, "somewhere")
    told.retry(7)
    values = snapshot(told.tracker, most=50)
    assert json.loads(json.dumps(values)) == values
    phase = values["phases"][0]
    assert (phase["active_shards"], len(phase["active"]), values["retries"]) == (299, 50, 1)


def test_stragglers_and_the_time_left_cost_the_same_however_many_have_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told([1] * 5000)
    told.begin()
    state = told.tracker.phases[0]
    for index in range(4999):
        told.start(index)
        told.clock.now += 1 if index < 3000 else 100
        told.done(index)
    told.start(4999)
    began = told.clock.now
    sorted_at_once: list[int] = []
    median = statistics.median

    def counted(data: Any) -> float:
        sorted_at_once.append(len(data))
        return float(median(data))

    monkeypatch.setattr(statistics, "median", counted)
    assert state.stragglers(began + 299) == {}  # the last ones took 100 s
    for tenth in range(10):
        assert list(state.stragglers(began + 301 + tenth / 20)) == [4999]
    assert sorted_at_once == [STRAGGLER_RECENT] * 2
    assert state.eta(told.clock()) == pytest.approx(state.seconds(told.clock()) / 4999)
    state.weights = ()  # not summed again
    assert state.eta(told.clock()) == pytest.approx(state.seconds(told.clock()) / 4999)


def test_a_shard_that_has_ended_is_no_straggler_of_an_earlier_look() -> None:
    told = Told([1] * 5)
    told.begin()
    for index in range(5):
        told.start(index)
    told.clock.now = 1
    for index in range(3):
        told.done(index)
    told.clock.now = 100
    assert set(told.tracker.phases[0].stragglers(100)) == {3, 4}
    told.done(3)
    assert set(told.tracker.phases[0].stragglers(100)) == {4}
    assert [one["shard"] for one in snapshot(told.tracker)["stragglers"]] == ["s4"]
