"""Thresholds that a slider offers: few, round, and the same for every run with the same recipe and range of values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

MOST_EDGES = 120
_FINE = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
_COARSE = (1.0, 2.0, 5.0)
_SMALL_SHARES = (0.001, 0.002, 0.003, 0.005, 0.0075)
_LINEAR_STEPS = 80


def edges(
    threshold: float | None, low: float | None, high: float | None, *, integer: bool = False, share: bool = False
) -> list[float]:
    """At most 120 ascending thresholds; the present one (None: the rule is off) is among them exactly.

    low, high: smallest and largest value in the data, None where not known. integer: whole numbers only. share: the
    values are shares, so steps are hundredths even where the data have a part of 0 to 1 only.
    """
    known = [float(x) for x in (low, high, threshold) if x is not None and math.isfinite(x)]
    bottom, top = (min(known), max(known)) if known else (0.0, 1.0)
    if not integer and bottom >= 0 and (share or top <= 1.01):  # models give 1.00001 at times
        return _thinned(_shares(top, threshold), threshold)
    if threshold:  # some room on both sides of it, even where the data have nothing there
        bottom, top = min(bottom, threshold / 2, threshold * 2), max(top, threshold / 2, threshold * 2)
    made = _whole(bottom, top) if integer else _real(bottom, top, threshold)
    return _thinned(made, threshold)


def _whole(bottom: float, top: float) -> list[float]:
    """0 to 20 one by one, then steps of about a fifth; below 0 the same with the other sign."""
    found = {float(x) for x in range(21) if x <= max(top, 10)}
    for values, most in ((_FINE, top), (_COARSE, top)):
        wide = [*found, *(x for x in _series(values, 10, most) if x == int(x))]
        if len(set(wide)) < MOST_EDGES - 1 or values is _COARSE:
            found.update(wide)
            break
    if bottom < 0:
        found.update(-x for x in _whole(0.0, -bottom))
    return sorted(found)


def _shares(top: float, threshold: float | None) -> list[float]:
    found = [round(i / 100, 2) for i in range(101)]
    if threshold is not None and 0 < threshold < 0.02:
        found += _SMALL_SHARES
    if top > 1.01:
        found += [x for x in _series(_COARSE, 1, top) if x > 1]
    return found


def _real(bottom: float, top: float, threshold: float | None) -> list[float]:
    """Even steps over the usual range, and beyond it few that grow: outliers must not make the steps coarse."""
    middle = abs(threshold) if threshold else 0.0
    first, last = bottom, top
    if middle and top > 5 * middle:
        last = 3 * middle
    if middle and bottom < -5 * middle:
        first = -3 * middle
    if not middle and bottom >= 0 and top > 100:  # nothing says where the usual range is
        return [0.0, *_series(_FINE, 0.1, top)][-MOST_EDGES + 2 :]
    if not math.isfinite(last - first):
        return [bottom, 0.0, top]
    step = _nice((last - first) / _LINEAR_STEPS)
    begin, end = math.floor(first / step), math.ceil(last / step)
    found = [_rounded(i * step) for i in range(begin, end + 1)]
    found += [x for x in _series(_COARSE, max(last, step), top) if x > last]
    found += [-x for x in _series(_COARSE, max(-first, step), -bottom) if -x < first]
    return found


def _series(values: Iterable[float], start: float, top: float) -> Iterator[float]:
    """The round numbers from `start` to the first at or above `top`."""
    if top < start:
        return
    power = math.floor(math.log10(start))
    while power < 300:
        for value in values:
            number = _rounded(value * 10.0**power)
            if number >= start:
                yield number
            if number >= top:
                return
        power += 1


def _nice(step: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    if step <= 0 or not math.isfinite(step):
        return 0.01
    power = 10.0 ** math.floor(math.log10(step))
    return _rounded(next((x * power for x in (1, 2, 5) if x * power >= step * 0.999), 10 * power))


def _rounded(number: float) -> float:
    """Without the last bits that sums and products leave: 0.30000000000000004 -> 0.3."""
    return float(f"{number:.12g}")


def _thinned(found: Iterable[float], threshold: float | None) -> list[float]:
    """Ascending and at most so many; the ends and the threshold always stay."""
    ordered = sorted({x + 0.0 for x in found if math.isfinite(x)})  # + 0.0: no -0.0
    room = MOST_EDGES - 1
    if len(ordered) > room:
        ordered = [ordered[round(i * (len(ordered) - 1) / (room - 1))] for i in range(room)]
    if threshold is not None and math.isfinite(threshold):
        ordered = sorted({*ordered, float(threshold)})
    return ordered
