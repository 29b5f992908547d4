"""Which executor a command uses."""

from __future__ import annotations

import os

from tokenmill.core.errors import ConfigError
from tokenmill.executors.base import Executor
from tokenmill.executors.local import InlineExecutor, LocalExecutor


def choose_executor(name: str, workers: int, ray_address: str | None = None) -> Executor:
    """The executor of that name (`local` or `ray`); ConfigError where the options do not go together.

    workers: processes, or with Ray shards in flight at once; -1: as many as there are cores or the cluster can run;
    0: everything in this process.
    """
    if name == "ray":
        if workers == 0:
            raise ConfigError("--workers 0 runs in this process", fix="leave out --executor ray, or --workers")
        try:
            from tokenmill.executors.ray import RayExecutor
        except ImportError as error:
            raise ConfigError("Ray is not installed", why=str(error), fix="pip install 'tokenmill[ray]'") from error
        return RayExecutor(ray_address, workers=workers)
    if ray_address is not None:
        raise ConfigError("--ray-address belongs to --executor ray", fix="add --executor ray")
    if workers == 0:
        return InlineExecutor()
    return LocalExecutor(workers if workers > 0 else available_cores())


def available_cores() -> int:
    """Cores that this process may use (containers and job schedulers often allow fewer than there are)."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
