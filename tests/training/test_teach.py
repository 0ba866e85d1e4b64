"""A teacher's labels: both results averaged, unsure faces left out, shifts subtracted; a run that learns from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.faces import SETTINGS, write_faces, write_weights

from acdc_fast.config import ACDCConfig
from acdc_fast.errors import InputError
from acdc_fast.markups import MARKUPS
from acdc_fast.training.data import open_database
from acdc_fast.training.data.taught import APART, labels_path
from acdc_fast.training.loop.progress import read_history
from acdc_fast.training.loop.train import train
from acdc_fast.training.sampling.batches import moved, open_source
from acdc_fast.training.settings import Source, read_settings
from acdc_fast.training.teach import main, teach
from acdc_fast.types import Faces, HeadPose


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ACDC_CACHE", str(tmp_path / "cache"))
    return write_faces(tmp_path)


def symmetric() -> np.ndarray:
    """(68, 2) points about 0 whose mirror image is themselves."""
    points = np.random.default_rng(0).normal(size=(68, 2))
    return (points + (points * (-1, 1))[MARKUPS["2d68"].mirror]) / 2


class Teacher:
    """Answers with a symmetric face around the centre of each box, always ``right`` pixels too far to the right."""

    markups = ("2d68", "2d5")

    def __init__(self, right: float) -> None:
        self.right = right

    def align(self, pictures: list[np.ndarray], boxes: list[np.ndarray]) -> list[Faces]:
        out = []
        for box in boxes:
            centre = (box[:, :2] + box[:, 2:]) / 2 + (self.right, 0)
            points = (centre[:, None] + 10 * symmetric()).astype(np.float32)
            pose = HeadPose(*(np.array([v], np.float32) for v in (20 + self.right, 5, 10)), np.eye(3)[None])
            out.append(Faces(box, np.ones(1), {"2d68": points, "2d5": points[:, :5]}, {}, {}, pose, ""))
        return out


def test_both_looks_are_averaged(root: Path) -> None:
    """A teacher that always errs to the right is right on average. The distance shows its error."""
    database = open_database("mtfl", root, "train")
    true, off = (teach(Teacher(right), database) for right in (0.0, 2.0))  # type: ignore[arg-type]
    assert set(true) == {"names", "2d68", "pose", "apart"} and true["2d68"].shape == (12, 68, 2)
    assert np.allclose(true["2d68"], off["2d68"], atol=1e-3) and np.abs(true["apart"]).max() < 1e-5
    size = 10 * np.sqrt(((symmetric() - symmetric().mean(0)) ** 2).mean())
    assert np.allclose(off["apart"], 4 / size, rtol=0.02)
    assert np.allclose(true["pose"], [0, 5, 0])  # a pose that does not turn with the mirror cancels


def write_labels(root: Path, apart: float = 0.0) -> dict[str, np.ndarray]:
    made = teach(Teacher(0.0), open_database("mtfl", root, "train"))  # type: ignore[arg-type]
    made["apart"][3] = apart
    np.savez(labels_path(root, "mtfl", "train", "teacher"), **made)  # type: ignore[arg-type]
    return made


def test_faces_get_what_they_lack_where_the_looks_agree(root: Path) -> None:
    made = write_labels(root, apart=2 * APART)
    source = Source("mtfl", "train[2:]", taught="teacher", shift=(-2.0, 1.0))
    database = open_source(source, root)
    plain = open_source(Source("mtfl", "train[2:]"), root)
    assert len(database) == 10 and set(database.markups) == {"2d5", "2d68"}
    for k in range(10):
        sample = moved(database[k], source)
        assert np.allclose(sample.landmarks["2d68"], made["2d68"][k + 2], atol=1e-4)
        assert np.allclose(sample.landmarks["2d5"], plain[k].landmarks["2d5"] + (-2, 1), atol=1e-4)
        assert (sample.weights["2d68"] == (k != 1)).all() and sample.weights["2d68"].shape == (68,)
        assert (sample.pose is None) == (k == 1)


def test_missing_and_foreign_labels_are_named(root: Path) -> None:
    source = Source("mtfl", "train", taught="teacher")
    with pytest.raises(InputError, match=r"by-teacher.npz: no such file; python -m acdc_fast.training.teach"):
        open_source(source, root)
    path = labels_path(root, "mtfl", "train", "teacher")
    made = write_labels(root)
    np.savez(path, **{key: values[1:] for key, values in made.items()})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="has nothing for 'faces/0.jpg'"):
        open_source(source, root)
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="not labels of a teacher"):
        open_source(source, root)


def test_a_teacher_teaches_from_the_command_line(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights label the faces, and a run learns the markups that the database does not have."""
    config = ACDCConfig(width=4, stages=1, markups=("2d68", "2d5", "3d68"), variant="ac+pose")
    write_weights(tmp_path / "teacher.safetensors", config, resolution="32")
    asked = [str(tmp_path / "teacher.safetensors"), "--data-root", str(root), "--database", "mtfl"]
    assert main(asked) == 0
    assert "mtfl-train-by-teacher.npz: 12 faces" in capsys.readouterr().out
    settings = SETTINGS.replace("batches: 1", "taught: teacher").replace("[2d5]", "[2d68, 2d5]")
    (tmp_path / "taught.yaml").write_text(settings)
    with np.load(labels_path(root, "mtfl", "train", "teacher")) as file:
        made = dict(file)
    made["apart"][:] = 0
    np.savez(labels_path(root, "mtfl", "train", "teacher"), **made)
    assert made["2d68"].shape == (12, MARKUPS["2d68"].points, 2) and made["pose"].shape == (12, 3)
    assert train(read_settings(tmp_path / "taught.yaml"), root, tmp_path / "run", device="cpu") == 0
    assert all("mtfl/stage2/2d68" in line for line in read_history(tmp_path / "run") if "mtfl/loss" in line)
    assert main([*asked[:-1], "nothing"]) == 2
    assert "unknown database 'nothing'" in capsys.readouterr().err
