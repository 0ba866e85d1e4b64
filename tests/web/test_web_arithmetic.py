"""What the page of examples/web computes outside its two networks, in node, beside the package's answer."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.paths import PHOTO
from helpers.patience import PATIENCE
from PIL import Image

from acdc_fast.detector import pyramid
from acdc_fast.detector.engine import library
from acdc_fast.detector.plan import LEVELS
from acdc_fast.export.facts import border_recipe, crop_recipe
from acdc_fast.export.recipes import detector_recipe
from acdc_fast.photo.coordinates import crop_to_image, euler_to_matrix, head_axes, square_from_box
from acdc_fast.photo.crops import crop_faces
from acdc_fast.photo.detection import Search, detect, distinct
from acdc_fast.photo.images import luma
from acdc_fast.readout import border

if shutil.which("node") is None:
    pytest.skip("node is not installed: nothing runs the page's code", allow_module_level=True)

DRIVER = Path(__file__).with_name("arithmetic.mjs")


def in_node(*calls: tuple[Any, ...]) -> list[Any]:
    """The results of (name, argument, …), in order."""
    asked = json.dumps([{"name": name, "args": args} for name, *args in calls])
    ran = subprocess.run(["node", str(DRIVER)], input=asked, capture_output=True, text=True, timeout=PATIENCE)
    assert ran.returncode == 0, ran.stderr
    return list(json.loads(ran.stdout))


def rgba(rgb: np.ndarray) -> dict[str, Any]:
    """As a canvas gives its pixels."""
    full = np.concatenate([rgb, np.full((*rgb.shape[:2], 1), 255, np.uint8)], 2)
    return {"data": full.ravel().tolist(), "width": rgb.shape[1], "height": rgb.shape[0]}


def grey_of(grey: np.ndarray) -> dict[str, Any]:
    return {"data": grey.ravel().tolist(), "width": grey.shape[1], "height": grey.shape[0]}


def test_grey_pictures_are_the_same_to_the_bit() -> None:
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (37, 50, 3)).astype(np.uint8)
    grey = rng.integers(0, 256, (37, 50)).astype(np.uint8)
    factors = (1, 2, 3, 5, 12)
    calls = [("shrunkGrey", rgba(rgb), f) for f in factors] + [("shrunk", grey_of(grey), f) for f in factors]
    *small, as_crops_see_it = in_node(*calls, ("luma", rgba(rgb)))
    shrink = library().shrink
    for got, expected in zip(small, [shrink(p, f) for p in (rgb, grey) for f in factors], strict=True):
        assert (got["height"], got["width"]) == expected.shape and got["data"] == expected.ravel().tolist()
    assert as_crops_see_it["data"] == luma(rgb).ravel().tolist()


def test_looks_are_those_of_the_package() -> None:
    recipe = detector_recipe()
    sizes = [(w, h, None) for w, h in ((32, 32), (512, 512), (640, 480), (480, 3000), (5000, 4000), (151, 601))]
    sizes += [(640, 480, s) for s in (40.0, 48.0, 100.0, 5000.0)]
    expected = [pyramid.factors(h, w, s) for w, h, s in sizes]
    assert in_node(*[("looks", w, h, recipe, s) for w, h, s in sizes]) == expected
    assert len({len(each) for each in expected}) > 2


def test_cells_and_joined_boxes() -> None:
    rng = np.random.default_rng(1)
    maps = rng.normal(0, 1.5, (5, 7, 9)).astype(np.float32)
    maps[3, 0, 0] = 9.0  # a width beyond all bounds is cut off
    stride, least = 16, 0.6
    from acdc_fast.detector.network import decoded

    (cells,) = in_node(("cells", maps.ravel().tolist(), 7, 9, stride, least))
    torch = pytest.importorskip("torch", reason="torch is not installed: it decodes the boxes to compare with")
    levels = [torch.zeros(1, 5, 1, 1), torch.from_numpy(maps)[None], torch.zeros(1, 5, 1, 1)]
    logits, boxes = (part[0].numpy()[1:-1] for part in decoded(levels))
    scores = 1 / (1 + np.exp(-logits.astype(np.float64)))
    expected = np.concatenate([boxes, scores[:, None]], 1)[scores >= least]
    assert 10 < len(expected) < 60 and LEVELS[1][1] == stride
    np.testing.assert_allclose(cells, expected, rtol=1e-5, atol=1e-4)
    recipe = detector_recipe()
    crowd = expected[:, :5].copy()
    crowd[:, 2:4] = crowd[:, :2] + 60 + rng.uniform(0, 20, (len(crowd), 2))  # boxes that overlap by half and more
    joined, single = in_node(("joined", crowd.tolist(), recipe), ("distinct", crowd.tolist(), recipe))
    np.testing.assert_allclose(joined, pyramid.joined(crowd), rtol=1e-12)
    kept = crowd[distinct(crowd, Search().overlap)]
    kept = kept[np.argsort(-(kept[:, 2:4] - kept[:, :2]).prod(1), kind="stable")]
    assert 1 < len(joined) < len(crowd) and 1 < len(kept) < len(crowd)
    np.testing.assert_allclose(single, kept, rtol=1e-12)


@pytest.mark.parametrize("min_size", [None, 60.0])
def test_boxes_of_a_whole_picture(min_size: float | None) -> None:
    """The network's answers come from our engine: the boxes equal those of `detect` to a thousandth of a pixel."""
    small = Image.open(PHOTO).convert("RGB").crop((60, 0, 460, 330))
    canvas = Image.new("RGB", (900, 700), (90, 110, 80))
    for at, size in ((30, 20), (430, 330)), ((500, 40), (240, 200)), ((480, 300), (400, 380)):
        canvas.paste(small.resize(size), at)
    rgb, shrink, recipe = np.asarray(canvas), library().shrink, detector_recipe()
    answers, sizes, grey, before = [], [], rgb, 1
    for factor in pyramid.factors(*rgb.shape[:2], min_size):
        grey, before = shrink(grey, factor // before), factor
        sizes.append(grey)
        answers.append([{"data": m.ravel().tolist(), "dims": [1, *m.shape]} for m in pyramid.bundled().outputs(grey)])
    (got,) = in_node(("find", rgba(rgb), recipe, answers, min_size))
    for asked, expected in zip(got["asked"], sizes, strict=True):
        assert asked["dims"] == [1, 1, *expected.shape] and asked["grey"] == expected.ravel().tolist()
    boxes, scores = detect(rgb, Search(detector="own", min_size=min_size))
    assert len(boxes) >= 2 and len(sizes) >= 2
    np.testing.assert_allclose(got["boxes"], np.column_stack([boxes, scores]), atol=1e-3)


def test_crops_and_the_way_back() -> None:
    rng = np.random.default_rng(2)
    grey = rng.integers(0, 256, (60, 80)).astype(np.uint8)
    boxes = np.array([[20, 15, 50, 48], [-30, -20, 25, 40], [70, 50, 76, 58], [-100, -90, 200, 170.0]])
    recipe, squares = crop_recipe(24), square_from_box(boxes)
    points = rng.random((4, 5, 2))
    of_boxes = in_node(*[("squareOfBox", box.tolist(), recipe) for box in boxes])
    crops = in_node(*[("cut", grey_of(grey), square, recipe) for square in of_boxes])
    back = in_node(*[("toPicture", p.tolist(), square) for p, square in zip(points, of_boxes, strict=True)])
    np.testing.assert_allclose(of_boxes, squares[:, :3], rtol=1e-12)
    np.testing.assert_allclose(np.reshape(crops, (4, 1, 24, 24)), crop_faces(grey, squares, 24), atol=2e-6)
    np.testing.assert_allclose(back, crop_to_image(points, squares), rtol=1e-9, atol=1e-9)
    assert in_node(("cut", grey_of(grey[:1, :1]), [0, 0, 5], recipe)) == [[pytest.approx(grey[0, 0] / 255)] * 576]


def test_axes_and_ellipses() -> None:
    rng = np.random.default_rng(3)
    poses = rng.uniform(-89, 89, (6, 3))
    axes = in_node(*[("headAxes", pose.tolist()) for pose in poses])
    np.testing.assert_allclose(axes, head_axes(euler_to_matrix(*poses.T)), atol=1e-12)
    for root in rng.normal(0, 1, (5, 2, 2)):
        variances = root @ root.T
        (shape,) = in_node(("ellipse", [variances[0, 0], variances[0, 1], variances[1, 1]]))
        c, s = np.cos(shape["angle"]), np.sin(shape["angle"])
        turn = np.array([[c, -s], [s, c]])
        np.testing.assert_allclose(turn @ np.diag(np.square(shape["half"])) @ turn.T, variances, atol=1e-9)
        assert shape["half"][0] >= shape["half"][1]
    assert in_node(("colourOf", 0), ("colourOf", 1)) == ["rgb(255 112 48)", "rgb(64 224 255)"]


def answer(number: int, side: float = 1.0, presence: float = 0.9, wide: float = 1e-4) -> dict[str, Any]:
    """What a network might say about one crop; every value tells which crop it is of."""
    points = [[number / 1000, i / 10] for i in range(3)]
    parts = {"landmarks_a": (points, [3, 2]), "covariance_a": ([[wide, number * 1e-7, wide]] * 3, [3, 3]),
             "confidence_a": ([number / 300, 0.5, 0.25], [3]), "pose": ([number, -number, 1], [3]),
             "presence": ([presence], []), "square": ([0.5, 0.5, side], [3])}  # fmt: skip
    return {name: {"data": np.ravel(values).tolist(), "dims": dims} for name, (values, dims) in parts.items()}


def test_each_face_gets_its_own_answer() -> None:
    """Three faces on grey fields of their own; two do not fit their crops and are cut again, to better ones."""
    grey = np.repeat(np.repeat(np.array([[40, 90], [140, 200]], np.uint8), 100, 0), 100, 1)
    grey[130:170, 30:70] = 160  # a quarter of the second face's crop, and all that its second cut sees
    grey[30:70, 130:170] = 110  # the same of the third
    look = {"smaller": 0.85, "larger": 1.18, "away": 0.12, "settled": 0.03, "lost": 1.0, "worse": 1.3, "better": 0.95}
    facts = {"crop": crop_recipe(8), "markups": {"a": {}}, "second_look": look, "border": border_recipe()}
    squares = [[50, 50, 40], [50, 150, 80], [150, 50, 80]]
    poor = {145: answer(145, side=0.4), 95: answer(95, side=0.4)}
    answers = {40: answer(40), **poor, 160: answer(160, wide=1e-5), 110: answer(110, wide=1e-5)}
    worse = {**answers, 160: answer(160, wide=1e-2), 110: answer(110, wide=1e-2)}
    off = {**answers, 160: answer(160, wide=1e-5, side=1.05)}
    got, kept, moved = in_node(*[("align", grey_of(grey), squares, facts, each) for each in (answers, worse, off)])
    assert got["batches"] == kept["batches"] == [[40, 145, 95], [160, 110]]
    assert moved["batches"] == [[40, 145, 95], [160, 110], [160]]  # the first cut was not where its points ask for
    assert [face["pose"][0] for face in kept["faces"]] == [40, 145, 95]
    own = [squares[0], [50, 150, 32], [150, 50, 32]]
    for face, number, (x, y, side) in zip(got["faces"], (40, 160, 110), own, strict=True):
        assert face["square"] == pytest.approx([x, y, side])
        points = [[x + side * (number / 1000 - 0.5), y + side * (i / 10 - 0.5)] for i in range(3)]
        np.testing.assert_allclose(face["landmarks"]["a"], points, atol=1e-4)
        np.testing.assert_allclose(face["confidence"]["a"], [number / 300, 0.5, 0.25], atol=1e-6)
        np.testing.assert_allclose(np.array(face["covariance"]["a"])[:, 1], number * 1e-7 * side**2, rtol=1e-5)
        assert face["pose"] == [number, -number, 1]


def test_points_beyond_the_border_are_less_sure() -> None:
    """As `readout.border` makes them, for two faces of other sizes in a picture that is wider than high."""
    grey = np.repeat(np.repeat(np.array([[40, 140]], np.uint8), 60, 0), 100, 1)
    facts = {"crop": crop_recipe(8), "markups": {"a": {}}, "border": border_recipe()}
    squares = np.array([[20, 70, 30], [190, 3, 20]])
    told = {40: answer(40), 140: answer(140)}
    (got,) = in_node(("align", grey_of(grey), squares.tolist(), facts, told))
    points = np.array([face["landmarks"]["a"] for face in got["faces"]])
    away = border.beyond(points, (200, 60), squares[:, 2])
    assert (away > border.FROM).any(1).all() and (away > 0).any(1).all()
    plain = np.array([[number / 300, 0.5, 0.25] for number in (40, 140)])
    expected = border.less_sure(plain, away)
    np.testing.assert_allclose([face["confidence"]["a"] for face in got["faces"]], expected, atol=1e-6)
    assert (expected < 0.9 * plain).any(1).all()


def test_one_face_in_one_place() -> None:
    face = {"next": [50, 50, 40], "presence": 0.7}
    faces = [face, {"next": [52, 50, 44], "presence": 0.8}, {"next": [80, 50, 40], "presence": 0.6}]
    assert in_node(("single", faces)) == [faces[1:]]
