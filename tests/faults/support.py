"""Corpora, runs and what is compared, for the tests that break things on purpose."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.dedup.support import published
from tests.io.archives import member, record
from tokenmill.io.runfolder import RunFolder
from tokenmill.report.funnel import fold

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "data" / "example.warc.gz"
RECIPES = Path(__file__).with_name("recipes.py")

DOCUMENTED = (0, 2, 3, 75)
"""Exit codes of `tokenmill run` that mean something (see tokenmill.cli.main)."""


def members() -> list[bytes]:
    """The gzip members of the example archive, one record each."""
    from fastwarc.warc import ArchiveIterator

    data = EXAMPLE.read_bytes()
    marks = [found.stream_pos for found in ArchiveIterator(str(EXAMPLE), parse_http=False)]
    return [data[first:last] for first, last in itertools.pairwise([*marks, len(data)])]


def split_example(folder: Path, parts: int) -> Path:
    """The example archive cut at member boundaries into several files, so that runs have work to lose."""
    cut = members()
    return _write(folder / "in", [_part(cut, number, parts) for number in range(parts)])


def small_archives(folder: Path, parts: int, pages: int) -> Path:
    """`parts` archives of about `pages` pages, among them a copy of a page of the part before, and a poisonous one."""
    all_members = members()[1:]
    chosen = []
    for number in range(parts):
        first = number * (pages - 2)
        poison = record(number, f"poison {number} {'x' * 300}".encode())
        chosen.append([*all_members[first : first + pages - 1], all_members[max(0, first - 1)], member(poison)])
    return _write(folder / "in", chosen)


def _part(items: Sequence[bytes], number: int, parts: int) -> Sequence[bytes]:
    return items[len(items) * number // parts : len(items) * (number + 1) // parts]


def _write(source: Path, parts: Sequence[Sequence[bytes]]) -> Path:
    source.mkdir(parents=True, exist_ok=True)
    for number, part in enumerate(parts):
        (source / f"part-{number:02d}.warc.gz").write_bytes(b"".join(part))
    return source


@dataclass(frozen=True)
class Command:
    """`tokenmill run` of a recipe over an input."""

    recipe: str
    source: Path
    workers: int
    extra: tuple[str, ...] = ()

    def start(
        self, out: Path, env: Mapping[str, str] | None = None, workers: int | None = None
    ) -> subprocess.Popen[bytes]:
        """The process, leader of a group of its own. Its standard error goes to a file beside the output."""
        recipe = self.recipe if self.recipe == "fineweb" else f"{RECIPES}:{self.recipe}"
        command = [sys.executable, "-m", "tokenmill", "run", recipe, "--input", str(self.source), "--output", str(out)]
        number = self.workers if workers is None else workers
        with open(errors_file(out), "wb") as errors:
            return subprocess.Popen(
                # the poisonous pages are more than 5 % of these few
                [*command, "--workers", str(number), "--max-quarantined", "1", *self.extra],
                start_new_session=True,
                cwd=ROOT,
                env=env,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )

    def finish(self, out: Path, env: Mapping[str, str] | None = None, workers: int | None = None) -> tuple[int, str]:
        """Exit code and standard error of a whole run."""
        process = self.start(out, env, workers)
        try:
            process.wait(timeout=300)
        except BaseException:
            kill_group(process)
            raise
        return process.returncode, errors_of(out)


def errors_file(out: Path) -> Path:
    """Where the standard error of a run is kept."""
    beside = out.parent.parent if os.path.ismount(out.parent) else out.parent  # a full disk has no room for messages
    return beside / f"{out.name}.err"


def errors_of(out: Path) -> str:
    """Standard error of the last run."""
    return errors_file(out).read_text("utf-8", "replace")


def unforeseen(errors: str) -> bool:
    """Whether standard error has a traceback.

    Not counted: what the interpreter says of `ParquetWriter.__del__`, which closes the file of an abandoned attempt,
    on a disk that is still full.
    """
    ignored = r"Exception ignored in: <function ParquetWriter.__del__ .*\nTraceback.*\n(?: .*\n)*OSError.*\n"
    return "Traceback" in re.sub(ignored, "", errors)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def counts(out: Path) -> dict[str, Any]:
    """What the manifests of a finished run count, without times."""
    funnel = fold(RunFolder(str(out)))
    assert funnel.complete
    assert funnel.balance == 0
    stages = [{key: value for key, value in s.to_json().items() if key != "seconds"} for s in funnel.stages]
    return {"stages": stages, "kept": funnel.kept, "records": funnel.records}


def outcome(out: Path) -> dict[str, Any]:
    """All that must be the same however a run came to its end: published bytes and counts."""
    return {**published(out), "counts": counts(out)}


def wrongly_visible(out: Path, golden: Mapping[str, Any]) -> list[str]:
    """Published files of an unfinished run that are not yet what they will be in the end; there must be none."""
    present = published(out) if out.exists() else {}
    return [path for path, digest in present.items() if digest != golden.get(path)]


def leftovers(out: Path) -> list[str]:
    """What a finished run must not leave: work in progress, temporary files."""
    found = [path for path in out.rglob("*") if path.name == "attempts" or path.suffix == ".tmp"]
    return [str(path.relative_to(out)) for path in found]


def commits(out: Path) -> dict[str, int]:
    """Manifest -> when it was written: a committed shard that is processed again would show here."""
    return {
        str(path.relative_to(out)): path.stat().st_mtime_ns
        for path in out.glob("phases/*/manifests/*.json")
        if _present(path)
    }


def _present(path: Path) -> bool:
    try:
        path.stat()
    except FileNotFoundError:
        return False
    return True


def processed_again(before: Mapping[str, int], after: Mapping[str, int]) -> list[str]:
    """Shards whose manifest has been replaced or has gone since."""
    return [name for name, time_of in before.items() if after.get(name) != time_of]


def tree(root: int) -> list[int]:
    """A process and all that came from it, its workers and children."""
    parents: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry))
    found, waiting = [], [root]
    while waiting:
        found.append(waiting.pop())
        waiting += parents.get(found[-1], [])
    return found


def wait_for(condition: Any, seconds: float = 30.0) -> bool:
    """Whether a condition came true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.005)
    return False


def gone(pid: int) -> bool:
    """Whether a process has ended, be it waited for or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def report_figures(what: str, figures: Mapping[str, Any]) -> None:
    """Add a line to the file that FAULTS_FIGURES names, for docs/reliability.md."""
    if place := os.environ.get("FAULTS_FIGURES"):
        with open(place, "a") as stream:
            print(what, dict(figures), file=stream)
