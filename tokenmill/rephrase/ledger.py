"""The ledger: every answer of a model, kept under the key of its request, for this run and for others.

A folder of segments (`segments.py`) that nobody changes once they are written. A session writes one of its own and
holds the range of parts that it asks about; what the ledger knows is the union of all segments, in any order.

    LEDGER/segments/<first>-<last>~<time>-<uuid>.jsonl.zst
    LEDGER/locks/
"""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tokenmill.core.errors import ConfigError, FatalError
from tokenmill.rephrase.ledger_lock import PATIENCE, RangeLock
from tokenmill.rephrase.ledger_rows import Entry, part_of
from tokenmill.rephrase.meter import Spent
from tokenmill.rephrase.segments import SUFFIX, SegmentReader, SegmentWriter, line_of

__all__ = ["ALL", "Entry", "Ledger", "part_of", "read_entries"]

ALL = ("0000", "ffff")
_NAME = re.compile(r"([0-9a-f]{4})-([0-9a-f]{4})~.+" + re.escape(SUFFIX))


class Ledger:
    """The rows of the parts [first, last], and the right to add some. A context manager.

    writer: who this is, for the messages of others who want the same range.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        parts: tuple[str, str] = ALL,
        writer: str = "",
        *,
        patience: float = PATIENCE,
    ) -> None:
        self.folder = _local(folder)
        self.first, self.last = _checked(parts)
        self.entries: dict[str, Entry] = {}
        """What is known of each request of the range."""
        self.paid: dict[tuple[str, str], Spent] = {}
        """(run, task) -> what it has paid for in this range."""
        self.cut_bytes = 0
        """Bytes that killed writers have left behind their last whole frames."""
        self._writer = writer
        self._patience = patience
        self._lock: RangeLock | None = None
        self._segment: SegmentWriter | None = None

    def __enter__(self) -> Ledger:
        """FatalError where another process has a part of the range; ConfigError where a segment is damaged."""
        lock = RangeLock(self.folder / "locks", self.first, self.last, self._writer, patience=self._patience)
        try:
            self.entries, self.paid, self.cut_bytes = {}, {}, 0
            for path in _segments(self.folder, self.first, self.last):
                reader = SegmentReader(path)
                for row in reader.rows(self.first, self.last):
                    _known(reader, row, self._note)
                self.cut_bytes += reader.cut_bytes
        except BaseException:
            lock.release()
            raise
        self._lock = lock
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._segment is not None:
            self._segment.close()
            self._segment = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def note(self, row: Mapping[str, Any]) -> bytes:
        """Take in a row; what is returned is for `commit`, before which it does not count."""
        self._note(row)
        return line_of(row)

    def commit(self, lines: Sequence[bytes]) -> None:
        """Return when the lines are on the disk, together or not at all. ShardError or FatalError where that fails."""
        if self._lock is None:
            raise FatalError(f"the ledger {self.folder} is not open")
        if self._segment is None:
            name = f"{self.first}-{self.last}~{int(time.time())}-{uuid.uuid4().hex}{SUFFIX}"
            self._segment = SegmentWriter(self.folder / "segments" / name)
        self._segment.append(lines)

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take in rows and wait until they are on the disk."""
        self.commit([self.note(row) for row in rows])

    def _note(self, row: Mapping[str, Any]) -> None:
        entry = self.entries.get(row["key"])
        if entry is None:
            entry = self.entries[row["key"]] = Entry(row["key"])
        entry.add(row)
        task = (row["run"], row["task"])
        paid = self.paid.get(task)
        if paid is None:
            paid = self.paid[task] = Spent()
        paid.pay(row)


def read_entries(folder: str | os.PathLike[str], parts: tuple[str, str] = ALL) -> tuple[dict[str, Entry], int]:
    """(entries of the parts, cut bytes) without a lock, as others may be writing: what is on the disk now."""
    first, last = _checked(parts)
    entries: dict[str, Entry] = {}
    cut = 0

    def note(row: Mapping[str, Any]) -> None:
        entries.setdefault(row["key"], Entry(row["key"])).add(row)

    for path in _segments(_local(folder), first, last):
        reader = SegmentReader(path)
        for row in reader.rows(first, last):
            _known(reader, row, note)
        cut += reader.cut_bytes
    return entries, cut


def _known(reader: SegmentReader, row: Mapping[str, Any], note: Any) -> None:
    try:
        note(row)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        why = f"a row without the fields of one: {type(error).__name__} {error}"
        fix = "move the file away: what only it has is asked again"
        raise ConfigError(
            f"the ledger is damaged in {reader.path.name}", where=str(reader.path), why=why, fix=fix
        ) from error


def _segments(folder: Path, first: str, last: str) -> Iterator[Path]:
    """The segments that may hold rows of the parts, by name."""
    for path in sorted((folder / "segments").glob(f"*{SUFFIX}")):
        named = _NAME.fullmatch(path.name)
        if named is None:
            fix = "move it away; segments are named by tokenmill alone"
            raise ConfigError("a file in the ledger is no segment", where=str(path), fix=fix)
        if named[1] <= last and first <= named[2]:
            yield path


def _local(folder: str | os.PathLike[str]) -> Path:
    text = os.fspath(folder)
    if "://" in text:
        fix = "name a folder of this machine, or of a disk that all machines share"
        raise ConfigError("the ledger cannot lie on an object store", where=text, why="it is appended to", fix=fix)
    return Path(text)


def _checked(parts: tuple[str, str]) -> tuple[str, str]:
    first, last = parts
    if not (re.fullmatch("[0-9a-f]{4}", first) and re.fullmatch("[0-9a-f]{4}", last) and first <= last):
        raise ConfigError(
            f"{first!r} to {last!r} is no range of parts", fix='four hexadecimal digits each: "0000", "0fff"'
        )
    return first, last
