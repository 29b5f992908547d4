"""Compiled part of `assemble`: addresses of the links that Markdown writes, read from attributes."""

from __future__ import annotations

import html.entities
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokenmill.extract.skim.find_kernel import U
from tokenmill.extract.skim.scan_tables import A_HREF, END, ENDS, IMG, LINK, TAGS
from tokenmill.extract.skim.tag_kernel import begins, is_space, read_attributes, word_of
from tokenmill.text.compiled import entry, lean

_OL = TAGS.index("ol")
_HTTP, _HTTPS = word_of(b"http:"), word_of(b"https:")
_AMP, _NUMBER, _LONG_NUMBER = word_of(b"amp;"), word_of(b"#38;"), word_of(b"#038;")
_SCHEME_BYTES = 32
_MOST_BYTES = 2_000
_REFERENCE_BYTES = 34


def _names() -> NDArray[np.uint8]:
    """[n, 8] Names of the character references that need no semicolon, zeros behind them."""
    names = [name for name in html.entities.html5 if not name.endswith(";")]
    return np.frombuffer(b"".join(name.encode().ljust(8, b"\0") for name in names), np.uint8).reshape(-1, 8)


_NAMES = _names()


@lean
def _has_name(page: Any, i: int, end: int) -> Any:
    """Whether one of the names stands at i."""
    for row in range(len(_NAMES)):
        k = 0
        while k < 8 and _NAMES[row, k] and i + k < end and page[U(i + k)] == _NAMES[row, k]:
            k += 1
        if k == 8 or _NAMES[row, k] == 0:
            return True
    return False


@lean
def _amp(page: Any, i: int, end: int) -> Any:
    """Bytes of what makes the `&` before i a reference to itself; 0 where nothing does."""
    for word in (_AMP, _NUMBER, _LONG_NUMBER):
        if end - i >= len(word):
            same = True
            for k in range(len(word)):
                same = same and page[U(i + k)] == word[k]
            if same:
                return len(word)
    return 0


@lean
def _is_plain(page: Any, i: int, end: int) -> Any:
    """Whether the `&` before i surely begins no character reference."""
    if i < end and (page[U(i)] == 35 or _has_name(page, i, end)):
        return False
    for at in range(i, min(end, i + _REFERENCE_BYTES)):
        if page[U(at)] == 59:
            return False
        if page[U(at)] == 38:
            break
    return True


@lean
def _copy(page: Any, start: int, end: int, pool: Any, size: int) -> Any:
    """Append an address to the pool, `&` decoded; its size now, or -1 where more than that is to be done."""
    has_scheme = begins(page, start, end, _HTTP) or begins(page, start, end, _HTTPS)
    i = start
    while i < end:
        c = page[U(i)]
        if c <= 32 or c >= 127 or c == 40 or c == 41 or c == 60 or c == 62 or c == 124:
            return -1
        if c == 58 and not has_scheme and i - start < _SCHEME_BYTES:
            return -1
        pool[U(size)] = c
        size += 1
        i += 1
        if c == 38:
            behind = _amp(page, i, end)
            if behind == 0 and not _is_plain(page, i, end):
                return -1
            i += behind
    return size


@lean
def _link(page: Any, attrs: int, values: Any, pool: Any, size: int) -> Any:
    """Append the address of a link; see `_copy`."""
    found = read_attributes(page, attrs, values)[1]
    if not found >> A_HREF & 1:
        return size
    start, end = values[A_HREF], values[A_HREF + ENDS]
    if end - start > _MOST_BYTES:
        return size
    while start < end and is_space(page[U(start)]):
        start += 1
    while end > start and is_space(page[U(end - 1)]):
        end -= 1
    return _copy(page, start, end, pool, size)


def _targets_of(digest: str) -> Callable[..., Any]:
    def targets(
        page: Any, el_tag: Any, el_attrs: Any, el_attrs_end: Any, bl_start: Any, bl_end: Any, keep: Any, mk_pos: Any,
        mk_kind: Any, mk_el: Any, parts: Any, odd: Any, pool: Any,
    ) -> Any:  # fmt: skip
        """Addresses of links that kept blocks hold: how many bytes of the pool they take, and how many marks and how
        many elements stand in `odd`.

        parts int32 [K, 2]: the part of the pool of each mark, zeros before; odd int32 [K + E]: marks whose attributes
        are left to the caller (images, addresses with more than `&` to decode), then ordered lists with
        attributes; pool uint8 [n of the page].
        """
        digest  # noqa: B018 - part of the cache's key
        values = np.empty(2 * ENDS, np.int64)
        count = size = b = 0
        for m in range(len(mk_pos)):
            if mk_kind[m] != LINK and mk_kind[m] != IMG:
                continue
            while b < len(keep) and (not keep[b] or bl_end[b] < mk_pos[m]):
                b += 1
            if b == len(keep):
                break
            if mk_kind[m] == IMG:
                if bl_start[b] <= mk_pos[m]:
                    odd[count] = m
                    count += 1
                continue
            k = m + 1
            while k < len(mk_pos) and mk_kind[k] & ~END != LINK and mk_pos[k] < bl_start[b]:
                k += 1
            if k < len(mk_pos) and mk_pos[k] < bl_start[b]:
                continue  # no text of it is kept
            end = _link(page, np.int64(el_attrs[mk_el[m]]), values, pool, size)
            if end < 0:
                odd[count] = m
                count += 1
            else:
                parts[m, 0], parts[m, 1] = size, end
                size = end
        lists = count
        for e in range(len(el_tag)):
            if el_tag[e] == _OL and el_attrs_end[e] > el_attrs[e]:
                odd[lists] = e
                lists += 1
        return size, count, lists - count

    return targets


targets = entry(_targets_of)
