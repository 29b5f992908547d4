"""A measured sample, multiplied to a whole run, with intervals and dollars.

The interval is that of a ratio estimated from clusters (the pieces of the sample; Cochran, Sampling Techniques, 1977,
chapter 6), 95 %, by Student's t. It knows nothing of what all pieces have in common: this machine, the crawl.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tokenmill.core.errors import ConfigError
from tokenmill.core.stage import InputShard
from tokenmill.executors.estimate import Row, Sample

_T95 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13)
"""Student's t, 97.5 %, for 1 to 15 degrees of freedom."""


@dataclass(frozen=True)
class Quantity:
    """A number and the interval around it. Where there is none (one piece) the ends are equal."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> Quantity:
        return Quantity(self.value * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True)
class Target:
    """What the sample is multiplied to. `per` is what costs are in proportion to: bytes or documents."""

    bytes: float
    files: float
    documents: float
    per: str


@dataclass(frozen=True)
class Forecast:
    """The sample, multiplied. Seconds are core-seconds and GPU-seconds."""

    target: Target
    rows: list[tuple[Row, Quantity, Quantity, Quantity]]
    """(row, documents in, core-seconds, GPU-seconds)."""
    core_seconds: Quantity
    gpu_seconds: Quantity
    documents: Quantity
    kept: Quantity
    intermediate: Quantity
    published: Quantity
    files: Quantity


def targeted(
    sample: Sample,
    inputs: Sequence[InputShard],
    *,
    total_bytes: float | None = None,
    total_files: float | None = None,
    total_documents: float | None = None,
) -> Target:
    """What to multiply to: the whole input, or what is given. With documents given, all costs are per document.

    What is not given follows from the input: bytes per file, and documents per byte of the sample.
    """
    input_bytes = float(sum(shard.size for shard in inputs))
    per_file = input_bytes / max(len(inputs), 1)
    density = sum(sample.documents) / max(sum(sample.source_bytes), 1.0)
    for name, value in (("bytes", total_bytes), ("files", total_files), ("documents", total_documents)):
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise ConfigError(f"--total-{name} {value:g} is not above 0")
    if total_documents is not None and not density:
        raise ConfigError("the sample has no documents", fix="a larger --sample, or --total-bytes")
    size = total_bytes
    if size is None and total_files is not None:
        size = total_files * per_file
    if size is None:
        size = total_documents / density if total_documents is not None else input_bytes
    files = total_files if total_files is not None else max(1.0, size / per_file)
    if total_documents is not None:
        return Target(size, files, total_documents, "documents")
    return Target(size, files, size * density, "bytes")


def forecast(sample: Sample, target: Target) -> Forecast:
    """Multiply, with intervals."""
    base = sample.documents if target.per == "documents" else sample.source_bytes
    amount = target.documents if target.per == "documents" else target.bytes
    at = _Scale(base, amount)
    rows = [(row, at(row.documents), at(row.core_seconds), at(row.gpu_seconds)) for row in sample.rows]
    steps = sample.step_bytes / max(sum(base), 1.0) * amount
    intermediate = at(sample.intermediate)
    files = at(sample.files)
    return Forecast(
        target,
        rows,
        at(_sums([row.core_seconds for row in sample.rows])),
        at(_sums([row.gpu_seconds for row in sample.rows])),
        at(sample.documents),
        at(sample.kept),
        replace(
            intermediate,
            value=intermediate.value + steps,
            low=intermediate.low + steps,
            high=intermediate.high + steps,
        ),
        at(sample.published),
        # files follow the files of the input, not its bytes: a piece is smaller than a file
        Quantity(*[target.files * sum(sample.files) / max(len(sample.files), 1)] * 3) if files.value else files,
    )


def _sums(columns: Sequence[Sequence[float]]) -> list[float]:
    return [sum(values) for values in zip(*columns, strict=True)]


class _Scale:
    """Multiplies values per piece to an amount of what the pieces were drawn by."""

    def __init__(self, base: Sequence[float], amount: float) -> None:
        self._base, self._amount = base, amount

    def __call__(self, values: Sequence[float]) -> Quantity:
        n, total = len(self._base), sum(self._base)
        if not total:
            return Quantity(0.0, 0.0, 0.0)
        ratio = sum(values) / total
        value = ratio * self._amount
        if n < 2:
            return Quantity(value, value, value)
        squares = sum((y - ratio * x) ** 2 for x, y in zip(self._base, values, strict=True))
        error = math.sqrt(squares / (n - 1) / n) / (total / n)
        t = _T95[n - 2] if n - 2 < len(_T95) else 1.96 + 2.5 / n
        half = t * error * self._amount
        return Quantity(value, max(0.0, value - half), value + half)


RATES: Mapping[str, float] = {"core_hour": 0.03, "gpu_hour": 2.5, "tb_month": 23.0, "put_1000": 0.005}
"""Dollars. Rough list prices of large clouds in 2025: a core between spot and on demand, an H100, object storage for a
month per 10^12 bytes, 1,000 writing requests. Prices of your own make it an estimate of yours."""


def dollars(found: Forecast, rates: Mapping[str, float]) -> dict[str, Quantity]:
    """Cost by kind, and in all; storage is what is kept between phases and published, for one month."""
    stored = Quantity(
        found.intermediate.value + found.published.value,
        found.intermediate.low + found.published.low,
        found.intermediate.high + found.published.high,
    )
    costs = {
        "cores": found.core_seconds.times(rates["core_hour"] / 3600),
        "gpus": found.gpu_seconds.times(rates["gpu_hour"] / 3600),
        "storage for a month": stored.times(rates["tb_month"] / 1e12),
        "writing requests": found.files.times(rates["put_1000"] / 1000),
    }
    costs["all"] = Quantity(*(sum(getattr(cost, end) for cost in costs.values()) for end in ("value", "low", "high")))
    return costs
