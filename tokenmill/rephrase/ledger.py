"""The ledger: every answer of a model, kept under the key of its request, for this run and for others.

A folder of segments (`segments.py`) that nobody changes once they are written. A session writes one of its own and
holds the range of parts that it asks about; what the ledger knows is the union of all segments, in any order.

    LEDGER/segments/<first>-<last>~<time>-<uuid>.jsonl.zst
    LEDGER/locks/
"""

from __future__ import annotations

import json
import os
import re
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
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
_KEY = b'{"key":"'
_NAME = re.compile(r"([0-9a-f]{4})-([0-9a-f]{4})~.+" + re.escape(SUFFIX))


def _nothing() -> None: ...


class Ledger:
    """The rows of the parts [first, last], and the right to add some. A context manager.

    writer: who this is, for the messages of others who want the same range. keys: of the requests that will be asked
    for; others, but for the pieces of these, are passed over, so that a ledger of years takes the memory of a run.
    payer: the (run, task) whose spending `paid` must tell where there are keys; None: that of all, for which every row
    is decoded. alive: called for each frame that is read.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        parts: tuple[str, str] = ALL,
        writer: str = "",
        *,
        patience: float = PATIENCE,
        keys: Collection[str] | None = None,
        payer: tuple[str, str] | None = None,
        alive: Callable[[], None] = _nothing,
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
        self._keys, self._payer, self._alive = keys, payer, alive
        self._lock: RangeLock | None = None
        self._segment: SegmentWriter | None = None

    def __enter__(self) -> Ledger:
        """FatalError where another process has a part of the range; ConfigError where a segment is damaged."""
        lock = RangeLock(self.folder / "locks", self.first, self.last, self._writer, patience=self._patience)
        try:
            self.entries, self.paid, self.cut_bytes = {}, {}, 0
            span = (self.first, self.last)
            self.cut_bytes = _read(self.folder, span, self._keys, self._add, self._alive, self._pay, self._payer)
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

    def note(self, row: Mapping[str, Any], line: bytes | None = None) -> bytes:
        """Take in a row; what is returned is for `write`, before which it does not count. line: the row as JSON, where
        that is known."""
        self._note(row)
        return line_of(row) if line is None else line

    def write(self, lines: Sequence[bytes]) -> None:
        """Append lines, together or not at all: they outlive this process from now on, and the power after `sync`.

        ShardError or FatalError where that fails.
        """
        if self._lock is None:
            raise FatalError(f"the ledger {self.folder} is not open")
        if self._segment is None:
            name = f"{self.first}-{self.last}~{int(time.time())}-{uuid.uuid4().hex}{SUFFIX}"
            self._segment = SegmentWriter(self.folder / "segments" / name)
        self._segment.write(lines)

    def sync(self) -> None:
        """Return when all that was written is on the disk. ShardError or FatalError where that fails.

        May run in another thread than `write`.
        """
        if self._segment is not None:
            self._segment.sync()

    def rescue(self) -> None:
        """Write once more what failed syncs have taken back, and sync. Errors are those of `sync`."""
        lost = self._segment.taken_back() if self._segment is not None else []
        if lost:
            self.write(lost)
            self.sync()

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take in rows and wait until they are on the disk."""
        self.write([self.note(row) for row in rows])
        self.sync()

    def _note(self, row: Mapping[str, Any]) -> None:
        self._add(row)
        self._pay(row)

    def _add(self, row: Mapping[str, Any]) -> None:
        entry = self.entries.get(row["key"])
        if entry is None:
            entry = self.entries[row["key"]] = Entry(row["key"])
        entry.add(row)

    def _pay(self, row: Mapping[str, Any]) -> None:
        task = (row["run"], row["task"])
        paid = self.paid.get(task)
        if paid is None:
            paid = self.paid[task] = Spent()
        paid.pay(row)


def read_entries(
    folder: str | os.PathLike[str],
    parts: tuple[str, str] = ALL,
    *,
    keys: Collection[str] | None = None,
    alive: Callable[[], None] = _nothing,
) -> tuple[dict[str, Entry], int]:
    """(entries of the parts, cut bytes) without a lock, as others may be writing: what is on the disk now.

    keys: of these requests and of their pieces alone.
    """
    entries: dict[str, Entry] = {}

    def add(row: Mapping[str, Any]) -> None:
        entries.setdefault(row["key"], Entry(row["key"])).add(row)

    cut = _read(_local(folder), _checked(parts), keys, add, alive)
    return entries, cut


def _read(
    folder: Path,
    span: tuple[str, str],
    keys: Collection[str] | None,
    add: Callable[[Mapping[str, Any]], None],
    alive: Callable[[], None],
    pay: Callable[[Mapping[str, Any]], None] | None = None,
    payer: tuple[str, str] | None = None,
) -> int:
    """Give each row of the keys to `add`, and each that `paid` needs to `pay`; return the cut bytes.

    Pieces are named by the rows of what was split, in whatever order they lie: they take another pass, and pieces of
    pieces one more. Without splits there is one.
    """
    paths = list(_segments(folder, *span))
    cut, read, first = 0, set[str](), True
    chosen = None if keys is None else set(keys)
    while chosen is None or chosen or pay:
        pieces = set[str]()
        wanted = _wanted(chosen, pay is not None, payer)
        for path in paths:
            reader = SegmentReader(path)
            for row in reader.rows(*span, wanted=wanted, alive=alive):
                if chosen is None or row["key"] in chosen:
                    _known(reader, row, add)
                    if row["event"] == "split" and chosen is not None:
                        pieces.update(part[0] for part in row["parts"])
                if pay is not None:
                    _known(reader, row, pay)
            cut += reader.cut_bytes if first else 0
        if chosen is None:
            break
        read |= chosen
        chosen, pay, first = pieces - read, None, False
    return cut


def _wanted(chosen: set[str] | None, paying: bool, payer: tuple[str, str] | None) -> Callable[[bytes], bool]:
    """Which lines are decoded, by their beginnings: key, part, event, run, task."""
    if chosen is None or (paying and payer is None):
        return lambda line: True
    keys = {key.encode() for key in chosen}
    paid = b'"run":%s,"task":%s,' % tuple(json.dumps(one, ensure_ascii=False).encode() for one in payer or ("", ""))
    behind = len(_KEY) + 128 + len(paid)

    def wanted(line: bytes) -> bool:
        if not line.startswith(_KEY):
            return True
        if line[len(_KEY) : line.find(b'"', len(_KEY))] in keys:
            return True
        return paying and line.find(paid, 0, behind) >= 0

    return wanted


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
