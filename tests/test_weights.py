"""Weights files: round trip and every way in which a file can be wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.patience import PATIENCE

torch = pytest.importorskip("torch", reason="torch is not installed: the network's own state_dict is the yardstick")

from helpers.small import arrays_of, fitted, sighted, small_network, small_weights  # noqa: E402
from safetensors import safe_open  # noqa: E402
from safetensors.numpy import save_file  # noqa: E402

from acdc_fast import ACDC, ACDCConfig  # noqa: E402
from acdc_fast.errors import InputError  # noqa: E402
from acdc_fast.network_arrays import state_shapes  # noqa: E402
from acdc_fast.weights import bundled, bundled_path, load_weights, save_weights  # noqa: E402


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"variant": "ac", "markups": ("2d68",)},
        {"variant": "ac+pose"},
        {"stages": 1},
        {"markups": ("2d5", "3d68")},
        {"patch": 3},
    ],
)
def test_state_shapes_are_those_of_the_network(fields: dict) -> None:
    config = ACDCConfig(**{"width": 8, "stages": 2, **fields})
    state = {k: tuple(v.shape) for k, v in ACDC(config).state_dict().items() if not k.endswith("num_batches_tracked")}
    assert state_shapes(config) == state


def test_round_trip(tmp_path: Path) -> None:
    weights = replace(small_weights(), markups=("2d68",), calibration={"2d68": (1.5, 0.5, 2.0)}, card={"data": "none"})
    save_weights(tmp_path / "w.safetensors", weights)
    back = load_weights(tmp_path / "w.safetensors")
    assert (back.config, back.markups, back.calibration, back.card) == (
        weights.config, weights.markups, weights.calibration, weights.card)  # fmt: skip
    assert back.exposed == ("2d68",) and small_weights().exposed == weights.config.order
    assert all(np.array_equal(back.arrays[k], v) for k, v in weights.arrays.items())
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    weights = small_weights()
    save_weights(path, weights)
    before = path.read_bytes()
    broken = {k: v for k, v in weights.arrays.items() if k != "unets.1.up2.0.weight"}
    with pytest.raises(InputError, match=r"unets\.1\.up2\.0\.weight.*missing"):
        save_weights(path, replace(weights, arrays=broken))
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_missing_truncated_and_foreign_files(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(InputError, match=r"w\.safetensors: there is no such"):
        load_weights(path)
    save_weights(path, small_weights())
    whole = path.read_bytes()
    for cut in (0, 5, 100, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(InputError, match=r"w\.safetensors: not a whole safetensors file"):
            load_weights(path)
    path.write_bytes(b"\x89PNG" * 100)
    with pytest.raises(InputError, match="not a whole safetensors file"):
        load_weights(path)
    save_file({"a": np.zeros(3, np.float32)}, path)
    with pytest.raises(InputError, match="names no network config"):
        load_weights(path)


def test_other_architecture_names_the_first_tensor(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    weights = small_weights()
    arrays = arrays_of(small_network())
    meta = {"format": "acdc-fast 1", "config": replace(weights.config, width=12).to_json()}
    save_file(arrays, path, meta)
    with pytest.raises(InputError, match=r"'unets\.0\.stem\.weight' has shape \(8, 1, 1, 1\).*\(12, 1, 1, 1\)"):
        load_weights(path)
    save_file({**arrays, "extra": np.zeros(1, np.float32)}, path, {**meta, "config": weights.config.to_json()})
    with pytest.raises(InputError, match="'extra' has no place"):
        load_weights(path)
    arrays["gtn.pose.bias"][0] = np.nan
    save_file(arrays, path, {**meta, "config": weights.config.to_json()})
    with pytest.raises(InputError, match=r"gtn\.pose\.bias.*NaN"):
        load_weights(path)
    save_file(arrays, path, {"format": "acdc-fast 9", "config": weights.config.to_json()})
    with pytest.raises(InputError, match="acdc-fast 9"):
        load_weights(path)


def test_half_precision_storage_is_read_as_float32(tmp_path: Path) -> None:
    weights = small_weights()
    meta = {"format": "acdc-fast 1", "config": weights.config.to_json()}
    save_file({k: v.astype(np.float16) for k, v in weights.arrays.items()}, tmp_path / "w.safetensors", meta)
    back = load_weights(tmp_path / "w.safetensors")
    assert all(v.dtype == np.float32 for v in back.arrays.values())


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(InputError, match="no weights named 'nonesuch'"):
        bundled_path("nonesuch")


@pytest.mark.parametrize("name", bundled())
def test_the_weights_in_the_package_say_what_they_may_be_used_for(name: str) -> None:
    card = load_weights(bundled_path(name)).card
    assert "research" in card["licence"] and "mtfl-train" in card["data"]


def test_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    weights = replace(small_weights(), card={"b": "1", "a": "2"}, calibration={"2d68": (1.0, 0.0, 2.0)})
    for name in "abcdef":
        save_weights(tmp_path / name, weights)
        assert (tmp_path / name).read_bytes() == (tmp_path / "a").read_bytes()
    save_weights(tmp_path / "back", load_weights(tmp_path / "a"))
    assert (tmp_path / "back").read_bytes() == (tmp_path / "a").read_bytes()


def parts_of(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    with safe_open(path, "np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays and metadata of a file that has everything: refinement, pose, calibration, card."""
    path = tmp_path_factory.mktemp("whole") / "w.safetensors"
    weights = small_weights(width=4, stages=2, markups=("2d5", "3d68"))
    refinement, pose = fitted(weights)
    card = {"resolution": "64", "enough": "0.05", "narrowest_spread": "0.01"}
    calibration = {"2d5": (1.0, 0.0, 2.0)}
    save_weights(path, replace(weights, refinement=refinement, pose=pose, card=card, calibration=calibration))
    return parts_of(path)


def refused(path: Path, word: str = "") -> str:
    """One bounded line that names the file."""
    with pytest.raises(InputError, match=word or None) as caught:
        load_weights(path)
    told = str(caught.value)
    assert str(path) in told and len(told) <= 1010 and told.isprintable(), told
    return told


def test_every_array_that_is_not_as_it_should_be(
    whole: tuple[dict[str, np.ndarray], dict[str, str]], tmp_path: Path
) -> None:
    """Transposed, reshaped, with infinity or NaN, of another type, one short; the file's digest is needed only for
    those that keep their shape when they are transposed."""
    arrays, signed = whole
    metadata = {k: v for k, v in signed.items() if k != "digest"}
    path = tmp_path / "w.safetensors"
    save_file(arrays, path, metadata)
    load_weights(path)
    count = 0
    for name, array in arrays.items():
        changes = {"infinity": np.array(array), "NaN": np.array(array), "short": array[:-1]}
        changes["infinity"].flat[-1], changes["NaN"].flat[0] = np.inf, np.nan
        changes |= {str(t): array.astype(t) for t in ("float64", "int32", "uint8", "bool")}
        changes["reshaped"] = array.reshape(-1, 1)
        if array.ndim > 1:
            changes["flat"] = array.reshape(-1)
            changes["transposed"] = np.ascontiguousarray(array.swapaxes(0, 1))
        for kind, changed in changes.items():
            square = kind == "transposed" and changed.shape == array.shape
            if square and np.array_equal(changed, array):
                continue
            save_file({**arrays, name: np.ascontiguousarray(changed)}, path, signed if square else metadata)
            try:
                refused(path)
            except BaseException:
                print(name, kind)
                raise
            count += 1
    assert count > 8 * len(arrays)


def test_metadata_that_is_not_as_it_should_be(
    whole: tuple[dict[str, np.ndarray], dict[str, str]], tmp_path: Path
) -> None:
    arrays, good = whole[0], dict(whole[1])
    config, card, calibration = (json.loads(good[k]) for k in ("config", "card", "calibration"))
    path = tmp_path / "w.safetensors"

    def of(**fields: object) -> dict[str, str]:
        return {"config": json.dumps({**config, **fields})}

    def told(**fields: object) -> dict[str, str]:
        return {"card": json.dumps({**card, **fields})}

    long, deep = "A" * 250_000, "[" * 100_000
    cases = [
        *(of(stages=v) for v in (3.0, True, 10**9, 0, -1, None, "2", [2], 10**400)),
        *(of(patch=v) for v in (2.0, True, 0, -1, 10**9, "2", None, [2])), of(patch=2),
        *(of(width=v) for v in (8.0, True, 10**9, 2**31, "8", None, 6)),
        *(of(stream_fraction=v) for v in ("0.5", True, 0, 2, None, [1])),
        *(of(markups=v) for v in ("2d68", [1], [["2d68"]], [], [long], None, {"2d68": 1}, ["2d68"] * 100_000)),
        *(of(mask_markups=v) for v in ("2d68", [1], [], [long])), *(of(variant=v) for v in (1, None, [], long)),
        of(**{long: 1}), {"config": deep}, {"config": "{" * 9}, {"config": "[1]"}, {"config": "1"}, {"config": long},
        {"config": good["config"].replace("0.75", "NaN")}, {"config": good["config"].replace("0.75", "Infinity")},
        *(told(resolution=v) for v in ([1], "abc", float("nan"), "80000", "9" * 5000, 64, "50", "-64", "", "６４")),
        *(told(narrowest_spread=v) for v in ([1], "nan", "inf", "-1", "0", "", "1e9", long, 0.1)),
        *(told(enough=v) for v in ([1], "nan", "much")), told(licence=[1]), told(data=None),
        {"card": deep}, {"card": "[]"}, {"card": '"x"'}, {"card": '{"a": NaN}'}, {"card": long},
        *({"calibration": json.dumps({**calibration, "2d5": v})} for v in (
            [float("nan")] * 3, [float("inf")] * 3, "123", [1, 2], None, [], {}, [1, 2, 3, 4], [1e9, 0, 0], [True] * 3,
            ["1", "2", "3"], [[1]] * 3, 5) if v != [1, 2]),
        {"calibration": json.dumps({long: [1, 0, 2]})}, {"calibration": deep}, {"calibration": "[]"},
        *({"markups": json.dumps(v)} for v in ("2d5", [1], ["2d29"], [long], {}, None)), {"markups": deep},
        {"format": "\x1b[2J\x07" + long}, {"format": ""},
    ]  # fmt: skip
    for case in cases:
        save_file(arrays, path, {**good, **case})
        refused(path)
    del good["digest"]
    save_file({**arrays, "\x1b[2J" + long: arrays["gtn.pose.bias"]}, path, good)
    assert "\\x1b" in refused(path, "has no place")


@pytest.mark.parametrize(
    ("name", "value"),
    [("unets.0.encode2.1.running_var", -1.0), ("pose.numbers", 3e38), ("pose.basis", -3e38), ("pose.mean", 3e38),
     ("refinement.numbers.2d5", 6e4), ("refinement.mean", 6e4), ("refinement.basis", 1e30)],
)  # fmt: skip
def test_numbers_that_no_training_gives(
    name: str, value: float, whole: tuple[dict[str, np.ndarray], dict[str, str]], tmp_path: Path
) -> None:
    arrays, metadata = whole
    changed = {**arrays, name: np.full_like(arrays[name], value)}
    save_file(changed, tmp_path / "w.safetensors", {k: v for k, v in metadata.items() if k != "digest"})
    refused(tmp_path / "w.safetensors")


def test_what_is_in_sight_is_kept_and_checked(tmp_path: Path) -> None:
    weights, path = small_weights(width=4, stages=2), tmp_path / "w.safetensors"
    refinement, pose = fitted(weights)
    whole = replace(weights, refinement=refinement, pose=pose, visibility=sighted(weights))
    save_weights(path, whole)
    back, expected = load_weights(path).visibility, sighted(weights)
    assert back is not None and np.array_equal(back.numbers["2d68"], expected.numbers["2d68"])
    assert np.array_equal(back.scale, expected.scale) and load_weights(path).refinement is not None
    arrays, signed = parts_of(path)
    metadata, numbers = {k: v for k, v in signed.items() if k != "digest"}, arrays["visibility.numbers.2d68"]
    wild = np.where(np.arange(numbers.size).reshape(numbers.shape) == 7, np.nan, numbers).astype(np.float32)
    cases: list[tuple[dict[str, np.ndarray], str]] = [
        ({"visibility.numbers.2d68": numbers[:-1]}, "shape"), ({"visibility.numbers.2d68": wild}, "not finite"),
        ({"visibility.scale": np.zeros(2, np.float32)}, "shape"),
        ({"visibility.numbers.2d29": numbers}, "no such markup"),
    ]  # fmt: skip
    for changed, word in cases:
        save_file({**arrays, **changed}, path, metadata)
        refused(path, word)
    save_file({k: v for k, v in arrays.items() if k != "visibility.scale"}, path, metadata)
    refused(path, "'visibility.scale' is missing")
    save_file({k: v for k, v in arrays.items() if not k.startswith("refinement.")}, path, metadata)
    refused(path, "reads a refinement and a head pose")


def test_a_huge_network_takes_no_memory_before_it_is_refused(
    whole: tuple[dict[str, np.ndarray], dict[str, str]], tmp_path: Path
) -> None:
    arrays, metadata = whole
    config = json.loads(metadata["config"])
    path = tmp_path / "w.safetensors"
    tracemalloc.start()
    for fields in ({"stages": 10**9}, {"stages": 32, "width": 1024}):
        save_file(arrays, path, {**metadata, "config": json.dumps({**config, **fields})})
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        refused(path)
        assert tracemalloc.get_traced_memory()[1] - before < 4 * path.stat().st_size
    tracemalloc.stop()


FULL = """
import sys
from pathlib import Path
from helpers.faults import Faults
from helpers.small import small_weights
from acdc_fast import Model
model, faults = Model(small_weights(seed=1)), Faults(Path(sys.argv[1]), int(sys.argv[2]), "full")
faults.install()
try:
    model.save(sys.argv[1] + "/w.safetensors")
except OSError as error:
    print(error)
else:
    print("saved", faults.count)
"""


def test_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    save_weights(tmp_path / "w.safetensors", small_weights())
    before = (tmp_path / "w.safetensors").read_bytes()
    for at in range(1, 9):
        run = subprocess.run(
            [sys.executable, "-c", FULL, str(tmp_path), str(at)], capture_output=True, text=True, timeout=PATIENCE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        if run.stdout.startswith("saved"):
            break
        assert "No space left" in run.stdout and f"{tmp_path}/w.safetensors" in run.stdout
        assert run.stdout.count("\n") == 1
        assert (tmp_path / "w.safetensors").read_bytes() == before
        assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]
    assert at > 2, "a full disk was never met"


def test_a_folder_that_takes_no_files_is_named() -> None:
    if not Path("/proc/self").exists():
        pytest.skip("needs a folder that takes no files, as Linux's /proc")
    with pytest.raises(OSError, match=r"'/proc/w\.safetensors'"):
        save_weights("/proc/w.safetensors", small_weights(stages=1))


@pytest.mark.parametrize("name", list(bundled()))
def test_bundled_weights_carry_their_digest(name: str, tmp_path: Path) -> None:
    """One changed bit in the last tensor of the shipped file is told of when it is loaded."""
    data = bytearray(bundled_path(name).read_bytes())
    with safe_open(bundled_path(name), "np") as file:
        assert "digest" in file.metadata()
    data[-2] ^= 1
    (tmp_path / "w.safetensors").write_bytes(data)
    with pytest.raises(InputError, match="not those that were saved"):
        load_weights(tmp_path / "w.safetensors")
