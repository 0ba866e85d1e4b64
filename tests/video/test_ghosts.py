"""With the weights of the package: no face is reported where none is, and scores are of the frame."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.shots import portrait, scenes
from PIL import Image

from acdc_fast import Model
from acdc_fast.photo.images import Picture
from acdc_fast.types import Faces
from acdc_fast.video import tracking
from acdc_fast.video.tracking import Tracker
from acdc_fast.weights import bundled


class Remembering:
    """A model that computes what it is asked for the first time: most frames of these films are alike."""

    def __init__(self, model: Model) -> None:
        self.model, self.known = model, dict[bytes, Faces]()

    def align(self, picture: Picture, boxes: np.ndarray) -> Faces:
        key = picture.rgb.tobytes() + np.asarray(boxes).tobytes()
        if key not in self.known:
            self.known[key] = self.model.align(picture, boxes=boxes)
        return self.known[key]


FOUND: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}  # by picture, whatever the weights


@pytest.mark.parametrize("weights", list(bundled()))
def test_no_ghosts(weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No ghost after a cut; none after three frames if something covers the face or the picture fades."""
    detect = tracking.detect

    def found(rgb: np.ndarray, *search: object) -> tuple[np.ndarray, np.ndarray]:
        key = rgb.tobytes() + repr(search).encode()
        if key not in FOUND:
            FOUND[key] = detect(rgb, *search)  # type: ignore[arg-type]
        return FOUND[key]

    monkeypatch.setattr(tracking, "detect", found)
    model, face = Model.from_pretrained(weights), portrait()
    remembering = Remembering(model)
    assert "presence" in model.weights.card, "acdc-fast evaluate WEIGHTS --presence OUT finds and writes it"
    x0, y0, x1, y1 = model.align(face).boxes[0].astype(int).clip(0)
    for name, scene in scenes().items():
        card, part = face.copy(), (slice(max(0, y0 - 30), y1 + 20), slice(max(0, x0 - 30), x1 + 30))
        card[part] = scene[part]
        fade = [(face * (1 - t) + scene * t).astype(np.uint8) for t in np.linspace(0.1, 1, 10)]
        for kind, film, allowed in (("cut", [], 0), ("card", [], 3), ("fade", fade, 3)):
            tracker = Tracker(remembering)
            for _ in range(4):
                faces = tracker.step(face)
                assert len(faces) == 1 and faces.scores[0] > 0.9 and faces.ids.tolist() == [0]
            for frame in film:
                tracker.step(frame)
            counts = [len(tracker.step(card if kind == "card" else scene)) for _ in range(12)]
            assert sum(counts) <= allowed and not any(counts[3:]), (kind, name, counts)
            assert len(tracker.step(face)) == 1


@pytest.mark.parametrize("weights", ["acdc-w16-fast"])
def test_scores_are_of_this_frame(weights: str) -> None:
    model, face = Model.from_pretrained(weights), portrait()
    tracker = Tracker(model, every=100)
    clear = tracker.step(face).scores[0]
    rough = Image.fromarray(face).resize((64, 48), Image.Resampling.BOX).resize((320, 240), Image.Resampling.NEAREST)
    blurred = tracker.step(np.asarray(rough))
    assert len(blurred) == 1 and blurred.scores[0] < clear
    assert tracker.step(face).scores[0] == pytest.approx(clear, abs=0.02)
