"""Walking the members of a compressed file, and finding the next good one after damage.

Common Crawl and most crawlers compress every record into a gzip member of its own. A damaged member must cost
itself only: fastwarc 2.0.1 and warcio 1.8.1 give up the rest of the file, here the walk goes on at the next
place where a member begins with a record.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Literal

from tokenmill.io.codecs import ERRORS, PIECE, Codec

READ = 256 << 10
"""Bytes read from storage at once."""
MIN_PIECE = 64
"""A piece is at least this long unless the file ends."""
_PROBE_PIECE = 512
_PROBE_BYTES = 4096

State = Literal["open", "end", "cut", "corrupt"]


@dataclass(frozen=True)
class Loss:
    """Stored bytes that gave no record."""

    reason: str
    """`corrupt_member`: damage, the reading went on behind it. `unreadable_tail`: nothing readable up to the
    end of the file. `malformed`: bytes that are no record."""
    offset: int
    """Where the lost bytes begin in the file as stored."""
    length: int
    """How many stored bytes were passed over; -1 when they are a part of a member."""
    detail: str = ""
    """Byte counts and what the library said."""


class StoredFile:
    """The stored bytes of a file by offset, with one buffer; reading forward costs no seek."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._buffer = b""
        self._start = 0
        self._next = file.tell()

    def piece(self, offset: int, size: int) -> bytes:
        """1 to `size` bytes from `offset`, at least `MIN_PIECE` (or `size`) unless the file ends; b"" at its
        end."""
        at = offset - self._start
        left = len(self._buffer) - at
        if at < 0 or left < min(size, MIN_PIECE):
            self._load(offset)
            at = 0
        return self._buffer[at : at + size]

    def exactly(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`, less only at the end of the file."""
        parts: list[bytes] = []
        while size > 0:
            part = self.piece(offset, size)
            if not part:
                break
            parts.append(part)
            offset, size = offset + len(part), size - len(part)
        return b"".join(parts)

    def _load(self, offset: int) -> None:
        at = offset - self._start
        # The last bytes of the old buffer are kept, so that a piece is never cut by the way we read.
        kept = self._buffer[at:] if 0 <= at <= len(self._buffer) else b""
        if self._next != offset + len(kept):
            self._file.seek(offset + len(kept))
            self._next = offset + len(kept)
        parts = [kept]
        have = len(kept)
        while have < MIN_PIECE:
            part = self._file.read(READ)
            if not part:
                break
            parts.append(part)
            have += len(part)
            self._next += len(part)
        self._buffer, self._start = b"".join(parts), offset


class Segment:
    """A stretch of stored bytes that is read as one: a member, or the whole of a plain file."""

    whole_file = False
    """Whether the segment is a file that is not compressed: its inflated offsets are stored offsets."""

    def __init__(self, stored: StoredFile, offset: int) -> None:
        self._stored = stored
        self.offset = offset
        self.size = 0
        """Stored bytes read so far."""
        self.state: State = "open"
        self.error = ""

    def read(self) -> bytes:
        """The next inflated bytes; b"" when there are no more, and `state` says why."""
        part = self._stored.piece(self.offset + self.size, READ) if self.state == "open" else b""
        self.size += len(part)
        if not part:
            self.state = "end"
        return part

    def peek(self, inner: int, size: int) -> bytes | None:
        """Bytes further on, where that is cheap (plain files); None where it is not."""
        return None


class PlainSegment(Segment):
    """A whole file that is not compressed."""

    whole_file = True

    def peek(self, inner: int, size: int) -> bytes | None:
        return self._stored.exactly(self.offset + inner, size)


class MemberSegment(Segment):
    """One compressed member. `at_end_of_file` tells whether a member that does not end is cut or corrupt."""

    def __init__(
        self,
        stored: StoredFile,
        offset: int,
        codec: Codec,
        at_end_of_file: Callable[[Segment], State],
        piece: int = PIECE,
    ) -> None:
        super().__init__(stored, offset)
        self._inflater = codec.new()
        self._at_end_of_file = at_end_of_file
        self._piece = piece

    def read(self) -> bytes:
        while self.state == "open":
            piece = self._stored.piece(self.offset + self.size, self._piece)
            if not piece:
                self.error = "the file ends inside a compressed member"
                self.state = self._at_end_of_file(self)
                break
            try:
                out, taken = self._inflater.inflate(piece)
            except ERRORS as error:
                self.error = f"{type(error).__name__}: {error}"
                self.state = "corrupt"
                break
            self.size += taken
            if self._inflater.done:
                self.state = "end"
            if out:
                return out
        return b""


class Segments:
    """The segments of a file in order; damage comes as a `Loss` between them.

    `begins_record` says whether inflated bytes begin with the header of a record: the proof that a place
    found after damage is a member and not two bytes that look like one.
    """

    def __init__(
        self,
        stored: StoredFile,
        codec: Codec | None,
        begins_record: Callable[[bytes], bool],
        start: int = 0,
        exact: bool = True,
        stop: int | None = None,
    ) -> None:
        """start: where to begin; not exact: at the first member behind it that begins with a record.

        stop: how far that member is looked for. Where none begins before, there is no segment, and `position` is
        `stop`: spans of a file that cannot be cut each read their own bytes, not all that follow.
        """
        self._stored = stored
        self._codec = codec
        self._begins_record = begins_record
        self._last: Segment | None = None
        self._begun = False
        self._exact = exact
        self._stop = stop
        self.position = start
        """Where the next segment is looked for; at the end, the end of the file."""

    def next(self) -> Segment | Loss | None:
        """The next segment, a loss, or None at the end of the file."""
        last, self._last = self._last, None
        if self._codec is None:
            if self._begun:
                self.position = self.position if last is None else last.offset + last.size
                return None
            self._begun = True
            self._last = PlainSegment(self._stored, self.position)
            return self._last
        if not self._begun and not self._exact:
            self._begun = True
            found = self._find_member(self.position, self._stop)
            if found is None and self._stop is not None:
                self.position = self._stop
                return None
            self.position = self._end_of_file(self.position) if found is None else found
        self._begun = True
        if last is not None:
            if last.state == "corrupt":
                return self._pass_over(last.offset, last.error)
            self.position = last.offset + last.size
        position = self.position = self._after_padding(self.position)
        head = self._stored.piece(position, MIN_PIECE)
        if not head:
            return None
        if not self._codec.begins(head):
            return self._pass_over(position, f"no {self._codec.name} member begins here")
        self._last = MemberSegment(self._stored, position, self._codec, self._cut_or_corrupt)
        return self._last

    def _pass_over(self, start: int, why: str) -> Loss:
        found = self._find_member(start + 1)
        if found is not None:
            self.position = found
            passed = found - start
            return Loss("corrupt_member", start, passed, f"{passed} bytes passed over; {why}")
        end = self._end_of_file(start)
        self.position = end
        return Loss("unreadable_tail", start, end - start, f"{end - start} bytes to the end of the file; {why}")

    def _cut_or_corrupt(self, segment: Segment) -> State:
        """Damage can make the inflater run on to the end of the file, over good members: look for one."""
        return "cut" if self._find_member(segment.offset + 1) is None else "corrupt"

    def _find_member(self, start: int, stop: int | None = None) -> int | None:
        """Offset of the next member that begins with a record, before `stop`."""
        assert self._codec is not None
        magic = self._codec.magic
        position = start
        while True:
            piece = self._stored.piece(position, READ)
            if len(piece) < len(magic) or (stop is not None and position >= stop):
                return None
            at = piece.find(magic)
            if stop is not None and at >= 0 and position + at >= stop:
                return None
            if at < 0:
                position += len(piece) - len(magic) + 1
            elif self._is_record(position + at):
                return position + at
            else:
                position += at + 1

    def _is_record(self, offset: int) -> bool:
        assert self._codec is not None
        probe = MemberSegment(self._stored, offset, self._codec, lambda _: "cut", _PROBE_PIECE)
        data = b""
        while len(data) < _PROBE_BYTES:
            part = probe.read()
            if not part:
                break
            data += part
        return self._begins_record(data.lstrip(b"\r\n"))

    def _after_padding(self, position: int) -> int:
        """Some writers fill the last block of a tape or disk with zeros; those are no loss."""
        while True:
            piece = self._stored.piece(position, MIN_PIECE)
            if not piece.startswith(b"\0"):
                return position
            position += len(piece) - len(piece.lstrip(b"\0"))

    def _end_of_file(self, position: int) -> int:
        while piece := self._stored.piece(position, READ):
            position += len(piece)
        return position
