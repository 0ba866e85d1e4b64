"""Assignment: as cheap as SciPy's, on small tables of every shape."""

from __future__ import annotations

import numpy as np
import pytest

from acdc_fast.video.assignment import assign


def test_as_cheap_as_scipy() -> None:
    optimize = pytest.importorskip("scipy.optimize", reason="SciPy is not installed: it is the yardstick")
    rng = np.random.default_rng(0)
    for _ in range(400):
        n, m = rng.integers(0, 8, 2)
        cost, most = rng.random((n, m)) * 2, 1.3
        cost[rng.random((n, m)) < 0.2] = np.inf
        pairs = assign(cost, most)
        assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
        whole = np.full((n + m, n + m), most / 2)
        whole[:n, :m], whole[n:, m:] = np.minimum(cost, most), 0
        least = whole[optimize.linear_sum_assignment(whole)].sum()
        assert sum(cost[p] for p in pairs) + most / 2 * (n + m - 2 * len(pairs)) == pytest.approx(least)


def test_what_costs_too_much_stays_alone() -> None:
    assert assign(np.array([[0.1, 5.0], [5.0, 3.0]]), 2.0) == [(0, 0)]
    assert assign(np.array([[1.0, 0.1], [0.2, 0.1]]), 2.0) == [(0, 1), (1, 0)], "not the cheapest pair first"
    assert assign(np.zeros((0, 3)), 1.0) == assign(np.zeros((2, 0)), 1.0) == []
