"""Several faces on several pictures: each gets the result that it gets alone, in every field, on every way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.paths import PHOTO
from PIL import Image, ImageEnhance

from acdc_fast import Faces, InputError, Model
from acdc_fast.types import HeadPose

#: Pixels and degrees, and shares of one, by which two faces differ at least. Results are the same to the bit.
APART, SHARE = 1e-2, 5e-4
#: Pictures whose face lies on its side: number → quarters, counterclockwise.
LYING = {4: 1, 11: 3, 15: 2}


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.from_pretrained("acdc-w16-fast")


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    """Eighteen, none like another: scaled, tilted, darkened, of different sizes; three lie at different quarters."""
    found = []
    with Image.open(PHOTO) as photo:
        for i in range(18):
            part = photo.convert("RGB").rotate(2 * (i % 7) - 6, Image.Resampling.BICUBIC, center=(222, 118))
            part = part.crop((60 + 3 * i, 0, 400 + i, 300 - 2 * i))
            part = part.resize((220 + 9 * i, 210 + 5 * i), Image.Resampling.BICUBIC)
            array = np.asarray(ImageEnhance.Brightness(part).enhance(0.7 + 0.03 * i))
            found.append(np.ascontiguousarray(np.rot90(array, LYING.get(i, 0))))
    return found


@pytest.fixture(scope="module")
def boxes(model: Model, pictures: list[np.ndarray]) -> list[np.ndarray]:
    """One to four boxes on each picture: the face, and others of other sizes. Over forty, all different."""
    rng = np.random.default_rng(0)
    given = []
    for i, picture in enumerate(pictures):
        upright = np.ascontiguousarray(np.rot90(picture, -LYING.get(i, 0)))
        (box,) = model.detect(upright)[0][:1]
        box = turned_box(box, upright.shape[:2], LYING.get(i, 0))
        size = box[2] - box[0]
        moved = [box + size * np.r_[rng.uniform(-0.08, 0.08, 4)] for _ in range(i % 4)]
        given.append(np.array([box, *moved], np.float32))
    assert sum(map(len, given)) >= 40
    return given


def turned_box(box: np.ndarray, shape: tuple[int, int], quarters: int) -> np.ndarray:
    """The box after `np.rot90` of the picture: x, y → y, W − 1 − x for each quarter."""
    for _ in range(quarters):
        (x0, y0, x1, y1), (height, width) = box, shape
        box, shape = np.array([y0, width - 1 - x1, y1, width - 1 - x0]), (width, height)
    return box


def apart_by(name: str) -> float:
    return SHARE if name.startswith(("confidence", "visible")) or name == "pose.matrix" else APART


def values_of(faces: Any, prefix: str = "") -> dict[str, np.ndarray]:
    """Every array of every field by name."""
    out: dict[str, np.ndarray] = {}
    for f in fields(faces):
        value = getattr(faces, f.name)
        if isinstance(value, dict):
            out |= {f"{prefix}{f.name}.{name}": array for name, array in value.items()}
        elif isinstance(value, HeadPose):
            out |= values_of(value, f"{f.name}.")
        elif isinstance(value, np.ndarray):
            out[prefix + f.name] = value
    return out


def compare(got: Faces, alone: list[Faces], where: str) -> None:
    """Face by face, field by field."""
    mine = values_of(got)
    wanted = {"boxes", "scores", "landmarks.2d68", "spread.3d68", "confidence.2d98", "pose.yaw", "pose.matrix"}
    assert wanted <= set(mine)
    assert len(got) == len(alone), where
    for i, one in enumerate(alone):
        for name, value in values_of(one).items():
            assert mine[name][i].shape == value[0].shape, (where, name)
            worst = np.abs(mine[name][i].astype(np.float64) - value[0]).max()
            assert np.array_equal(mine[name][i], value[0]), f"{where}, face {i}: {name} is off by {worst}"


@pytest.fixture(scope="module")
def alone(model: Model, pictures: list[np.ndarray], boxes: list[np.ndarray]) -> list[list[Faces]]:
    """Each box alone. All differ, so that a swap shows; those of lying faces were turned."""
    one = [[model.align(p, boxes=b[None]) for b in each] for p, each in zip(pictures, boxes, strict=True)]
    flat = [face for each in one for face in each]
    for name in values_of(flat[0]):
        # Of yaw and pitch two faces may be alike by chance; of all else no two are.
        values = np.stack([values_of(face)[name][0].ravel() for face in flat])
        apart = np.abs(values[:, None] - values[None]).max(2) + np.eye(len(flat))
        least = apart.min() if values.shape[1] > 3 else np.median(apart)
        # Many faces show nothing of an expression: test_blendshapes.py tells those apart.
        assert name == "scores" or name.startswith("blendshapes") or least > apart_by(name), (
            f"{name}: two faces cannot be told apart ({least})"
        )
    for i, quarters in LYING.items():
        eyes = one[i][0].landmarks["2d5"][0][[0, 1]]
        across = eyes[1] - eyes[0]
        wanted = {1: (0, -1), 2: (-1, 0), 3: (0, 1)}[quarters]
        assert across @ wanted > 0.8 * np.linalg.norm(across), f"the face of picture {i} was not turned"
    return one


def test_boxes_of_many_pictures(
    model: Model, pictures: list[np.ndarray], boxes: list[np.ndarray], alone: list[list[Faces]]
) -> None:
    results = model.align(pictures, boxes=boxes)
    assert len(results) == len(pictures)
    for i, (got, wanted) in enumerate(zip(results, alone, strict=True)):
        compare(got, wanted, f"picture {i}")


def test_in_another_order_and_with_pictures_that_have_no_face(
    model: Model, pictures: list[np.ndarray], boxes: list[np.ndarray], alone: list[list[Faces]]
) -> None:
    order = np.random.default_rng(1).permutation(len(pictures))
    blank = np.zeros((60, 80, 3), np.uint8)
    many = [x for i in order for x in (pictures[i], blank)]
    given = [x for i in order for x in (boxes[i][::-1], np.zeros((0, 4)))]
    results = model.align(many, boxes=given)
    for got, none, i in zip(results[::2], results[1::2], order, strict=True):
        compare(got, alone[i][::-1], f"picture {i}")
        assert len(none) == 0


def test_a_generator_gives_an_iterator(
    model: Model, pictures: list[np.ndarray], boxes: list[np.ndarray], alone: list[list[Faces]]
) -> None:
    """Pictures from a generator, with and without boxes. No more are taken than needed."""
    taken = []

    def coming() -> Iterator[np.ndarray]:
        for i, picture in enumerate(pictures):
            taken.append(i)
            yield picture

    results = model.align(coming(), boxes=iter(boxes))
    assert not taken
    for i, (got, wanted) in enumerate(zip(results, alone, strict=True)):
        compare(got, wanted, f"picture {i}")
    for got, wanted in zip(model.align(coming()), model.align(pictures), strict=True):
        compare(got, [wanted[k] for k in range(len(wanted))], "found")
    with pytest.raises(InputError, match="not as many boxes as images"):
        list(model.align(coming(), boxes=iter(boxes[:-1])))


@pytest.mark.parametrize("threads", [1, 3])
def test_each_with_its_error(pictures: list[np.ndarray], threads: int) -> None:
    """Broken images among good ones: all results keep their places, and the good ones lose nothing."""
    model = Model.from_pretrained("acdc-w16-fast", threads=threads)
    many: list[Any] = list(pictures[:9])
    for place, bad in ((0, b"no image"), (4, "no/such.jpg"), (5, np.zeros((3, 3, 7), np.uint8)), (11, 3.5)):
        many.insert(place, bad)
    results = list(model.align_each(iter(many)))
    assert [i for i, each in enumerate(results) if isinstance(each, InputError)] == [0, 4, 5, 11]
    assert "no/such.jpg: no such file" in str(results[4]) and "3×3×7" in str(results[5])
    good = [each for each in results if isinstance(each, Faces)]
    for got, picture in zip(good, pictures[:9], strict=True):
        one = model.align(picture)
        compare(got, [one[k] for k in range(len(one))], "among broken ones")
    with pytest.raises(InputError, match=r"no/such\.jpg"):
        model.align([*pictures[:2], "no/such.jpg"])


def test_a_detector_of_ones_own_runs_on_the_callers_thread(model: Model, pictures: list[np.ndarray]) -> None:
    seen = []

    def detector(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        seen.append((threading.get_ident(), rgb.shape))
        return np.array([[10, 10, 90, 110.0]]), np.array([0.5])

    results = model.align(pictures[:5], detector=detector, min_score=0.0)  # 0: what the maps deny is a face, too
    assert seen == [(threading.get_ident(), p.shape) for p in pictures[:5]]
    assert [each.boxes.tolist() for each in results] == [[[10, 10, 90, 110]]] * 5


def test_found_by_the_detector(model: Model, pictures: list[np.ndarray]) -> None:
    results = model.align(pictures)
    for i, (got, picture) in enumerate(zip(results, pictures, strict=True)):
        one = model.align(picture)
        compare(got, [one[k] for k in range(len(one))], f"picture {i}")
    assert sum(map(len, results)) >= len(pictures) - len(LYING)


def test_through_batch(model: Model, pictures: list[np.ndarray], tmp_path: Path) -> None:
    """Rows keep to their pictures; parts of five, so that faces of several parts come together at the end."""
    pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed (extra [parquet])")
    from acdc_fast.batch.job import run_batch
    from acdc_fast.batch.rows import faces_of

    (tmp_path / "in").mkdir()
    order = np.random.default_rng(2).permutation(len(pictures))
    for name, i in enumerate(order):
        Image.fromarray(pictures[i]).save(tmp_path / "in" / f"{name:02d}.png")
    run_batch(model, str(tmp_path / "in"), str(tmp_path / "o.parquet"), part=5)
    rows = pq.read_table(tmp_path / "o.parquet").to_pylist()
    assert [row["image"] for row in rows] == [f"{name:02d}.png" for name in range(len(order))]
    for row, i in zip(rows, order, strict=True):
        one = model.align(pictures[i])
        compare(faces_of(row, model.markups), [one[k] for k in range(len(one))], f"picture {i}")
