"""A Ray cluster of several machines in one, and ways to harm it."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tokenmill.core.phases import Phase
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.plan import make_plan
from tokenmill.core.stage import Source
from tokenmill.executors.base import Executor, PhaseEvent
from tokenmill.executors.host import Limits
from tokenmill.executors.run import RunOutcome, execute
from tokenmill.executors.runspec import Options, RunSpec
from tokenmill.io.filesystem import list_inputs
from tokenmill.io.runfolder import RunFolder
from tokenmill.io.units import split

OBJECT_STORE = 80 << 20


def no_noise() -> None:
    """Keep Ray's own messages and statistics away."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    os.environ["RAY_DEDUP_LOGS"] = "0"


class Cluster:
    """A head without CPUs, where the coordinator is, and machines that come and go."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster as Head

        arguments = {"num_cpus": 0, "object_store_memory": OBJECT_STORE, "include_dashboard": False}
        self._head = Head(initialize_head=True, head_node_args=arguments)
        self.address: str = self._head.address
        self.machines: list[subprocess.Popen[bytes]] = []
        self.log = Path(tempfile.mkdtemp(prefix="ray-machines-")) / "log"

    def add(self, cpus: int, gpus: int = 0) -> None:
        """Start a machine; it joins within seconds."""
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", f"--address={self.address}", "--block"]
        command += [f"--num-cpus={cpus}", f"--num-gpus={gpus}", f"--object-store-memory={OBJECT_STORE}"]
        ports = ("dashboard-agent-listen-port", "dashboard-agent-grpc-port", "metrics-export-port")
        command += [f"--{port}=0" for port in (*ports, "runtime-env-agent-port")]  # several machines share one host
        log = open(self.log, "ab")
        self.machines.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True))
        log.close()

    def kill(self, machine: subprocess.Popen[bytes]) -> None:
        """Take the power from a machine: its raylet and all else that runs on it."""
        for pid in [*descendants(machine.pid), machine.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        machine.wait()
        self.machines.remove(machine)

    def close(self) -> None:
        for machine in list(self.machines):
            self.kill(machine)
        self._head.shutdown()
        shutil.rmtree(self.log.parent)


@contextmanager
def cluster(*machines: tuple[int, int], impatient: bool = False) -> Iterator[Cluster]:
    """A cluster with machines of (CPUs, GPUs), each with 80 MB of object store, to which this process is connected.

    impatient: a machine that is gone is noticed after two seconds, not thirty.
    """
    no_noise()
    for name, value in (("period_ms", 500), ("timeout_ms", 1000), ("failure_threshold", 3)):
        if impatient:
            os.environ[f"RAY_health_check_{name}"] = str(value)
        else:
            os.environ.pop(f"RAY_health_check_{name}", None)
    import ray

    found = Cluster()
    try:
        ray.init(address=found.address, logging_level="ERROR", log_to_driver=False)
        expected = 0
        for cpus, gpus in machines:  # one after another: two that start at once on one host take the same socket
            found.add(cpus, gpus)
            expected += cpus
            try:
                wait_for(lambda: ray.cluster_resources().get("CPU", 0) == expected, 60)  # noqa: B023
            except AssertionError:
                print(found.log.read_text())
                raise
        yield found
    finally:
        ray.shutdown()
        found.close()


def descendants(pid: int) -> list[int]:
    """All processes below one, the deepest first."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[int] = []
    waiting = [pid]
    while waiting:
        waiting += (children := parents.get(waiting.pop(0), []))
        found += children
    return found[::-1]


def workers() -> list[tuple[int, str]]:
    """(pid, title) of Ray's worker processes that do shards, and of the children that they watch."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                title = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            except OSError:
                continue
            if title.startswith(("ray::run_shard", "ray::ModelWorker", "ray::Board")):
                found.append((int(entry.name), title))
            elif "tokenmill.executors.host_child" in title and _parent(entry).startswith("ray::"):
                found.append((int(entry.name), title))
    return found


def _parent(entry: Path) -> str:
    try:
        parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
        return Path(f"/proc/{parent}/cmdline").read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""


class Nemesis:
    """Kills a random worker, actor, watched child or machine now and then, and replaces machines."""

    def __init__(
        self, found: Cluster, *, seed: int, kills: int, pause: tuple[float, float], machines: float = 0.2
    ) -> None:
        """machines: share of kills that take a whole machine."""
        self._cluster = found
        self._random = random.Random(seed)
        self._left = kills
        self._pause = pause
        self._machines = machines
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.killed: list[str] = []

    def __enter__(self) -> Nemesis:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while self._left and not self._end.wait(self._random.uniform(*self._pause)):
            if self._random.random() < self._machines:
                self._cluster.kill(self._random.choice(self._cluster.machines))
                self._cluster.add(1)
                self.killed.append("machine")
            else:
                victims = sorted(workers())
                if not victims:
                    continue
                pid, title = self._random.choice(victims)
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
                self.killed.append("child" if "host_child" in title else title.split(".")[0].split()[0])
            self._left -= 1


def wait_for(condition: Any, seconds: float = 20.0) -> None:
    """Until the condition holds; an assertion error when it does not in time."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come about in time"
        time.sleep(0.1)


def run_on(
    executor: Executor, pipeline: Pipeline, source: Path, out: Path, span: int = 0, seconds: float = 2.0
) -> tuple[RunOutcome, list[PhaseEvent]]:
    first = pipeline.stages[0]
    assert isinstance(first, Source)
    inputs = split(list_inputs(str(source), first.suffixes), span)
    spec = RunSpec.of(make_plan(pipeline, inputs), Options(split_bytes=span), str(source))
    events: list[PhaseEvent] = []

    def observe(phase: Phase, event: PhaseEvent) -> None:
        events.append(event)

    limits = Limits(document_seconds=seconds)
    return execute(spec, RunFolder(str(out)), executor, limits=limits, observer=observe), events
