"""Model on crops: the same numbers as the network, whatever comes in. (On pictures: test_model_pictures.py)"""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: the network is the yardstick")

from helpers.models import BACKENDS, UNITS, compare  # noqa: E402
from helpers.paths import PHOTO  # noqa: E402
from helpers.small import small_network, small_weights  # noqa: E402

from acdc_fast import Model  # noqa: E402
from acdc_fast.errors import InputError  # noqa: E402
from acdc_fast.photo import coordinates as geometry  # noqa: E402
from acdc_fast.weights import save_weights  # noqa: E402

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [32, 72, 128])
def test_agrees_with_the_network(backend: str, size: int) -> None:
    network = small_network(width=12, stages=3)
    model = Model(network, backend=backend)
    assert model.backend == backend and model.config == network.config
    crops = torch.rand(2, 1, size, size)
    with torch.no_grad():
        expected = network(crops, all_stages=True)
    got = model(crops.numpy(), all_stages=True)
    assert isinstance(got.landmarks["2d68"], np.ndarray) and got.landmarks["2d68"].dtype == np.float32
    compare(got, expected)
    assert len(got.stages) == 3
    for mine, theirs in zip(got.stages, expected.stages, strict=True):
        compare(mine, theirs)
    assert model(crops.numpy()).stages is None


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "fields", [{"variant": "ac", "markups": ("2d98", "2d68")}, {"variant": "ac+pose"}, {"stages": 1}]
)
def test_variants(backend: str, fields: dict) -> None:
    network = small_network(**fields)
    crops = torch.rand(1, 1, 40, 40)
    with torch.no_grad():
        compare(Model(network, backend=backend)(crops), network(crops))


@pytest.mark.parametrize("backend", BACKENDS)
def test_tensors_in_tensors_out(backend: str) -> None:
    model = Model(small_network(), backend=backend)
    crops = torch.rand(3, 1, 32, 32, requires_grad=True)
    got, plain = model(crops), model(crops.detach().numpy())
    for tensor in (got.landmarks["2d5"], got.covariance["3d68"], got.pose, got.mask):
        assert isinstance(tensor, torch.Tensor) and not tensor.requires_grad and tensor.device == crops.device
    assert np.array_equal(got.landmarks["2d5"].numpy(), plain.landmarks["2d5"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_crops(backend: str) -> None:
    got = Model(small_network(), backend=backend)(np.zeros((0, 1, 48, 48), np.float32), all_stages=True)
    assert got.landmarks["2d68"].shape == (0, 68, 2) and got.covariance["2d5"].shape == (0, 5, 3)
    assert got.pose.shape == (0, 3) and got.mask.shape == (0, 1, 48, 48) and len(got.stages) == 3


@pytest.mark.parametrize("backend", BACKENDS)
def test_first_stages(backend: str) -> None:
    network = small_network()
    crops = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        whole = network(crops, all_stages=True)
    compare(Model(network, backend=backend, stages=2)(crops), whole.stages[1])


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_crop_ends_where_its_maps_are_narrow_enough(backend: str) -> None:
    weights = small_weights()
    crops = torch.rand(7, 1, 40, 40) * torch.linspace(0.1, 1, 7)[:, None, None, None]
    whole = Model(weights, backend=backend)(crops, all_stages=True)
    doubts = []
    for stage in whole.stages:
        moments = torch.cat(list(stage.covariance.values()), 1)
        doubts.append((moments[..., 0] + moments[..., 2]).sqrt().mean(1))
    enough = float(doubts[0].sort().values[2:4].mean())  # three of the seven end after the first stage
    auto = Model(replace(weights, card={"enough": repr(enough)}), backend=backend, stages="auto")
    got = auto(crops)
    ends = [next(s for s in range(3) if s == 2 or doubts[s][i] <= enough) for i in range(7)]
    assert got.depth.tolist() == [s + 1 for s in ends] and len(set(ends)) > 1
    for i, s in enumerate(ends):
        for name, points in whole.stages[s].landmarks.items():
            assert torch.equal(got.landmarks[name][i], points[i])
        assert torch.equal(got.pose[i], whole.stages[s].pose[i])
        assert torch.equal(got.mask[i], whole.stages[s].mask[i])
    assert auto(crops.numpy()).depth.tolist() == got.depth.tolist()
    assert auto(crops[:0]).depth.shape == (0,)
    assert whole.depth is None
    with pytest.raises(InputError, match="stages=None"):
        auto(crops, all_stages=True)
    for card in ({}, {"enough": "much"}, {"enough": "-1"}):
        with pytest.raises(InputError, match="enough"):
            Model(replace(weights, card=card), backend=backend, stages="auto")


def test_module_is_copied_and_left_alone() -> None:
    network = small_network().train()
    model = Model(network)
    crops = torch.rand(1, 1, 32, 32)
    before = model(crops).landmarks["2d68"]
    assert network.training
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    assert torch.equal(model(crops).landmarks["2d68"], before)


def test_save_and_exposed_markups(tmp_path: Path) -> None:
    weights = replace(small_weights(), markups=("2d5", "3d68"), calibration={"2d5": (3.0, 0.0, 1.0)})
    save_weights(tmp_path / "a.safetensors", weights)
    model = Model(tmp_path / "a.safetensors")
    crops = RNG.random((1, 1, 32, 32), np.float32)
    prediction = model(crops)
    assert list(prediction.landmarks) == list(prediction.covariance) == ["2d5", "3d68"] == list(model.markups)
    faces = model.align(PHOTO)
    assert list(faces.landmarks) == list(faces.spread) == list(faces.confidence) == ["2d5", "3d68"]
    side = geometry.square_from_box(faces.boxes)[0, 2]
    expected = 1 / (1 + np.exp(3.0 * np.log(faces.spread["2d5"] / side) + 1.0))
    assert np.abs(faces.confidence["2d5"] - expected).max() < 1e-5
    model.save(tmp_path / "b.safetensors")
    assert np.array_equal(Model(tmp_path / "b.safetensors")(crops).landmarks["2d5"], prediction.landmarks["2d5"])


def test_crops_as_large_as_in_training() -> None:
    small = replace(small_weights(), card={"resolution": "64"})
    assert Model(small).resolution == 64 and Model(small, resolution=96).resolution == 96
    assert Model(small_weights()).resolution == 128


def test_warmup_and_threads() -> None:
    model = Model(small_network(), threads=1, resolution=32)
    model.warmup()
    assert model.align(PHOTO).landmarks["2d68"].shape == (1, 68, 2)


def test_export_keeps_stages_and_markups(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra [bench])")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed (extra [onnx])")
    weights = replace(small_weights(), markups=("2d68",))
    model = Model(weights, stages=2, resolution=40)
    model.export_onnx(tmp_path / "x.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "x.onnx"))
    names = ["landmarks_2d68", "covariance_2d68", "confidence_2d68", "pose", "square", "mask"]
    assert [o.name for o in session.get_outputs()] == names
    crops = RNG.random((3, 1, 40, 40), np.float32)
    assert np.abs(session.run(None, {"crops": crops})[0] - model(crops).landmarks["2d68"]).max() < UNITS


def test_its_network_is_a_module_with_gradients() -> None:
    """The same answer as a call, to float32's rounding through a cascade; its first stages alone; a copy of its own."""
    import torch

    for stages in (None, 1):
        model = Model(small_weights(stages=2), stages=stages, backend="native")
        network, crops = model.network(), torch.rand(2, 1, 32, 32)
        found, wanted = network(crops), model(crops)
        assert len(network.unets) == (stages or 2) and not network.training
        for name, points in wanted.landmarks.items():
            torch.testing.assert_close(found.landmarks[name], points, atol=2e-5, rtol=0)
        found.landmarks["2d68"].sum().backward()
        weight = network.get_parameter("unets.0.stem.weight")
        assert weight.grad is not None and weight.grad.abs().max() > 0
        with torch.no_grad():
            weight.zero_()
        assert np.abs(model.weights.arrays["unets.0.stem.weight"]).max() > 0


def test_repr_and_pickle(tmp_path: Path) -> None:
    """Pickled by name if the package has the weights, else with the weights. The results are the same."""
    crops = np.random.default_rng(0).random((2, 1, 32, 32), np.float32)
    own = Model(small_weights(), resolution=64, stages=2, threads=1)
    save_weights(tmp_path / "own.safetensors", small_weights())
    for model, name in [
        (own, "(own weights)"),
        (Model(tmp_path / "own.safetensors", stages=1), "own.safetensors"),
        (Model.from_pretrained("acdc-w16-fast", threads=1, stages="auto"), "acdc-w16-fast"),
    ]:
        data = pickle.dumps(model)
        again = pickle.loads(data)
        assert again(crops) == model(crops) and repr(again) == repr(model) and name in repr(model)
        assert "\n" not in repr(model) and len(repr(model)) < 200
        assert (again.resolution, again.stages, again.enough) == (model.resolution, model.stages, model.enough)
    assert len(data) < 1000, "weights of the package are pickled by name"
