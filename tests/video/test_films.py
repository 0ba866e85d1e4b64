"""Faces followed through a small film: a moving portrait, a cut to nothing, and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch", reason="torch is not installed: it makes the weights of these tests")
av = pytest.importorskip("av", reason="PyAV is not installed (extra [video])")

from helpers.paths import PHOTO  # noqa: E402
from helpers.small import small_weights  # noqa: E402

from acdc_fast import Model  # noqa: E402
from acdc_fast.commands import cli  # noqa: E402
from acdc_fast.errors import InputError  # noqa: E402
from acdc_fast.photo.detection import detect  # noqa: E402
from acdc_fast.readout.results import as_dict  # noqa: E402
from acdc_fast.types import Faces  # noqa: E402
from acdc_fast.video import tracking  # noqa: E402
from acdc_fast.video.films import run_video  # noqa: E402
from acdc_fast.weights import save_weights  # noqa: E402


class PerfectModel:
    """Stands in for trained weights: five points placed by the box, so that the next box is the same one."""

    def __init__(self) -> None:
        self.motion = np.zeros(2)

    def align(self, picture: object, boxes: np.ndarray) -> Faces:
        boxes = np.asarray(boxes, np.float32)
        middle = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
        size = np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))[:, None, None]
        shape = np.array([[-0.192, -0.114], [0.192, -0.114], [0, 0.078], [-0.144, 0.318], [0.144, 0.318]])
        points = {"2d5": (middle + size * shape + self.motion).astype(np.float32)}
        flat = {"2d5": np.ones((len(boxes), 5), np.float32)}
        sure = np.ones(len(boxes), np.float32)  # as of weights of which nothing is known: the detector alone decides
        return Faces(boxes, sure, points, flat, flat, None)


def frames(count: int = 12, shift: int = 3) -> list[np.ndarray]:
    picture = Image.open(PHOTO).resize((128, 128))
    return [np.roll(np.asarray(picture), shift * i, axis=1) for i in range(count)]


def film(path: Path, pictures: list[np.ndarray]) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture
def model() -> PerfectModel:
    return PerfectModel()


def test_detector_runs_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(tracking, "detect", lambda rgb, search: calls.append(1) or detect(rgb, search))
    tracker = tracking.Tracker(PerfectModel(), every=5)
    for picture in frames(shift=0):
        faces = tracker.step(picture)
        assert len(faces) == 1 and faces.ids.tolist() == [0]
    assert len(calls) == 5  # frames 0, 1 and 2, for the face is new, 5 and 10


def test_lost_and_found_again_under_a_new_number() -> None:
    tracker = tracking.Tracker(PerfectModel(), every=2)
    portrait, nothing = frames(1)[0], np.zeros((128, 128, 3), np.uint8)
    names = []
    for picture in [portrait] * 3 + [nothing] * 8 + [portrait] * 3:
        names.append(tuple(tracker.step(picture).ids.tolist()))
    assert names[:3] == [(0,)] * 3 and names[-1] == (1,)
    assert () in names  # the detector did not confirm it


def test_two_faces_keep_their_numbers() -> None:
    tracker = tracking.Tracker(PerfectModel(), every=1)
    for i in range(6):
        two = np.concatenate([frames(1)[0], np.roll(frames(1)[0], 2 * i, axis=0)], axis=1)
        faces = tracker.step(two)
        left = dict(zip(faces.ids.tolist(), faces.boxes[:, 0], strict=True))
        if i == 0:
            first = left
        assert sorted(left) == [0, 1]
        assert all(abs(left[name] - first[name]) < 20 for name in left)


def test_face_that_leaves_the_picture_ends() -> None:
    model = PerfectModel()
    tracker = tracking.Tracker(model, every=100)
    tracker.step(frames(1)[0])
    model.motion = np.array([50.0, 0.0])
    counts = [len(tracker.step(np.zeros((128, 128, 3), np.uint8))) for _ in range(4)]
    assert counts[-1] == 0


def test_annotated_film(tmp_path: Path, model: PerfectModel) -> None:
    source = film(tmp_path / "in.mp4", frames())
    assert run_video(model, str(source), str(tmp_path / "out.mp4"), 4, None) is None
    with av.open(str(tmp_path / "out.mp4")) as container:
        drawn = [(f.to_ndarray(format="rgb24"), f.time) for f in container.decode(video=0)]
    with av.open(str(source)) as container:
        plain = [(f.to_ndarray(format="rgb24"), f.time) for f in container.decode(video=0)]
    assert len(drawn) == len(plain) == 12
    assert [t for _, t in drawn] == pytest.approx([t for _, t in plain])
    # Dots are a pixel wide on faces this small. Encoding anew changes two pixels of a frame by more than 30 at most.
    changed = [(np.abs(a.astype(int) - b) > 30).any(2).sum() for (a, _), (b, _) in zip(drawn, plain, strict=True)]
    assert min(changed) > 8
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


def test_json_lines(tmp_path: Path, model: PerfectModel, capsys: pytest.CaptureFixture[str]) -> None:
    source = film(tmp_path / "in.mkv", frames(5))
    assert run_video(model, str(source), str(tmp_path / "o.jsonl"), 4, None) is None
    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(5))
    assert lines[1]["time"] == pytest.approx(0.04, abs=1e-3) and lines[0]["faces"][0]["id"] == 0
    run_video(model, str(source), None, 4, None)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == lines


def test_odd_sizes(tmp_path: Path, model: PerfectModel) -> None:
    """H.264 needs even sides, so the last row and column are dropped."""
    pictures = [np.zeros((33, 47, 3), np.uint8)] * 2
    with av.open(str(tmp_path / "in.avi"), "w") as container:
        stream = container.add_stream("png", rate=25)
        stream.height, stream.width, stream.pix_fmt = 33, 47, "rgb24"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    assert run_video(model, str(tmp_path / "in.avi"), str(tmp_path / "o.mp4"), 4, None) is None
    with av.open(str(tmp_path / "o.mp4")) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (46, 32)


def test_broken_films(tmp_path: Path, model: PerfectModel, capsys: pytest.CaptureFixture[str]) -> None:
    source = film(tmp_path / "in.mkv", [np.random.default_rng(i).integers(0, 256, (64, 64, 3)).astype(np.uint8)
                                        for i in range(20)])  # fmt: skip
    whole = source.read_bytes()
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("no film")
    (tmp_path / "head.mkv").write_bytes(whole[:50])
    for name in ("empty.mp4", "text.mp4", "head.mkv", "missing.mp4"):
        with pytest.raises(InputError, match=name):
            run_video(model, str(tmp_path / name), str(tmp_path / "o.mp4"), 4, None)
        assert not (tmp_path / "o.mp4").exists()
    with pytest.raises(InputError, match="overwrite"):
        run_video(model, str(source), str(source), 4, None)
    with pytest.raises(InputError, match=r"o\.xyz"):
        run_video(model, str(source), str(tmp_path / "o.xyz"), 4, None)
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    broken = run_video(model, str(tmp_path / "cut.mkv"), str(tmp_path / "o.jsonl"), 4, None)
    assert broken is not None and broken.startswith(f"{tmp_path / 'cut.mkv'}: ends ")
    assert 0 < len((tmp_path / "o.jsonl").read_text().splitlines()) < 20
    weights = tmp_path / "w.safetensors"
    save_weights(weights, small_weights(stages=1))
    assert cli.main(["video", str(tmp_path / "text.mp4"), "--weights", str(weights)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "text.mp4" in error


def test_bad_every() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        tracking.Tracker(PerfectModel(), every=0)


def test_a_film_with_a_camera(tmp_path: Path) -> None:
    """Each line has the place of `Model.track` with this camera."""
    from acdc_fast import Camera, Model

    picture = np.asarray(Image.open(PHOTO).convert("RGB").resize((256, 256)))
    film(tmp_path / "in.mkv", [picture] * 3)
    model, camera = Model.from_pretrained("acdc-w16-fast"), Camera(field_of_view=70)
    assert run_video(model, str(tmp_path / "in.mkv"), str(tmp_path / "o.jsonl"), 4, None, None, camera) is None
    told = [json.loads(line)["faces"] for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert len(told) == 3 and all(len(faces[0]["pose"]["translation"]) == 3 for faces in told)
    assert -30 < told[0][0]["pose"]["translation"][2] < -2


def test_points_are_steadied_unless_exact_ones_are_wanted(tmp_path: Path) -> None:
    """The lines are those of `Model.track`, smooth by default, each frame's own with ``--exact``."""
    rng = np.random.default_rng(0)
    photo = np.asarray(Image.open(PHOTO).convert("RGB").crop((100, 0, 356, 192)))
    noisy = [np.clip(photo + rng.normal(0, 12, photo.shape), 0, 255).astype(np.uint8) for _ in range(4)]
    source, network = film(tmp_path / "in.mkv", noisy), Model.from_pretrained("acdc-w16-fast")
    with av.open(str(source)) as container:
        seen = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    lines = {}
    for smooth in (True, False):
        out = tmp_path / f"{smooth}.jsonl"
        options = [] if smooth else ["--exact"]
        assert cli.main(["video", str(source), "-o", str(out), "--weights", "acdc-w16-fast", *options]) == 0
        lines[smooth] = [json.loads(line)["faces"] for line in out.read_text().splitlines()]
        assert lines[smooth] == [as_dict(faces) for faces in network.track(seen, smooth=smooth)]
    assert lines[True][0] == lines[False][0] and lines[True][3] != lines[False][3]
