"""Compiled part of the pre-scan (numba). Import it through `tokenmill.extract.prescan` only: that loads lazily."""

from __future__ import annotations

import numpy as np

from tokenmill.text.compiled import inner, kept, lean_inlined

VOID, RAW, HIDDEN, BLOCK, CLOSES_P, PRE, SCOPE, TABLE = 1, 2, 4, 8, 16, 32, 64, 128
GROUP_SHIFT = 8
P_GROUP, CELL_GROUP = 1, 5
TABLE_GROUPS = 5  # groups from here on look through everything but a table
IMPLIED_LOOK, END_LOOK = 32, 64
KEYS = 256

_SPACE, _NEWLINE, _LT, _GT, _SLASH, _EQUALS, _DASH = 32, 10, 60, 62, 47, 61, 45


@lean_inlined
def _is_space(c):
    return c == 32 or (9 <= c <= 13)


@lean_inlined
def _is_letter(c):
    return 97 <= (c | 32) <= 122


@inner
def _flags_of(code, keys, flags):
    slot = np.int64((code * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(56))
    while keys[slot] != 0:
        if keys[slot] == code:
            return flags[slot]
        slot = (slot + 1) & (KEYS - 1)
    return 0


@inner
def _read_name(page, i):
    """Code (first eight letters, lower case) and end of the name that starts at i."""
    n = len(page)
    code = np.uint64(0)
    taken = 0
    while i < n:
        c = page[i]
        if _is_space(c) or c == _GT or c == _SLASH:
            break
        if taken < 8:
            if 65 <= c <= 90:
                c = c + 32
            code = (code << np.uint64(8)) | np.uint64(c)
            taken += 1
        i += 1
    return code, i


@inner
def _tag_end(page, i):
    """Position of the `>` that ends a tag, quotes after `=` respected (the length when there is none), and
    how many attributes it has."""
    n = len(page)
    attributes = 0
    apart = True  # whether white space or a quote ended the attribute before
    while i < n:
        c = page[i]
        if c == _GT:
            return i, attributes
        i += 1
        if _is_space(c) or c == _SLASH:
            apart = True
        elif c == _EQUALS:
            while i < n and _is_space(page[i]):
                i += 1
            if i < n and (page[i] == 34 or page[i] == 39):
                quote = page[i]
                i += 1
                while i < n and page[i] != quote:
                    i += 1
                i += 1
                apart = True
            else:
                apart = False
        elif apart:
            attributes += 1
            apart = False
    return n, attributes


@inner
def _comment_end(page, i):
    """Position behind the comment whose text starts at i; the length when it never ends."""
    n = len(page)
    if i < n and page[i] == _GT:
        return i + 1
    if i + 1 < n and page[i] == _DASH and page[i + 1] == _GT:
        return i + 2
    while i + 2 < n:
        if page[i + 2] == _GT and page[i + 1] == _DASH and page[i] == _DASH:
            return i + 3
        i += 1
    return n


@inner
def _raw_end(page, i, code):
    """Position of the end tag of a raw text element (script, style, ...); the length when it has none."""
    n = len(page)
    while i + 2 < n:
        if page[i] == _LT and page[i + 1] == _SLASH:
            found, _ = _read_name(page, i + 2)
            if found == code:
                return i
        i += 1
    return n


@inner
def _after_implied_ends(depth, group, stack, kinds):
    """Depth once the element that a new sibling of this group ends by implication is closed."""
    if depth > len(stack):
        return depth
    i = depth - 1
    lowest = max(0, depth - IMPLIED_LOOK)
    while i >= lowest:
        kind = kinds[i]
        if kind >> GROUP_SHIFT == group:
            return i
        if kind & TABLE or (group < TABLE_GROUPS and kind & SCOPE):
            return depth
        i -= 1
    return depth


@inner
def _after_end_tag(depth, code, stack, kinds):
    """Depth once an end tag has closed the nearest element of its name; a stray one closes nothing."""
    if depth > len(stack):
        return depth - 1
    i = depth - 1
    lowest = max(0, depth - END_LOOK)
    while i >= lowest:
        if stack[i] == code:
            return i
        if kinds[i] & TABLE:
            return depth
        i -= 1
    return depth


@kept
def scan(page, out, stack, kinds, keys, flags):
    """(elements, greatest depth, most attribute bytes and most attributes of a tag, bytes of text in `out`)."""
    n, room = len(page), len(out)
    elements = depth = deepest = widest = most = written = 0
    hidden, pre = -1, -1  # depth at which hidden text and preformatted text began
    pending = 0  # 1: a space, 2: a newline before the next character
    i = 0
    while i < n:
        c = page[i]
        after = page[i + 1] if i + 1 < n else 0
        is_start = c == _LT and _is_letter(after)
        if not is_start and not (c == _LT and (after == _SLASH or after == 33 or after == 63)):
            if _is_space(c):
                pending = 2 if pending == 2 or (pre >= 0 and c == _NEWLINE) else 1
            elif hidden < 0 and written + (2 if pending and written else 1) <= room:
                if pending and written:
                    out[written] = _NEWLINE if pending == 2 else _SPACE
                    written += 1
                pending = 0
                out[written] = c
                written += 1
            i += 1
            continue
        if not is_start and after != _SLASH:
            if after == 33 and i + 3 < n and page[i + 2] == _DASH and page[i + 3] == _DASH:
                i = _comment_end(page, i + 4)
            else:
                while i < n and page[i] != _GT:
                    i += 1
                i += 1
            continue
        code, name_end = _read_name(page, i + 1 if is_start else i + 2)
        end, attributes = _tag_end(page, name_end)
        kind = _flags_of(code, keys, flags)
        if kind & BLOCK:
            pending = 2
        if not is_start:
            depth = _after_end_tag(depth, code, stack, kinds)
        else:
            elements += 1
            widest = max(widest, end - name_end)
            most = max(most, attributes)
            if kind & CLOSES_P:
                depth = _after_implied_ends(depth, P_GROUP, stack, kinds)
            if kind >> GROUP_SHIFT:
                depth = _after_implied_ends(depth, kind >> GROUP_SHIFT, stack, kinds)
        if depth <= hidden:
            hidden = -1
        if depth <= pre:
            pre = -1
        i = end + 1
        if is_start and kind & RAW:
            i = _raw_end(page, i, code)
        elif is_start and not kind & VOID and not (end < n and page[end - 1] == _SLASH):
            if depth < len(stack):
                stack[depth] = code
                kinds[depth] = kind
            if kind & HIDDEN and hidden < 0:
                hidden = depth
            if kind & PRE and pre < 0:
                pre = depth
            depth += 1
            deepest = max(deepest, depth)
    return elements, deepest, widest, most, written
