"""Kernels: which blocks are kept, and how sure that is. Linear in the blocks and in the text of those kept."""

from __future__ import annotations

from typing import Any

import numpy as np

from tokenmill.extract.skim import scan_tables as t
from tokenmill.text.compiled import entry, inner, lean

REPEAT_BYTES, GRAM = 200, 5
"""Blocks from this size on are dropped when REPEATED of their word 5-grams stand in other blocks that are kept."""
REPEATED = 0.8
GAP = 3
"""Blocks between two kept ones that a lower probability keeps, at most."""
NOTHING, FALLBACK_CUT = 60, 0.3
"""Where fewer bytes than NOTHING are kept beside headings, FALLBACK_CUT is tried."""
FORMULA_CUT = 0.02
"""A block with a formula between kept blocks, or beside one in the same container, is kept from this probability on."""
FORMULA_GAP, FORMULA_REACH = 12, 64
"""Blocks to the kept ones on both sides, and to the one in the same container."""
FORMULA_JOIN = 120
"""Bytes of a block between two with formulas that is kept with them, at most."""
ELSEWHERE = t.NAV | t.FOOTER | t.ASIDE | t.BUTTON | t.LABEL
HEADING_CUT = 0.3
FEATURES = 12
"""Features of a page, for the confidence and the route."""
(
    F_MEAN,
    F_DOUBT,
    F_EXPECTED,
    F_KEPT,
    F_SHARE,
    F_LINKED,
    F_KEPT_LINKED,
    F_TEXT,
    F_LOST,
    F_BLOCKS,
    F_LONG,
    F_SWITCHES,
) = range(FEATURES)
KNOTS = 21
CURVE = 2 * (FEATURES + 1)
LEAST_KEPT, MOST_LINKED, MIN_GAIN = CURVE + KNOTS, CURVE + KNOTS + 1, CURVE + KNOTS + 2
CALIBRATION = MIN_GAIN + 1
"""Places in the calibration: weights and constant of confidence and of route, the curve that corrects the confidence,
the bounds within which pages are routed, and the route from which they are."""
_U = np.uint64
_MIX = np.uint64(0x9E3779B97F4A7C15)


@lean
def _above(likely: Any, cut: float, keep: Any) -> None:
    for b in range(len(likely)):
        keep[b] = likely[b] >= cut


@lean
def _kept_bytes(scan: Any, keep: Any) -> int:
    """Bytes of kept blocks that are no headings, which do not stay by themselves."""
    total = 0
    for b in range(len(keep)):
        if keep[b] and not scan.flags[b] & t.HEADING:
            total += scan.end[b] - scan.start[b]
    return total


@lean
def _has_formula(text: Any, start: int, stop: int) -> bool:
    dollars = 0
    for i in range(start, stop):
        if text[i] == 92 and i + 1 < stop and (text[i + 1] == 40 or text[i + 1] == 91):
            return True
        dollars += text[i] == 36
    return dollars >= 2


@lean
def _fill(scan: Any, likely: Any, cut: float, hold: float, keep: Any) -> None:
    """Keeps short gaps of less likely blocks between kept ones."""
    count, last = len(keep), -1
    for b in range(count):
        if not keep[b]:
            continue
        if last >= 0 and 1 < b - last <= GAP + 1:
            for other in range(last + 1, b):
                keep[other] |= likely[other] >= hold
        last = b


@lean
def _near(scan: Any, b: int, other: int) -> bool:
    """Whether two blocks lie in one element, or in elements of one."""
    first, second = scan.el[b], scan.el[other]
    return abs(b - other) <= FORMULA_REACH and (first == second or scan.el_parent[first] == scan.el_parent[second])


@inner
def _formulas(scan: Any, likely: Any, keep: Any) -> None:
    """Keeps blocks with formulas near kept ones, and short blocks between two with formulas."""
    count = len(keep)
    after = np.empty(count, np.int64)
    following = np.int64(-1)
    for b in range(count - 1, -1, -1):
        after[b] = following
        if keep[b]:
            following = b
    if following < 0:
        return
    before, formula, joined = np.int64(-1), np.int64(-2), np.int64(-2)
    for b in range(count):
        size = scan.end[b] - scan.start[b]
        held, follows = keep[b], after[b]
        elsewhere = scan.flags[b] & ELSEWHERE or 2 * scan.link[b] > size
        if (held or (not elsewhere and likely[b] >= FORMULA_CUT)) and _has_formula(
            scan.text, scan.start[b], scan.end[b]
        ):
            between = before >= 0 and follows >= 0 and b - before <= FORMULA_GAP and follows - b <= FORMULA_GAP
            beside = (before >= 0 and _near(scan, b, before)) or (follows >= 0 and _near(scan, b, follows))
            keep[b] = held or between or beside
            if keep[b]:
                if formula == b - 2 and joined == b - 1:
                    keep[b - 1] = True
                formula = b
        elif not held and not elsewhere and size <= FORMULA_JOIN:
            joined = b
        if held:
            before = b


@lean
def _head(scan: Any, likely: Any, keep: Any) -> None:
    """Headings are kept where kept text follows before the next heading, whatever stands above them."""
    followed = False
    for b in range(len(keep) - 1, -1, -1):
        if scan.flags[b] & t.HEADING:
            keep[b] = followed and (keep[b] or likely[b] >= HEADING_CUT)
        else:
            followed = keep[b]


@lean
def _is_word(c: int) -> bool:
    return c >= 0x80 or 48 <= c <= 57 or 97 <= (c | 32) <= 122


@lean
def _grams(text: Any, start: int, stop: int, slots: Any, add: bool) -> tuple[int, int]:
    """Word 5-grams of a block, and how many of them were in the table; they are added or not.

    A character of CJK or Hangul is a word of its own. A gram is the sum of its words' hashes times powers of an odd
    number.
    """
    ring = (_U(0), _U(0), _U(0), _U(0), _U(0))
    mask = len(slots) - 1
    words = found = 0
    at = start
    while at < stop:
        if not _is_word(text[at]):
            at += 1
            continue
        word = _U(0xCBF29CE484222325)
        if 0xE3 <= text[at] <= 0xED:
            end = min(at + 3, stop)
            for i in range(at, end):
                word = (word ^ _U(text[i])) * _MIX
            at = end
        else:
            while at < stop and _is_word(text[at]) and not 0xE3 <= text[at] <= 0xED:
                c = text[at]
                word = (word ^ _U(c + 32 if 65 <= c <= 90 else c)) * _MIX
                at += 1
        word ^= word >> _U(29)
        ring = (ring[1], ring[2], ring[3], ring[4], word)
        words += 1
        if words < GRAM:
            continue
        gram = ((((ring[0] * _MIX + ring[1]) * _MIX + ring[2]) * _MIX + ring[3]) * _MIX + ring[4]) * _MIX
        gram = (gram ^ (gram >> _U(31))) | _U(1)
        slot = np.int64(gram >> _U(20)) & mask
        while slots[slot] != 0 and slots[slot] != gram:
            slot = (slot + 1) & mask
        if slots[slot] == gram:
            found += 1
        elif add:
            slots[slot] = gram
    return max(words - GRAM + 1, 0), found


@inner
def _without_repeats(scan: Any, keep: Any) -> None:
    """Drops long blocks that repeat shorter kept ones, from the shortest to the longest."""
    size = total = longest = 0
    for b in range(len(keep)):
        if keep[b]:
            size += 1
            total += scan.end[b] - scan.start[b]
            longest = max(longest, scan.end[b] - scan.start[b])
    if size < 2 or longest < REPEAT_BYTES:
        return
    order = np.empty(size, np.int64)
    size = 0
    for b in range(len(keep)):
        if keep[b]:
            order[size] = (np.int64(scan.end[b] - scan.start[b]) << 32) + b
            size += 1
    order.sort()
    room = 1024
    while room < total:
        room *= 2
    slots = np.zeros(room, np.uint64)
    for place in order:
        block = place & 0xFFFFFFFF
        start, stop = scan.start[block], scan.end[block]
        if stop - start >= REPEAT_BYTES:
            grams, found = _grams(scan.text, start, stop, slots, False)
            if grams > 0 and found >= REPEATED * grams:
                keep[block] = False
                continue
        _grams(scan.text, start, stop, slots, True)


@lean
def _measure(scan: Any, likely: Any, keep: Any, out: Any) -> None:
    """The page's features, each about 0 to 1."""
    total = linked = kept = kept_linked = mass = kept_mass = doubt = lost = 0.0
    longest, switches = 0, 0
    for b in range(len(keep)):
        size = scan.end[b] - scan.start[b]
        p = np.float64(likely[b])
        total += size
        linked += min(scan.link[b], size)
        mass += p * size
        doubt += min(p, 1.0 - p) * size
        if keep[b]:
            kept += size
            kept_linked += min(scan.link[b], size)
            kept_mass += p * size
            longest = max(longest, size)
        elif p >= 0.2:
            lost += size
        if b > 0 and keep[b] != keep[b - 1]:
            switches += 1
    out[F_MEAN] = kept_mass / max(kept, 1.0)
    out[F_DOUBT] = min(2.0 * doubt / max(kept, 200.0), 2.0)
    out[F_EXPECTED] = 2.0 * kept_mass / max(kept + mass, 1.0)
    out[F_KEPT] = _scale(kept)
    out[F_SHARE] = kept / max(total, 1.0)
    out[F_LINKED] = linked / max(total, 1.0)
    out[F_KEPT_LINKED] = kept_linked / max(kept, 1.0)
    out[F_TEXT] = _scale(total)
    out[F_LOST] = min(lost / max(kept, 200.0), 2.0)
    out[F_BLOCKS] = _scale(np.float64(len(keep)))
    out[F_LONG] = longest / max(kept, 1.0)
    out[F_SWITCHES] = min(switches / max(_scale(np.float64(len(keep))) * 32.0, 1.0), 2.0)


@lean
def _scale(value: float) -> float:
    """A logarithm to base 2 over 16, piecewise linear: the same on every machine."""
    steps, whole = 0.0, value + 1.0
    while whole >= 2.0:
        whole *= 0.5
        steps += 1.0
    return (steps + whole - 1.0) / 16.0


@lean
def _expect(features: Any, calibration: Any, out: Any) -> None:
    """Confidence and route: linear in the features; the first is drawn to what was found, by straight pieces."""
    for line in range(2):
        total = calibration[line * (FEATURES + 1) + FEATURES]
        for k in range(FEATURES):
            total += calibration[line * (FEATURES + 1) + k] * features[k]
        out[line] = total
    at = min(max(out[0], 0.0), 1.0) * (KNOTS - 1)
    low = min(int(at), KNOTS - 2)
    first, second = calibration[CURVE + low], calibration[CURVE + low + 1]
    out[0] = min(max(first + (at - low) * (second - first), 0.0), 1.0)
    kept, share = features[F_KEPT], features[F_LINKED]
    if kept < calibration[LEAST_KEPT] or share > calibration[MOST_LINKED]:
        out[1] = -1.0


def _make(digest: str) -> Any:
    def choose(scan: Any, likely: Any, cut: float, hold: float, calibration: Any, features: Any, out: Any) -> Any:
        """keep, bool [B]; fills features, float64 [FEATURES], and out [2]: confidence and route.

        calibration: float64 [CALIBRATION], see `Model`.

        scan: text, start, end, link, flags, el, el_parent as a named tuple;
        likely float32 [B]; hold: probability for gaps.
        """
        assert digest  # the sources' digest is part of the cache's key
        keep = np.zeros(len(likely), np.bool_)
        features[:] = 0.0
        out[0], out[1] = 0.0, -1.0
        if len(likely) == 0:
            return keep
        _above(likely, cut, keep)
        if _kept_bytes(scan, keep) < NOTHING and cut > FALLBACK_CUT:
            _above(likely, FALLBACK_CUT, keep)
        _fill(scan, likely, cut, hold, keep)
        _formulas(scan, likely, keep)
        _head(scan, likely, keep)
        _without_repeats(scan, keep)
        _measure(scan, likely, keep, features)
        _expect(features, calibration, out)
        return keep

    return choose


choose = entry(_make)
