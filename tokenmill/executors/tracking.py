"""The state of a run, folded from its events. Progress views, the status file, logs and metrics are views of it.

There is no console, file or network in here, and no thread: whoever feeds it and reads it from two threads
holds `RunTracker.lock`.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tokenmill.core.phases import Phase
from tokenmill.executors.base import (
    Notice,
    PhaseEnd,
    PhaseEvent,
    PhaseStart,
    ShardProgress,
    ShardResult,
    ShardRetry,
    ShardStart,
)
from tokenmill.executors.runspec import RunSpec

STRAGGLER_FACTOR = 3.0
"""A shard is a straggler when it has run so many times as long as the median of its phase's finished ones."""
STRAGGLER_SECONDS = 60.0
"""But not before so many seconds: short shards vary."""
STRAGGLER_FINISHED = 3
"""And not before so many shards of the phase have finished: the median of one is an anecdote."""
STRAGGLER_RECENT = 1000
"""The median is that of so many shards that finished last: sorting those of a large run takes long."""
USUAL_SECONDS = 1.0
"""So long a median is used again: several views ask several times a second, while the run waits."""
RECENT_SECONDS = 60.0
"""The window of the recent rate."""
KEPT_NOTICES = 20
"""So many of the last notices are remembered."""


@dataclass
class Active:
    """A shard under way. `since` is a time of the tracker's clock."""

    since: float
    where: str = ""
    counts: Mapping[str, Any] = field(default_factory=dict)


_NOTHING: Mapping[str, Any] = {"stages": []}


@dataclass
class PhaseState:
    """One phase as far as its events tell. Counts include what earlier sessions have committed.

    `weights` are the bytes of the shards where sizes are known (`sized`), else 1 for each; `before` is what was
    committed when the session began; times are those of the tracker's clock, `durations` seconds.
    """

    phase: Phase
    names: Sequence[str]
    weights: Sequence[float]
    opened: float
    sized: bool = False
    before: int = 0
    manifests: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    """Of the committed shards, what must be subtracted should they be taken back; empty where that cannot be."""
    split: bool = False
    """Whether the shards are spans of files, which may be taken back."""
    failed: dict[int, ShardResult] = field(default_factory=dict)
    retries: int = 0
    active: dict[int, Active] = field(default_factory=dict)
    totals: Counter[str] = field(default_factory=Counter)
    """documents, kept and quarantined of the committed shards."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Drops of the committed shards by `stage.reason`."""
    documents_before: int = 0
    weight_before: float = 0.0
    weight_done: float = 0.0
    began: float | None = None
    """When its first shard was given to a worker: a phase may be open for long before there is work for it."""
    ended: float | None = None
    last_duration: float | None = None
    """Seconds of the shard that ended last, None where nobody said when it began."""
    durations: deque[float] = field(default_factory=lambda: deque(maxlen=STRAGGLER_RECENT))
    """Of the last shards to finish."""
    paces: deque[float] = field(default_factory=lambda: deque(maxlen=STRAGGLER_RECENT))
    """Weights of the shards in `durations`."""
    recent: deque[tuple[float, int]] = field(default_factory=deque)
    weight_total: float = field(init=False)
    _usual: tuple[float, float, float] | None = None
    """When they were found, the median duration and the mean weight of the shards in `durations`."""

    def __post_init__(self) -> None:
        self.weight_total = sum(self.weights)

    @property
    def label(self) -> str:
        """The phase in words: a barrier's step by its names, anything else by its number."""
        phase = self.phase
        return f"{phase.labels[0]}: {phase.step}" if phase.step else f"phase {phase.index + 1}"

    @property
    def shards(self) -> int:
        return len(self.names)

    @property
    def committed(self) -> int:
        """Shards committed by this session and those before."""
        return len(self.manifests)

    @property
    def waiting(self) -> int:
        """Shards that nobody works on yet."""
        return max(0, self.shards - self.committed - len(self.failed) - len(self.active))

    def now(self, key: str) -> int:
        """documents, kept or quarantined, shards under way included."""
        return self.totals[key] + sum(int(active.counts.get(key, 0)) for active in self.active.values())

    @property
    def kept_share(self) -> float:
        return self.now("kept") / max(self.now("documents"), 1)

    def seconds(self, now: float) -> float:
        """Seconds since its first shard began in this session, to its end where it has ended."""
        end = self.ended if self.ended is not None else now
        return max(end - (self.began if self.began is not None else self.opened), 1e-6)

    def rate(self, now: float) -> float:
        """Documents per second of this session; what was committed before it does not count."""
        # a phase of less than a second says nothing: an executor may tell of its start and end at once
        return (self.now("documents") - self.documents_before) / max(self.seconds(now), 1.0)

    def recent_rate(self, now: float) -> float:
        """Documents per second within the last RECENT_SECONDS that events have told of."""
        if not self.recent:
            return self.rate(now)
        since, documents = self.recent[0]
        return max(0, self.now("documents") - documents) / max(now - since, 1e-6) if now > since else self.rate(now)

    def eta(self, now: float) -> float | None:
        """Seconds until all is done at the pace of this session, None before the first shard is finished."""
        if self.ended is not None:
            return 0.0
        if self.weight_done <= 0:
            return None
        left = self.weight_total - self.weight_before - self.weight_done
        return max(0.0, left * self.seconds(now) / self.weight_done)

    def stragglers(self, now: float) -> dict[int, float]:
        """Shards under way that have run much longer than the median of the finished ones: index -> seconds.

        A shard that is larger than the finished ones are on average may take longer in proportion.
        """
        if len(self.durations) < STRAGGLER_FINISHED or not self.active:
            return {}
        if self._usual is None or abs(now - self._usual[0]) >= USUAL_SECONDS:
            self._usual = now, statistics.median(self.durations), max(statistics.fmean(self.paces), 1e-9)
        _, median, usual = self._usual
        limit = max(STRAGGLER_SECONDS, STRAGGLER_FACTOR * median)
        return {
            index: now - active.since
            for index, active in self.active.items()
            if now - active.since > limit * max(1.0, self.weights[index] / usual)
        }


class RunTracker:
    """Folds events into `phases`, by index, in the order in which they were opened."""

    def __init__(self, spec: RunSpec, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.spec = spec
        self.clock = clock
        self.lock = threading.RLock()
        """To be held while a second thread reads."""
        self.started = self.last_event = clock()
        self.phases: dict[int, PhaseState] = {}
        self.notices: deque[tuple[float, Notice]] = deque(maxlen=KEPT_NOTICES)

    @property
    def open_phases(self) -> list[PhaseState]:
        """Phases that are under way; more than one where no barrier stands between them."""
        return [state for state in self.phases.values() if state.ended is None]

    @property
    def retries(self) -> int:
        return sum(state.retries for state in self.phases.values())

    def stragglers(self) -> Iterator[tuple[PhaseState, int, float]]:
        """(phase, shard, seconds) of every straggler."""
        now = self.clock()
        for state in self.open_phases:
            for index, seconds in state.stragglers(now).items():
                yield state, index, seconds

    def observe(self, phase: Phase, event: PhaseEvent) -> None:
        """Take in one event."""
        with self.lock:
            now = self.last_event = self.clock()
            if isinstance(event, PhaseStart):
                self.phases[phase.index] = self._opened(phase, event, now)
                return
            if isinstance(event, Notice):
                self.notices.append((now, event))
                return
            state = self.phases.get(phase.index)
            if state is None:
                return
            if isinstance(event, PhaseEnd):
                state.ended = now
                state.active.clear()
            elif isinstance(event, ShardStart):
                _take_back(state, event.index)
                _begin(state, event.index, now, event.where)
            elif isinstance(event, ShardProgress):
                active = state.active.get(event.index) or _begin(state, event.index, now)
                active.counts = event.counts
            elif isinstance(event, ShardRetry):
                state.active.pop(event.index, None)
                state.retries += 1
            else:
                _finish(state, event, now)
            _remember(state, now)

    def _opened(self, phase: Phase, event: PhaseStart, now: float) -> PhaseState:
        weights, sized = self._weights(phase, len(event.names))
        split = any(shard.part is not None for shard in self.spec.plan.inputs)
        state = PhaseState(phase, event.names, weights, now, sized, split=split)
        numbers = {name: index for index, name in enumerate(event.names)} if event.committed else {}
        for name, manifest in event.committed.items():
            state.before += 1
            state.weight_before += weights[numbers[name]]
            state.manifests[numbers[name]] = _counts_of(state, manifest)
            _add(state, manifest)
        state.documents_before = state.totals["documents"]
        return state

    def _weights(self, phase: Phase, shards: int) -> tuple[list[float], bool]:
        """What the shards weigh, and whether that is bytes.

        Tasks of a step weigh the same, and an unknown size (0) is the mean of the known ones.
        """
        sizes = [shard.bytes for shard in self.spec.plan.inputs]
        known = [size for size in sizes if size > 0]
        if phase.step or len(sizes) != shards or not known:
            return [1.0] * shards, False
        mean = statistics.fmean(known)
        return [float(size) if size > 0 else mean for size in sizes], True


def _begin(state: PhaseState, index: int, now: float, where: str = "") -> Active:
    if state.began is None:
        state.began = now
    state.active[index] = Active(now, where)
    return state.active[index]


def _finish(state: PhaseState, result: ShardResult, now: float) -> None:
    active = state.active.pop(result.index, None)
    if result.manifest is None:
        state.failed[result.index] = result
        return
    state.failed.pop(result.index, None)
    state.manifests[result.index] = _counts_of(state, result.manifest)
    state.weight_done += state.weights[result.index]
    state.last_duration = None
    if active is not None:
        state.last_duration = now - active.since
        state.durations.append(state.last_duration)
        state.paces.append(state.weights[result.index])
    _add(state, result.manifest)


def _counts_of(state: PhaseState, manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """What `_add` reads of a manifest, where it may be needed again: a manifest takes 16 KB of memory."""
    if not state.split:
        return _NOTHING
    wanted = ("stage", "out", "quarantined", "dropped")
    return {"stages": [{key: stage[key] for key in wanted} for stage in manifest["stages"]]}


def _take_back(state: PhaseState, index: int) -> None:
    """A committed shard is done again, because it had begun in the wrong place: what it counted was not so."""
    manifest = state.manifests.pop(index, None)
    if manifest is not None:
        state.weight_done -= state.weights[index]
        _add(state, manifest, -1)


def _add(state: PhaseState, manifest: Mapping[str, Any], sign: int = 1) -> None:
    """Count a committed manifest; tasks of steps have no documents."""
    stages = manifest["stages"]
    if not stages:
        return
    state.totals["documents"] += sign * stages[0]["out"]
    state.totals["kept"] += sign * stages[-1]["out"]
    for stage in stages:
        state.totals["quarantined"] += sign * sum(stage["quarantined"].values())
        for reason, count in stage["dropped"].items():
            state.dropped[f"{stage['stage']}.{reason}"] += sign * count


def _remember(state: PhaseState, now: float) -> None:
    """A point of the recent rate, one a second at most; the oldest is the last one outside the window."""
    if not state.recent or now - state.recent[-1][0] >= 1.0:
        state.recent.append((now, state.now("documents")))
    while len(state.recent) > 1 and now - state.recent[1][0] >= RECENT_SECONDS:
        state.recent.popleft()


def snapshot(tracker: RunTracker, *, most: int = 50) -> dict[str, Any]:
    """The state as plain values for a file or a program: seconds are rounded, lists are cut at `most`."""
    with tracker.lock:
        now = tracker.clock()
        stragglers: list[dict[str, Any]] = [
            {"phase": state.phase.index + 1, "shard": state.names[index], "seconds": round(seconds, 1)}
            | {"where": state.active[index].where}
            for state, index, seconds in tracker.stragglers()
        ]
        return {
            "seconds": round(now - tracker.started, 1),
            "quiet_seconds": round(now - tracker.last_event, 1),
            "retries": tracker.retries,
            "phases": [_phase_values(state, now, most) for state in tracker.phases.values()],
            "stragglers": sorted(stragglers, key=lambda one: -one["seconds"])[:most],
            "notices": [
                {"seconds_ago": round(now - at, 1), "phase": notice.phase + 1, "text": notice.text}
                for at, notice in tracker.notices
            ],
        }


def _phase_values(state: PhaseState, now: float, most: int) -> dict[str, Any]:
    eta = state.eta(now)
    oldest = sorted(state.active.items(), key=lambda pair: pair[1].since)[:most]
    active = [
        {
            "shard": state.names[index],
            "where": one.where,
            "seconds": round(now - one.since, 1),
            "counts": {key: one.counts[key] for key in COUNTS if key in one.counts},
        }
        for index, one in oldest
    ]
    return {
        "phase": state.phase.index + 1,
        "directory": state.phase.directory,
        "label": state.label,
        "state": "complete" if state.ended is not None else "open",
        "shards": state.shards,
        "committed": state.committed,
        "committed_before": state.before,
        "failed": {
            state.names[index]: result.error.what if result.error else ""
            for index, result in list(state.failed.items())[:most]
        },
        "failed_shards": len(state.failed),
        "retries": state.retries,
        "active_shards": len(state.active),
        "active": active,
        **{key: state.now(key) for key in ("documents", "kept", "quarantined")},
        "seconds": round(state.seconds(now), 1),
        "documents_per_second": round(state.rate(now), 2),
        "recent_documents_per_second": round(state.recent_rate(now), 2),
        "eta_seconds": None if eta is None else round(eta, 1),
    }


COUNTS = ("records", "documents", "kept", "quarantined")
"""What a shard under way tells."""
