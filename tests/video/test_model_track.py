"""`Model.track`: what the tracker and the smoother give, frame by frame, also with a camera."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.shots import portrait

from acdc_fast import Camera, InputError, Model
from acdc_fast.video.tracking import Tracker


def test_model_track(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Model.track` gives the tracker's faces, smooth or exact, frame by frame as the frames come."""
    model, face = Model.from_pretrained("acdc-w16-fast"), portrait()
    rng = np.random.default_rng(0)
    film = [np.clip(face + rng.normal(0, 12, face.shape), 0, 255).astype(np.uint8) for _ in range(8)]
    asked: list[int] = []
    frames = (asked.append(i) or frame for i, frame in enumerate(film))  # type: ignore[func-returns-value]
    stream = model.track(frames, smooth=False)
    first = next(stream)
    assert asked == [0], "a camera's frames are not asked for before their time"
    exact, tracker = [first, *stream], Tracker(model)
    assert exact == [tracker.step(frame) for frame in film] and all(f.ids.tolist() == [0] for f in exact)
    steady = list(model.track(film))
    jitter = [np.abs(np.diff([f.landmarks["2d68"][0] for f in seen], axis=0)).mean() for seen in (exact, steady)]
    assert jitter[1] < 0.5 * jitter[0]
    with pytest.raises(InputError, match="at least 1"):
        model.track(film, every=0)


@pytest.mark.parametrize("columns", [(0.0, 0.7), (0.35, 1.0)])
def test_a_covered_face_in_one_frame_does_not_move_the_steadied_points(columns: tuple[float, float]) -> None:
    """One of 16 frames shows a card before most of the face. Its points jump by a fifth of the face's side, with a
    score of 0.02 to 0.1. The steadied ones stay, and the next frame is as if nothing had been."""
    model, face, rng = Model.from_pretrained("acdc-w16-fast"), portrait(), np.random.default_rng(0)
    film = [np.clip(face + rng.normal(0, 3, face.shape), 0, 255).astype(np.uint8) for _ in range(16)]
    clear = np.mean([f.landmarks["2d68"][0] for f in model.track(film, smooth=False)], 0)
    x0, y0, x1, y1 = model.align(face).boxes[0].astype(int)
    left, right = (x0 + int(part * (x1 - x0)) for part in columns)
    film[10][y0:y1, left:right] = 120
    side = float(np.sqrt((x1 - x0) * (y1 - y0)))
    away = {}
    for smooth in (False, True):
        seen = list(model.track(film, smooth=smooth))
        assert [f.ids.tolist() for f in seen] == [[0]] * 16
        away[smooth] = np.array([np.linalg.norm(f.landmarks["2d68"][0] - clear, axis=1).mean() for f in seen]) / side
    assert away[False][10] > 0.1 and away[True].max() < 0.02 and away[False][11] < 0.02


def test_a_face_that_is_hidden_in_one_frame_is_missing_there_alone() -> None:
    """The card leaves so little of it that its maps deny a face."""
    model, face = Model.from_pretrained("acdc-w16-fast"), portrait()
    x0, y0, x1, y1 = model.align(face).boxes[0].astype(int)
    hidden = face.copy()
    hidden[y0:y1, x0 + int(0.3 * (x1 - x0)) : x1] = 120
    for smooth in (False, True):
        seen = list(model.track([face, face, face, hidden, face, face], smooth=smooth))
        assert [f.ids.tolist() for f in seen] == [[0], [0], [0], [], [0], [0]]
        apart = np.linalg.norm(seen[4].landmarks["2d68"] - seen[2].landmarks["2d68"], axis=-1).mean()
        assert apart < 0.02 * (x1 - x0)  # it was found anew, so its box is another


def test_model_track_with_a_camera() -> None:
    """Pose and place are those of `align` with this camera, and what is no camera is refused at once."""
    model, camera = Model.from_pretrained("acdc-w16-fast"), Camera(field_of_view=70, eye_corners=90)
    film = [portrait()] * 3
    (faces, *_) = model.track(film, smooth=False, camera=camera)
    there = model.align(film[0], boxes=faces.boxes, camera=camera)
    plain = next(iter(model.track(film, smooth=False)))
    assert faces.pose is not None and faces.pose == there.pose and faces.pose.translation is not None
    assert faces.pose.translation.shape == (1, 3) and -3000 < faces.pose.translation[0, 2] < -100
    assert plain.pose is not None and plain.pose.translation is None
    assert all(f.pose is not None and f.pose.translation is not None for f in model.track(film, camera=camera))
    with pytest.raises(InputError, match="must be an acdc_fast.Camera"):
        model.track(film, camera=70)  # type: ignore[arg-type]
