"""Student's t against printed tables, closed forms and the normal distribution."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenmill.ablate.student import f_above, incomplete_beta, t_cdf, t_quantile

TABLE = {
    # degrees of freedom: quantiles of 0.90, 0.95, 0.975, 0.99, 0.995
    1: (3.078, 6.314, 12.706, 31.821, 63.657),
    2: (1.886, 2.920, 4.303, 6.965, 9.925),
    5: (1.476, 2.015, 2.571, 3.365, 4.032),
    10: (1.372, 1.812, 2.228, 2.764, 3.169),
    30: (1.310, 1.697, 2.042, 2.457, 2.750),
    120: (1.289, 1.658, 1.980, 2.358, 2.617),
}


@pytest.mark.parametrize("df", sorted(TABLE))
def test_printed_tables(df: int) -> None:
    for p, expected in zip((0.90, 0.95, 0.975, 0.99, 0.995), TABLE[df], strict=True):
        assert t_quantile(p, df) == pytest.approx(expected, abs=5e-4)
        assert t_quantile(1 - p, df) == pytest.approx(-expected, abs=5e-4)


@given(st.floats(-200, 200))
def test_closed_forms(t: float) -> None:
    assert t_cdf(t, 1) == pytest.approx(0.5 + math.atan(t) / math.pi, abs=1e-12)
    assert t_cdf(t, 2) == pytest.approx(0.5 + t / (2 * math.sqrt(2 + t * t)), abs=1e-12)
    assert t_cdf(t, math.inf) == pytest.approx(0.5 * math.erfc(-t / math.sqrt(2)), abs=1e-12)


@given(st.floats(-30, 30), st.floats(0.3, 300))
def test_against_the_density(t: float, df: float) -> None:
    """The difference of two values is the integral of the density between them (Simpson's rule)."""
    width = 0.05
    constant = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - 0.5 * math.log(df * math.pi)
    points = t + width * np.arange(5) / 4
    density = np.exp(constant - (df + 1) / 2 * np.log1p(points**2 / df))
    area = width / 12 * (density[0] + 4 * density[1] + 2 * density[2] + 4 * density[3] + density[4])
    assert t_cdf(t + width, df) - t_cdf(t, df) == pytest.approx(area, rel=1e-4, abs=1e-12)
    assert t_cdf(-t, df) == pytest.approx(1 - t_cdf(t, df), abs=1e-12)


@given(st.floats(0.001, 0.999), st.floats(0.5, 500))
def test_the_quantile_is_the_inverse(p: float, df: float) -> None:
    assert t_cdf(t_quantile(p, df), df) == pytest.approx(p, abs=1e-10)


@pytest.mark.parametrize(("df", "below", "limit"), [(1, 6, 5.987), (4, 10, 3.478), (3, 20, 3.098), (10, 10, 2.978)])
def test_printed_tables_of_f(df: int, below: int, limit: float) -> None:
    """95 % quantiles."""
    assert f_above(limit, df, below) == pytest.approx(0.05, abs=2e-4)
    assert f_above(0.0, df, below) == 1
    assert math.isnan(f_above(limit, 0, below))


def test_edges() -> None:
    assert incomplete_beta(2, 3, 0) == 0
    assert incomplete_beta(2, 3, 1) == 1
    assert incomplete_beta(1, 1, 0.3) == pytest.approx(0.3)
    assert t_cdf(math.inf, 3) == 1
    assert math.isnan(t_cdf(math.nan, 3))
    assert math.isnan(t_cdf(1, 0))
    assert t_quantile(1, 3) == math.inf
    assert t_quantile(0.5, 3) == pytest.approx(0)
    assert t_quantile(0.975, math.inf) == pytest.approx(1.959963985, abs=1e-6)
