"""Student's t: its distribution function and quantiles, without scipy.

The distribution function is a regularised incomplete beta function, computed by its continued fraction (Lentz's method,
as in Abramowitz and Stegun 26.5.8 and 26.7.1). Accurate to 1e-12; tests compare with printed tables.
"""

from __future__ import annotations

import math
from functools import lru_cache

_TINY = 1e-300
_NORMAL = 1e8
"""Degrees of freedom from which on t is the normal distribution in double precision."""


def incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b), for a, b > 0 and x from 0 to 1."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    # the fraction converges fast only on this side of the mean; the other side is its mirror image
    if x < (a + 1) / (a + b + 2):
        return math.exp(front) * _fraction(a, b, x) / a
    return 1 - math.exp(front) * _fraction(b, a, 1 - x) / b


def _fraction(a: float, b: float, x: float) -> float:
    c, d = 1.0, 1 / _safe(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, 10_000):
        for part in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _safe(1 + part * d)
            c = _safe(1 + part / c)
            value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return value


def _safe(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def f_above(value: float, df: float, df_below: float) -> float:
    """P(F > value) for the ratio of two variances with these degrees of freedom (above, below)."""
    if math.isnan(value) or not (df > 0 and df_below > 0):
        return math.nan
    return incomplete_beta(df_below / 2, df / 2, df_below / (df_below + df * max(value, 0.0)))


def t_cdf(t: float, df: float) -> float:
    """P(T <= t) for `df` degrees of freedom (any number above 0, infinity is the normal distribution)."""
    if math.isnan(t) or not df > 0:
        return math.nan
    if df > _NORMAL or math.isinf(t):
        return 0.5 * math.erfc(-t / math.sqrt(2))
    # of a share near 1 nothing would be left but rounding, so that the smaller of both shares is taken
    if t * t < df:
        tail = 0.5 - 0.5 * incomplete_beta(0.5, df / 2, t * t / (df + t * t))
    else:
        tail = 0.5 * incomplete_beta(df / 2, 0.5, df / (df + t * t))
    return 1 - tail if t > 0 else tail


@lru_cache(maxsize=4096)
def t_quantile(p: float, df: float) -> float:
    """The t with P(T <= t) = p, for p between 0 and 1."""
    if not 0 < p < 1:
        return math.nan if not 0 <= p <= 1 else math.copysign(math.inf, p - 0.5)
    if p < 0.5:
        return -t_quantile(1 - p, df)
    df = min(df, _NORMAL)
    low, high = 0.0, 1.0
    while t_cdf(high, df) < p and high < 1e300:
        low, high = high, high * 2
    # Newton's steps, halved to the middle where they leave the bracket
    value, scale = (low + high) / 2, _log_density_scale(df)
    for _ in range(100):
        error = t_cdf(value, df) - p
        low, high = (low, value) if error > 0 else (value, high)
        step = error / math.exp(scale - (df + 1) / 2 * math.log1p(value * value / df))
        after = value - step
        if not low <= after <= high:
            after = (low + high) / 2
        if abs(after - value) <= 1e-13 * max(1.0, abs(value)):
            break
        value = after
    return value


def _log_density_scale(df: float) -> float:
    """Logarithm of the density at 0."""
    return math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - 0.5 * math.log(df * math.pi)
