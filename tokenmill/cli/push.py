"""`tokenmill push`: check that a run may be published, compare it with the repository, send what is missing."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenmill.cli.console import error_console, output_console, print_json, safe_line
from tokenmill.core.errors import ConfigError
from tokenmill.executors.forget_marks import tombstones
from tokenmill.io.hub_remote import Remote, quiet_library
from tokenmill.io.push import PushPlan, in_order, plan_push, push
from tokenmill.io.push_files import (
    CARD,
    CHECKSUMS,
    RUN,
    PushFile,
    checksum_lines,
    chosen_files,
    made_file,
    published_run,
)
from tokenmill.io.runfolder import RunFolder
from tokenmill.report.card import counts_of, render_card
from tokenmill.report.counts import data_files
from tokenmill.report.funnel import Funnel, fold
from tokenmill.report.units import human_bytes

EXIT_RESUMABLE = 75
_SHOWN = 20
_ROWS = re.compile(r"^ +num_examples: (\d+)$", re.MULTILINE)
_RECIPE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,120}")


@dataclass(frozen=True)
class PushRequest:
    """The arguments of `tokenmill push`."""

    run: str
    repository: str
    private: bool = False
    revision: str = "main"
    endpoint: str | None = None
    include: tuple[str, ...] = ()
    prune: bool = False
    force: bool = False
    dry_run: bool = False
    as_json: bool = False


def push_run(request: PushRequest) -> int:
    """Publish a run, or show what would be sent; the exit code. ConfigError where it may not be published."""
    folder = RunFolder(request.run)
    files = files_of(folder, request.include)
    remote = Remote(request.repository, request.revision, request.endpoint, told=_tell)
    with quiet_library():
        plan = plan_push(
            files,
            remote,
            private=request.private,
            prune=request.prune,
            force=request.force,
            check=not request.dry_run,
        )
        if request.dry_run:
            _show(request, remote, plan)
            return 0
        _tell(f"{len(plan.send):,} files to send ({human_bytes(plan.bytes_to_send)}), {len(plan.there):,} are there")
        try:
            commits = push(
                plan, folder, remote, private=request.private, prune=request.prune, observer=_Progress(plan).told
            )
        except KeyboardInterrupt:
            print("stopped. Run the same command again: what is there is not sent again.", file=sys.stderr)
            return EXIT_RESUMABLE
    _done(request, remote, plan, commits)
    return 0


def files_of(folder: RunFolder, include: Collection[str]) -> list[PushFile]:
    """All files of the repository that is to be, in the order in which they are sent."""
    funnel = fold(folder)
    _refuse_unfinished(folder, funnel)
    folders = {"data", *include} - {"report", "recipe"}
    if "text" not in funnel.run["columns"]:
        folders.add("tokens")  # else nothing of the texts would be published
    data = chosen_files(folder, folders)
    if not data:
        raise ConfigError(f"{folder.location} has no data files", fix="publish a run that kept documents")
    made = [made_file(RUN, published_run(funnel.run))]
    if "report" in include:
        made.append(made_file("report.html", _existing(folder, "report.html")))
    if "recipe" in include:
        names = [name for name in folder.list("recipe") if _RECIPE_NAME.fullmatch(name)]
        made += [made_file(f"recipe/{name}", _existing(folder, f"recipe/{name}")) for name in names]
    made.append(made_file(CARD, _card(folder, funnel)))
    made.append(made_file(CHECKSUMS, checksum_lines([*data, *made])))
    return in_order(data, made)


def _refuse_unfinished(folder: RunFolder, funnel: Funnel) -> None:
    """ConfigError for a run that is not complete, or whose books do not balance."""
    open_phases = [
        phase["directory"]
        for phase in funnel.run["phases"]
        if not folder.exists(f"phases/{phase['directory']}/_SUCCESS.json")
    ]
    if open_phases or not funnel.complete:
        raise ConfigError(
            f"the run in {folder.location} is not finished: {funnel.shards_done} of {funnel.shards} shards are done",
            why=f"phase {open_phases[0]} has no _SUCCESS.json" if open_phases else "",
            fix="run its command again until it ends, then push",
        )
    if not all(tombstone.done for tombstone in tombstones(folder)):
        raise ConfigError(
            f"a removal of documents from {folder.location} is not finished",
            why="some of them may still be in the data",
            fix="run the same tokenmill forget command again, then push",
        )
    if funnel.balance:
        raise ConfigError(
            f"the books of {folder.location} do not balance: {funnel.balance} records are unaccounted for",
            why="manifests were changed or lost after the run",
            fix="run its command again into a new folder",
        )


def _card(folder: RunFolder, funnel: Funnel) -> str:
    """`README.md` of the run, with what its owner has written into it; ConfigError where the data is another now."""
    text = folder.read_text(CARD)
    if text is None:
        return render_card(funnel, counts_of(folder, funnel))
    stated = _ROWS.search(text.partition("\n---\n")[0])
    rows = sum(entry["rows"] for entry in data_files(folder))
    if stated is not None and int(stated.group(1)) != rows:
        raise ConfigError(
            f"{CARD} tells of {int(stated.group(1)):,} documents, the run has {rows:,}",
            why="it was written before the data was changed",
            fix=f"tokenmill report {folder.location} writes it again",
        )
    return text


def _existing(folder: RunFolder, name: str) -> str:
    text = folder.read_text(name)
    if text is None:
        raise ConfigError(f"{folder.location} has no {name}", fix=f"tokenmill report {folder.location}")
    return text


class _Progress:
    """Counts what has been sent."""

    def __init__(self, plan: PushPlan) -> None:
        self._plan = plan
        self._files = self._bytes = 0

    def told(self, files: int, size: int) -> None:
        self._files += files
        self._bytes += size
        sent = f"{human_bytes(self._bytes)} of {human_bytes(self._plan.bytes_to_send)}"
        _tell(f"{self._files:,} of {len(self._plan.send):,} files are there, {sent}")


def _tell(line: str) -> None:
    error_console().print(safe_line(line), highlight=False, soft_wrap=True)


def _entries(files: Sequence[PushFile], state: str) -> list[Mapping[str, Any]]:
    return [{"path": file.path, "bytes": file.size, "sha256": file.sha256, "state": state} for file in files]


def _facts(request: PushRequest, remote: Remote, plan: PushPlan) -> dict[str, Any]:
    return {
        "repository": remote.name,
        "endpoint": remote.endpoint,
        "revision": remote.revision,
        "exists": plan.exists,
        "files_to_send": len(plan.send),
        "bytes_to_send": plan.bytes_to_send,
        "files_there": len(plan.there),
        "foreign": list(plan.foreign),
    }


def _show(request: PushRequest, remote: Remote, plan: PushPlan) -> None:
    """What would be sent, for a dry run."""
    if request.as_json:
        files = [*_entries(plan.send, "send"), *_entries(plan.there, "there")]
        print_json({**_facts(request, remote, plan), "files": files})
        return
    console = output_console()
    state = "is there" if plan.exists else "would be made"
    lines = [f"{remote.endpoint}/datasets/{remote.name} ({remote.revision}) {state}"]
    lines += [f"  send   {human_bytes(file.size):>10}  {file.path}" for file in plan.send[:_SHOWN]]
    if len(plan.send) > _SHOWN:
        lines.append(f"  ... and {len(plan.send) - _SHOWN:,} more (--json lists all)")
    for path in plan.foreign[:_SHOWN]:
        lines.append(f"  {'remove' if request.prune else 'in the way (--prune)'}  {path}")
    lines.append(
        f"{len(plan.send):,} files to send, {human_bytes(plan.bytes_to_send)}; {len(plan.there):,} are there already"
    )
    for line in lines:
        console.print(safe_line(line), highlight=False, soft_wrap=True)


def _done(request: PushRequest, remote: Remote, plan: PushPlan, commits: int) -> None:
    if request.as_json:
        print_json({**_facts(request, remote, plan), "commits": commits})
        return
    address = f"{remote.endpoint}/datasets/{remote.name}"
    output_console().print(safe_line(f"published  {address}  ({commits} commits)"), highlight=False, soft_wrap=True)
