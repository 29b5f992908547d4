"""A look at every node of a Ray cluster: are they fit to work on one run?

A run is the same byte for byte only where all workers have the same libraries, models and lists. Workers check that
themselves and stop; this finds it before a run begins. Ray is imported here, and only when it is asked for.
"""

from __future__ import annotations

import logging
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tokenmill import __version__
from tokenmill.core.errors import ConfigError, TokenmillError
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.plan import make_plan
from tokenmill.executors.runspec import versions

ANSWER_SECONDS = 60.0
"""A node that has not answered for so long is a problem; a cold one takes seconds to start a worker and import."""
CLOCK_SECONDS = 5.0
"""A larger difference of clocks confuses who reads logs and status files."""
FREE_BYTES = 10 << 30
"""Less free disk is a warning: Ray spills there, and files for object stores are made in the temporary folder."""
MEMORY_PER_CPU = 1 << 30
"""Less memory per core is a warning: a worker of a recipe with trafilatura takes up to 600 MiB."""

Finding = tuple[str, str, str]
"""What was checked; ok, warning or problem; what was found."""


@dataclass(frozen=True)
class NodeReport:
    """One node: what Ray says of it, what it said itself (`facts`, of `look_around`), or why it did not."""

    name: str
    resources: Mapping[str, float]
    facts: Mapping[str, Any] | None
    error: str = ""
    clock_seconds: float | None = None
    """How far its clock is ahead of the one here."""


def look_around(recipes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What this process sees: versions, fingerprints of recipes (name -> `Pipeline.to_json`), disks and memory."""
    fingerprints = {}
    for name, data in recipes.items():
        try:
            fingerprints[name] = make_plan(Pipeline.from_json(data), []).fingerprint
        except TokenmillError as error:
            fingerprints[name] = f"fails: {error.what}"
    spill = os.environ.get("RAY_TMPDIR", "/tmp/ray")
    return {
        "host": platform.node(),
        "versions": {"tokenmill": __version__, "system": platform.system(), **versions()},
        "machine": platform.machine(),
        "fingerprints": fingerprints,
        "free": {
            "temporary folder": shutil.disk_usage(tempfile.gettempdir()).free,
            **({"Ray's folder": shutil.disk_usage(spill).free} if os.path.isdir(spill) else {}),
        },
    }


def _clock() -> float:
    return time.time()


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """The module `ray`, connected: with the session that this process has, else with one that ends with the block.

    ConfigError when Ray is missing or no cluster answers at the address ("auto": the one of this machine).
    """
    try:
        import ray
    except ImportError as error:
        raise ConfigError("--ray-address needs Ray", why=str(error), fix="pip install 'tokenmill[ray]'") from error
    if ray.is_initialized():
        yield ray
        return
    # says what Ray will do in the future anyway, and keeps a warning away
    added = "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO" not in os.environ
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:  # ConnectionError, RuntimeError, ValueError and gRPC's own
            raise ConfigError(
                f"no Ray cluster answers at {address}",
                why=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
                fix="check the address (HOST:6379, ray://HOST:10001 or auto) and `ray status` there",
            ) from error
        yield ray
    finally:
        ray.shutdown()
        if added:
            os.environ.pop("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", None)


def survey(
    address: str, recipes: Mapping[str, Mapping[str, Any]], *, seconds: float = ANSWER_SECONDS
) -> list[NodeReport]:
    """Ask every node that Ray calls alive, all at once; those that do not answer within `seconds` say so.

    Tasks ask for no CPU, so that they run on a busy cluster too.
    """
    with connected(address) as ray:
        nodes = sorted((node for node in ray.nodes() if node["Alive"]), key=lambda node: node["NodeManagerAddress"])
        asked = {node["NodeID"]: _ask(ray, look_around, node["NodeID"], dict(recipes)) for node in nodes}
        ray.wait(list(asked.values()), num_returns=len(asked), timeout=seconds)
        return [_report(ray, node, asked[node["NodeID"]], seconds) for node in nodes]


def _ask(ray: Any, function: Any, node: str, *arguments: Any) -> Any:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
    return ray.remote(function).options(num_cpus=0, max_retries=0, scheduling_strategy=here).remote(*arguments)


def _report(ray: Any, node: Mapping[str, Any], asked: Any, seconds: float) -> NodeReport:
    name = f"{node.get('NodeManagerHostname', '')} ({node['NodeManagerAddress']}, {node['NodeID'][:8]})".strip()
    try:
        facts = ray.get(asked, timeout=0.01)
        # the worker is warm now, so the way there and back is short
        sent = time.time()
        told = ray.get(_ask(ray, _clock, node["NodeID"]), timeout=seconds)
        ahead = told - (sent + time.time()) / 2
    except ray.exceptions.GetTimeoutError:
        ray.cancel(asked, force=True)
        return NodeReport(name, node["Resources"], None, f"no answer within {seconds:.0f} s")
    except Exception as error:  # the task's own error, a lost node, tokenmill that cannot be imported there
        lines = [line for line in str(error).splitlines() if line.strip()]
        return NodeReport(name, node["Resources"], None, f"{type(error).__name__}: {lines[-1] if lines else ''}")
    return NodeReport(name, node["Resources"], facts, clock_seconds=ahead)


def findings(reports: Sequence[NodeReport], here: Mapping[str, Any]) -> Iterator[Finding]:
    """What the nodes have in common with this process (`here`, of `look_around`), and what not, with their names."""
    total = {key: sum(report.resources.get(key, 0) for report in reports) for key in ("CPU", "GPU")}
    yield "Ray nodes", "ok" if reports else "problem", f"{len(reports)}: {total['CPU']:g} CPUs, {total['GPU']:g} GPUs"
    for report in reports:
        if report.facts is None:
            yield f"node {report.name}", "problem", report.error
        else:
            yield from _node(report)
    answered = [(report.name, report.facts) for report in reports if report.facts is not None]
    for group, what in (("versions", "version of"), ("fingerprints", "recipe")):
        yield from _differences(group, what, answered, here)


def _node(report: NodeReport) -> Iterator[Finding]:
    assert report.facts is not None
    resources = report.resources
    cpus, memory = resources.get("CPU", 0), resources.get("memory", 0)
    free = report.facts["free"]
    ahead = report.clock_seconds or 0.0
    notes = []
    if cpus and memory / cpus < MEMORY_PER_CPU:
        notes.append("little memory for so many cores")
    notes += [f"little room in the {place}" for place, count in free.items() if count < FREE_BYTES]
    if abs(ahead) > CLOCK_SECONDS:
        notes.append(f"its clock is {abs(ahead):.0f} s {'ahead' if ahead > 0 else 'behind'}")
    gib = 1 << 30
    found = (
        f"{cpus:g} CPUs, {resources.get('GPU', 0):g} GPUs, {memory / gib:.1f} GiB memory,"
        f" {resources.get('object_store_memory', 0) / gib:.1f} GiB object store, free: "
        + ", ".join(f"{place} {count / gib:.0f} GiB" for place, count in free.items())
    )
    yield f"node {report.name}", "warning" if notes else "ok", "; ".join([found, *notes])


def _differences(
    group: str, what: str, answered: Sequence[tuple[str, Mapping[str, Any]]], here: Mapping[str, Any]
) -> Iterator[Finding]:
    """One finding per name on which nodes differ from here, and one for all that agree."""
    names = sorted({name for facts in (here, *(facts for _, facts in answered)) for name in facts[group]})
    same = 0
    for name in names:
        mine = here[group].get(name, "missing")
        others: dict[str, list[str]] = {}
        for node, facts in answered:
            theirs = facts[group].get(name, "missing")
            if theirs != mine:
                others.setdefault(theirs, []).append(node)
        same += not others
        if others:
            there = "; ".join(f"{_short(value)} on {', '.join(nodes)}" for value, nodes in sorted(others.items()))
            yield f"{what} {name}", "problem", f"{_short(mine)} here, {there}: give all nodes the same environment"
    if answered:
        yield f"{group} on {len(answered)} nodes", "ok", f"{same} of {len(names)} as here"


def _short(value: str) -> str:
    """A fingerprint cut to what people compare; anything else as it is."""
    return value[:12] if len(value) == 64 else value
