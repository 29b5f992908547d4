"""What Ray costs over the local executor, and what a second CPU brings: the same files, in turns, in one run.

    .venv/bin/python benchmarks/scaling.py [--files 10] [--rounds 2] [--recipe fineweb]

Ray runs on this machine: one node, started before the clock. The clock of a run starts with the first phase and stops
when the last one is sealed, so that starting Ray and finding files are in neither; worker processes are started inside
in both. `machine` is what two CPUs of this machine can bring at most: two runs with one worker each, at the same time,
against one alone (CPUs that share a core, or are shared with others, bring less than twice).
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tokenmill.cli.recipes import load_recipe
from tokenmill.core.phases import Phase
from tokenmill.core.plan import make_plan
from tokenmill.core.stage import Source
from tokenmill.executors.base import Executor, PhaseEnd, PhaseEvent, PhaseStart
from tokenmill.executors.local import LocalExecutor
from tokenmill.executors.run import execute
from tokenmill.executors.runspec import Options, RunSpec
from tokenmill.io.filesystem import list_inputs
from tokenmill.io.runfolder import RunFolder

ROOT = Path(__file__).resolve().parents[1]
CRAWL = ROOT.parent / "shared/crawl"
OVERHEAD = 1.15
SPEEDUP = 1.8


class Clock:
    """Seconds from the first phase to the last seal."""

    def __init__(self) -> None:
        self.first = self.last = 0.0

    def __call__(self, phase: Phase, event: PhaseEvent) -> None:
        if isinstance(event, PhaseStart) and not self.first:
            self.first = time.monotonic()
        if isinstance(event, PhaseEnd):
            self.last = time.monotonic()

    @property
    def seconds(self) -> float:
        return self.last - self.first


def one_run(recipe: str, source: Path, out: Path, executor: Executor) -> float:
    """Seconds of a run."""
    pipeline = load_recipe(recipe).pipeline
    first = pipeline.stages[0]
    assert isinstance(first, Source)
    plan = make_plan(pipeline, list_inputs(str(source), first.suffixes))
    clock = Clock()
    outcome = execute(RunSpec.of(plan, Options(), str(source)), RunFolder(str(out)), executor, observer=clock)
    assert outcome.failures == {}, outcome.failures
    return clock.seconds


def local(cpus: int) -> Callable[[], Executor]:
    return lambda: LocalExecutor(cpus)


def on_ray(cpus: int) -> Callable[[], Executor]:
    def make() -> Executor:
        from tokenmill.executors.ray import RayExecutor, connect

        connect("local", cpus)
        return RayExecutor()

    return make


def together(recipe: str, source: Path, work: Path, copies: int) -> float:
    """Seconds until so many runs with one worker each, started at once, have ended; from the first clock on."""
    command = [sys.executable, __file__, "--single", "--recipe", recipe, "--input", str(source)]
    processes = [
        subprocess.Popen([*command, "--output", str(work / f"copy-{n}")], stdout=subprocess.PIPE, text=True)
        for n in range(copies)
    ]
    return max(float(process.communicate()[0].splitlines()[-1]) for process in processes)


def main() -> None:
    """Measure, print a table and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--input", type=Path, default=CRAWL)
    parser.add_argument("--files", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--recipe", default="fineweb")
    parser.add_argument("--single", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.single:
        print(one_run(arguments.recipe, arguments.input, arguments.output, LocalExecutor(1)))
        return
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with tempfile.TemporaryDirectory(prefix="tokenmill-bench-") as folder:
        work = Path(folder)
        source = work / "in"
        source.mkdir()
        for path in sorted(arguments.input.glob("*.warc.gz"))[: arguments.files]:
            (source / path.name).symlink_to(path)
        report(measure(arguments.recipe, source, work, arguments.rounds), len(list(source.iterdir())))


def measure(recipe: str, source: Path, work: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds of every way, in turns."""
    ways = {"local, 1 CPU": local(1), "Ray, 1 CPU": on_ray(1), "local, 2 CPUs": local(2), "Ray, 2 CPUs": on_ray(2)}
    seconds: dict[str, list[float]] = {name: [] for name in [*ways, "machine, 1 run", "machine, 2 runs"]}
    for number in range(rounds):
        for name, make in ways.items():
            out = work / f"{name}-{number}"
            seconds[name].append(one_run(recipe, source, out, make()))
            _end_ray()
            shutil.rmtree(out)
            print(f"{name}: {seconds[name][-1]:.1f} s", file=sys.stderr, flush=True)
        for copies, name in ((1, "machine, 1 run"), (2, "machine, 2 runs")):
            seconds[name].append(together(recipe, source, work / f"together-{number}-{copies}", copies))
            shutil.rmtree(work / f"together-{number}-{copies}")
            print(f"{name}: {seconds[name][-1]:.1f} s", file=sys.stderr, flush=True)
    return seconds


def _end_ray() -> None:
    if "ray" in sys.modules:
        import ray

        ray.shutdown()


def report(seconds: dict[str, list[float]], files: int) -> None:
    """The table and the ratios that are promised."""
    middle = {name: statistics.median(found) for name, found in seconds.items()}
    print(f"\n{files} files\n\n| | seconds (median) | all rounds |\n|---|---:|---|")
    for name, found in seconds.items():
        print(f"| {name} | {middle[name]:.1f} | {', '.join(f'{value:.1f}' for value in found)} |")
    overhead = middle["Ray, 2 CPUs"] / middle["local, 2 CPUs"]
    print(f"\nRay over local, 2 CPUs: {overhead:.2f}x (at most {OVERHEAD})")
    print(f"Ray over local, 1 CPU: {middle['Ray, 1 CPU'] / middle['local, 1 CPU']:.2f}x")
    ceiling = 2 * middle["machine, 1 run"] / middle["machine, 2 runs"]
    for name in ("Ray", "local"):
        factor = middle[f"{name}, 1 CPU"] / middle[f"{name}, 2 CPUs"]
        share = f"{factor / ceiling:.0%} of what this machine can"
        print(f"{name}, 1 -> 2 CPUs: {factor:.2f}x (at least {SPEEDUP}); {share}")
    print(f"two CPUs of this machine at most: {ceiling:.2f}x")


if __name__ == "__main__":
    main()
