"""Accept rates by style, bucket and reason, with intervals; what acceptance prefers."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pyarrow as pa

from tokenmill.rephrase.corpus.sample import column
from tokenmill.text.hosts import host_of

_Z = 1.959964
"""Of 95 %."""
MOST_VALUES = 50
"""Of a column that are told apart; rarer ones are together."""
OTHER = "(other)"
_MOST_HOSTS = 1 << 18
"""Hosts that are counted; new ones after that are together, so that memory has a bound."""


def wilson(hits: int, of: int) -> tuple[float, float]:
    """Wilson's interval of 95 % for a share (Wilson 1927); (0, 1) of nothing."""
    if not of:
        return 0.0, 1.0
    share = hits / of
    middle = (share + _Z**2 / (2 * of)) / (1 + _Z**2 / of)
    half = _Z / (1 + _Z**2 / of) * math.sqrt(share * (1 - share) / of + _Z**2 / (4 * of**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def rate(accepted: int, rejected: int) -> dict[str, Any]:
    """A share of accepted outputs with its interval."""
    of = accepted + rejected
    low, high = wilson(accepted, of)
    share = round(accepted / of, 6) if of else None
    return {"accepted": accepted, "rejected": rejected, "share": share, "low": round(low, 6), "high": round(high, 6)}


class Rates:
    """Counts of outputs by what became of them. Tables come in any order."""

    def __init__(self, buckets: tuple[str, ...]) -> None:
        """buckets: columns of the source by whose values rates are told (quality, topic)."""
        self._buckets = buckets
        self._styles: Counter[tuple[str, bool]] = Counter()
        self._reasons: Counter[tuple[str, str]] = Counter()
        self._values: Counter[tuple[str, str, str, bool]] = Counter()
        self._hosts: Counter[tuple[str, bool]] = Counter()

    def add(self, table: pa.Table, accepted: bool) -> None:
        """Count the rows of a table: style, url, the buckets and, of rejected ones, reason."""
        styles = [style or "" for style in column(table, "style")]
        self._styles.update((style, accepted) for style in styles)
        if not accepted:
            self._reasons.update(zip(styles, (reason or "" for reason in column(table, "reason")), strict=True))
        for name in self._buckets:
            values = map(_value, column(table, name))
            self._values.update((name, style, value, accepted) for style, value in zip(styles, values, strict=True))
        for url in column(table, "url"):
            host = host_of(url or "").removeprefix("www.")
            known = len(self._hosts) < _MOST_HOSTS or (host, accepted) in self._hosts
            self._hosts[host if known else OTHER, accepted] += 1

    def by_style(self) -> list[dict[str, Any]]:
        """One row per style."""
        names = sorted({style for style, _ in self._styles})
        return [{"style": name, **rate(self._styles[name, True], self._styles[name, False])} for name in names]

    def by_reason(self) -> list[dict[str, Any]]:
        """One row per style and reason, `share`: of all outputs of the style."""
        found = []
        for (style, reason), count in sorted(self._reasons.items()):
            of = self._styles[style, True] + self._styles[style, False]
            low, high = wilson(count, of)
            shares = {"share": round(count / of, 6), "low": round(low, 6), "high": round(high, 6)}
            found.append({"style": style, "reason": reason, "count": count, **shares})
        return found

    def by_bucket(self) -> list[dict[str, Any]]:
        """One row per column, style and value; the commonest values, and the rest together."""
        found = []
        for name in self._buckets:
            totals: Counter[str] = Counter()
            for (column_name, _, value, _), count in self._values.items():
                if column_name == name:
                    totals[value] += count
            kept = {value for value, _ in sorted(totals.items(), key=lambda entry: (-entry[1], entry[0]))[:MOST_VALUES]}
            counts: Counter[tuple[str, str, bool]] = Counter()
            for (column_name, style, value, accepted), count in self._values.items():
                if column_name == name:
                    counts[style, value if value in kept else OTHER, accepted] += count
            for style, value in sorted({(style, value) for style, value, _ in counts}):
                rates = rate(counts[style, value, True], counts[style, value, False])
                found.append({"column": name, "style": style, "value": value, **rates})
        return found

    def domains(self) -> dict[str, Any]:
        """How far the hosts of accepted outputs are from those of all outputs: total variation distance, 0 to 1; and
        what it would be by chance, if acceptance did not look at hosts (mean of the distance, normal approximation).
        """
        totals: Counter[str] = Counter()
        for (host, _), count in self._hosts.items():
            totals[host] += count
        every = sum(totals.values())
        accepted = sum(count for (_, kept), count in self._hosts.items() if kept)
        if not accepted or accepted == every:
            return {"hosts": len(totals), "distance": 0.0, "by_chance": 0.0}
        distance = chance = 0.0
        spread = (1 / accepted - 1 / every) * 2 / math.pi
        for host, count in totals.items():
            share = count / every
            distance += abs(self._hosts[host, True] / accepted - share)
            chance += min(math.sqrt(spread * share * (1 - share)), 2 * share)
        return {"hosts": len(totals), "distance": round(distance / 2, 6), "by_chance": round(chance / 2, 6)}


def _value(value: Any) -> str:
    """A value of a bucket as text; fractions by tenths, so that scores are few values."""
    if value is None:
        return "(none)"
    if isinstance(value, float):
        return f"{math.floor(value * 10 + 1e-9) / 10:.1f}" if math.isfinite(value) else "(none)"
    return str(value)
