"""Teacher and evaluation on many faces at once: each gets the result that it gets alone, in every field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.faces import write_faces
from helpers.small import small_network

from acdc_fast import Model
from acdc_fast.training.data import Database, open_database
from acdc_fast.training.observations import observe_crops
from acdc_fast.training.teach import teach

#: Sums in another order may differ by this: pixels and degrees; crop units. Two faces differ by far more.
TOLERANCE, UNITS = 2e-3, 2e-5
COUNT = 70  # more than two full batches of the teacher, and a remainder


class One:
    """One face of a database, as a database."""

    def __init__(self, whole: Database, index: int) -> None:
        self.whole, self.index = whole, index

    def __len__(self) -> int:
        return 1

    def __getitem__(self, _: int) -> Any:
        return self.whole[self.index]

    def annotation(self, _: int) -> Any:
        return self.whole.annotation(self.index)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole, name)


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    monkeypatch.setenv("ACDC_CACHE", str(tmp_path / "cache"))
    return open_database("mtfl", write_faces(tmp_path, COUNT), "train")


def apart(values: np.ndarray) -> None:
    """No two rows are alike, so that a swap shows."""
    flat = values.reshape(len(values), -1).astype(np.float64)
    distance = np.abs(flat[:, None] - flat[None]).max(2) + 1e9 * np.eye(len(flat))
    assert distance.min() > 5 * TOLERANCE


def test_teacher(database: Database) -> None:
    model = Model(small_network(stages=2), resolution=32)
    made = teach(model, database)
    assert len(set(made["names"])) == COUNT
    apart(made["2d68"])
    for i in range(COUNT):
        one = teach(model, One(database, i))  # type: ignore[arg-type]
        assert one["names"][0] == made["names"][i]
        for key in set(made) - {"names"}:
            assert np.abs(one[key][0] - made[key][i]).max() < TOLERANCE, f"face {i}: {key}"


def test_evaluation(database: Database) -> None:
    network = small_network(stages=2)
    together = observe_crops(network, database, 32, torch.device("cpu"))
    apart(together.points[-1]["2d68"])
    for i in range(0, COUNT, 3):
        one = observe_crops(network, One(database, i), 32, torch.device("cpu"))  # type: ignore[arg-type]
        for mine, alone in zip(together.points, one.points, strict=True):
            for markup, points in alone.items():
                assert np.abs(mine[markup][i] - points[0]).max() < TOLERANCE, f"face {i}: {markup}"
        for mine, alone in zip(together.poses, one.poses, strict=True):
            assert np.abs(mine[i] - alone[0]).max() < TOLERANCE
        for markup, spread in one.spread.items():
            assert np.abs(together.spread[markup][i] - spread[0]).max() < UNITS
        assert abs(together.side[i] - one.side[0]) < TOLERANCE
        assert np.abs(together.mean_spreads[:, i] - one.mean_spreads[:, 0]).max() < UNITS
