"""The detector's C++ engine against the torch network in float64: values, shapes, instruction sets, bad input."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from helpers.detectors import lively_detector

from acdc_fast import InputError, _native
from acdc_fast.detector.engine import engine
from acdc_fast.detector.network import decoded
from acdc_fast.detector.weights import folded

ISAS = _native.available_isas()
#: Outputs are of order one. A sum of up to 864 products has a rounding error of about 1e-6; fifteen layers make it
#: ten times larger. Weights are folded in float64 and rounded once.
CLOSE = 2e-5
#: Odd and even sides, smaller than a stride, one row, one column, tails of every register tile.
SHAPES = [(1, 1), (1, 50), (45, 1), (2, 3), (31, 33), (64, 64), (95, 161), (160, 224), (37, 640), (250, 23)]


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.uint8)


def truth(network: torch.nn.Module, grey: np.ndarray) -> list[torch.Tensor]:
    x = (torch.from_numpy(grey.astype(np.float64)) - 128) / 128
    with torch.no_grad():
        return list(copy.deepcopy(network).double()(x[None, None]))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_outputs(shape: tuple[int, int]) -> None:
    network = lively_detector(sum(shape))
    grey = picture(*shape)
    wanted = truth(network, grey)
    for isa in ISAS:
        got = engine(folded(network), isa).outputs(grey)
        assert len(got) == len(wanted) == 3
        for ours, theirs in zip(got, wanted, strict=True):
            assert ours.shape == tuple(theirs.shape[1:])
            scale = max(1.0, float(theirs.abs().max()))
            np.testing.assert_allclose(ours, theirs[0].numpy(), atol=CLOSE * scale, rtol=0, err_msg=isa)


def test_random_shapes() -> None:
    rng = np.random.default_rng(5)
    network = lively_detector(3)
    ours = engine(folded(network))
    for seed in range(12):
        grey = picture(*rng.integers(1, 200, 2), seed=seed)
        for a, b in zip(ours.outputs(grey), truth(network, grey), strict=True):
            np.testing.assert_allclose(a, b[0].numpy(), atol=CLOSE * max(1.0, float(b.abs().max())), rtol=0)


@pytest.mark.parametrize("isa", ISAS)
def test_boxes_and_scores(isa: str) -> None:
    """Boxes are in the order of the cells. Those below the least score are left out, and only those."""
    network = lively_detector(7)
    grey = picture(90, 131)
    logits, boxes = decoded(truth(network, grey))
    scores = torch.sigmoid(logits[0]).numpy()
    least = float(np.median(scores))
    near = abs(scores - least) < 1e-4
    keep = (scores >= least) & ~near
    found = engine(folded(network), isa).find(grey, least)
    wanted = np.concatenate([boxes[0].numpy(), scores[:, None]], 1)
    kept = np.array([row for row in found if abs(row[4] - least) >= 1e-4])
    assert len(kept) == keep.sum() > 20
    np.testing.assert_allclose(kept[:, 4], wanted[keep, 4], atol=CLOSE)
    # sides are exponentials: an error of the logarithm is one relative to the side
    side = (wanted[keep, 2:4] - wanted[keep, :2]).max(1, keepdims=True)
    assert (abs(kept[:, :4] - wanted[keep, :4]) < 1e-3 + 1e-4 * side).all()
    assert len(engine(folded(network), isa).find(grey, 0.0)) == len(scores)


def test_the_same_bits_from_many_threads() -> None:
    ours = engine(folded(lively_detector(1)))
    greys = [picture(100 + 7 * i, 150, seed=i) for i in range(8)]
    alone = [ours.find(grey, 0.3) for grey in greys]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            together = list(pool.map(lambda grey: ours.find(grey, 0.3), greys))
            for a, b in zip(alone, together, strict=True):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape", [(1, 1), (37, 640), (64, 50), (97, 31), (333, 40), (640, 24), (1001, 8)], ids=str)
def test_parts_together_are_the_whole_bit_for_bit(shape: tuple[int, int], isa: str) -> None:
    """Every cell once, whatever share of the rows a part has. More parts than rows leave some empty."""
    ours = engine(folded(lively_detector(4)), isa)
    grey = picture(*shape)
    whole = ours.find(grey, 0.0)
    for parts in (2, 3, 5, 11, 40):
        each = [ours.find(grey, 0.0, part, parts) for part in range(parts)]
        assert sum(map(len, each)) == len(whole)
        together = np.concatenate(each)
        np.testing.assert_array_equal(together[np.lexsort(together.T)], whole[np.lexsort(whole.T)])
    halves = [len(ours.find(grey, 0.0, part, 2)) for part in (0, 1)]
    assert shape[0] < 300 or 0.6 < halves[0] / halves[1] < 1.1  # a fair share


def test_what_lay_in_memory_does_not_matter() -> None:
    """Freed memory that a run reuses is filled with NaNs; none of them may reach the outputs."""
    ours = engine(folded(lively_detector(2)))
    grey = picture(70, 90)
    before, second = ours.outputs(grey), ours.find(grey, 0.0, 1, 2)
    for _ in range(5):
        poison = [np.full(size, np.nan, np.float32) for size in (400, 4_000, 20_000, 60_000, 200_000) for _ in range(8)]
        del poison
        for a, b in zip(before, ours.outputs(grey), strict=True):
            np.testing.assert_array_equal(a, b)
        del a, b
        np.testing.assert_array_equal(ours.find(grey, 0.0, 1, 2), second)


def test_bad_input() -> None:
    arrays = folded(lively_detector(0))
    ours = engine(arrays)
    for grey in (np.zeros((3, 4, 1), np.uint8), np.zeros((0, 4), np.uint8), np.zeros((2, 20000), np.uint8)):
        with pytest.raises(InputError):
            ours.find(grey, 0.5)
    for wrong in (np.zeros((4, 4), np.float32), np.zeros((8, 8), np.uint8)[:, ::2]):
        with pytest.raises(TypeError):
            ours.find(wrong, 0.5)
    for least in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError):
            ours.find(np.zeros((8, 8), np.uint8), least)
    for part, parts in ((0, 0), (2, 2), (-1, 2), (0, -1)):
        with pytest.raises(InputError, match="part must lie between"):
            ours.find(np.zeros((8, 8), np.uint8), 0.5, part, parts)
    short = {**arrays, "down.0.weight": arrays["down.0.weight"][:5]}
    with pytest.raises(InputError, match=r"down\.0\.weight"):
        engine(short)
    with pytest.raises(InputError, match=r"neck\.1\.depthwise\.bias is missing"):
        engine({name: array for name, array in arrays.items() if name != "neck.1.depthwise.bias"})


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("factor", [1, 2, 3, 4, 5, 8, 127, 128])
def test_shrink(isa: str, factor: int) -> None:
    sides = 7 + 2 * factor, 5 + 3 * factor
    image = np.random.default_rng(factor).integers(0, 256, (*sides, 3)).astype(np.uint8)
    image[:factor, :factor] = 255  # the largest sum
    height, width = sides[0] // factor, sides[1] // factor

    def means(values: np.ndarray, unit: int) -> np.ndarray:
        cells = values[: height * factor, : width * factor].reshape(height, factor, width, factor)
        return (cells.sum((1, 3)) + unit * factor**2 // 2) // (unit * factor**2)

    grey = (image.astype(np.int64) * (77, 150, 29)).sum(2)
    np.testing.assert_array_equal(_native.shrink(image, factor, isa), means(grey, 256))
    flat = np.ascontiguousarray(image[..., 1])
    np.testing.assert_array_equal(_native.shrink(flat, factor, isa), means(flat.astype(np.int64), 1))


@pytest.mark.parametrize(
    ("shape", "factor"), [((4, 4, 2), 1), ((4, 4), 5), ((4,), 1), ((4, 4), 0), ((400, 400), 129)], ids=str
)
def test_shrink_bad_input(shape: tuple[int, ...], factor: int) -> None:
    with pytest.raises(InputError):
        _native.shrink(np.zeros(shape, np.uint8), factor)
