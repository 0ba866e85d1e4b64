"""Errors met while faces are loaded, by the process itself or by a worker: bad input is told of by name and without a
trace, a fault of ours with its whole trace and the name of the face.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.faces import SETTINGS, write_faces

from acdc_fast.errors import InputError
from acdc_fast.training.data import Database
from acdc_fast.training.distributed import World
from acdc_fast.training.sampling.batches import Batches, open_source
from acdc_fast.training.sampling.device_dataset import make_resident
from acdc_fast.training.settings import Settings, read_settings

WORLD = World(0, 1, torch.device("cpu"))
Load = Callable[[Settings, Database], object]
LOADS: dict[str, Load] = {
    "update by update": lambda settings, faces: list(Batches(settings, [faces], WORLD).loader(0)),
    "all at once": lambda settings, faces: make_resident(faces, settings.databases[0], settings.workers),
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Eight updates, which show each of the twelve faces at least once."""
    write_faces(tmp_path)
    (tmp_path / "small.yaml").write_text(SETTINGS)
    return read_settings(tmp_path / "small.yaml")


def each_way(test: Callable[..., None]) -> Callable[..., None]:
    loads = pytest.mark.parametrize("load", LOADS.values(), ids=LOADS)
    return loads(pytest.mark.parametrize("workers", [0, 1])(test))


@each_way
def test_a_broken_picture_is_named(settings: Settings, tmp_path: Path, load: Load, workers: int) -> None:
    tar = tmp_path / "mtfl-train.tar"
    faces = open_source(settings.databases[0], tmp_path)
    encoded = faces.pictures.read("faces/7.jpg")
    tar.write_bytes(tar.read_bytes().replace(encoded, bytes(len(encoded))))
    with pytest.raises(InputError) as told:
        load(replace(settings, workers=workers), faces)
    hint = "(--skip-broken goes on without it)"
    assert str(told.value) == f"{tar}:faces/7.jpg: not a picture that can be decoded {hint}"


@each_way
def test_a_fault_of_ours_keeps_its_trace_and_names_the_face(
    settings: Settings, tmp_path: Path, load: Load, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces = open_source(settings.databases[0], tmp_path)
    decoded = type(faces).picture

    def divided(database: Database, index: int) -> object:
        return decoded(database, index) if index != 7 else 1 // 0

    monkeypatch.setattr(type(faces), "picture", divided)
    with pytest.raises(RuntimeError) as told:
        load(replace(settings, workers=workers), faces)
    trace = "".join(traceback.format_exception(told.value))
    assert "face 7 of mtfl, split train (faces/7.jpg)" in trace
    assert "in divided" in trace and "ZeroDivisionError" in trace
