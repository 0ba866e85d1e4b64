"""Options that editors complete, what is logged, and the terms that the package names."""

from __future__ import annotations

import importlib.metadata
import inspect
import logging
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from helpers.paths import PHOTO, ROOT
from PIL import Image

import acdc_fast
from acdc_fast import InputError, Model
from acdc_fast.bundled import bundled
from acdc_fast.model import ModelOptions
from acdc_fast.photo.detection import Search, SearchOptions


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.from_pretrained("acdc-w16-fast", threads=1)


def test_typed_options_are_all_options() -> None:
    parameters = inspect.signature(Model.__init__).parameters
    assert set(ModelOptions.__annotations__) == set(parameters) - {"self", "source"}
    assert set(SearchOptions.__annotations__) == {field.name for field in fields(Search)}


def test_max_batch_bounds_what_the_engine_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    model = Model.from_pretrained("acdc-w16-fast", threads=1, max_batch=2)
    engine = model.engine

    def seen(crops: np.ndarray, **options: object) -> object:
        sizes.append(len(crops))
        return engine(crops, **options)

    monkeypatch.setattr(model, "engine", seen)
    crops = np.random.default_rng(0).random((5, 1, 64, 64), np.float32)
    bounded = model(crops)
    boxes = [[178, 62, 267, 174]] * 5
    faces = model.align(PHOTO, boxes=boxes)
    assert max(sizes) == 2 and sum(sizes) >= 10
    free = Model.from_pretrained("acdc-w16-fast", threads=1)
    # A crop's sums do not depend on the others of its batch.
    assert np.array_equal(bounded.landmarks["2d68"], free(crops).landmarks["2d68"])
    assert faces == free.align(PHOTO, boxes=boxes)
    for wrong in (0, 2.5, True):
        with pytest.raises(InputError, match="max_batch"):
            Model.from_pretrained("acdc-w16-fast", max_batch=wrong)  # type: ignore[arg-type]


def test_a_library_says_nothing_unless_asked() -> None:
    assert [type(h) for h in logging.getLogger("acdc_fast").handlers] == [logging.NullHandler]


def test_log_of_a_face_on_its_side(model: Model, caplog: pytest.LogCaptureFixture) -> None:
    on_its_side = Image.open(PHOTO).convert("RGB").rotate(90, expand=True)
    with caplog.at_level(logging.DEBUG, "acdc_fast"):
        model.align(PHOTO)
        quiet = caplog.text
        caplog.clear()
        model.align(on_its_side, boxes=[[62, 245, 174, 334]])
    assert "wide maps" not in quiet and "turned by 90" in caplog.text
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}


def test_log_of_a_box_that_does_not_fit_and_of_retries(model: Model, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "acdc_fast"):
        model.align(PHOTO, boxes=[[120, 0, 330, 260]])
        assert "face 0, cut again" in caplog.text and str(PHOTO) in caplog.text
        caplog.clear()
        assert not len(model.align(np.zeros((64, 64, 3), np.uint8)))
        assert caplog.text.count("looking again") >= 3


def test_terms_of_the_weights_are_where_people_look() -> None:
    facts = importlib.metadata.metadata("acdc-fast")
    assert "research" in facts["License-Expression"] and "Apache-2.0" in facts["License-Expression"]
    assert set(facts.get_all("License-File")) >= {"LICENSE", "LICENSE-WEIGHTS.md"}
    assert facts.get_all("Project-URL")
    assert "for research only" in acdc_fast.env_report()
    assert "for research use" in "\n".join((ROOT / "README.md").read_text().splitlines()[:25])
    for path in bundled().values():
        assert "LICENSE-WEIGHTS.md" in Path(path).with_suffix(".md").read_text().split("\n## ")[0]


def test_markups_are_chosen() -> None:
    every = Model.from_pretrained("acdc-w16-fast", threads=1)
    some = Model.from_pretrained("acdc-w16-fast", threads=1, markups=["2d5", "2d68"])
    assert some.markups == ("2d68", "2d5") and every.markups == ("2d98", "2d68", "2d5", "3d68")
    crops = np.random.default_rng(0).random((2, 1, 64, 64), np.float32)
    whole, part = every(crops), some(crops)
    assert tuple(part.landmarks) == tuple(part.covariance) == some.markups
    for name in some.markups:
        np.testing.assert_array_equal(part.landmarks[name], whole.landmarks[name])
    boxes = [[178, 62, 267, 174]]
    faces, all_faces = some.align(PHOTO, boxes=boxes), every.align(PHOTO, boxes=boxes)
    assert tuple(faces.landmarks) == tuple(faces.confidence) == tuple(faces.spread) == some.markups
    for name in some.markups:
        np.testing.assert_array_equal(faces.landmarks[name], all_faces.landmarks[name])
        np.testing.assert_array_equal(faces.confidence[name], all_faces.confidence[name])
    np.testing.assert_array_equal(faces.pose.matrix, all_faces.pose.matrix)
    eager = Model.from_pretrained("acdc-w16-fast", backend="eager", threads=1, markups=["3d68"])(crops)
    assert tuple(eager.landmarks) == ("3d68",)
    for wrong in ([], ["2d19"], "2d68", [68], 3):
        with pytest.raises(InputError, match="markups must"):
            Model.from_pretrained("acdc-w16-fast", markups=wrong)
