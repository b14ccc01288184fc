"""Student's t against tables and against scipy; Holm against a hand example."""

from __future__ import annotations

import math

import pytest

from graphnas.compare.statistics import Estimate, estimate, holm, t_quantile, t_two_sided


@pytest.mark.parametrize(
    ("df", "quantile"),
    [
        (1, 12.7062047362),
        (2, 4.3026527299),
        (3, 3.1824463053),
        (4, 2.7764451052),
        (9, 2.2621571628),
        (30, 2.0422724563),
        (1000, 1.9623390808),
    ],
)
def test_quantiles_are_those_of_the_tables(df: int, quantile: float) -> None:
    assert t_quantile(0.975, df) == pytest.approx(quantile, abs=1e-9)


def test_one_and_two_degrees_of_freedom_have_closed_forms() -> None:
    for t in (1e-6, 0.01, 0.5, 1.0, 3.0, 50.0, 1e4):
        assert t_two_sided(t, 1) == pytest.approx(2 / math.pi * math.atan2(1, t), rel=1e-12)
        assert t_two_sided(t, 2) == pytest.approx(2 / (2 + t * t) / (1 + t / math.sqrt(2 + t * t)), rel=1e-12)
    assert t_two_sided(0, 5) == 1


def test_the_same_as_scipy() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    for df in (1, 2, 3, 4, 7, 19, 200):
        for t in (0.1, 0.7, 2.5, 12.0, 300.0):
            assert t_two_sided(t, df) == pytest.approx(2 * float(stats.t.sf(t, df)), rel=1e-11, abs=1e-300)
            assert t_two_sided(-t, df) == t_two_sided(t, df)


def test_an_estimate_by_hand() -> None:
    """Values 1, 2, 3, 4, 5: mean 3, standard error sqrt(2.5 / 5), t = 4.2426 with 4 degrees of freedom."""
    found = estimate([1, 2, 3, 4, 5])
    half = 2.7764451052 * math.sqrt(0.5)
    assert (found.mean, found.n) == (3, 5)
    assert found.half == pytest.approx(half, abs=1e-9)
    assert found.high == pytest.approx(3 + half, abs=1e-9)
    assert found.p == pytest.approx(0.0132356, abs=1e-7)


def test_an_interval_that_ends_at_zero_has_p_of_five_percent() -> None:
    values = [1.0, 2.0, 4.0]
    found = estimate(values)
    assert found.low is not None
    assert estimate([value - found.low for value in values]).low == pytest.approx(0, abs=1e-12)
    assert estimate([value - found.low for value in values]).p == pytest.approx(0.05, abs=1e-9)


def test_one_value_has_no_interval() -> None:
    assert estimate([2.5]) == Estimate(2.5, None, None, None, 1)


def test_values_that_are_all_alike() -> None:
    assert estimate([0.0, 0.0]) == Estimate(0, 0, 0, 1, 2)
    assert estimate([1.0, 1.0, 1.0]) == Estimate(1, 1, 1, 0, 3)


def test_holm_by_hand() -> None:
    """Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1: 0.02, 0.03, 0.06, 0.04, and none below one before it."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.03]) == [0.03]
    assert holm([]) == []
