"""Every record of a WARC or ARC file, and every loss: the one place that decides where records begin and end.

Content-Length is checked and not believed: a record ends at the latest where its member ends or where the
next header begins, so that no record ever holds bytes of another one.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO

from tokenmill.io.arc import ARC
from tokenmill.io.codecs import sniff
from tokenmill.io.dialects import MAX_HEAD, WARC, Dialect, Head
from tokenmill.io.filesystem import open_binary
from tokenmill.io.http import MAX_HEAD as MAX_HTTP_HEAD
from tokenmill.io.http import HttpHead, parse_http
from tokenmill.io.members import Loss, Segments, StoredFile
from tokenmill.io.window import Window

MAX_BLOCK = 32 << 20
"""Longest block that is held whole, in inflated bytes."""
_TRAILER = 16
_NORMAL_HEAD = 4 << 10


@dataclass
class Record:
    """One record as archived."""

    kind: str
    """WARC-Type in lower case: response, request, warcinfo, metadata, resource, revisit, conversion, ..."""
    headers: dict[str, str]
    """WARC headers by lower-case name."""
    offset: int
    """Where the record, or the member that holds it, begins in the file as stored."""
    inner: int
    """0, or for a later record of one member its place in the inflated bytes: `offset` and `inner` are
    unique."""
    length: int
    """Stored bytes of the record with its trailer; -1 when it shares a member with others."""
    block: bytes
    """What follows the headers; only its first bytes when `size` is larger."""
    size: int
    """True size of the block in inflated bytes."""
    short: bool
    """Whether the block differs from Content-Length: cut, or the number is missing, too large or too
    small."""

    @cached_property
    def http(self) -> HttpHead | None:
        """The HTTP head of a response, None when there is none."""
        return parse_http(self.block)

    @property
    def held(self) -> bool:
        """Whether `block` is whole."""
        return len(self.block) == self.size


@dataclass(frozen=True)
class Span:
    """Records that begin at stored bytes [start, stop) of a file; stop None: all that follow.

    exact: a record begins at `start`; else the first one behind it is looked for. What is found so in the middle of a
    file could be a record inside a page (an archive that was archived), so `covered` is told what was read: where it
    does not join the end of the span before, `start` was wrong. Where no record begins in the span, first and end are
    both `stop`, and it joins if the span before has read that far.
    """

    start: int = 0
    stop: int | None = None
    exact: bool = True
    covered: Callable[[int, int], None] = lambda first, end: None


WHOLE = Span()


def iter_records(
    source: str | BinaryIO, *, name: str = "", max_block: int = MAX_BLOCK, span: Span = WHOLE
) -> Iterator[Record | Loss]:
    """All records of a file (or of a span of it) in order, with a `Loss` wherever stored bytes gave none.

    source: a path or URL, or an open file at its beginning. name: its name where `source` is open; it counts
    only when the first bytes say nothing about the compression. max_block: longer blocks are given with
    their first `http.MAX_HEAD` bytes only. Memory is bounded by about twice `max_block` plus 16 MiB. OSError
    when storage fails.
    """
    if isinstance(source, str):
        with open_binary(source) as file:
            yield from _Reader(file, name or source, max_block, span).read()
    else:
        yield from _Reader(source, name, max_block, span).read()


def _begins_any(data: bytes) -> bool:
    return WARC.begins(data) or ARC.begins(data)


class _Reader:
    """State of reading one file."""

    def __init__(self, file: BinaryIO, name: str, max_block: int, span: Span) -> None:
        stored = StoredFile(file)
        codec = sniff(name, lambda size: stored.exactly(0, size), _begins_any)
        self._dialect: Dialect = WARC
        self._dialect_known = False
        if span.start and ARC.begins(stored.exactly(0, MAX_HEAD)):
            self._dialect, self._dialect_known = ARC, True
        segments = Segments(stored, codec, _begins_any, span.start, span.exact, span.stop)
        self._window = Window(segments, _begins_any, None if codec is None else span.stop)
        self._span = span
        self._first: int | None = None
        self._max_block = max(max_block, MAX_HTTP_HEAD)

    def read(self) -> Iterator[Record | Loss]:
        """All records and losses, and a word on what was covered."""
        yield from self._read()
        end = self._window.end
        assert end is not None
        self._span.covered(end if self._first is None else self._first, end)

    def _read(self) -> Iterator[Record | Loss]:
        while entered := self._window.enter_next():
            if isinstance(entered, Loss):
                self._first = entered.offset if self._first is None else self._first
                yield entered
                continue
            if self._begin_segment():
                return
            first = True
            while self._window.skip_blank():
                if self._behind_stop():
                    return
                item = self._next(first)
                first = False
                if item is not None and not (self._window.corrupt and isinstance(item, Loss)):
                    yield item
                if self._window.corrupt:
                    # What came from a damaged member is not given; the loss comes with the next segment.
                    break
            segment = self._window.segment
            if first and segment is not None and segment.state == "cut":
                detail = f"{segment.size} bytes to the end of the file; {segment.error}"
                yield Loss("unreadable_tail", segment.offset, segment.size, detail)

    def _begin_segment(self) -> bool:
        """Note where the reading begins; True when that is behind the end already."""
        window, segment, stop = self._window, self._window.segment, self._span.stop
        assert segment is not None
        if self._first is None and segment.whole_file and not self._span.exact:
            self._pass_over(None if stop is None else stop - segment.offset)
            if stop is not None and segment.offset + window.inner >= stop:
                self._first = window.end = stop
                return True
        if self._first is None:
            if segment.whole_file and self._span.start:
                window.skip_blank()
            self._first = segment.offset + (window.inner if segment.whole_file else 0)
        return self._behind_stop()

    def _behind_stop(self) -> bool:
        """Whether the next record of a plain file begins behind the span."""
        window, segment, stop = self._window, self._window.segment, self._span.stop
        if segment is None or not segment.whole_file or stop is None or segment.offset + window.inner < stop:
            return False
        window.end = segment.offset + window.inner
        return True

    def _next(self, first: bool) -> Record | Loss | None:
        window = self._window
        segment = window.segment
        assert segment is not None
        window.fill(_TRAILER)
        if not self._dialect_known:
            window.fill(MAX_HEAD)
            ahead = window.data[window.pos : window.pos + MAX_HEAD]
            self._dialect = ARC if ARC.begins(ahead) else WARC
            self._dialect_known = _begins_any(ahead)
        inner = window.inner
        offset = segment.offset + (inner if segment.whole_file else 0)
        shared = 0 if first or segment.whole_file else inner
        head = self._head(offset + shared)
        if head is None or not head.kind:
            return self._no_record(offset, inner, head is None)
        window.advance(head.size)
        block, size, short = self._block(head)
        more = window.skip_blank()
        if window.corrupt:
            return None
        end = window.segment
        assert end is not None
        if end.whole_file:
            length = window.inner - inner
        elif more or shared:
            length = -1
        else:
            length = end.offset + end.size - offset
        return Record(head.kind, dict(head.headers), offset, shared, length, block, size, short)

    def _head(self, offset: int) -> Head | None:
        """The header at the window; None when there is none."""
        window, size = self._window, 1024
        while True:
            have = window.fill(size, across=window.have > 0 and self._dialect.may_begin(self._ahead(8)))
            if not self._dialect.may_begin(self._ahead(8)):
                return None
            head = self._dialect.parse(window.data, window.pos, offset)
            if head is not None or have < size or size >= MAX_HEAD:
                return head if head is None or self._dialect.begins(self._ahead(head.size)) else None
            size *= 4

    def _ahead(self, size: int) -> bytes:
        return self._window.data[self._window.pos : self._window.pos + size]

    def _no_record(self, offset: int, inner: int, unparsable: bool) -> Loss | None:
        """Pass over bytes that are no record, up to the next header."""
        window = self._window
        passed = 1
        window.advance(1)
        passed += self._pass_over(None)
        segment = window.segment
        assert segment is not None
        at_end = window.have == 0
        if segment.whole_file:
            reason = "unreadable_tail" if at_end else "malformed"
            return Loss(reason, offset, passed, f"{passed} bytes that are no record")
        if segment.state == "cut" and at_end:
            length = segment.size if inner == 0 else -1
            return Loss("unreadable_tail", offset, length, f"{passed} inflated bytes; {segment.error}")
        length = segment.size if inner == 0 and at_end else -1
        what = "without a readable header" if unparsable else "without WARC-Type"
        return Loss("malformed", offset, length, f"{passed} inflated bytes {what}")

    def _block(self, head: Head) -> tuple[bytes, int, bool]:
        """Block, its true size and whether Content-Length was wrong; the window then stands behind it."""
        window, length = self._window, head.length
        if length is None or length > self._max_block:
            return self._long_block(length)
        have = window.fill(length + _TRAILER, across=True)
        if have >= length and self._aligned(length):
            inside = self._find(0, length)
            if inside < 0 or not self._swallowed(head, inside, length):
                return self._take(length, False)
            return self._take_before(inside)
        inside = self._find(0, min(have, length))
        if inside >= 0:
            return self._take_before(inside)
        if have < length:
            return self._take_rest(have)
        if self._ahead(length + _TRAILER).startswith(self._dialect.trailer, length):
            # The block ends as a block does; what follows is no header and is reported on its own.
            return self._take(length, False)
        taken = self._take(length, True)
        # Content-Length is too small: the rest of the body cannot be told from rubbish and is passed over.
        if not window.corrupt:
            self._pass_over(None)
        return taken

    def _take(self, size: int, short: bool) -> tuple[bytes, int, bool]:
        block = self._ahead(size)
        self._window.advance(size)
        return block, size, short

    def _take_rest(self, have: int) -> tuple[bytes, int, bool]:
        """All that the segment still has, where Content-Length claims more."""
        segment = self._window.segment
        whole = segment is not None and segment.state == "end"
        return self._take_before(have) if whole else self._take(have, True)

    def _take_before(self, end: int) -> tuple[bytes, int, bool]:
        """The block up to a header that lies inside what Content-Length claims."""
        block = self._ahead(end)
        block = block.removesuffix(self._dialect.trailer)
        self._window.advance(end)
        return block, len(block), True

    def _long_block(self, length: int | None) -> tuple[bytes, int, bool]:
        """A block that is not held whole, or whose length is not known."""
        window = self._window
        trusted = length is not None and self._aligned_further_on(length)
        seen, size = 0, MAX_HEAD
        while True:
            # In growing steps: a file of many records without a length must not be copied for each of them.
            have = window.fill(size, across=length is not None)
            limit = have if length is None else min(have, length)
            inside = -1 if trusted else self._find(seen, limit)
            if inside >= 0:
                return self._take_before(inside)
            if have < size or size >= self._max_block:
                break
            seen, size = max(limit - _TRAILER, 0), min(size * 4, self._max_block)
        if window.fill(self._max_block) < self._max_block:
            return self._take_before(have) if length is None else self._take_rest(have)
        kept = self._ahead(MAX_HTTP_HEAD)
        left = None if length is None else length - len(kept)
        window.advance(len(kept))
        passed = self._pass_over(left, trusted)
        return kept, len(kept) + passed, passed != left

    def _pass_over(self, limit: int | None, trusted: bool = False) -> int:
        """Pass over up to `limit` bytes, not further than the next header (unless `trusted`) or the
        segment."""
        window, passed = self._window, 0
        while limit is None or passed < limit:
            have = window.fill(MAX_HEAD)
            if have == 0 or window.corrupt:
                break
            step = have if limit is None else min(have, limit - passed)
            found = -1 if trusted else self._find(0, step)
            if found >= 0:
                window.advance(found)
                return passed + found
            # The last bytes stay, in case a header begins in them.
            keep = _TRAILER if have >= MAX_HEAD and step == have else 0
            window.advance(step - keep)
            passed += step - keep
        return passed

    def _find(self, start: int, end: int) -> int:
        """Where within window bytes [start, end) the header of another record begins, or -1."""
        window, dialect = self._window, self._dialect
        while True:
            at = dialect.candidate(window.data, window.pos + start, window.pos + end)
            if at < 0:
                return -1
            found = at - window.pos
            window.fill(found + MAX_HEAD)
            head = dialect.parse(window.data, window.pos + found, 0)
            if head is not None and head.kind:
                return found
            # Passing over what was looked at keeps a block full of false headers linear.
            start = found + (head.size if head is not None else MAX_HEAD - _NORMAL_HEAD)
            if start >= end:
                return -1

    def _aligned(self, length: int) -> bool:
        """Whether the next record or the end of the segment follows a block of this length."""
        window = self._window
        rest = window.data[window.pos + length : window.pos + length + _TRAILER].lstrip(b"\r\n\0")
        return self._dialect.may_begin(rest)

    def _aligned_further_on(self, length: int) -> bool:
        window = self._window
        segment = window.segment
        assert segment is not None
        rest = segment.peek(window.inner + length, _TRAILER)
        return bool(rest) and rest is not None and self._dialect.may_begin(rest.lstrip(b"\r\n\0"))

    def _swallowed(self, head: Head, inside: int, length: int) -> bool:
        """Whether the header inside a block is the next record, and not a page or file that shows a record.

        A digest or the HTTP Content-Length vouches for the block. Else it counts whether the record inside
        ends exactly where the block ends, as it does when Content-Length is too large by one whole record.
        """
        window = self._window
        block = self._ahead(length)
        if _digest_matches(head.headers.get("warc-block-digest", ""), block):
            return False
        http = parse_http(block) if head.kind == "response" else None
        if http is not None and http.get("content-length") == str(length - http.size):
            return False
        while True:
            inner = self._dialect.parse(window.data, window.pos + inside, 0)
            if inner is None or inner.length is None:
                return inner is not None
            end = inside + inner.size + inner.length
            rest = block[end : end + _TRAILER].lstrip(b"\r\n\0")
            if end > length or not self._dialect.may_begin(rest):
                return False
            if not rest:
                return True
            inside = end + len(block[end : end + _TRAILER]) - len(rest)


def _digest_matches(digest: str, block: bytes) -> bool:
    """Whether `sha1:BASE32` or `sha1:HEX`, as WARC writers put it, is the digest of the block."""
    name, _, value = digest.partition(":")
    if name.lower() not in ("sha1", "sha-1"):
        return False
    found = hashlib.sha1(block, usedforsecurity=False).digest()
    return value.upper() in (base64.b32encode(found).decode(), found.hex().upper())
