"""A calibration curve as a small SVG, without any library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_SIZE, _EDGE = 320, 40


def calibration_svg(curve: Sequence[Mapping[str, float]], highest: float, axis: str) -> str:
    """Predicted against observed means; areas of dots grow with the counts. highest: end of both axes, from 0."""
    span = _SIZE - 2 * _EDGE

    def place(value: float) -> float:
        return round(span * min(max(value / highest, 0.0), 1.0), 1)

    def x(value: float) -> float:
        return _EDGE + place(value)

    def y(value: float) -> float:
        return _SIZE - _EDGE - place(value)

    most = max((one["count"] for one in curve), default=1)
    ticks = [highest * part / 5 for part in range(6)]
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_SIZE} {_SIZE}"'
        ' font-family="sans-serif" font-size="11">',
        f'<rect width="{_SIZE}" height="{_SIZE}" fill="white"/>',
        f'<path d="M{x(0)} {y(highest)}V{y(0)}H{x(highest)}" fill="none" stroke="black"/>',
        f'<path d="M{x(0)} {y(0)}L{x(highest)} {y(highest)}" stroke="#999" stroke-dasharray="4 3"/>',
        *(f'<text x="{x(tick)}" y="{y(0) + 15}" text-anchor="middle">{tick:g}</text>' for tick in ticks),
        *(f'<text x="{x(0) - 6}" y="{y(tick) + 4}" text-anchor="end">{tick:g}</text>' for tick in ticks),
        f'<text x="{_SIZE / 2}" y="{_SIZE - 6}" text-anchor="middle">{axis}</text>',
        f'<text x="12" y="{_SIZE / 2}" text-anchor="middle" transform="rotate(-90 12 {_SIZE / 2})">observed</text>',
    ]
    points = [(x(one["predicted"]), y(one["observed"]), one["count"]) for one in curve]
    if points:
        path = " ".join(f"{left},{top}" for left, top, _ in points)
        lines.append(f'<polyline points="{path}" fill="none" stroke="#1f5fa8"/>')
    for left, top, count in points:
        lines.append(f'<circle cx="{left}" cy="{top}" r="{2 + 4 * (count / most) ** 0.5:.1f}" fill="#1f5fa8"/>')
    return "\n".join([*lines, "</svg>", ""])
