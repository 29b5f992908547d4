"""Compiled part of the scanner: one pass over a page. Import it through `scan` only: that loads lazily.

The state is one array of integers, so that the steps can be functions; a stack of STACK open elements is enough,
deeper ones are only counted. Every search moves the position forward or looks a bounded way up, and what an end
tag closes was opened once, so the time is linear in the bytes whatever they are.

Room: every element, and every block but the last, needs a `<` of its own in the page, and an element has at most two
marks. Tokens: of each of four attributes at most MOST_TOKENS, which is 56 for a tag, and for no value more than its
bytes and one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tokenmill.extract.skim import text_kernel as t
from tokenmill.extract.skim.find_kernel import U, find
from tokenmill.extract.skim.scan_tables import (
    A_ALT,
    A_CONTENT,
    A_DATETIME,
    A_EQUIV,
    A_HREF,
    A_ITEMPROP,
    A_LANG,
    A_NAME,
    A_PROPERTY,
    A_REL,
    A_TYPE,
    BLOCK,
    CELL_GROUP,
    CLOSES_P,
    ENDS,
    FACT,
    FACTUAL,
    IGNORED,
    IMG,
    IN_LINK,
    LAST_TABLE_GROUP,
    MARK_MASK,
    MARK_SHIFT,
    MARKED,
    MOST_FACTS,
    ONCE,
    P_GROUP,
    PHRASING,
    PRE,
    RAW,
    RUBY_GROUP,
    RUBY_TEXT,
    SKIP,
    STACK,
    TAG_SHIFT,
    TAGS,
    TITLE_RANK,
    VOID,
    name_code,
)
from tokenmill.extract.skim.tag_kernel import (
    GT,
    LT,
    TABLES,
    begins,
    behind_comment,
    context_of,
    is_letter,
    raw_end,
    read_attributes,
    read_name,
    slot_of,
    value_hash,
    word_of,
)
from tokenmill.extract.skim.text_kernel import angle, flush, text_run, verbatim
from tokenmill.extract.skim.tree_kernel import (
    END_LOOK,
    bracket,
    close_implied,
    close_named,
    close_to,
    end_mark,
    group_of,
    mark,
    push,
    push_skipped,
)
from tokenmill.text.compiled import entry, lean, lean_forced

_KEYS, _VALUES = TABLES.element_keys, TABLES.element_values
_FACT_KEYS, _FACT_VALUES = TABLES.fact_keys, TABLES.fact_values
_TITLE_RAW = 1  # bit of ONCE_SEEN: a title without an end was met
_SLASH, _DASH, _OPENING, _NO_CODE = np.uint8(47), np.uint8(45), np.uint8(40), np.uint64(0)
_BR, _IMG, _A, _TITLE, _SCRIPT, _HTML, _META, _LINK, _TIME, _XMP, _SVG, _MATH, _SELECT, _INPUT, _TEXTAREA = (
    TAGS.index(name) for name in "br img a title script html meta link time xmp svg math select input textarea".split()
)
_FOREIGN = np.uint64(name_code(b"foreignobject")).view(np.int64)
# numbers of a fixed type: functions are compiled once more for every number that stands in a call
_ZERO, _ONE, _TWO, _P, _IMAGE_MARK, _REL = (np.int64(number) for number in (0, 1, 2, P_GROUP, IMG, A_REL))
_F_TITLE, _F_LANG, _F_TIME, _F_JSON, _F_LICENSE = (
    np.int64(FACT[name]) for name in ("title", "html_lang", "time", "json_ld", "license")
)
_IMAGE = np.int64(_IMG << TAG_SHIFT)
_MOST_TIMES = 8
_MATH_TEX, _JSON_LD, _DISPLAY = map(word_of, (b"math/tex", b"application/ld", b"display"))


@lean
def _fact(kind: int, start: int, end: int, out: Any) -> None:
    s = out.s
    f = U(s[t.FACTS])
    if kind != 0 and f < MOST_FACTS and end > start:
        out.rows[t.FC_KIND, f] = kind
        out.rows[t.FC_START, f] = start
        out.rows[t.FC_END, f] = end
        s[t.FACTS] += 1


@lean
def _named_fact(page: Any, number: int, s: Any) -> Any:
    """The kind of fact that the value of an attribute names; 0 for none."""
    slot = slot_of(_FACT_KEYS, value_hash(page, s[number], s[number + ENDS]))
    return _FACT_VALUES[slot, 0]


@lean
def _facts_of(page: Any, tag: int, found: int, out: Any) -> None:
    """Facts that the attributes of an element state."""
    s = out.s
    kind: Any = 0
    value = A_HREF
    if tag == _META:
        value = A_CONTENT
        for number in (A_NAME, A_PROPERTY, A_ITEMPROP, A_EQUIV):
            if kind == 0 and found >> number & 1:
                kind = _named_fact(page, number, s)
    elif (tag == _LINK or tag == _A) and found >> A_REL & 1:
        kind = _named_fact(page, _REL, s)
        if tag == _A and kind != _F_LICENSE:
            return
    elif tag == _HTML:
        kind, value = _F_LANG, A_LANG
    elif tag == _TIME and s[t.TIMES] < _MOST_TIMES:
        kind, value = _F_TIME, A_DATETIME
        s[t.TIMES] += found >> A_DATETIME & 1
    if found >> value & 1:
        _fact(kind, s[value], s[value + ENDS], out)


@lean
def _raw(page: Any, i: int, code: Any, tag: int, found: int, out: Any) -> Any:
    """The content of a raw text element from i on; the position of its end tag. Formulas and `<xmp>` are text."""
    s = out.s
    end = raw_end(page, i, code)
    if tag == _TITLE:
        if end == len(page):  # not ended: what follows is a page all the same; searched for once only
            s[t.ONCE_SEEN] |= _TITLE_RAW
            return i
        if s[t.SKIPPED] < 0:
            _fact(_F_TITLE, i, end, out)
        return end
    if end == len(page) and tag != _XMP:
        s[t.UNENDED] += end - i
    if s[t.SKIPPED] >= 0:
        return end
    if tag == _SCRIPT and found >> A_TYPE & 1:
        start, stop = s[A_TYPE], s[A_TYPE + ENDS]
        if begins(page, start, stop, _MATH_TEX):
            dollars = _ONE
            for at in range(start + 8, min(stop, start + 64)):
                if begins(page, at, stop, _DISPLAY):
                    dollars = _TWO
            verbatim(page, i, end, dollars, out)
        elif begins(page, start, stop, _JSON_LD):
            _fact(_F_JSON, i, end, out)
    elif tag == _XMP:
        flush(out)
        verbatim(page, i, end, _ZERO, out)
        flush(out)
    return end


@lean
def _line_break(out: Any) -> None:
    """A newline; the second of two, with only white space between, ends the block."""
    s = out.s
    if s[t.OPEN] == 0:
        return
    if s[t.PRE_AT] >= 0:
        out.text[U(s[t.W])] = 10
        s[t.W] += 1
    elif s[t.PENDING] == 2:
        flush(out)
        s[t.BREAK] = 1
    else:
        s[t.PENDING] = 2


@lean
def _image(page: Any, i: int, attrs: int, end: int, found: int, out: Any) -> None:
    """An image with alternative text."""
    if found >> A_ALT & 1 and out.s[A_ALT + ENDS] > out.s[A_ALT]:
        mark(_IMAGE_MARK, push(page, i, attrs, end, _NO_CODE, _IMAGE, _ZERO, found, out), out)


@lean
def _ends_skipped(kind: int, tag: int, out: Any) -> Any:
    """Whether a start tag ends the element whose content is left out, which was not closed as it should be."""
    s = out.s
    at = s[t.SKIPPED]
    if at >= STACK:
        return False
    group = group_of(kind)
    around = s[t.STACK_KIND + t.FRAME * at]
    if around >> TAG_SHIFT == _SELECT:
        return tag == _SELECT or tag == _INPUT or tag == _TEXTAREA or CELL_GROUP <= group <= LAST_TABLE_GROUP
    if group == RUBY_GROUP:
        return group_of(around) == RUBY_GROUP
    if not around & PHRASING or not kind & BLOCK:
        return False
    top = min(s[t.DEPTH], STACK) - 1
    for depth in range(max(at + 1, top - END_LOOK), top + 1):
        if s[t.STACK_CODE + t.FRAME * depth] == _FOREIGN:
            return False
    return True


@lean
def _open_element(
    page: Any, i: int, attrs: int, end: int, code: Any, kind: int, flags: int, found: int, out: Any
) -> None:
    s = out.s
    tag = kind >> TAG_SHIFT
    if tag == _A and s[t.LINK_AT] >= 0:  # a link in a link ends that one
        if s[t.LINK_AT] == s[t.DEPTH] - 1:
            close_to(s[t.DEPTH] - 1, out)
        else:
            end_mark(s[t.LINK_AT], out)
        s[t.LINK_AT] = -1
    depth = s[t.DEPTH]
    element = push(page, i, attrs, end, code, kind, flags | context_of(page, found, s), found, out)
    if kind & MARKED:
        mark(kind >> MARK_SHIFT & MARK_MASK, element, out)
        if tag == _A and found >> A_HREF & 1 and depth < STACK:
            s[t.LINK_AT] = depth
            out.rows[t.EL_FLAGS, U(element)] |= IN_LINK
    if kind & SKIP:
        s[t.SKIPPED] = depth
    if kind & PRE and s[t.PRE_AT] < 0:
        s[t.PRE_AT] = depth
    if kind & RUBY_TEXT:
        bracket(_OPENING, out)


@lean_forced
def _start_tag(page: Any, i: int, out: Any) -> Any:
    """Take the start tag at i; the position behind it (behind the content, of raw text)."""
    n = len(page)
    s = out.s
    code, attrs = read_name(page, i + 1)
    end, found, count = read_attributes(page, attrs, s)
    slot = slot_of(_KEYS, code)
    kind = _VALUES[slot, 0]
    tag = kind >> TAG_SHIFT
    s[t.TAGS_SEEN] += 1
    s[t.WIDEST] = max(s[t.WIDEST], end - attrs)
    s[t.MOST] = max(s[t.MOST], count)
    if end == n:  # a tag that never ends is none, as in browsers
        s[t.UNENDED] += n - i
        return n
    after = end + 1
    skipped = s[t.SKIPPED] >= 0
    closed = page[U(end - 1)] == _SLASH
    if skipped:
        if _ends_skipped(kind, tag, out):
            close_to(s[t.SKIPPED], out)
            skipped = False
            if tag == _SELECT:
                return after
        elif not kind & RAW:
            if not closed and not kind & (VOID | IGNORED | ONCE):
                push_skipped(code, out)
            return after
        elif closed:
            return after
    elif kind & FACTUAL:
        _facts_of(page, tag, found, out)
    if kind & (RAW | IGNORED | ONCE):
        if kind & RAW and not (tag == _TITLE and s[t.ONCE_SEEN] & _TITLE_RAW):
            return _raw(page, after, code, tag, found, out)
        if kind & IGNORED or (kind & ONCE and s[t.ONCE_SEEN] >> tag & 1):
            return after
        if kind & ONCE:
            s[t.ONCE_SEEN] |= 1 << (tag & 31)
    _make_room(kind, out)
    if kind & VOID:
        if tag == _BR:
            _line_break(out)
        elif tag == _IMG:
            _image(page, i, attrs, end, found, out)
    elif not closed or (tag != 0 and tag != _SVG and tag != _MATH):  # <x/> of another vocabulary has no content
        _open_element(page, i, attrs, end, code, kind, _VALUES[slot, 1], found, out)
    return after


@lean_forced
def _make_room(kind: int, out: Any) -> None:
    """Close what a start tag of this kind closes: paragraphs, headings, siblings, and the block of text."""
    s = out.s
    if kind & CLOSES_P and s[t.PARAS]:
        close_implied(_P, out)
    if kind & TITLE_RANK and s[t.DEPTH] <= STACK and s[t.STACK_KIND + t.FRAME * (s[t.DEPTH] - 1)] & TITLE_RANK:
        close_to(s[t.DEPTH] - 1, out)
    group = group_of(kind)
    if group and (group != P_GROUP or s[t.PARAS]):
        close_implied(group, out)
    if kind & BLOCK:
        flush(out)


@lean_forced
def _end_tag(page: Any, i: int, out: Any) -> Any:
    """Take the end tag at i; the position behind it."""
    n = len(page)
    s = out.s
    code, at = read_name(page, i + 2)
    if at < n and page[U(at)] != GT:
        at, _, _ = read_attributes(page, at, s)
    if at >= n:
        s[t.UNENDED] += n - i
        return n
    kind = _VALUES[slot_of(_KEYS, code), 0]
    if kind & (ONCE | IGNORED | VOID | RAW):
        if kind >> TAG_SHIFT == _BR and s[t.SKIPPED] < 0:
            _line_break(out)
        return at + 1
    close_named(code, kind, out)
    if kind >> TAG_SHIFT == _A:
        s[t.LINK_AT] = -1
    if kind & BLOCK and s[t.SKIPPED] < 0:
        flush(out)
    return at + 1


@lean_forced
def _markup(page: Any, i: int, out: Any) -> Any:
    """Take the `<` at i and what it begins; the position behind that."""
    n = len(page)
    after = page[U(i + 1)] if i + 1 < n else np.uint8(0)
    if is_letter(after):
        return _start_tag(page, i, out)
    if after == _SLASH and i + 2 < n and is_letter(page[U(i + 2)]):
        return _end_tag(page, i, out)
    if after == _SLASH or after == 33 or after == 63:
        if after == 33 and i + 3 < n and page[U(i + 2)] == _DASH and page[U(i + 3)] == _DASH:
            end = behind_comment(page, i + 4)
        else:
            end = find(page, i + 2, GT) + 1
        if end > n:
            out.s[t.UNENDED] += n - i
        return min(end, n)
    angle(i, out)
    return i + 1


def _scan_of(digest: str) -> Callable[..., None]:
    def scan(page: Any, out: Any) -> None:
        """Fill `out`; element 0 is the root of all."""
        digest  # noqa: B018 - part of the cache's key
        n = len(page)
        rows, s = out.rows, out.s
        for k in range(t.STACK_EL + t.FRAME):
            s[k] = 0
        for k in range(t.BL_EL):
            rows[k, 0] = 0
        rows[t.EL_PARENT, 0] = -1
        rows[t.EL_TOKEN, 1] = 0
        s[t.ELEMENTS] = s[t.DEPTH] = 1
        s[t.SKIPPED] = s[t.PRE_AT] = s[t.LINK_AT] = -1
        i = _ZERO
        while i < n:
            if page[U(i)] != LT:
                i = text_run(page, i, out)
            if i < n:
                i = _markup(page, i, out)
        close_to(_ZERO, out)
        flush(out)

    return scan


scan = entry(_scan_of, no_cfunc_wrapper=True, _nrt=False)
