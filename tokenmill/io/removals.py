"""Where a run keeps what was removed from it on request, and whether that is finished: for all who read its files."""

from __future__ import annotations

from tokenmill.core.errors import ConfigError
from tokenmill.io.runfolder import RunFolder

TOMBSTONES = "tombstones"
"""Folder of `<digest>.json`, one for each removal (`executors/forget_marks.py`)."""


def check_removed(folder: RunFolder) -> None:
    """ConfigError where a removal was stopped half-way, so that files still hold what is to be forgotten."""
    names = [name for name in folder.list(TOMBSTONES) if name.endswith(".json")]
    if not all((folder.read_json(f"{TOMBSTONES}/{name}") or {}).get("done") for name in names):
        raise ConfigError(
            f"a removal of documents from {folder.location} is not finished",
            why="it was stopped half-way",
            fix="run the same tokenmill forget command again first",
        )
