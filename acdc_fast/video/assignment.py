"""Who is who: pairs of rows and columns whose costs together are least. SciPy's solver is not in the plain install."""

from __future__ import annotations

import numpy as np


def assign(cost: np.ndarray, most: float) -> list[tuple[int, int]]:
    """(n, m) costs → pairs (row, column), each row and column in one pair at most, none that costs ``most`` or more.

    The sum over rows and columns, where one without a partner costs ``most`` / 2, is least. Shortest augmenting paths
    (Jonker and Volgenant 1987), cubic in n + m.
    """
    n, m = cost.shape
    size = n + m
    square = np.full((size, size), most / 2)  # each may go alone: row i with column m + i, column j with row n + j
    square[:n, :m] = np.minimum(cost, most)
    square[n:, m:] = 0
    row_price, column_price = np.zeros(size + 1), np.zeros(size + 1)
    row_of = np.full(size + 1, -1)  # of each column; the last column is where a path starts
    for row in range(size):
        row_of[size], column = row, size
        least, came_from, seen = np.full(size, np.inf), np.full(size, size), np.zeros(size + 1, bool)
        while row_of[column] >= 0:
            seen[column] = True
            current = row_of[column]
            reduced = square[current] - row_price[current] - column_price[:size]
            shorter = ~seen[:size] & (reduced < least)
            least[shorter], came_from[shorter] = reduced[shorter], column
            following = int(np.where(seen[:size], np.inf, least).argmin())
            step = least[following]
            row_price[row_of[seen]] += step
            column_price[seen] -= step
            least[~seen[:size]] -= step
            column = following
        while column != size:
            row_of[column] = row_of[came_from[column]]
            column = int(came_from[column])
        row_of[size] = -1
    pairs = [(int(row_of[j]), j) for j in range(m) if row_of[j] < n]
    return sorted((i, j) for i, j in pairs if cost[i, j] < most)
