"""The pre-scan as one would write it without a compiler: the definition that the kernel must equal."""

from __future__ import annotations

import re

from tokenmill.extract import prescan_kernel as k
from tokenmill.extract.prescan import STACK, Shape, element_flags

_NAME = re.compile(rb"[^\t\n\v\f\r />]*")
_ATTRIBUTE = re.compile(
    rb"(?P<gap>[\t\n\v\f\r /]*)(?:=[\t\n\v\f\r ]*(?:\"[^\"]*\"?|'[^']*'?)?|(?P<name>[^\t\n\v\f\r /=>]+))"
)
_SPACE = b"\t\n\v\f\r "


def _tag(page: bytes, position: int) -> tuple[int, int]:
    """End of a tag (its `>` or the end of the page) and how many attributes it has."""
    count, apart = 0, True
    while True:
        match = _ATTRIBUTE.match(page, position)
        if match is None:
            gap = re.compile(rb"[\t\n\v\f\r /]*").match(page, position)
            return gap.end(), count
        apart = apart or bool(match["gap"])
        if match["name"] is not None:
            count += apart
            apart = False
        else:
            apart = match.group()[-1:] in (b'"', b"'")
        position = min(match.end(), len(page))


def _up(open_elements: list[tuple[bytes, int]], wanted, stops, look: int) -> int | None:
    """Index of the nearest open element that is wanted, None beyond a stop or the look."""
    for index in range(len(open_elements) - 1, max(0, len(open_elements) - look) - 1, -1):
        if wanted(*open_elements[index]):
            return index
        if stops(*open_elements[index]):
            return None
    return None


def _imply(open_elements: list[tuple[bytes, int]], group: int) -> None:
    if len(open_elements) > STACK:
        return
    through = k.TABLE if group >= k.TABLE_GROUPS else k.TABLE | k.SCOPE
    index = _up(open_elements, lambda _, f: f >> k.GROUP_SHIFT == group, lambda _, f: bool(f & through), k.IMPLIED_LOOK)
    if index is not None:
        del open_elements[index:]


def _close(open_elements: list[tuple[bytes, int]], name: bytes) -> None:
    if len(open_elements) > STACK:
        open_elements.pop()
        return
    index = _up(open_elements, lambda n, _: n == name, lambda _, f: bool(f & k.TABLE), k.END_LOOK)
    if index is not None:
        del open_elements[index:]


def twin(page: bytes, max_text: int) -> Shape:
    flags = element_flags()
    open_elements: list[tuple[bytes, int]] = []
    elements = deepest = widest = most = 0
    hidden = pre = None
    text, pending = bytearray(), b""
    room = min(max_text, len(page))
    i = 0
    while i < len(page):
        if page.startswith(b"<!--", i):
            short = re.compile(rb"<!---?>").match(page, i)
            end = page.find(b"-->", i + 4)
            i = short.end() if short else (end + 3 if end >= 0 else len(page))
            continue
        if re.compile(rb"<[!?]").match(page, i):
            end = page.find(b">", i)
            i = end + 1 if end >= 0 else len(page)
            continue
        if not re.compile(rb"</|<[A-Za-z]").match(page, i):
            byte = page[i : i + 1]
            if byte in _SPACE:
                newline = pending == b"\n" or (pre is not None and byte == b"\n")
                pending = b"\n" if newline else b" "
            elif hidden is None and len(text) + len(pending if text else b"") + 1 <= room:
                text += (pending if text else b"") + byte
                pending = b""
            i += 1
            continue
        starts = page[i + 1 : i + 2] != b"/"
        name_match = _NAME.match(page, i + (1 if starts else 2))
        name = name_match.group().lower()[:8]
        end, attributes = _tag(page, name_match.end())
        kind = flags.get(name, 0)
        if kind & k.BLOCK:
            pending = b"\n"
        if starts:
            elements, widest, most = elements + 1, max(widest, end - name_match.end()), max(most, attributes)
            if kind & k.CLOSES_P:
                _imply(open_elements, k.P_GROUP)
            if kind >> k.GROUP_SHIFT:
                _imply(open_elements, kind >> k.GROUP_SHIFT)
        else:
            _close(open_elements, name)
        hidden = None if hidden is not None and len(open_elements) <= hidden else hidden
        pre = None if pre is not None and len(open_elements) <= pre else pre
        closed = end < len(page) and page[end - 1 : end] == b"/"
        i = end + 1
        if starts and kind & k.RAW:
            tail = re.compile(
                rb"</" + name + (rb"[^\t\n\v\f\r />]*" if len(name) == 8 else rb"") + rb"(?=[\t\n\v\f\r />]|$)",
                re.IGNORECASE,
            ).search(page, i)
            i = tail.start() if tail else len(page)
        elif starts and not kind & k.VOID and not closed:
            hidden = len(open_elements) if kind & k.HIDDEN and hidden is None else hidden
            pre = len(open_elements) if kind & k.PRE and pre is None else pre
            open_elements.append((name, kind))
            deepest = max(deepest, len(open_elements))
    return Shape(elements, deepest, widest, most, bytes(text).decode("utf-8", "ignore"))
