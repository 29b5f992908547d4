"""Compiled part of `math`: whether a page may hold formulas, and its tags with their partners."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from tokenmill.extract.skim.find_kernel import U, find
from tokenmill.extract.skim.scan_tables import name_code
from tokenmill.extract.skim.tag_kernel import LT, begins, comment_end, is_letter, is_space, raw_end, read_name, word_of
from tokenmill.text.compiled import entry, lean

OTHER, MATH, WRAPPER, SOURCE, IMAGE, ANNOTATION, PROSE, END_TAG = range(8)
"""Kinds of tags. PROSE: starts of paragraphs, items and headings, which no wrapper of a formula holds."""
STACK = 1024
"""Elements whose end tags are looked for; deeper ones have no partner."""
_LOOK = 64  # open elements that an end tag looks up
_TAG_BYTES = 2000  # bytes of a tag in which marks of formulas are looked for
_CLASS_BYTES = 400
_TYPE_BYTES = 208  # between the `<` of a tag and a word that makes it one of formulas
WIDE = 32
"""Bytes that are looked at together."""
_GT, _SLASH, _DASH, _EQUALS = 62, 47, 45, 61

_MATH, _MATH_M, _MATH_MML, _MATHJAX, _MWE, _KATEX = (
    word_of(word) for word in (b"math", b"m:math", b"mml:math", b"mathjax", b"mwe-math", b"katex")
)
_MJX, _IMG, _SCRIPT, _SPAN, _DIV, _ANNOTATION, _M_ANNOTATION, _MML_ANNOTATION = (
    word_of(word)
    for word in (b"mjx-", b"img", b"script", b"span", b"div", b"annotation", b"m:annotation", b"mml:annotation")
)
_TYPE, _CLASS = word_of(b"math/"), word_of(b"class")


def _code(name: str) -> Any:
    return np.uint64(name_code(name.encode()))


_IMG_CODE, _SCRIPT_CODE, _SPAN_CODE, _DIV_CODE = _code("img"), _code("script"), _code("span"), _code("div")
_P_CODE, _LI_CODE, _H1_CODE, _H6_CODE = _code("p"), _code("li"), _code("h1"), _code("h6")
_RAW = tuple(_code(name) for name in "script style textarea title iframe noembed noframes xmp".split())
_VOID = tuple(_code(name) for name in "br img hr input meta link wbr".split())


@lean
def _is_one_of(code: Any, codes: Any) -> Any:
    for i in range(len(codes)):
        if codes[i] == code:
            return True
    return False


@lean
def _tag_end(page: Any, i: int) -> Any:
    """Position of the `>` that ends a tag (the length when there is none), quotes after `=` respected, and the
    range of the value of its class."""
    n = len(page)
    start = end = 0
    while i < n and page[i] != _GT:
        if is_space(page[i]) or page[i] == _SLASH:
            i += 1
            continue
        name = i
        i += 1
        while i < n and page[i] != _GT and page[i] != _SLASH and page[i] != _EQUALS and not is_space(page[i]):
            i += 1
        is_class = i - name == 5 and begins(page, name, i, _CLASS) and end == 0
        while i < n and is_space(page[i]):
            i += 1
        if i >= n or page[i] != _EQUALS:
            continue
        i += 1
        while i < n and is_space(page[i]):
            i += 1
        quote = page[i] if i < n and (page[i] == 34 or page[i] == 39) else 0
        value = i + 1 if quote else i
        i = value
        while i < n and (page[i] != quote if quote else (page[i] != _GT and not is_space(page[i]))):
            i += 1
        if is_class:
            start, end = value, i
        if quote:
            i = min(i + 1, n)
    return i, start, end


@lean
def _holds(page: Any, start: int, end: int, word: Any) -> Any:
    """Whether the range holds the word (lower-case bytes), whatever the case."""
    for i in range(start, end - len(word) + 1):
        if begins(page, i, end, word):
            return True
    return False


@lean
def _names_math(page: Any, i: int) -> Any:
    """Whether the name of a tag that starts at i is `math`, with one of the usual prefixes or none."""
    n = len(page)
    for length in (4, 6, 8):
        if i + length <= n and (i + length == n or not is_letter(page[i + length])):
            if length == 4 and begins(page, i, n, _MATH):
                return True
            if length == 6 and begins(page, i, n, _MATH_M):
                return True
            if length == 8 and begins(page, i, n, _MATH_MML):
                return True
    return False


@lean
def _image_hint(page: Any, i: int) -> Any:
    """Whether the tag whose attributes start at i may be a picture of a formula, and where the look ended."""
    n = min(len(page), i + _TAG_BYTES)
    while i < n:
        c = page[U(i)]
        if c == _GT:
            return False, i
        if c == 36 or c == 92:  # $ and the backslash
            return True, i
        c |= 32
        if (c == 116 or c == 109 or c == 101) and i + 3 <= n:
            second, third = page[U(i + 1)] | 32, page[U(i + 2)] | 32
            if (
                (c == 116 and second == 101 and third == 120)  # tex
                or (c == 109 and second == 97 and third == 116 and begins(page, i, n, _MATH))
                or (c == 109 and second == 119 and third == 101 and begins(page, i, n, _MWE))
                or (c == 101 and second == 113 and third == 110)  # eqn
            ):
                return True, i
        i += 1
    return False, n


@lean
def _class_hint(page: Any, start: int, end: int) -> Any:
    for i in range(start, min(end, start + _CLASS_BYTES)):
        c = page[i] | 32
        if c == 109 and (begins(page, i, end, _MATHJAX) or begins(page, i, end, _MJX) or begins(page, i, end, _MWE)):
            return True
        if c == 109 and end - i >= 4 and page[i + 1] | 32 == 106 and page[i + 2] | 32 == 120:
            return True
        if c == 107 and begins(page, i, end, _KATEX):
            return True
    return False


def _may_begin(_: Any, page: Any, i: Any) -> Any:
    """Whether `math`, `kate`, `mjx`, `<im` or `<m` without `e` begins at one of the WIDE bytes from i on,
    whatever the case; bit 5 of every byte is taken as set. Three bytes more must lie in the page."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        wide = ir.VectorType(ir.IntType(8), WIDE)

        def each(byte: int) -> Any:
            return ir.Constant(wide, [byte] * WIDE)

        def equal(values: Any, byte: bytes) -> Any:
            return builder.icmp_unsigned("==", values, each(byte[0]))

        first, second, third, fourth = (
            builder.or_(builder.load(builder.bitcast(builder.gep(data, [at]), wide.as_pointer()), align=1), each(32))
            for at in (builder.add(arguments[1], ir.IntType(64)(k)) for k in range(4))
        )
        m, angle = equal(first, b"m"), equal(first, b"<")
        at = builder.and_(equal(second, b"a"), equal(third, b"t"))
        math = builder.and_(m, equal(fourth, b"h"))
        word = builder.and_(at, builder.or_(math, builder.and_(equal(first, b"k"), equal(fourth, b"e"))))
        mjx = builder.and_(builder.and_(m, equal(second, b"j")), equal(third, b"x"))
        name = builder.and_(equal(second, b"m"), builder.not_(equal(third, b"e")))
        tag = builder.and_(angle, builder.or_(name, builder.and_(equal(second, b"i"), equal(third, b"m"))))
        found = builder.bitcast(builder.or_(builder.or_(word, mjx), tag), ir.IntType(WIDE))
        return builder.icmp_unsigned("!=", found, ir.IntType(WIDE)(0))

    return types.boolean(page, types.int64), generate


_begins_within: Any = intrinsic(_may_begin)


@lean
def _opens_formula(page: Any, i: int) -> Any:
    """Whether a script of TeX or MathML, or a wrapper of MathJax or MediaWiki, has its name at i."""
    n = len(page)
    c = page[i] | 32
    if c == 115 and begins(page, i, n, _SCRIPT):
        stop = i + 6
        while stop < n and stop < i + 200 and page[stop] != _GT:
            stop += 1
        return _holds(page, i + 6, stop, _TYPE)
    if begins(page, i, n, _SPAN) or begins(page, i, n, _DIV):
        # class="M..., id="M...: renderers write them first
        at = i + (5 if c == 115 else 4)
        if at + 10 < n and (page[at] == 99 or page[at] == 105):
            at += 7 if page[at] == 99 else 4
            return page[at] | 32 == 109 and _class_hint(page, at, min(n, at + 8))
    return False


@lean
def _hint_at(page: Any, i: int, looked: int) -> Any:
    """What is at i: 2 for a tag that may be a formula or for a word of one in a tag that may, 1 for a picture that
    may be one, else 0; and the place up to which no picture needs another look."""
    n = len(page)
    c = page[i] | 32
    if page[i] == LT:
        if i + 6 >= n:
            return 0, looked
        if page[i + 1] | 32 == 109:
            return 2 if _names_math(page, i + 1) or begins(page, i + 1, n, _MJX) else 0, looked
        if begins(page, i + 1, n, _IMG):
            is_hint, looked = _image_hint(page, max(i + 4, looked - 4))
            return 1 if is_hint else 0, looked
    elif (c == 109 and (page[i + 1] | 32 == 106 or _is_part(page, i))) or c == 107:
        at = i - 1
        while at >= 0 and at >= i - _TYPE_BYTES:
            if page[at] == LT and at + 6 < n and _opens_formula(page, at + 1):
                return 2, looked
            at -= 1
    return 0, looked


@lean
def _is_part(page: Any, i: int) -> Any:
    """Whether the `math` at i is part of `math/`, `mathjax` or `mwe-math`."""
    after = page[i + 4] | 32 if i + 4 < len(page) else 0
    return after == 47 or after == 106 or (i > 0 and page[i - 1] == _DASH)


def _make_may_hold(digest: str) -> Callable[..., Any]:
    def may_hold_formulas(page: Any, i: int) -> Any:
        """The next place from i on where a page may have a formula; the length where there is none, which is final.
        And the end of its tag if it is a picture; 0 for `math`, `mjx-...`, a script of TeX or MathML, and wrappers of
        MathJax or MediaWiki."""
        _ = digest
        n = len(page)
        looked = 0
        while i + 3 < n:
            if i + WIDE + 3 <= n and not _begins_within(page, i):
                i += WIDE
                continue
            for at in range(i, min(i + WIDE, n - 3)):
                hint, looked = _hint_at(page, at, looked)
                if hint:
                    return at, _tag_end(page, at + 4)[0] if hint == 1 else 0
            i += WIDE
        return n, 0

    return may_hold_formulas


@lean
def _kind_of(page: Any, i: int, code: Any, class_start: int, class_end: int) -> Any:
    """Kind of the start tag whose name starts at i."""
    n = len(page)
    if _names_math(page, i):
        return MATH
    if begins(page, i, n, _ANNOTATION) or begins(page, i, n, _M_ANNOTATION) or begins(page, i, n, _MML_ANNOTATION):
        return ANNOTATION
    if code == _IMG_CODE:
        return IMAGE if _image_hint(page, i + 3)[0] else OTHER
    if code == _P_CODE or code == _LI_CODE or _H1_CODE <= code <= _H6_CODE:
        return PROSE
    if begins(page, i, n, _MJX):
        return WRAPPER
    if code == _SPAN_CODE or code == _DIV_CODE:
        return WRAPPER if _class_hint(page, class_start, class_end) else OTHER
    return OTHER


@lean
def _close(code: Any, number: int, depth: int, stack: Any, codes: Any, partners: Any) -> Any:
    """The depth once an end tag has closed the nearest open element of its name; a stray one closes nothing."""
    i = depth - 1
    while i >= 0 and i >= depth - _LOOK:
        if codes[i] == code:
            partners[stack[i]] = number
            partners[number] = stack[i]
            return i
        i -= 1
    return depth


def _make_tags(digest: str) -> Callable[..., Any]:
    def tags(page: Any, starts: Any, names: Any, ends: Any, kinds: Any, partners: Any) -> Any:
        """Tags of the page in order; how many there are. Outputs have room for one per `<`.

        starts: of the `<`; names: end of the name; ends: behind the `>`; partners: the tag at the other end of the
        element, itself where it closes itself, -1 where there is none or none is looked for: outside formulas only
        span, div and `mjx-...` are. The content of raw elements is skipped.
        """
        _ = digest
        n = len(page)
        stack, codes = np.empty(STACK, np.int64), np.empty(STACK, np.uint64)
        depth = over = count = 0
        formula = STACK + 1  # depth of the outermost open formula
        i = 0
        while i + 1 < n:
            i = find(page, i, LT)
            if i + 1 >= n:
                break
            start = i
            after = page[i + 1]
            if is_letter(after):
                code, name_end = read_name(page, i + 1)
                end, class_start, class_end = _tag_end(page, name_end)
                kind = _kind_of(page, i + 1, code, class_start, class_end)
                i = min(end + 1, n)
                if code == _SCRIPT_CODE:
                    kind = SOURCE if _holds(page, name_end, min(end, name_end + _CLASS_BYTES), _TYPE) else OTHER
                starts[count], names[count], ends[count], kinds[count] = start, name_end, i, kind
                partners[count] = -1
                inside = formula <= depth or kind == MATH
                if _is_one_of(code, _VOID) or (inside and end > 0 and end < n and page[end - 1] == _SLASH):
                    partners[count] = count
                elif _is_one_of(code, _RAW):
                    i = raw_end(page, i, code)
                elif inside or code == _SPAN_CODE or code == _DIV_CODE or begins(page, start + 1, n, _MJX):
                    if depth < STACK:
                        formula = min(formula, depth + 1) if kind == MATH else formula
                        stack[depth], codes[depth] = count, code
                        depth += 1
                    else:
                        over += 1
                count += 1
            elif after == _SLASH:
                code, name_end = read_name(page, i + 2)
                i = name_end
                while i < n and page[i] != _GT:
                    i += 1
                i = min(i + 1, n)
                starts[count], names[count], ends[count], kinds[count] = start, name_end, i, END_TAG
                partners[count] = -1
                if over:
                    over -= 1
                else:
                    depth = _close(code, count, depth, stack, codes, partners)
                    if depth < formula:
                        formula = STACK + 1
                count += 1
            elif after == 33 and i + 3 < n and page[i + 2] == _DASH and page[i + 3] == _DASH:
                i = comment_end(page, i + 4)
            else:
                i += 1
        return count

    return tags


may_hold_formulas = entry(_make_may_hold)
tags = entry(_make_tags)
