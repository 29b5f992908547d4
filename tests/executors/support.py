"""Running recipes of `tests/data` and reading what they published."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tokenmill.core.pipeline import Pipeline, load_file
from tokenmill.core.plan import make_plan
from tokenmill.core.stage import Source
from tokenmill.executors.base import Executor
from tokenmill.executors.host import Limits
from tokenmill.executors.local import SILENCE_SECONDS, InlineExecutor, LocalExecutor
from tokenmill.executors.run import RunOutcome, execute
from tokenmill.executors.runspec import Options, RunSpec
from tokenmill.io.filesystem import list_inputs
from tokenmill.io.runfolder import RunFolder

TRAPS = Path(__file__).resolve().parents[1] / "data" / "trap_recipe.py"


def recipe(name: str) -> Pipeline:
    found: Pipeline = getattr(load_file(str(TRAPS)), name)
    return found


def run(
    pipeline: Pipeline,
    source: Path,
    output: str | Path,
    workers: int = 0,
    seconds: float = 2.0,
    silence: float = SILENCE_SECONDS,
    **options: Any,
) -> RunOutcome:
    first = pipeline.stages[0]
    assert isinstance(first, Source)
    plan = make_plan(pipeline, list_inputs(str(source), first.suffixes))
    executor: Executor = LocalExecutor(workers, silence_seconds=silence) if workers else InlineExecutor()
    spec = RunSpec.of(plan, Options(**options), str(source))
    return execute(spec, RunFolder(str(output)), executor, limits=Limits(document_seconds=seconds))


def rows(output: Path, kind: str) -> list[dict[str, Any]]:
    """Rows of all published files of a kind, in order of file name."""
    return [row for path in sorted((output / kind).glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def digests(output: Path) -> dict[str, str]:
    """SHA-256 of everything that a run promises to reproduce byte for byte."""
    kinds = ("data", "dropped", "quarantine", "dedup", "tokens")
    files = [path for kind in kinds for path in sorted((output / kind).rglob("*")) if path.is_file()]
    files += sorted(output.glob("phases/*/_SUCCESS.json"))
    files += [output / name for name in ("run.json", "README.md") if (output / name).exists()]
    return {str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
