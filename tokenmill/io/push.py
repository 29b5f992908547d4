"""Publishing a run on a hub: what is to be sent, and sending it so that it can be killed anywhere.

Files that the repository has are not sent again; objects that were sent and not committed are known to the server by
their digest. `run.json` goes into the first commit, by which a push that was stopped is recognized; the card goes into
the last one, together with removals, so that half a data set does not look like one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenmill.core.errors import ConfigError, FatalError
from tokenmill.io.hub_remote import Remote, RemoteFile, same
from tokenmill.io.push_files import CARD, CHECKSUMS, FOLDERS, REPORT, RUN, PushFile, fetch
from tokenmill.io.runfolder import RunFolder
from tokenmill.io.scratch import new_scratch, remove_scratch

COMMIT_FILES = 200
"""Most files of a commit; the Hub allows some hundred commits an hour."""
COMMIT_BYTES = 16 << 30
"""Most bytes of a commit, and of the copies that are held on a local disk while a run on an object store is pushed."""
_HARMLESS = frozenset({".gitattributes", ".gitignore", CARD, "LICENSE", "LICENSE.md", "LICENSE.txt"})
"""Files of a repository that holds no data yet."""


@dataclass(frozen=True)
class PushPlan:
    """What a push does."""

    send: Sequence[PushFile]
    """New and changed files, in the order in which they are sent."""
    there: Sequence[PushFile]
    """Files that the repository has already."""
    foreign: Sequence[str]
    """Files in pushed folders that are none of this run's."""
    exists: bool
    """Whether there is such a repository."""

    @property
    def bytes_to_send(self) -> int:
        return sum(file.size for file in self.send)


def plan_push(
    files: Sequence[PushFile], remote: Remote, *, private: bool, prune: bool, force: bool, check: bool = True
) -> PushPlan:
    """Compare the files of a run with the repository. ConfigError where a push would mix or expose data.

    check: False only tells, for a dry run.
    """
    visible = remote.exists()
    there = remote.files() if visible is not None else {}
    wanted = {file.path for file in files}
    # folders that an earlier push may have filled are looked at, too: what was forgotten since must not stay there
    folders = {path.partition("/")[0] for path in wanted if "/" in path} | {*FOLDERS, "recipe"}
    ours = {path for path in there if path.partition("/")[0] in folders and "/" in path} | {REPORT} & there.keys()
    foreign = sorted(ours - wanted)
    plan = PushPlan(
        send=[file for file in files if not same(file, there.get(file.path))],
        there=[file for file in files if same(file, there.get(file.path))],
        foreign=foreign,
        exists=visible is not None,
    )
    if check:
        _refuse_exposure(remote, visible, private)
        if not force:
            _refuse_foreign_repository(remote, there)
        if foreign and not prune:
            raise _mixture(remote, foreign)
    return plan


def _refuse_exposure(remote: Remote, visible: bool | None, private: bool) -> None:
    if private and visible is False:
        raise ConfigError(
            f"{remote.name} is public, and --private was given",
            fix="make the repository private on the hub, choose another one, or leave out --private",
        )


def _refuse_foreign_repository(remote: Remote, there: dict[str, RemoteFile]) -> None:
    """ConfigError for a repository with files that no push has made: its owner may not mean this one."""
    if not there.keys() - _HARMLESS:
        return
    recorded: Any = None
    with suppress(ValueError):
        recorded = json.loads(remote.read(RUN) or b"null") if RUN in there else None
    if not (isinstance(recorded, dict) and "tokenmill" in recorded and "fingerprint" in recorded):
        others = sorted(there.keys() - _HARMLESS)
        raise ConfigError(
            f"{remote.name} holds files that tokenmill did not put there",
            why=f"{len(others)} files, such as {', '.join(others[:3])}, and no run.json of a run",
            fix="choose another repository, or --force: files outside the folders of the run stay as they are",
        )


def _mixture(remote: Remote, foreign: Sequence[str]) -> ConfigError:
    names = ", ".join(foreign[:5]) + (", ..." if len(foreign) > 5 else "")
    return ConfigError(
        f"{remote.name} has {len(foreign)} files in the folders of this run that are none of its files",
        why=f"a reader of data/*.parquet would get a mixture: {names}",
        fix="--prune removes them in the commit of the card (git keeps their history), or choose another repository",
    )


def push(
    plan: PushPlan,
    folder: RunFolder,
    remote: Remote,
    *,
    private: bool,
    prune: bool,
    observer: Callable[[int, int], None] = lambda files, size: None,
) -> int:
    """Send what the plan says, and return the number of commits. Killed at any time, the same call goes on.

    observer: is told files and bytes after each commit.
    """
    if not plan.exists or remote.revision != "main":
        remote.create(private)
    if plan.send:
        remote.choose_protocol()
    removed = list(plan.foreign) if prune else []
    last = [file for file in plan.send if file.path in (CARD, CHECKSUMS)]
    batches = [*_batches([file for file in plan.send if file not in last])]
    if last or removed:
        batches.append(last)
    for number, batch in enumerate(batches, start=1):
        final = number == len(batches)
        scratch = new_scratch()
        try:
            sources = [(file, _source(folder, file, scratch)) for file in batch]
            message = f"tokenmill: files {number} of {len(batches)}"
            remote.commit(sources, removed if final else (), message)
        finally:
            remove_scratch(scratch)
        observer(len(batch), sum(file.size for file in batch))
    if batches:
        _verify([*plan.send, *plan.there], removed, remote)
    return len(batches)


def _verify(files: Sequence[PushFile], removed: Sequence[str], remote: Remote) -> None:
    """FatalError where the repository does not have now what it should: a .gitignore there, or another writer."""
    there = remote.files()
    wrong = [file.path for file in files if not same(file, there.get(file.path))]
    wrong += [path for path in removed if path in there]
    if wrong:
        raise FatalError(
            f"{len(wrong)} files of {remote.name} are not as they were sent: {', '.join(wrong[:5])}",
            why="a .gitignore of the repository leaves them out, or somebody else writes there",
            fix="look at the repository, then run the same command again",
        )


def _source(folder: RunFolder, file: PushFile, scratch: Path) -> Path | bytes:
    return file.content if file.content is not None else fetch(folder, file, scratch)


def _batches(files: Sequence[PushFile]) -> Iterator[list[PushFile]]:
    batch: list[PushFile] = []
    for file in files:
        if batch and (len(batch) >= COMMIT_FILES or sum(f.size for f in batch) + file.size > COMMIT_BYTES):
            yield batch
            batch = []
        batch.append(file)
    if batch:
        yield batch


def in_order(data: Collection[PushFile], made: Collection[PushFile]) -> list[PushFile]:
    """The files in the order of a push: `run.json` first, the card last."""
    first = [file for file in made if file.path == RUN]
    last = sorted((file for file in made if file.path in (CARD, CHECKSUMS)), key=lambda file: file.path == CARD)
    between = [file for file in made if file.path not in (RUN, CARD, CHECKSUMS)]
    return [*first, *data, *between, *last]
