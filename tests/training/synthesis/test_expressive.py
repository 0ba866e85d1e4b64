"""Rendered people of any expression: what phones call it, on which side, and in the tar."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.made_up import model, write

from acdc_fast.readout.blendshapes import NAMES
from acdc_fast.training.data import open_database
from acdc_fast.training.synthesis.blendshapes import blendshapes_of, sample_free
from acdc_fast.training.synthesis.dataset import MARKUPS, expressive, synthetic
from acdc_fast.training.synthesis.face_tar import open_drawn, write_drawn
from acdc_fast.training.synthesis.person import Gaze
from acdc_fast.training.synthesis.render import make_person, render

AHEAD = Gaze(0.0, 0.0)


def told(strengths: dict[str, float], gaze: Gaze = AHEAD) -> dict[str, float]:
    """Those that are not 0."""
    values = blendshapes_of(strengths, gaze)
    assert values.shape == (52,) and values.dtype == np.float32
    return {name: float(value) for name, value in zip(NAMES, values, strict=True) if value}


def test_phones_names() -> None:
    assert told({}) == {}
    assert told({"jawOpen": 0.5, "eyeBlink_L": 1.0}) == {"jawOpen": 0.5, "eyeBlinkLeft": 1.0}
    assert told({"mouthSmile_R": 0.25}) == {"mouthSmileRight": 0.25}
    assert told({"mouthLeft": 0.5, "jawRight": 0.75}) == {"mouthLeft": 0.5, "jawRight": 0.75}
    assert told({"browInnerUp_L": 0.5, "browInnerUp_R": 0.25}) == {"browInnerUp": 0.375}
    assert told({"cheekRaiser_L": 1.0, "PupilDilate_L": 1.0, "eyeLookDown_L": 1.0}) == {}  # the last follows the gaze


def test_the_gaze_is_given_to_both_eyes() -> None:
    """Gaze to the picture's right is to the person's left: the left eye looks out."""
    assert told({}, Gaze(0.25, 0.0)) == {"eyeLookOutLeft": 0.5, "eyeLookInRight": 0.5}
    assert told({}, Gaze(-0.25, 0.0)) == {"eyeLookInLeft": 0.5, "eyeLookOutRight": 0.5}
    assert told({}, Gaze(0.0, 1.0)) == {"eyeLookUpLeft": 1.0, "eyeLookUpRight": 1.0}
    assert told({}, Gaze(0.0, -0.25)) == {"eyeLookDownLeft": 0.5, "eyeLookDownRight": 0.5}


class Shapes:
    """As much of a model as `sample_free` asks for: the names of its expressions."""

    def __init__(self, model_names: list[str]) -> None:
        self.expression = dict.fromkeys(model_names)


def test_expressions_come_on_one_side_and_on_both() -> None:
    sided = ["eyeBlink", "eyeWide", "eyeSquint", "mouthSmile", "browInnerUp", "eyeLookUp", "eyeLookDown", "cheekRaiser"]
    shapes = Shapes([f"{n}_{s}" for n in sided for s in "LR"] + ["jawOpen", "jawLeft", "jawRight", "mouthClose"])
    drawn = [sample_free(shapes, np.random.default_rng(seed))[0] for seed in range(500)]  # type: ignore[arg-type]
    blinks = [(s.get("eyeBlink_L", 0) > 0, s.get("eyeBlink_R", 0) > 0) for s in drawn]
    counts = [blinks.count(pair) for pair in ((True, True), (True, False), (False, True), (False, False))]
    assert min(counts) >= 10, counts
    for strengths in drawn:
        assert all(0 < value <= 1 for value in strengths.values())
        assert not any(name.startswith("cheekRaiser") for name in strengths)
        assert not ("jawLeft" in strengths and "jawRight" in strengths)
        assert not ("eyeWide_L" in strengths and ("eyeBlink_L" in strengths or "eyeSquint_L" in strengths))
        assert strengths.get("mouthClose", 0) <= strengths.get("jawOpen", 0)
        assert ("browInnerUp_L" in strengths) == ("browInnerUp_R" in strengths)


def test_a_shot_of_a_given_expression() -> None:
    """The strengths asked for are those that are drawn and told; all else of the shot stays as it was."""
    name = next(iter(model().expression))
    person = make_person(model(), 5)
    rest, shown = (
        render(model(), person, 2, size=96, expressions=lambda _, __, v=v: ({name: v} if v else {}, AHEAD))
        for v in (0.0, 1.0)
    )
    assert (rest.pose == shown.pose).all() and rest.landmarks["3d68"].tobytes() != shown.landmarks["3d68"].tobytes()
    assert not rest.blendshapes.any() and np.array_equal(shown.blendshapes, blendshapes_of({name: 1.0}, AHEAD))


def test_a_tar_keeps_the_values_of_each_face(tmp_path: Path) -> None:
    write(tmp_path)
    drawn = expressive(tmp_path, "test", size=64)
    write_drawn(tmp_path / "expressive-test.tar", drawn.rendered, MARKUPS, range(3), workers=1)
    kept = open_database("expressive", tmp_path, "test", derived=False)
    assert len(kept) == 3
    for i in range(3):
        values = kept.annotation(i).attributes["blendshapes"]
        assert np.array_equal(values, drawn.rendered(i).blendshapes)
        assert np.array_equal(values, drawn.annotation(i).attributes["blendshapes"])
    other = synthetic(tmp_path, "test", size=64)
    assert not np.array_equal(other.rendered(0).landmarks["2d98"], drawn.rendered(0).landmarks["2d98"])
    pose = open_drawn(tmp_path / "expressive-test.tar", "x", "test").annotation(1).pose
    assert pose == pytest.approx(drawn.rendered(1).pose)
