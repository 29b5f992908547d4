"""Metrics of a run: as a Prometheus endpoint, and in Ray's own metrics where the executor is Ray.

Counters never go back: an attempt that is repeated is not counted twice, its numbers stand still until they are new.
Names of series are bounded: reasons are those of the recipe's rules, and of causes beyond MOST_REASONS only the sum
is told.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tokenmill.core.errors import ConfigError
from tokenmill.core.phases import Phase
from tokenmill.executors.base import PhaseEvent, ShardResult
from tokenmill.executors.tracking import PhaseState, RunTracker

PREFIX = "tokenmill"
MOST_REASONS = 200
"""Most label values `stage.reason` of a phase; a stage of a user's may make reasons up as it goes."""
OTHER_REASON = "other"
SHARD_SECONDS = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 14400.0)
"""Buckets of the histogram of shard durations, in seconds."""

_LABELS = ("recipe", "phase")
_COUNTERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "documents": ("Documents that the phase has got, shards under way included", ()),
    "kept": ("Documents that the phase has kept, shards under way included", ()),
    "quarantined": ("Documents in quarantine, shards under way included", ()),
    "dropped": ("Documents and records that were dropped, of committed shards", ("reason",)),
    "input_bytes": ("Bytes of the input files of committed shards, as they are stored", ()),
    "output_bytes": ("Bytes of the files that committed shards have written", ()),
    "shard_retries": ("Attempts that failed and were repeated", ()),
}
"""Name without prefix and `_total` -> (meaning, labels besides recipe and phase)."""
_GAUGES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "shards": ("Shards of the phase by state: waiting, active, committed, failed", ("state",)),
    "stragglers": ("Shards that have run much longer than the median of the finished ones", ()),
    "documents_per_second": ("Documents per second within the last minute", ()),
    "eta_seconds": ("Seconds until the phase is done, at the pace of this session; -1 while that is unknown", ()),
}


class Series(Protocol):
    """One metric of a backend."""

    def add(self, labels: Mapping[str, str], value: float) -> None:
        """Raise a counter, set a gauge, or tell a histogram."""
        ...


class Backend(Protocol):
    """Where metrics go."""

    def counter(self, name: str, meaning: str, labels: Sequence[str]) -> Series: ...
    def gauge(self, name: str, meaning: str, labels: Sequence[str]) -> Series: ...
    def histogram(self, name: str, meaning: str, labels: Sequence[str], buckets: Sequence[float]) -> Series: ...
    def close(self) -> None: ...


class RunMetrics:
    """Keeps the metrics of one run up to date from a tracker. Call `observe` after the tracker has seen an event."""

    def __init__(self, tracker: RunTracker, backend: Backend) -> None:
        self._tracker = tracker
        self._backend = backend
        self._recipe = tracker.spec.plan.pipeline.name
        self._told: dict[tuple[str, ...], float] = {}
        self._counters = {
            name: backend.counter(f"{PREFIX}_{name}", meaning, (*_LABELS, *labels))
            for name, (meaning, labels) in _COUNTERS.items()
        }
        self._gauges = {
            name: backend.gauge(f"{PREFIX}_{name}", meaning, (*_LABELS, *labels))
            for name, (meaning, labels) in _GAUGES.items()
        }
        self._seconds = backend.histogram(
            f"{PREFIX}_shard_seconds", "Seconds from the start to the commit of a shard", _LABELS, SHARD_SECONDS
        )

    def observe(self, phase: Phase, event: PhaseEvent) -> None:
        """Take in what only events tell: durations and written bytes."""
        state = self._tracker.phases.get(phase.index)
        if isinstance(event, ShardResult) and event.manifest is not None and state is not None:
            labels = self._labels(state)
            if state.last_duration is not None:
                self._seconds.add(labels, state.last_duration)
            written = sum(file["bytes"] for file in event.manifest["files"])
            self._counters["output_bytes"].add(labels, written)

    def tick(self) -> None:
        """Bring everything else up to date; once a second is enough."""
        with self._tracker.lock:
            for state in self._tracker.phases.values():
                self._update(state)

    def close(self) -> None:
        """Say the last numbers and let go of the endpoint."""
        self.tick()
        self._backend.close()

    def _labels(self, state: PhaseState) -> dict[str, str]:
        return {"recipe": self._recipe, "phase": state.phase.directory.partition("@")[0]}

    def _update(self, state: PhaseState) -> None:
        labels, now = self._labels(state), self._tracker.clock()
        for name in ("documents", "kept", "quarantined"):
            self._raise(name, labels, state.now(name))
        self._raise("shard_retries", labels, state.retries)
        if state.sized:
            self._raise("input_bytes", labels, state.weight_before + state.weight_done)
        # in the order in which they came up, so that a reason never changes from one series to the other
        reasons = list(state.dropped.items())
        for reason, count in reasons[:MOST_REASONS]:
            self._raise("dropped", {**labels, "reason": reason}, count)
        rest = sum(count for _, count in reasons[MOST_REASONS:])
        if rest:
            self._raise("dropped", {**labels, "reason": OTHER_REASON}, rest)
        for what, shards in (
            ("waiting", state.waiting),
            ("active", len(state.active)),
            ("committed", state.committed),
            ("failed", len(state.failed)),
        ):
            self._gauges["shards"].add({**labels, "state": what}, shards)
        eta = state.eta(now)
        self._gauges["stragglers"].add(labels, len(state.stragglers(now)))
        self._gauges["documents_per_second"].add(labels, state.recent_rate(now) if state.ended is None else 0.0)
        self._gauges["eta_seconds"].add(labels, -1.0 if eta is None else eta)

    def _raise(self, name: str, labels: Mapping[str, str], total: float) -> None:
        """Bring a counter up to a total."""
        key = (name, *labels.values())
        more = total - self._told.get(key, 0.0)
        if more > 0 or key not in self._told:
            self._told[key] = max(total, self._told.get(key, 0.0))
            self._counters[name].add(labels, max(more, 0.0))


class PrometheusBackend:
    """An HTTP endpoint with a registry of its own: `http://HOST:PORT/metrics`."""

    def __init__(self, port: int, host: str = "0.0.0.0") -> None:
        """ConfigError when prometheus_client is missing or the port is taken. port 0: any free one."""
        try:
            import prometheus_client
        except ImportError as error:
            raise ConfigError(
                "--metrics-port needs prometheus_client", why=str(error), fix="pip install 'tokenmill[metrics]'"
            ) from error
        self._client = prometheus_client
        self._registry = prometheus_client.CollectorRegistry()
        try:
            self._server, self._thread = prometheus_client.start_http_server(port, host, registry=self._registry)
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f"cannot serve metrics on port {port}", why=str(error), fix="choose another --metrics-port"
            ) from error
        self.port: int = self._server.server_port

    def counter(self, name: str, meaning: str, labels: Sequence[str]) -> Series:
        return _Prometheus(self._client.Counter(name, meaning, labels, registry=self._registry), "inc")

    def gauge(self, name: str, meaning: str, labels: Sequence[str]) -> Series:
        return _Prometheus(self._client.Gauge(name, meaning, labels, registry=self._registry), "set")

    def histogram(self, name: str, meaning: str, labels: Sequence[str], buckets: Sequence[float]) -> Series:
        made = self._client.Histogram(name, meaning, labels, registry=self._registry, buckets=buckets)
        return _Prometheus(made, "observe")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Prometheus:
    def __init__(self, metric: Any, method: str) -> None:
        self._metric, self._method = metric, method

    def add(self, labels: Mapping[str, str], value: float) -> None:
        getattr(self._metric.labels(**labels), self._method)(value)


class RayBackend:
    """Ray's own metrics, which each node's agent exports and the dashboard's Prometheus collects.

    To be made after `ray.init`. Ray puts `ray_` before the names. Counters are sent as gauges of their totals: Ray adds
    up what its processes send, and was seen to count a message twice (2.60).
    """

    def __init__(self) -> None:
        import ray.util.metrics

        self._metrics = ray.util.metrics

    def counter(self, name: str, meaning: str, labels: Sequence[str]) -> Series:
        total = self._metrics.Gauge(f"{name.removesuffix('_total')}_total", description=meaning, tag_keys=tuple(labels))
        return _RayTotal(_Ray(total, "set"))

    def gauge(self, name: str, meaning: str, labels: Sequence[str]) -> Series:
        return _Ray(self._metrics.Gauge(name, description=meaning, tag_keys=tuple(labels)), "set")

    def histogram(self, name: str, meaning: str, labels: Sequence[str], buckets: Sequence[float]) -> Series:
        made = self._metrics.Histogram(name, description=meaning, boundaries=list(buckets), tag_keys=tuple(labels))
        return _Ray(made, "observe")

    def close(self) -> None:
        """Ray exports until it is shut down."""


class _RayTotal:
    """A counter of our own, told as a whole."""

    def __init__(self, gauge: _Ray) -> None:
        self._gauge = gauge
        self._totals: Counter[tuple[tuple[str, str], ...]] = Counter()

    def add(self, labels: Mapping[str, str], value: float) -> None:
        key = tuple(labels.items())
        self._totals[key] += value  # type: ignore[assignment]
        self._gauge.add(labels, self._totals[key])


class _Ray:
    def __init__(self, metric: Any, method: str) -> None:
        self._metric, self._method = metric, method

    def add(self, labels: Mapping[str, str], value: float) -> None:
        import ray

        if not ray.is_initialized():
            return  # the session is over
        with contextlib.suppress(Exception):  # numbers on a dashboard are not worth a run
            getattr(self._metric, self._method)(value, tags=dict(labels))
