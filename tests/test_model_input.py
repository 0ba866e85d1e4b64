"""Model: crops, boxes and options that cannot be used, and results that are not finite, are told of in one line."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="torch is not installed: the tests give tensors, too")

from helpers.models import BACKENDS  # noqa: E402
from helpers.paths import PHOTO  # noqa: E402
from helpers.small import fitted, small_network, small_weights  # noqa: E402

from acdc_fast import BackendUnavailable, Model  # noqa: E402
from acdc_fast.errors import InputError  # noqa: E402

RNG = np.random.default_rng(0)


def test_bad_crops() -> None:
    model = Model(small_network())
    for bad, word in (
        (np.zeros((1, 32, 32), np.float32), "shape"), (np.zeros((1, 3, 32, 32), np.float32), "shape"),
        (np.zeros((1, 1, 32, 40), np.float32), "square"), (np.zeros((1, 1, 36, 36), np.float32), "multiple of 8"),
        (np.zeros((1, 1, 24, 24), np.float32), "from 32"), (np.zeros((1, 1, 32, 32), np.uint8), "floating"),
        (torch.zeros(1, 1, 32, 32, dtype=torch.uint8), "floating"), ([[1.0]], "list"), (None, "NoneType"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=word):
            model(bad)


def test_crops_of_a_network_with_patches() -> None:
    weights = small_weights(patch=3)
    model = Model(weights)
    assert model.resolution == 120  # the card does not say, and 128 is no multiple of 24
    assert Model(weights, resolution=96)(np.zeros((2, 1, 96, 96), np.float32)).mask.shape == (2, 1, 32, 32)
    for bad in (32, 80, 104):
        with pytest.raises(InputError, match="a multiple of 24 from 96"):
            model(np.zeros((1, 1, bad, bad), np.float32))
        with pytest.raises(InputError, match="a multiple of 24 from 96"):
            Model(weights, resolution=bad)


def test_bad_options() -> None:
    network = small_network()
    for options, word in (
        ({"backend": "fast"}, "auto, native, eager, gpu"), ({"device": "tpu"}, "device"), ({"threads": 0}, "threads"),
        ({"stages": 4}, "from 1 to 3"), ({"resolution": 100}, "multiple of 8"), ({"resolution": 24}, "from 32"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=word):
            Model(network, **options)
    with pytest.raises(BackendUnavailable, match="int4"):
        Model(network, dtype="int4")
    with pytest.raises(BackendUnavailable, match="CPU"):
        Model(network, backend="native", device="cuda")
    with pytest.raises(InputError, match="ACDC module, not int"):
        Model(3)
    with pytest.raises(InputError, match="no such weights"):
        Model("nowhere.safetensors")
    with pytest.raises(InputError, match=r"Model\.from_pretrained\('acdc-w32'\)"):
        Model("acdc-w32")


@pytest.mark.parametrize("backend", BACKENDS)
def test_crops_out_of_range_are_named(backend: str) -> None:
    model = Model(small_network(stages=1), backend=backend)
    crops = RNG.random((5, 1, 32, 32), np.float32)
    for value, word in ((255.0, "to 255.*divide"), (-7.0, "from -7"), (np.nan, "NaN"), (np.inf, "NaN or")):
        bad = crops.copy()
        bad[3, 0, 31, 31] = value
        for each in (bad, torch.from_numpy(bad)):
            with pytest.raises(InputError, match=f"crop 3 of the batch .*{word}"):
                model(each)
    model(crops * 1.5 - 0.2)  # what interpolation overshoots is taken
    model(torch.from_numpy(crops).bfloat16())


@pytest.mark.parametrize("backend", BACKENDS)
def test_results_that_are_not_finite_are_told_of(backend: str, recwarn: pytest.WarningsRecorder) -> None:
    weights = small_weights(stages=1)
    weights.arrays["gtn.pose.weight"][:] = 3e38
    model = Model(weights, backend=backend)
    crops = RNG.random((2, 1, 32, 32), np.float32)
    for each in (crops, torch.from_numpy(crops)):
        with pytest.raises(InputError, match="crop 0: the network's results are not finite"):
            model(each)
    with pytest.raises(InputError, match="astronaut.jpg: face 0: the network's results are not finite"):
        model.align(PHOTO)
    _, pose = fitted(small_weights(stages=1))
    pose = replace(pose, numbers=np.full(pose.numbers.shape, 1e300))
    with pytest.raises(InputError, match="image: face 0: the network's results are not finite"):
        Model(replace(small_weights(stages=1), pose=pose)).align(np.asarray(Image.open(PHOTO)))
    assert not [w for w in recwarn if issubclass(w.category, RuntimeWarning)]


def test_tensors_that_hold_no_numbers() -> None:
    model = Model(small_network(stages=1))
    blank = np.zeros((60, 80), np.uint8)
    for boxes in (
        torch.tensor([[0.0, 0, 20, 20]], requires_grad=True), torch.zeros(1, 4, device="meta"),
        [torch.tensor([0.0, 0, 20, 20], requires_grad=True)], [[10**400, 0, 1, 1]], [[0j, 0, 20, 20]], object(), {1: 2},
        [[0, 0, 1e300, 20]], "abcd", [["0", "0", "9", "9"]], torch.zeros(1, 4).to_sparse(),
    ):  # fmt: skip
        with pytest.raises(InputError, match="box"):
            model.align(blank, boxes=boxes)
    assert len(model.align(blank, boxes=torch.tensor([[0.0, 0, 20, 20]]))) == 1
    for crops in (torch.zeros(1, 1, 32, 32, device="meta"), torch.zeros(1, 1, 32, 32).to_sparse()):
        with pytest.raises(InputError, match="dense tensor"):
            model(crops)
    for boxes in (5, iter([None])):
        with pytest.raises(InputError, match="boxes"):
            model.align([blank], boxes=boxes)
