"""`tokenmill refilter`: other thresholds on the stored signals of an annotated run."""

from __future__ import annotations

from pathlib import Path

from tokenmill.cli.recipes import import_stages
from tokenmill.cli.run import RunRequest, run_spec
from tokenmill.core.errors import ConfigError
from tokenmill.core.settings import parse_assignment
from tokenmill.executors.refilter import refilter_spec


def refilter_run(
    run: str,
    output: str,
    settings: tuple[str, ...],
    workers: int,
    executor: str = "local",
    ray_address: str | None = None,
    *,
    preflight: bool = True,
) -> int:
    """Filter, write the report, tell the user; returns the exit code."""
    if "://" not in run + output and Path(output).resolve().is_relative_to(Path(run).resolve()):
        raise ConfigError("the output lies in the run itself", fix="choose another --output")
    import_stages()
    spec = refilter_spec(run, [parse_assignment(text) for text in settings])
    request = RunRequest(
        recipe=spec.plan.pipeline.name,
        input=None,
        output=output,
        settings=settings,
        workers=workers,
        executor=executor,
        ray_address=ray_address,
        preflight=preflight,
    )
    return run_spec(request, spec)
