"""A markup from a settings file, and the same from a weights file in a process that has never heard of it."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.patience import PATIENCE

from acdc_fast.config import ACDCConfig
from acdc_fast.errors import InputError
from acdc_fast.markup_tables import MOST_MARKUPS, MOST_POINTS, own_markups, read_markup, read_tables, table_of
from acdc_fast.markups import MARKUPS, PACKAGED, five_points, register
from acdc_fast.photo.coordinates import box_from_points, square_from_points
from acdc_fast.readout.reading import reading_of
from acdc_fast.readout.second_look import Fit
from acdc_fast.types import Faces, Prediction
from acdc_fast.video.tracking import Tracker

#: As YAML gives it: points by name and by number.
OWL: dict[str, Any] = {
    "name": "2d-owl",
    "points": ["left eye", "right eye", "beak", "left end", "right end", "left ear", "right ear"],
    "mirror_pairs": [["left eye", "right eye"], [3, 4], ["left ear", "right ear"]],
    "contours": [["left ear", "left eye", "beak"], [3, 2, 4]],
    "eye_corners": ["left eye", 1],
    "five": [0, ["right eye"], "beak", [3], [4]],
}
#: As many points as 2d68, of another meaning: its points in the order of a mirrored face.
TURNED = "2d-turned"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = dict(MARKUPS)
    yield
    MARKUPS.clear()
    MARKUPS.update(before)


def turned() -> dict[str, Any]:
    known = MARKUPS["2d68"]
    place = known.mirror[::-1]  # point k of 2d68 is point place[k]
    moved = {
        "mirror_pairs": [[place[a], place[b]] for a, b in known.mirror_pairs],
        "contours": [[place[k] for k in line] for line in known.contours],
        "eye_corners": [place[k] for k in known.eye_corners or ()],
        "five": [[place[k] for k in group] for group in known.five or ()],
    }
    return json.loads(json.dumps({"name": TURNED, "points": 68, **moved}, default=int))  # type: ignore[no-any-return]


def test_values() -> None:
    owl = read_markup(OWL, "here")
    assert (owl.name, owl.points, owl.names[2]) == ("2d-owl", 7, "beak")
    assert owl.mirror.tolist() == [1, 0, 2, 4, 3, 6, 5] and owl.contours == ((5, 0, 2), (3, 2, 4))
    assert owl.eye_corners == (0, 1) and owl.five == ((0,), (1,), (2,), (3,), (4,)) and owl.means is None
    plain = read_markup({"name": "3d-x", "points": 3}, "here")
    assert (plain.points, plain.names, plain.five, plain.contours) == (3, (), None, ())


def test_what_is_written_is_read_again() -> None:
    means = {"name": "2d-two", "points": 2, "means": {"of": "2d-owl", "groups": [["left ear", "right ear"], []]}}
    for markup in [*MARKUPS.values(), *read_tables([OWL, means, turned()], "here")]:
        told = json.loads(json.dumps(table_of(markup)))
        before = {"2d-owl": read_markup(OWL, "here")}
        assert read_markup(told, "here", before) == markup


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"contours": [["left ear", "left eyes"]]}, "contours[0]: there is no point named 'left eyes'; is 'left eye'"),
        ({"contours": [[0, 7]]}, "contours[0]: there is no point 7; points are 0 to 6"),
        ({"contours": [[0]]}, "contours[0] needs 2 points at least"),
        ({"contours": "0-7"}, "contours must be a list"),
        ({"contours": [[0, 1]] * 2001}, "contours holds more than 4000"),
        ({"mirror_pairs": [[0, 1], [1, 2]]}, "one mirror pair only: point 1 is in (0, 1) and (1, 2)"),
        ({"mirror_pairs": [[0, 0]]}, "mirror_pairs[0] must be two different points"),
        ({"mirror_pairs": [[0, 1, 2]]}, "mirror_pairs[0] must be two points"),
        ({"mirror_pairs": [[0, True]]}, "there is no point True"),
        ({"mirror_pairs": [["left eye", "right eye"]]}, "five: mouth: the mirror pairs do not take [3] to [4]"),
        ({"eye_corners": [0, 2]}, "eye_corners: the mirror pairs do not take [0] to [2]"),
        ({"eye_corners": 1}, "eye_corners must be two points"),
        ({"five": [[0], [1], [2], [3]]}, "five must have five groups"),
        ({"five": [[0], [1], [2], [3], []]}, "five[4] needs 1 points at least"),
        ({"points": MOST_POINTS + 1}, f"{MOST_POINTS + 1} points; a markup may have 1 to {MOST_POINTS}"),
        ({"points": 10**4000}, "a markup may have 1 to"),
        ({"points": 0}, "0 points"),
        ({"points": ["a"] * 7}, "points[1]: the name 'a' stands twice"),
        ({"points": [1, 2]}, "points[0] must be a name"),
        ({"points": 2.5}, "points must be their number or a list"),
        ({"name": "owl"}, "begins with 2d or 3d"),
        ({"name": "2d.owl"}, "small letters, digits or hyphens"),
        ({"name": 7}, "not 7"),
        ({"colour": 1}, "unknown field 'colour'; known: name, points"),
        ({"means": {"of": "2d-no", "groups": []}}, "unknown markup '2d-no'"),
        ({"means": {"of": "2d68", "groups": [[0]]}}, "means has 1 groups for 7 points"),
        ({"means": {"of": "2d68", "groups": [[68]] * 7}}, "groups of 2d68[0]: there is no point 68"),
        ({"means": "2d68"}, "means must be"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)) as caught:
        read_tables([{**OWL, **changes}], "x.yaml: markups")
    assert str(caught.value).startswith("x.yaml: markups[0]") and len(str(caught.value)) < 400


def test_lists_that_cannot_be() -> None:
    for values, words in [
        ([OWL, OWL], "[1]: markup 2d-owl stands twice"),
        ([OWL] * (MOST_MARKUPS + 1), f"up to {MOST_MARKUPS} markups"),
        ({"name": "2d-x"}, "must be a list"),
        ([{"points": 3}], "a markup has a name and points"),
        (["owl.yaml"], "a markup has a name and points"),
    ]:
        with pytest.raises(InputError, match=re.escape(words)):
            read_tables(values, "x.yaml: markups")


def test_as_many_points_as_another_markup_are_not_taken_for_it() -> None:
    """Eyes, nose and mouth, eye corners and crops are looked up by the name, not by the number of points."""
    pytest.importorskip("torch", reason="torch is not installed: the rooms of training need it")
    from acdc_fast.training import metrics
    from acdc_fast.training.data.sample import Annotation

    own = read_markup(turned(), "here")
    register(own)
    points = np.random.default_rng(0).uniform(0, 1, (4, 68, 2))
    order = MARKUPS["2d68"].mirror[::-1]
    other = np.empty_like(points)
    other[:, order] = points
    assert five_points(other, TURNED) == pytest.approx(five_points(points, "2d68"), abs=1e-12)
    assert not np.allclose(five_points(other), five_points(points))
    expected = square_from_points(points)
    moments = np.ones((4, 68, 3)) * 1e-4
    fit = Fit(reading_of(Prediction({TURNED: other}, {TURNED: moments}, None, None), {TURNED: slice(0, 68)}), 1.0)
    assert fit.asked == pytest.approx(expected, abs=1e-12)
    assert metrics.eye_distance(other, TURNED) == pytest.approx(metrics.eye_distance(points, "2d68"))
    by = np.random.default_rng(1).normal(0, 0.01, points.shape)
    fair = metrics.offset_removed_nme(points + by, points, "2d68")
    assert metrics.offset_removed_nme((other + by[:, np.argsort(order)]), other, TURNED) == pytest.approx(fair)
    faces = Faces(np.zeros((4, 4), np.float32), np.ones(4, np.float32), {TURNED: other}, {}, {}, None)
    followed = [Tracker(None)._following(faces, i, None) for i in range(4)]  # type: ignore[arg-type]
    assert np.array(followed) == pytest.approx(box_from_points(points), abs=1e-12)
    face = Annotation(source="x", name="y", landmarks={TURNED: other[0]})
    assert face.five == pytest.approx(five_points(points[0], "2d68"), abs=1e-6) and face.finest is not None


def owl_weights(**fields: Any) -> Any:
    from helpers.small import small_weights

    for markup in read_tables([turned(), OWL], "here"):
        register(markup)
    fields = {"stages": 1, "variant": "ac", "markups": (TURNED, "2d-owl"), **fields}
    return replace(small_weights(**fields), card={"narrowest_spread": "1e-3", "licence": "own"})


#: Run in a process of its own: knows nothing of the markups but what the file says.
ELSEWHERE = """
import json, pickle, sys
import numpy as np
from acdc_fast import Model
from acdc_fast.markups import MARKUPS
from acdc_fast.photo.draw import draw_faces

assert "2d-owl" not in MARKUPS
model = Model(sys.argv[1], resolution=32, backend="eager" if sys.argv[3] == "eager" else "native", threads=1)
picture = np.random.default_rng(0).integers(0, 256, (90, 80, 3)).astype(np.uint8)
faces = model.align(picture, boxes=[[10, 10, 60, 70]])
drawn = np.asarray(draw_faces(picture, faces, "2d-owl")).astype(int) - picture
frames = list(model.track([picture] * 2))
columns = list(faces.to_pandas().columns) if sys.argv[3] == "native" else []
again = pickle.loads(pickle.dumps(model)).align(picture, boxes=[[10, 10, 60, 70]])
assert again == faces
print(json.dumps({"points": faces.landmarks["2d-owl"].tolist(), "turned": faces.landmarks["2d-turned"].tolist(),
                  "drawn": int(abs(drawn).sum()), "contours": MARKUPS["2d-owl"].contours, "frames": len(frames),
                  "names": MARKUPS["2d-owl"].names, "columns": columns,
                  "dict": faces.to_dict()["faces"][0]["landmarks"]}))
"""


def elsewhere(*arguments: str | Path) -> Any:
    done = subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("backend", ["native", "eager"])
def test_weights_bring_their_markups_along(tmp_path: Path, backend: str) -> None:
    pytest.importorskip("torch", reason="torch is not installed: it makes the weights of this test")
    from acdc_fast import Model
    from acdc_fast.photo.draw import draw_faces
    from acdc_fast.weights import save_weights

    save_weights(tmp_path / "owl.safetensors", owl_weights())
    told = json.loads(elsewhere("-c", ELSEWHERE, tmp_path / "owl.safetensors", tmp_path, backend))
    picture = np.random.default_rng(0).integers(0, 256, (90, 80, 3)).astype(np.uint8)
    here = Model(tmp_path / "owl.safetensors", resolution=32, backend=backend, threads=1)
    faces = here.align(picture, boxes=[[10, 10, 60, 70]])
    drawn = np.abs(np.asarray(draw_faces(picture, faces, "2d-owl")).astype(int) - picture).sum()
    assert np.array_equal(np.float32(told["points"]), faces.landmarks["2d-owl"]) and told["drawn"] == drawn > 0
    assert np.array_equal(np.float32(told["turned"]), faces.landmarks[TURNED]) and told["frames"] == 2
    assert told["contours"] == [[5, 0, 2], [3, 2, 4]] and told["names"] == OWL["points"]
    assert np.shape(told["dict"]["2d-owl"]) == (7, 2)
    if backend == "native":
        assert {"2d-owl_x6", "2d-owl_confidence6"} <= set(told["columns"]) and "2d-owl_x7" not in told["columns"]


def test_a_batch_job_and_an_exported_file_know_the_markup(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed: it makes the weights of this test")
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra [bench])")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed (extra [onnx])")
    pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra [parquet])")
    from helpers.paths import PHOTO

    from acdc_fast.weights import save_weights

    save_weights(tmp_path / "owl.safetensors", owl_weights())
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(PHOTO.read_bytes())
    cli = ["-m", "acdc_fast.commands.cli"]
    model = ["--weights", tmp_path / "owl.safetensors"]
    faces = [*model, "--min-score", "0", "--max-faces", "1"]  # the maps of random weights deny them
    told = json.loads(elsewhere(*cli, "align", PHOTO, "--json", *faces))["images"][0]["faces"]
    assert len(told) == 1 and np.shape(told[0]["landmarks"]["2d-owl"]) == (7, 2)
    for kind in ("csv", "jsonl", "parquet"):
        elsewhere(*cli, "batch", tmp_path / "in", "-o", tmp_path / f"out.{kind}", *faces)
    head, row = (line.split(",") for line in (tmp_path / "out.csv").read_text().splitlines())
    for k, (x, y) in enumerate(told[0]["landmarks"]["2d-owl"]):
        assert float(row[head.index(f"2d-owl_{k}_x")]) == x and float(row[head.index(f"2d-owl_{k}_y")]) == y
    lines = json.loads((tmp_path / "out.jsonl").read_text())
    assert lines["faces"][0]["landmarks"] == told[0]["landmarks"]
    import pyarrow.parquet as pq

    kept = pq.read_table(tmp_path / "out.parquet").to_pylist()[0]["landmarks_2d-owl"]
    assert np.round(np.reshape(kept, (7, 2)), 3) == pytest.approx(np.array(told[0]["landmarks"]["2d-owl"]), abs=2e-3)
    elsewhere(*cli, "export", tmp_path / "owl.onnx", *model)
    session = onnxruntime.InferenceSession(str(tmp_path / "owl.onnx"), providers=["CPUExecutionProvider"])
    meta = json.loads(session.get_modelmeta().custom_metadata_map["markups"])
    assert meta["2d-owl"] == {"points": 7, "contours": [[5, 0, 2], [3, 2, 4]]}
    assert "landmarks_2d-owl" in [o.name for o in session.get_outputs()]


def test_a_config_is_pickled_with_its_markups() -> None:
    register(read_markup(OWL, "here"))
    sent = pickle.dumps(ACDCConfig(markups=("2d-owl", "3d68")))
    del MARKUPS["2d-owl"]
    assert pickle.loads(sent).points == {"2d-owl": 7, "3d68": 68} and MARKUPS["2d-owl"].names[2] == "beak"


def test_own_markups_come_after_those_whose_means_they_are() -> None:
    means = {"name": "2d-two", "points": 2, "means": {"of": "2d-owl", "groups": [[5, 6], []]}}
    for markup in read_tables([OWL, means], "here"):
        register(markup)
    for names in (["2d-two"], ["2d-owl", "2d-two"], ["2d68", "2d-two", "2d-owl"]):
        assert [m.name for m in own_markups(names)] == ["2d-owl", "2d-two"]
    assert own_markups(PACKAGED) == []


def with_metadata(path: Path, out: Path, **changes: object) -> Path:
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    with safe_open(path, "np") as file:
        metadata = file.metadata()
    for key, value in changes.items():
        metadata[key] = value if isinstance(value, str) else json.dumps(value)
    save_file(load_file(path), out, metadata)
    return out


def test_a_weights_file_s_tables_are_believed_only_as_far_as_they_can_be(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed: it makes the weights of this test")
    from acdc_fast.weights import load_weights, save_weights

    path = tmp_path / "owl.safetensors"
    save_weights(path, owl_weights())
    tables = [turned(), json.loads(json.dumps(OWL))]
    for name in (TURNED, "2d-owl"):
        del MARKUPS[name]
    less = {**OWL, "points": OWL["points"][:6], "mirror_pairs": [[0, 1], [3, 4]], "contours": []}
    other = {**table_of(MARKUPS["2d68"]), "contours": []}
    for wrong, words in [
        (tables[:1], "unknown markup '2d-owl'"),
        ([*tables, {"name": "2d-more", "points": 3}], "2d-more along, which its network does not have"),
        ([*tables, other], "2d68 along, which its network does not have"),
        ([turned(), less], "shape"),
        ([turned(), {**OWL, "contours": [[0, 9]]}], "tables[1]: markup 2d-owl: contours[0]: there is no point 9"),
        ("[" * 100_000, "nested too deeply"),
        ("{", "cannot be read"),
        ({"a": 1}, "must be a list"),
        ([{**OWL, "points": 10**9}], "a markup may have"),
    ]:
        with pytest.raises(InputError, match=re.escape(words)) as caught:
            load_weights(with_metadata(path, tmp_path / "wrong.safetensors", tables=wrong))
        assert "wrong.safetensors" in str(caught.value)
        assert set(MARKUPS) == PACKAGED, "what a refused file says is forgotten"
    assert load_weights(path).config.points == {TURNED: 68, "2d-owl": 7}
    with pytest.raises(InputError, match="'2d-owl' is known already, with other contours: give one of them another na"):
        load_weights(with_metadata(path, tmp_path / "x.safetensors", tables=[turned(), {**OWL, "contours": []}]))


def test_the_package_s_own_files_say_nothing_of_markups() -> None:
    from safetensors import safe_open

    from acdc_fast.bundled import bundled
    from acdc_fast.weights import fingerprint, load_weights

    path = bundled()["acdc-w16-fast"]
    with safe_open(path, "np") as file:
        assert "tables" not in file.metadata()
    assert len(fingerprint(load_weights(path))) == 64
