"""The inflated bytes ahead of the reader: a bounded view that crosses from one member into the next.

A record belongs to one member, but some writers end a member between the headers and the body. The view goes
on into the next member only while a record is unfinished, and only when that member does not begin with a
record.
"""

from __future__ import annotations

from collections.abc import Callable

from tokenmill.io.members import Loss, Segment, Segments

_FIRST = 4096
_BLANK = b"\r\n\0"


class Window:
    """`data[pos:]` are the bytes ahead in `segment`. `fill` and `skip_blank` may replace `data` and `pos`."""

    def __init__(self, segments: Segments, begins_record: Callable[[bytes], bool], stop: int | None = None) -> None:
        """stop: no segment that begins there or later is entered, except by a record that goes on in it."""
        self._segments = segments
        self._stop = stop
        self.end: int | None = None
        """Where the reading ended: the offset of what was not entered, or the end of the file."""
        self._begins_record = begins_record
        self._ahead: tuple[Segment, bytes] | Loss | None = None
        self._shift = 0
        self.segment: Segment | None = None
        self.data = b""
        self.pos = 0

    @property
    def inner(self) -> int:
        """Offset of `pos` in the inflated bytes of the segment."""
        return self.pos + self._shift

    @property
    def corrupt(self) -> bool:
        return self.segment is not None and self.segment.state == "corrupt"

    @property
    def have(self) -> int:
        """Bytes ahead that are in memory."""
        return len(self.data) - self.pos

    def enter_next(self) -> bool | Loss:
        """Go to the next segment: True, a loss that lies before it, or False at the end of the file."""
        self.data, self.pos, self._shift = b"", 0, 0
        ahead, self._ahead = self._ahead, None
        found, data = ahead if isinstance(ahead, tuple) else (ahead, b"")
        if found is None:
            found = self._segments.next()
        if found is None or (self._stop is not None and found.offset >= self._stop):
            self.end = self._segments.position if found is None else found.offset
            self.segment = None
            return False
        if isinstance(found, Loss):
            return found
        self.segment, self.data = found, data
        return True

    def fill(self, size: int, across: bool = False) -> int:
        """Try to have `size` bytes ahead; how many there are. `across`: go on into a member that
        continues."""
        have = len(self.data) - self.pos
        if have >= size or self.segment is None:
            return have
        parts: list[bytes] = []
        before, ahead = self.pos, have
        while ahead < size:
            part = self.segment.read()
            if not part:
                part = self._continued(ahead, before) if across else b""
                if not part:
                    break
            parts.append(part)
            ahead += len(part)
        if parts:
            # Only now, so that asking again at the end of a segment copies nothing.
            self.data, self.pos = b"".join([self.data[before:], *parts]), 0
            self._shift += before
        return ahead

    def advance(self, size: int) -> None:
        """Pass over `size` bytes that are ahead."""
        self.pos += size

    def skip_blank(self) -> bool:
        """Pass over line ends and zeros; whether anything is left in the segment."""
        while self.fill(1):
            rest = self.data[self.pos : self.pos + 64]
            kept = rest.lstrip(_BLANK)
            self.pos += len(rest) - len(kept)
            if kept:
                return True
        return False

    def _continued(self, have: int, before: int) -> bytes:
        """The first bytes of the next member, when they continue the record at hand; else b""."""
        while self.segment is not None and self.segment.state == "end" and self._ahead is None:
            found = self._segments.next()
            if found is None or isinstance(found, Loss):
                self._ahead = found
                return b""
            first = b""
            while len(first) < _FIRST and (part := found.read()):
                first += part
            if not first and found.state == "end":
                continue
            if not first or found.state == "corrupt" or self._begins_record(first.lstrip(b"\r\n")):
                self._ahead = (found, first)
                return b""
            self.segment = found
            # The segment begins `have` bytes behind `pos`; `fill` then adds what it cuts off before `pos`.
            self._shift = -have - before
            return first
        return b""
