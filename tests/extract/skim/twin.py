"""The block model as one would write it without a compiler: the definitions that its kernels must equal."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from tokenmill.extract.skim import context_kernel
from tokenmill.extract.skim import features_kernel as f
from tokenmill.extract.skim import model_kernel as m
from tokenmill.extract.skim import scan_tables as t
from tokenmill.extract.skim import sections_kernel as sections
from tokenmill.extract.skim import stats_kernel as s

_COMMAS, _ENDS = ",;:،؛、，：；", "!?؟։۔।॥።။។。！．？"
_SEPARATORS, _QUOTES = "|/>~#*·•…‹›", "\"'«»‘’‚‛“”„‟《》「」『』"
_ARROWS = [range(0x2180, 0x21C0), range(0x2580, 0x2600)]


def log8(value: int) -> int:
    """Eighths of octaves of value + 1, straight between powers of two."""
    octave = (value + 1).bit_length() - 1
    return min(octave * 8 + int(8 * ((value + 1) / 2**octave - 1)), 255)


def share(part: int, whole: int) -> int:
    return 0 if whole <= 0 or part <= 0 else min(255 * part // whole, 255)


def _is_separator(c: str) -> bool:
    return c in _SEPARATORS or any(ord(c) in arrows for arrows in _ARROWS)


def _is_quote(c: str) -> bool:
    return c in _QUOTES


def stats(text: str, linked: int) -> list[int]:
    """A row of `stats_kernel` for the text of one block."""
    row = [0] * s.COLUMNS
    ascii_letters = [c for c in text if c.isascii() and c.isalpha()]
    row[s.WEIGHT] = sum(3 if 0x3000 <= ord(c) < 0xE000 else 1 for c in text)
    row[s.LETTERS] = len(ascii_letters) + sum(not c.isascii() for c in text)
    row[s.UPPER] = sum(c.isupper() for c in ascii_letters)
    row[s.DIGITS] = sum(c in "0123456789" for c in text)
    row[s.SPACES], row[s.LINES] = text.count(" "), text.count("\n")
    row[s.COMMAS] = sum(c in _COMMAS for c in text)
    row[s.ENDS] = sum(c in _ENDS for c in text) + len(re.findall(r"\.(?=[ \n\")]|\Z)", text))
    row[s.SEPARATORS] = sum(map(_is_separator, text))
    row[s.CODE_SIGNS] = sum(c in "{}[]()=;<>_\\&^" for c in text)
    row[s.QUOTES] = sum(map(_is_quote, text))
    row[s.SIGNS] = sum(c in "@©" for c in text)
    row[s.MATH] = text.count("$") + 4 * len(re.findall(r"\\[(\[]", text)) + len(re.findall(r"\\[A-Za-z]", text))
    row[s.FIRST], row[s.LAST] = _first(text), _last(text)
    solid = len(text.encode()) - row[s.SPACES] - row[s.LINES]
    row[s.LINKED] = min(255 * linked // solid, 255) if solid > 0 else 0
    return row


def _first(text: str) -> int:
    if not text:
        return s.F_NONE
    c = text[0]
    if c in "0123456789":
        return s.F_DIGIT
    if c.isascii() and c.isalpha():
        return s.F_UPPER if c.isupper() else s.F_LOWER
    if _is_quote(c):
        return s.F_QUOTE
    return s.F_SYMBOL if c.isascii() else s.F_OTHER


def _last(text: str) -> int:
    closed = 0
    while text and closed < 3:
        c = text[-1]
        if c == "." or c in _ENDS:
            return s.L_END
        if c in ")]" or _is_quote(c):
            text, closed = text[:-1], closed + 1
            continue
        if closed:
            return s.L_CLOSE
        if c == ":":
            return s.L_COLON
        if c in _COMMAS:
            return s.L_COMMA
        if c in "0123456789":
            return s.L_DIGIT
        if c in "|/>" or (not c.isascii() and _is_separator(c)):
            return s.L_SEPARATOR
        return s.L_LETTER if not c.isascii() or c.isalpha() else s.L_SYMBOL
    return s.L_CLOSE if closed else s.L_NONE


class Page:
    """A scan with sums by definition: everything is looked up by walking up from the blocks."""

    def __init__(self, scan: Any, weights: context_kernel.Weights) -> None:
        self.scan, self.weights = scan, weights
        self.blocks = len(scan.bl_el)
        texts = [scan.text[scan.bl_start[b] : scan.bl_end[b]].tobytes().decode() for b in range(self.blocks)]
        self.rows = [stats(text, int(scan.bl_link[b])) for b, text in enumerate(texts)]
        self.flags = [int(flags) for flags in scan.bl_flags]
        self.below: list[list[int]] = [[] for _ in scan.el_tag]
        for b in range(self.blocks):
            for e in self.ways(int(scan.bl_el[b])):
                self.below[e].append(b)
        self.last = list(range(len(scan.el_tag)))
        for e in range(len(scan.el_tag)):
            for above in self.ways(e):
                self.last[above] = max(self.last[above], e)

    def ways(self, e: int) -> list[int]:
        """The element and all around it, the root last."""
        found = [e]
        while found[-1]:
            found.append(int(self.scan.el_parent[found[-1]]))
        return found

    def weight(self, blocks: Sequence[int]) -> int:
        return sum(self.rows[b][s.WEIGHT] for b in blocks)

    def prose(self, blocks: Sequence[int]) -> int:
        return self.weight([b for b in blocks if self.is_prose(b)])

    def is_prose(self, b: int) -> bool:
        return (
            self.rows[b][s.WEIGHT] >= context_kernel.PROSE_WEIGHT
            and self.rows[b][s.LINKED] < context_kernel.PROSE_LINKED
        )

    def linked(self, blocks: Sequence[int]) -> int:
        return sum(self.rows[b][s.WEIGHT] * self.rows[b][s.LINKED] // 255 for b in blocks)

    def para(self, blocks: Sequence[int]) -> int:
        return self.weight([b for b in blocks if self.flags[b] & t.PARA])

    def above(self, e: int) -> int:
        """The nearest ancestor with more text; the root has itself."""
        own = self.weight(self.below[e])
        return next((a for a in self.ways(e)[1:] if self.weight(self.below[a]) > own), 0)

    def names(self, e: int, table: Any) -> int:
        tokens = self.scan.tokens[self.scan.el_token[e] : self.scan.el_token[e + 1]]
        return sum(int(table[token]) for token in tokens) if e else 0

    def steps(self, e: int, names: Sequence[str]) -> list[int]:
        """Steps, from 1, to the elements around that bear one of the names; html and body do not count."""
        tokens = {sections.token_of(name) for name in names}
        found = []
        for step, way in enumerate(self.ways(e), 1):
            own = self.scan.tokens[self.scan.el_token[way] : self.scan.el_token[way + 1]]
            if len(self.ways(way)) - 1 > context_kernel.OUTER_DEPTH and tokens & {int(token) for token in own}:
                found.append(step)
        return found

    def section(self, e: int) -> int | None:
        """The outermost comment around an element."""
        steps = self.steps(e, sections.COMMENT_NAMES)
        return self.ways(e)[steps[-1] - 1] if steps else None

    def inside(self, names: Sequence[str]) -> list[int]:
        """Blocks in elements that bear one of the names."""
        return [b for b in range(self.blocks) if self.steps(int(self.scan.bl_el[b]), names)]

    def deepest(self, masses: Sequence[int], tenths: int) -> int:
        return max(e for e, mass in enumerate(masses) if mass * 10 >= masses[0] * tenths)

    def kind(self, b: int) -> int:
        flags = self.flags[b]
        order = ((t.BUTTON | t.LABEL, 0), (t.TH, 1), (t.HEADING, 5), (t.IN_PRE | t.CODE, 8), (t.PARA, 9), (t.ITEM, 3),
                 (t.CELL, 2), (t.CAPTION | t.FIGURE, 4), (t.QUOTE, 7))  # fmt: skip
        return next((kind for bits, kind in order if flags & bits), 6)

    def landmark(self, b: int) -> int:
        order = (
            (t.NAV, 0),
            (t.FOOTER, 1),
            (t.ASIDE, 2),
            (t.HEADER, 3),
            (t.FORM | t.BUTTON, 4),
            (t.ARTICLE, 7),
            (t.MAIN, 6),
        )
        return next((place for bits, place in order if self.flags[b] & bits), 5)

    def since_heading(self, b: int) -> int:
        headings = [other for other in range(b + 1) if self.flags[other] & t.HEADING]
        return min(b - headings[-1], 255) if headings else 255

    def first_features(self, b: int) -> list[int]:
        return [*self._own(b), *self._context(b), *self._levels(b), *self._around(b)]

    def _own(self, b: int) -> list[int]:
        row, scan = self.rows[b], self.scan
        inside = [int(kind) for at, kind in zip(scan.mk_pos, scan.mk_kind, strict=True)
                  if at < scan.bl_end[b] and (b == 0 or at >= scan.bl_end[b - 1])]  # fmt: skip
        signs, weight = row[s.LETTERS] + row[s.DIGITS], row[s.WEIGHT]
        return [
            log8(weight), log8(row[s.SPACES]), row[s.LINKED], share(row[s.DIGITS], signs),
            share(row[s.UPPER], row[s.LETTERS]), share(16 * row[s.COMMAS], weight), min(row[s.ENDS], 255),
            share(16 * row[s.ENDS], weight), share(4 * row[s.SEPARATORS], weight), share(4 * row[s.CODE_SIGNS], weight),
            share(16 * row[s.QUOTES], weight), min(row[s.SIGNS], 255), log8(row[s.LINES]), log8(row[s.MATH]),
            row[s.FIRST], row[s.LAST], min(inside.count(t.LINK), 255),
            min(inside.count(t.STRONG) + inside.count(t.EM), 255), min(inside.count(t.IMG), 255), self.since_heading(b),
            share(row[s.LETTERS], 16 * row[s.SPACES] + 16), self.landmark(b), self.kind(b), int(scan.bl_break[b]),
        ]  # fmt: skip

    def _context(self, b: int) -> list[int]:
        scan, every = self.scan, range(self.blocks)
        e, within, flags = int(scan.bl_el[b]), int(scan.bl_inner[b]), self.flags[b]
        up = max(int(scan.el_parent[e]), 0)
        path = [self.names(a, self.weights.path) for a in self.ways(e)]
        total, prose = self.weight(every), self.prose(every)
        comments, bodies = self.inside(sections.COMMENT_NAMES), self.inside(sections.BODY_NAMES)
        section = self.section(e)
        clip = lambda value: min(max(value, 0), 255)  # noqa: E731
        return [
            int(bool(flags & t.LIST)), int(bool(flags & t.TABLE)), int(bool(flags & t.HIDDEN)),
            *(int(self.weights.tags[scan.el_tag[a]]) for a in (e, up, within)), min(len(self.ways(e)) - 1, 255),
            clip(128 + self.names(within, self.weights.own) // 2) if within != e else 128,
            clip(128 + self.names(e, self.weights.own) // 2), clip(128 + self.names(up, self.weights.own) // 2),
            clip(128 + sum(path) // 4), clip(255 + min(0, *path)), clip(max(0, *path)),
            share(b, self.blocks), share(self.weight(every[:b]), total), share(self.prose(every[:b]), prose),
            log8(b), log8(self.blocks - b), log8(total), share(self.linked(every), total), share(self.para(every),
            total),
            share(prose, total), log8(self.blocks), share(self.rows[b][s.WEIGHT], max(row[s.WEIGHT] for row in
            self.rows)),
            log8(sum(row[s.ENDS] for row in self.rows)),
            log8(sum(int(parent) == up and bool(self.below[a]) for a, parent in enumerate(scan.el_parent))),
            min([*self.steps(e, sections.COMMENT_NAMES), 0][0], 255),
            0 if section is None else log8(self.prose(every[: self.below[section][0]])),
            share(self.weight(comments), total), log8(prose - self.prose(comments)),
            min([*self.steps(e, sections.BODY_NAMES), 0][0], 255), share(self.prose(bodies), prose),
        ]  # fmt: skip

    def _levels(self, b: int) -> list[int]:
        found, e, total = [], int(self.scan.bl_el[b]), self.weight(range(self.blocks))
        for _ in range(f.LEVELS):
            below = self.below[e]
            weight, prose = self.weight(below), self.prose(below)
            found += [
                share(weight, total), share(self.linked(below), weight), share(self.para(below), weight),
                log8(len(below)), log8(weight // max(len(below), 1)), share(prose, self.prose(range(self.blocks))),
                share(prose, weight), share(b - below[0], len(below)),
            ]  # fmt: skip
            e = self.above(e)
        return found

    def _around(self, b: int) -> list[int]:
        inside = [b + step if 0 <= b + step < self.blocks else None for step in (-2, -1, 1, 2)]
        rows = [None if other is None else self.rows[other] for other in inside]
        window = range(max(b - context_kernel.WINDOW, 0), min(b + context_kernel.WINDOW + 1, self.blocks))
        masses, e = [self.prose(below) for below in self.below], int(self.scan.bl_el[b])
        half, most = self.deepest(masses, 6), self.deepest(masses, 9)
        return [
            *(value for row in rows for value in ((0, 0) if row is None else (log8(row[s.WEIGHT]), row[s.LINKED]))),
            self.kind(b - 1) if b else 10, self.kind(b + 1) if b + 1 < self.blocks else 10, log8(self.prose(window)),
            share(self.prose(window), self.weight(window)), int(half <= e <= self.last[half]),
            int(most <= e <= self.last[most]), min(len(self.ways(half)) - 1, 255), self.rows[b - 1][s.LAST] if b else 0,
        ]  # fmt: skip

    def second_features(self, b: int, likely: Sequence[int]) -> list[int]:
        count, e, every = self.blocks, int(self.scan.bl_el[b]), range(self.blocks)
        mass = [self.rows[o][s.WEIGHT] * int(likely[o]) for o in every]
        inside = [mass[o] if likely[o] >= m.LIKELY else 0 for o in every]
        held = [sum(inside[o] for o in below) for below in self.below]
        found = [int(likely[b + step]) if 0 <= b + step < count else 0 for step in range(-3, 4)]
        way = e
        for _ in range(4):
            weight = self.weight(self.below[way])
            found += [share(sum(mass[o] for o in self.below[way]), 255 * weight), share(held[way], held[0]),
                      share(held[way], 255 * weight)]  # fmt: skip
            way = self.above(way)
        for tenths in (6, 9):
            holder = self.deepest(held, tenths)
            blocks = self.below[holder] or [count]
            size = len(self.below[holder])
            found += [
                int(holder <= e <= self.last[holder]),
                _distance(b - blocks[0]),
                _distance(blocks[0] + size - 1 - b),
            ]
        found += [share(sum(inside[:b]), held[0]), share(sum(inside[: b + 1]), held[0])]
        for reach in (2, 8):
            window = range(max(b - reach, 0), min(b + reach + 1, count))
            weight = 255 * self.weight(window)
            found += [share(sum(mass[o] for o in window), weight), share(sum(inside[o] for o in window), weight)]
        total = self.weight(every)
        found += [share(sum(mass), 255 * total), share(sum(inside), 255 * total)]
        before = [int(likely[o]) for o in every[:b] if self.rows[o][s.WEIGHT] >= m.LONG]
        after = [int(likely[o]) for o in every[b + 1 :] if self.rows[o][s.WEIGHT] >= m.LONG]
        row, section = self.rows[b], self.section(e)
        first = self.below[section][0] if section is not None else 0
        return [
            *found, before[-1] if before else 0, after[0] if after else 0, log8(row[s.WEIGHT]), row[s.LINKED],
            row[s.LAST], self.kind(b), self.landmark(b), log8(row[s.MATH]),
            self.kind(b + 1) if b + 1 < count else 10, self.kind(b - 1) if b else 10, log8(total), log8(count),
            self.since_heading(b), min([*self.steps(e, sections.COMMENT_NAMES), 0][0], 255),
            share(sum(inside[:first]), held[0]),
        ]  # fmt: skip


def _distance(blocks: int) -> int:
    return 128 + int(math.copysign(min(log8(abs(blocks)), 127), blocks))


def tree_sum(row: Sequence[int], trees: m.Trees) -> int:
    """Sum of the leaves that a row of features comes to: of those that no failed test took away, the first."""
    total = 0
    for tree in range(len(trees.leaf) // m.LEAVES):
        left = set(range(m.LEAVES))
        for node in range(tree * m.NODES, (tree + 1) * m.NODES):
            if row[trees.feature[node]] > trees.threshold[node]:
                left -= {leaf for leaf in left if not int(trees.mask[node]) >> leaf & 1}
        place = ((1 << min(left)) * m.SPREAD >> 12) % 16
        total += int(trees.leaf[tree * m.LEAVES + place])
    return total


def probabilities(scan: Any, model: Any) -> tuple[list[float], list[int]]:
    """Of both stages, and of the first in 255ths."""
    arrays = model.arrays
    page = Page(scan, context_kernel.Weights(arrays["own"], arrays["path"], arrays["tags"]))
    stages = [m.Trees(*(arrays[f"{stage}_{name}"] for name in m.Trees._fields)) for stage in ("first", "second")]
    place = lambda total: min(max((total >> m.STEP_SHIFT) + m.STEPS // 2, 0), m.STEPS - 1)  # noqa: E731
    sums = [int(arrays["bases"][0]) + tree_sum(page.first_features(b), stages[0]) for b in range(page.blocks)]
    likely = [int(arrays["bytes_table"][place(total)]) for total in sums]
    sums = [int(arrays["bases"][1]) + tree_sum(page.second_features(b, likely), stages[1]) for b in range(page.blocks)]
    return [float(np.float32(arrays["table"][place(total)])) for total in sums], likely
