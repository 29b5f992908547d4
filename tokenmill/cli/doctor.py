"""`tokenmill doctor`: is this machine fit to run recipes?"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Iterator

from tokenmill.cli.console import make_table, output_console, print_json, safe
from tokenmill.cli.recipes import load_recipe
from tokenmill.core.errors import TokenmillError
from tokenmill.core.plan import make_plan
from tokenmill.core.scorer import Scorer
from tokenmill.pipelines import RECIPES, WITH_MODELS
from tokenmill.report.units import human_bytes

Finding = tuple[str, str, str]
"""What was checked; ok, warning or problem; what was found."""


_EXTRAS = {"ray": "ray", "s3": "s3fs", "metrics": "prometheus-client"}
"""Extra -> its main distribution."""


def examine(ray_address: str | None = None, *, as_json: bool = False) -> int:
    """Print all findings; 0 when nothing is wrong, 2 when a recipe cannot run.

    ray_address: a Ray cluster whose nodes are asked too, and compared with this machine.
    """
    checks = [_python, _libraries, _extras, _recipes, _shared_memory, _disk, _memory]
    if ray_address is not None:
        checks.append(lambda: _cluster(ray_address))
    found = [finding for check in checks for finding in check()]
    fit = all(state != "problem" for _, state, _ in found)
    if as_json:
        print_json({"fit": fit, "checks": [dict(zip(("check", "state", "found"), one, strict=True)) for one in found]})
        return 0 if fit else 2
    table = make_table(title="tokenmill doctor")
    for name in ("check", "state", "found"):
        table.add_column(name, overflow="fold")
    for what, state, text in found:
        shown = {"ok": "ok", "warning": "[yellow]warning[/]", "problem": "[red]problem[/]"}[state]
        table.add_row(safe(what), shown, safe(text))
    output_console().print(table)
    return 0 if fit else 2


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield "python", "ok" if sys.version_info >= (3, 11) else "problem", version
    state = "ok" if sys.platform == "linux" else "warning"
    note = "" if state == "ok" else ": CPU budgets and memory limits of documents need Linux"
    yield "platform", state, sys.platform + note


def _libraries() -> Iterator[Finding]:
    for requirement in importlib.metadata.requires("tokenmill") or []:
        if "extra ==" in requirement:
            continue
        name = requirement.partition(";")[0]
        for char in "<>=!~[ (":
            name = name.partition(char)[0]
        try:
            yield name, "ok", importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield name, "problem", f"missing: pip install '{requirement}'"


def _extras() -> Iterator[Finding]:
    """Extras that a run on a cluster or an object store wants; a machine without them is fit for the rest."""
    for extra, name in _EXTRAS.items():
        try:
            yield f"extra {extra}", "ok", f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            yield f"extra {extra}", "ok", f"optional, not installed: pip install 'tokenmill[{extra}]'"


def _cluster(address: str) -> Iterator[Finding]:
    """All nodes of a Ray cluster, compared with this machine."""
    from tokenmill.executors.cluster import findings, look_around, survey

    recipes = {name: load_recipe(name).pipeline.to_json() for name in RECIPES if name not in WITH_MODELS}
    yield from findings(survey(address, recipes), look_around(recipes))


def _recipes() -> Iterator[Finding]:
    for name in RECIPES:
        pipeline = load_recipe(name).pipeline
        if name in WITH_MODELS:  # planning it might download gigabytes
            wanted = [stage.config()["model"] for stage in pipeline.stages if isinstance(stage, Scorer)]
            models = f"{', '.join(wanted)} from a hub, or models of yours (--set)" if wanted else "a language model"
            yield f"recipe {name}", "ok", f"wants {models}"
            continue
        try:
            plan = make_plan(pipeline, [])
        except TokenmillError as error:
            yield f"recipe {name}", "problem", str(error)
        else:
            yield f"recipe {name}", "ok", f"{len(plan.pipeline.stages)} stages, fingerprint {plan.fingerprint[:12]}"


def _shared_memory() -> Iterator[Finding]:
    usable = os.access("/dev/shm", os.W_OK)
    found = "writable" if usable else "not writable: heartbeats go through the temp folder"
    yield "/dev/shm", "ok" if usable else "warning", found


def _disk() -> Iterator[Finding]:
    free = shutil.disk_usage(".").free
    state = "ok" if free > 10 << 30 else "warning"
    yield "free disk here", state, human_bytes(free)


def _memory() -> Iterator[Finding]:
    try:
        available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return
    cores = os.cpu_count() or 1
    state = "ok" if available > cores * (600 << 20) else "warning"
    yield "free memory", state, f"{human_bytes(available)} for {cores} cores (a worker takes up to 600 MiB)"
