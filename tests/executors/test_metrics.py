"""Metrics, scraped over HTTP."""

from __future__ import annotations

import re
import urllib.request
from collections import deque
from collections.abc import Iterator
from socketserver import BaseServer

import pytest

from tests.executors.events import Told, manifest
from tokenmill.core.errors import ConfigError
from tokenmill.executors.base import Notice, ShardResult
from tokenmill.executors.metrics import MOST_REASONS, PrometheusBackend, RunMetrics


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Told, RunMetrics, int]]:
    monkeypatch.setattr(BaseServer.serve_forever, "__defaults__", (0.02,))  # half a second until it ends otherwise
    told = Told([100, 100, 100, 100, 100])
    backend = PrometheusBackend(0, "127.0.0.1")
    metrics = RunMetrics(told.tracker, backend)
    told.watchers.append(metrics)
    yield told, metrics, backend.port
    metrics.close()


def scrape(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = re.findall(r"^(tokenmill_\w+)\{(.*)\} (\S+)$", text, re.MULTILINE)
    assert all('recipe="trap"' in labels and 'phase="01-' in labels for _, labels, _ in found)
    others = [re.sub(r'(phase|recipe)="[^"]*",?', "", labels).strip(",") for _, labels, _ in found]
    return {f"{name} {label}".strip(): float(value) for (name, _, value), label in zip(found, others, strict=True)}


def test_a_scrape_has_counts_states_durations_and_reasons(served: tuple[Told, RunMetrics, int]) -> None:
    told, metrics, port = served
    told.begin({told.spec.slugs[4]: manifest(100, 60)})
    told.start(0)
    told.start(1)
    told.progress(1, 5, 3)
    told.clock.now = 20
    told.done(0)
    metrics.tick()
    found = scrape(port)
    assert found["tokenmill_documents_total"] == 115
    assert found["tokenmill_kept_total"] == 69
    assert found['tokenmill_dropped_total reason="rule.short"'] == 42
    assert found["tokenmill_input_bytes_total"] == 200
    assert found["tokenmill_output_bytes_total"] == 100
    states = {state: found[f'tokenmill_shards state="{state}"'] for state in ("waiting", "active", "committed")}
    assert states == {"waiting": 2, "active": 1, "committed": 2}
    assert found["tokenmill_shard_seconds_sum"] == 20
    assert found['tokenmill_shard_seconds_bucket le="15.0"'] == 0
    assert found['tokenmill_shard_seconds_bucket le="30.0"'] == 1
    assert found["tokenmill_eta_seconds"] == pytest.approx(60)


def test_counters_never_go_back_and_count_nothing_twice(served: tuple[Told, RunMetrics, int]) -> None:
    told, metrics, port = served
    told.begin()
    told.start(0)
    told.progress(0, 8, 4)
    metrics.tick()
    told.retry(0)
    metrics.tick()
    assert scrape(port)["tokenmill_documents_total"] == 8
    assert scrape(port)["tokenmill_shard_retries_total"] == 1
    told.start(0)
    told.done(0, 10, 6)
    metrics.tick()
    assert scrape(port)["tokenmill_documents_total"] == 10


def test_reasons_without_end_share_one_series(served: tuple[Told, RunMetrics, int]) -> None:
    told, metrics, port = served
    told.begin()
    one = manifest(10, 9)
    one["stages"][1]["dropped"] = {f"made up {i}": 1 for i in range(MOST_REASONS + 50)}
    told.start(0)
    told.tell(ShardResult(0, 0, one))
    metrics.tick()
    found = scrape(port)
    assert found['tokenmill_dropped_total reason="other"'] == 50
    assert sum(name.startswith("tokenmill_dropped_total") for name in found) == MOST_REASONS + 1


def test_a_taken_port_is_a_configuration_error(served: tuple[Told, RunMetrics, int]) -> None:
    with pytest.raises(ConfigError, match="cannot serve metrics"):
        PrometheusBackend(served[2], "127.0.0.1")


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "prometheus_client", None)
    with pytest.raises(ConfigError, match=r"tokenmill\[metrics\]"):
        PrometheusBackend(0)


def test_every_duration_is_told_once_however_many(served: tuple[Told, RunMetrics, int]) -> None:
    told, metrics, port = served
    told.begin()
    state = told.tracker.phases[0]
    state.durations = deque(maxlen=2)  # as after a thousand shards
    state.paces = deque(maxlen=2)
    for index in range(5):
        told.start(index)
        told.clock.now += 10
        told.done(index)
    metrics.tick()
    assert scrape(port)["tokenmill_shard_seconds_count"] == 5
    assert scrape(port)["tokenmill_shard_seconds_sum"] == 50


def test_a_notice_before_any_phase_is_no_trouble(served: tuple[Told, RunMetrics, int]) -> None:
    told, metrics, port = served
    told.tell(Notice(0, "looking at what is committed"))
    metrics.tick()
    assert scrape(port) == {}
