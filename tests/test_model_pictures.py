"""Model on pictures: faces in pixels, from every kind of picture, in order, found or in boxes of one's own."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch", reason="torch is not installed: the network is the yardstick")

from helpers.paths import PHOTO
from helpers.small import small_network

from acdc_fast import Faces, Model
from acdc_fast.errors import InputError
from acdc_fast.photo import coordinates as geometry
from acdc_fast.photo import finding
from acdc_fast.photo.crops import crop_faces
from acdc_fast.types import Prediction
from acdc_fast.weights import bundled

#: The contract's tolerance of angles in float32, degrees.
DEGREES = 0.01


def test_align_gives_faces_in_pixels() -> None:
    model = Model(small_network())
    faces = model.align(PHOTO)
    assert isinstance(faces, Faces) and len(faces) == 1 and faces.source == str(PHOTO)
    square = geometry.square_from_box(faces.boxes)
    crop = crop_faces(np.asarray(Image.open(PHOTO).convert("L")), square, 128)
    prediction = model(crop)
    for name in model.config.order:
        points = geometry.crop_to_image(prediction.landmarks[name], square)
        assert np.abs(faces.landmarks[name] - points).max() < 0.01
        spread = np.sqrt(prediction.covariance[name][..., [0, 2]].sum(-1)) * square[0, 2]
        assert np.abs(faces.spread[name] - spread).max() < 0.01
        assert ((faces.confidence[name] >= 0) & (faces.confidence[name] <= 1)).all()
    angles = np.stack([faces.pose.yaw, faces.pose.pitch, faces.pose.roll], 1)
    assert np.abs(angles - prediction.pose).max() < DEGREES
    assert np.allclose(faces.pose.matrix, geometry.euler_to_matrix(*angles.T), atol=1e-5)


def test_same_faces_from_path_array_and_pil() -> None:
    model = Model(small_network())
    with Image.open(PHOTO) as picture:
        rgb = np.asarray(picture)
        many = [model.align(x) for x in (str(PHOTO), rgb, picture, np.dstack([rgb, np.full(rgb.shape[:2], 255, "u1")]))]
    for faces in many:
        assert np.array_equal(faces.landmarks["2d68"], many[0].landmarks["2d68"])


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_no_search_begins_beside_a_network_that_fills_the_cpus(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network of sixteen crops takes both threads. Beside one on a GPU the searches go on. The faces are the
    same."""
    began, within, box = threading.Semaphore(0), list[bool](), np.array([[10, 10, 50, 50]], np.float32)

    def search(rgb: np.ndarray, *given: object) -> tuple[np.ndarray, np.ndarray]:
        began.release()
        time.sleep(0.04)
        return box, np.ones(1, np.float32)

    model = Model(small_network(), threads=2)
    monkeypatch.setattr(model.engine, "device", device, raising=False)
    pictures = [np.random.default_rng(i).integers(0, 255, (60, 60, 3), np.uint8) for i in range(64)]
    usual = model._run

    def run(crops: np.ndarray, **options: object) -> Prediction:
        if len(crops) == 16 and len(within) < 2:  # a group of pictures; two more follow
            time.sleep(0.02)  # what has begun by now may be between its beginning and its search
            while began.acquire(blocking=False):
                pass
            within.append(began.acquire(timeout=0.3))
        return usual(crops, **options)  # type: ignore[arg-type]

    expected = [model.align(picture, boxes=box) for picture in pictures]
    monkeypatch.setattr(finding, "detect", search)
    monkeypatch.setattr(model, "_run", run)
    faces = model.align(pictures)
    assert within == [device == "cuda"] * 2
    for one, other in zip(expected, faces, strict=True):
        assert np.array_equal(one.landmarks["2d68"], other.landmarks["2d68"])


@pytest.mark.parametrize("name", ["small", *bundled()])
def test_lists_keep_their_order_and_empty_is_empty(name: str) -> None:
    """Also with the package's weights, whose fits must work with no faces."""
    model = Model(small_network()) if name == "small" else Model.from_pretrained(name, stages="auto")
    blank = np.zeros((60, 80), np.uint8)
    results = model.align([PHOTO, blank, PHOTO])
    assert [len(f) for f in results] == [1, 0, 1]
    assert np.array_equal(results[0].landmarks["2d68"], results[2].landmarks["2d68"])
    none = results[1]
    assert none.boxes.shape == (0, 4) and none.scores.shape == (0,) and none.landmarks["2d98"].shape == (0, 98, 2)
    assert none.spread["2d5"].shape == none.confidence["2d5"].shape == (0, 5)
    assert none.pose.yaw.shape == (0,) and none.pose.matrix.shape == (0, 3, 3)
    for array in (none.boxes, none.scores, none.landmarks["2d98"], none.spread["2d5"], none.confidence["2d5"]):
        assert array.dtype == np.float32
    assert model.align([]) == [] and len(model.align(blank)) == len(model.align(PHOTO, boxes=[])) == 0


def test_what_is_looked_for() -> None:
    """`detect` and `align` take the same settings and return the same boxes, each with its picture."""
    model = Model(small_network())
    with Image.open(PHOTO) as picture:
        half = picture.resize((256, 256))
    both = Image.new("RGB", (768, 512))
    both.paste(half, (0, 0))
    with Image.open(PHOTO) as picture:
        both.paste(picture, (256, 0))
    pictures = [both, half, np.zeros((60, 80), np.uint8), str(PHOTO)]
    for settings in ({}, {"max_faces": 1}, {"min_size": 70}, {"min_score": 1.0}, {"min_size": 30, "overlap": 0.2}):
        found = model.detect(pictures, **settings)
        aligned = model.align(pictures, **settings)
        for (boxes, scores), faces, picture in zip(found, aligned, pictures, strict=True):
            assert np.array_equal(boxes, faces.boxes) and np.array_equal(scores, faces.scores)
            alone = model.detect(picture, **settings)
            assert np.array_equal(boxes, alone[0]) and np.array_equal(scores, alone[1])
    assert [len(boxes) for boxes, _ in model.detect(pictures)] == [2, 1, 0, 1]
    assert [len(faces) for faces in model.align(pictures, max_faces=1)] == [1, 1, 0, 1]
    assert [len(faces) for faces in model.align(pictures, min_size=70)] == [1, 0, 0, 1]
    assert [len(faces) for faces in model.align(pictures, min_score=1.0)] == [0, 0, 0, 0]
    faces = model.align(half, detector=lambda rgb: ([[80, 30, 140, 90], [0, 0, 30, 30]], [0.3, 0.2]))
    assert faces.boxes.tolist() == [[80, 30, 140, 90], [0, 0, 30, 30]]
    assert faces.scores.tolist() == pytest.approx([0.3, 0.2])
    assert model.detect([]) == []
    with pytest.raises(InputError, match="unknown setting 'minsize'.*min_size"):
        model.align(half, minsize=3)
    with pytest.raises(InputError, match="max_faces"):
        model.detect(half, max_faces=0)


def test_own_boxes() -> None:
    model = Model(small_network())
    blank = np.full((60, 80), 9, np.uint8)
    faces = model.align(blank, boxes=[[10, 10, 50, 50], [-5, 0, 20, 30]])
    assert len(faces) == 2 and (faces.scores == 1).all() and faces.landmarks["2d68"].shape == (2, 68, 2)
    assert len(model.align(blank, boxes=[])) == 0
    results = model.align([blank, PHOTO], boxes=[[[0, 0, 9, 9]], None])
    assert [len(f) for f in results] == [1, 1] and results[0].scores[0] == 1 > results[1].scores[0]
    for bad, word in (
        ([[5, 5, 5, 50]], "box 0"), ([[0, 0, 9, 9], [1, 2, np.nan, 4]], "box 1"), ([1, 2, 3, 4], "shape"),
        ([[0, 0, 9]], "shape"), ([["a", 0, 1, 2]], "numbers"), ([[100, 0, 120, 9]], "outside the 80×60"),
        ([[0, 0, 1e6, 9]], "box 0 has 1e.06×9 pixels of a 80×60 image"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=word):
            model.align(blank, boxes=bad)
    with pytest.raises(InputError, match="1 images were given with 2"):
        model.align([blank, blank], boxes=[None])


def test_scaled_picture_gives_scaled_landmarks() -> None:
    """Twice the picture, twice the box, twice the landmarks: pixel centres and units are right."""
    model = Model(small_network())
    picture = Image.open(PHOTO).convert("L")
    double = picture.resize((1024, 1024), Image.Resampling.BILINEAR)
    box = np.array([[178.0, 63.0, 267.0, 174.0]])
    one, two = model.align(picture, boxes=box), model.align(double, boxes=2 * box + 0.5)
    assert np.abs(2 * one.landmarks["2d68"] + 0.5 - two.landmarks["2d68"]).max() < 0.1
