"""`Faces` as a value: indexed, compared, copied, pickled, shown and turned into numbers."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from acdc_fast.types import Faces, HeadPose, Prediction


def made_up(count: int, seed: int = 0, ids: bool = True) -> Faces:
    rng = np.random.default_rng(seed)

    def values(*shape: int) -> np.ndarray:
        return rng.normal(size=(count, *shape)).astype(np.float32)

    pose = HeadPose(values(), values(), values(), values(3, 3), values(3), values(68, 3))
    points, flat = {"2d68": values(68, 2), "2d5": values(5, 2)}, {"2d68": values(68), "2d5": values(5)}
    sure = {"2d68": values(68), "2d5": values(5)}
    names = np.arange(count) + 7 if ids else None
    shapes = {"jawOpen": values(), "mouthSmileLeft": values()}
    return Faces(values(4), values(), points, flat, sure, pose, "a.jpg", names, {"2d68": values(68)}, shapes)


def arrays(faces: Faces) -> list[np.ndarray]:
    """Every array of the faces, whatever fields there are."""
    found: list[np.ndarray] = []
    for f in fields(faces):
        value = getattr(faces, f.name)
        if isinstance(value, dict):
            found += value.values()
        elif isinstance(value, HeadPose):
            found += [getattr(value, g.name) for g in fields(value)]
        elif isinstance(value, np.ndarray):
            found.append(value)
    return found


INDICES: list[Any] = [
    0, -1, np.int64(2), np.uint8(1), np.array(3), slice(1, 4), slice(None, None, -1), slice(9, 20), [2, 0], [],
    np.array([4, 4, 0]), np.array([True, False, True, False, True]), [False] * 5, np.array([-1, -5]),
]  # fmt: skip


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_every_field_is_indexed_as_an_array_is(index: Any) -> None:
    faces = made_up(5)
    kept = index if isinstance(index, slice) else np.atleast_1d(index) if np.size(index) else np.zeros(0, int)
    chosen = faces[index]
    assert isinstance(chosen, Faces) and len(arrays(chosen)) == len(arrays(faces)) == 18
    for got, whole in zip(arrays(chosen), arrays(faces), strict=True):
        np.testing.assert_array_equal(got, whole[kept])
    assert chosen.source == "a.jpg" and len(chosen) == len(faces.boxes[kept])


def test_faces_of_the_best_score() -> None:
    faces = made_up(5)
    assert faces[faces.scores.argmax()].scores == faces.scores.max()
    assert (faces[faces.scores > 0].scores > 0).all()
    assert [f.ids.tolist() for f in faces] == [[7], [8], [9], [10], [11]]


@pytest.mark.parametrize(
    "index",
    [5, -6, np.int64(5), [0, 5], 0.0, [0.5], "0", None, (0, 1), ..., [True], True, np.zeros((5, 1), bool), [[0]]],
    ids=repr,
)  # fmt: skip
def test_what_is_no_index_is_refused(index: Any) -> None:
    with pytest.raises(IndexError, match="face"):
        made_up(5)[index]


def test_equal_where_all_arrays_are() -> None:
    faces = made_up(3)
    assert faces == made_up(3) and hash(faces) == hash(made_up(3)) and len({faces, made_up(3)}) == 1
    assert faces != made_up(3, seed=1) and faces != made_up(2) and faces != made_up(3, ids=False) and faces != "faces"
    for number in range(len(arrays(faces))):
        other = copy.deepcopy(faces)
        arrays(other)[number].flat[-1] += 1
        assert other != faces, f"array {number} is not compared"
    assert made_up(0) == made_up(0) and faces.pose == made_up(3).pose and faces.pose != made_up(3, seed=1).pose


def test_predictions_are_compared_too() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: no tensors to compare")
    points = np.random.default_rng(0).random((2, 5, 2))
    one, same = (Prediction({"2d5": points.copy()}, {"2d5": points}, points[:, 0], None) for _ in range(2))
    tensors = Prediction({"2d5": torch.from_numpy(points)}, {"2d5": torch.from_numpy(points)}, None, None)
    assert one == same and hash(one) == hash(same) and tensors == copy.deepcopy(tensors) and one != tensors
    same.landmarks["2d5"][0, 0, 0] += 1
    assert one != same
    assert repr(one) == "Prediction(2 crops: 2d5, pose; numpy arrays)"


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda f: pickle.loads(pickle.dumps(f))])
def test_copies_and_pickles(again: Any) -> None:
    faces = made_up(3)
    other = again(faces)
    assert other == faces and other.source == faces.source


def test_repr_is_one_short_line_a_face() -> None:
    lines = repr(made_up(3)).splitlines()
    assert lines[0] == "Faces(3 of a.jpg)" and len(lines) == 4 and all(len(line) < 120 for line in lines)
    assert "id 8" in lines[2] and "yaw" in lines[2] and "score" in lines[2]
    assert repr(made_up(0)) == "Faces(0 of a.jpg)"
    many = repr(made_up(500)).splitlines()
    assert len(many) == 22 and many[-1] == "  … and 480 more"
    assert len(repr(made_up(3).pose).splitlines()) == 4


def test_to_dict_is_plain_and_whole() -> None:
    faces = made_up(2)
    told = json.loads(json.dumps(faces.to_dict()))
    assert told["image"] == "a.jpg" and len(told["faces"]) == 2
    for i, entry in enumerate(told["faces"]):
        assert entry["id"] == faces.ids[i] and set(entry["pose"]) == {"yaw", "pitch", "roll", "translation"}
        np.testing.assert_allclose(entry["box"], faces.boxes[i], atol=0.0051)
        np.testing.assert_allclose(entry["landmarks"]["2d68"], faces.landmarks["2d68"][i], atol=0.00051)
        np.testing.assert_allclose(entry["spread"]["2d5"], faces.spread["2d5"][i], atol=0.00051)
        np.testing.assert_allclose(entry["confidence"]["2d68"], faces.confidence["2d68"][i], atol=0.000051)
        assert set(entry["visible"]) == {"2d68"}
        np.testing.assert_allclose(entry["visible"]["2d68"], faces.visible["2d68"][i], atol=0.000051)
        assert set(entry["blendshapes"]) == {"jawOpen", "mouthSmileLeft"}
        for name, values in faces.blendshapes.items():
            assert entry["blendshapes"][name] == pytest.approx(values[i], abs=5.1e-5)
        assert entry["score"] == pytest.approx(faces.scores[i], abs=5.1e-5)
        assert entry["pose"]["pitch"] == pytest.approx(faces.pose.pitch[i], abs=5.1e-4)
    assert "id" not in made_up(1, ids=False).to_dict()["faces"][0]
    assert made_up(0).to_dict()["faces"] == []


def test_to_pandas_is_one_row_a_face() -> None:
    pytest.importorskip("pandas", reason="pandas is not installed (extra [test])")
    faces = made_up(3)
    table = faces.to_pandas()
    assert len(table) == 3 and len(table.columns) == 1 + 1 + 4 + 1 + 3 + 3 + 4 * 73 + 68 + 2
    np.testing.assert_array_equal(table[[f"translation_{axis}" for axis in "xyz"]], faces.pose.translation)
    assert table["id"].tolist() == [7, 8, 9] and table["image"].tolist() == ["a.jpg"] * 3
    np.testing.assert_array_equal(table["yaw"], faces.pose.yaw)
    np.testing.assert_array_equal(table[["x0", "y0", "x1", "y1"]], faces.boxes)
    np.testing.assert_array_equal(table["2d68_y67"], faces.landmarks["2d68"][:, 67, 1])
    np.testing.assert_array_equal(table["2d5_spread0"], faces.spread["2d5"][:, 0])
    np.testing.assert_array_equal(table["2d5_confidence4"], faces.confidence["2d5"][:, 4])
    np.testing.assert_array_equal(table["2d68_visible66"], faces.visible["2d68"][:, 66])
    for name, values in faces.blendshapes.items():
        np.testing.assert_array_equal(table[f"blendshape_{name}"], values)
    assert len(made_up(0).to_pandas()) == 0


def test_to_pandas_without_pandas_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        made_up(1).to_pandas()
