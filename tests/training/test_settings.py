"""Settings are read strictly; schedule, turns and order of faces by hand."""

from __future__ import annotations

import json
import os
import pickle
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acdc_fast.commands import cli
from acdc_fast.errors import InputError
from acdc_fast.markups import MARKUPS
from acdc_fast.training.schedule import Phase, learning_rate, phase_at
from acdc_fast.training.settings import Settings, read_settings
from acdc_fast.training.strict_yaml import build

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL: dict[str, Any] = {"databases": [{"name": "mtfl"}], "phases": [{"updates": 10}]}


def test_paper_settings_are_the_papers() -> None:
    paper = read_settings(CONFIGS / "paper.yaml")
    assert (paper.network.width, paper.network.stages, paper.network.variant) == (64, 4, "ac-dc")
    assert paper.network.markups == ("2d98", "2d68", "2d5", "3d68")
    assert (paper.optimiser.rate, paper.optimiser.beta1, paper.optimiser.power) == (5e-4, 0.9, 0.9)
    assert (paper.optimiser.warmup, paper.optimiser.clip, paper.optimiser.ema) == (0, None, None)
    assert paper.phases == (Phase(400_000, 128, 8),)
    assert {s.name for s in paper.databases} == {"300w", "300wlp", "celeba", "wflw"}


SETTINGS = [p for p in sorted(CONFIGS.rglob("*.yaml")) if not p.match("recipe*") and p.name != "base.yaml"]


@pytest.mark.parametrize("path", SETTINGS, ids=lambda p: str(p.relative_to(CONFIGS)))
def test_shipped_settings_read(path: Path) -> None:
    settings = read_settings(path)
    assert build(Settings, settings.to_dict(), "again") == settings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sed": 1}, "unknown field 'sed'"),
        ({"phases": None}, "phases must be a list"),
        ({"phases": []}, "phases must name at least one"),
        ({"phases": [{"updates": 10, "resolution": 60}]}, r"phases\[0\].resolution must be a multiple of 8"),
        ({"phases": [{"updates": "many"}]}, r"phases\[0\]: updates must be of type int"),
        ({"phases": [{"resolution": 64}]}, r"phases\[0\]: field 'updates' is missing"),
        ({"bf16": 1}, "bf16 must be of type bool"),
        ({"seed": True}, "seed must be of type int"),
        ({"network": {"width": 10}}, "network: width must be a positive multiple of 4"),
        ({"network": {"variant": "dc"}}, "network: variant must be one of 'ac', 'ac.pose', 'ac-dc'"),
        ({"augment": {"mirror": 2}}, "augment: mirror must lie in 0 … 1, not 2"),
        ({"loss": {"markups": {"2d29": 1}}}, "loss.markups names '2d29'"),
        ({"optimiser": {"rate": "fast"}}, "optimiser: rate must be of type float"),
        ({"loss": {"stages": [1.0]}}, "loss.stages has 1 weights for"),
        ({"workers": -1}, "workers must lie in 0 … 1,024, not -1"),
        ({"threads": 1_000_000}, "threads must lie"),
        ({"checkpoint_minutes": -1}, "checkpoint_minutes must lie"),
        ({"phases": [{"updates": 1, "batch": 0}]}, r"phases\[0\].batch must lie in 1 … "),
        ({"phases": [{"updates": 1, "batch": 10**10}]}, r"phases\[0\].batch must lie"),
        ({"phases": [{"updates": 1, "resolution": 8192}]}, r"phases\[0\].resolution must lie"),
        ({"databases": [{"name": "mtfl", "batches": 10**9}]}, r"databases\[0\]: batches must lie"),
        ({"databases": [{"name": "mtfl", "shift": [1e30, 0]}]}, r"databases\[0\]: shift\[0\] must lie"),
        ({"databases": [{"name": "mtfl", "shifts": {"2d7": [1, 0]}}]}, r"databases\[0\].shifts names '2d7'; known"),
        ({"databases": [{"name": "mtfl", "markups": {"2d5": -1}}]}, r"databases\[0\]: markups.2d5 must lie"),
        ({"optimiser": {"rate": -1}}, "optimiser: rate must lie"),
        ({"optimiser": {"beta1": 2}}, "optimiser: beta1 must lie"),
        ({"optimiser": {"clip": 0}}, "optimiser: clip must lie"),
        ({"loss": {"stages": [1, 1, 1, -1]}}, r"loss: stages\[3\] must lie"),
        ({"augment": {"gamma": 1e30}}, "augment: gamma must lie"),
        ({"card": {"resolution": "large"}}, "card: resolution must be a multiple of 8"),
        ({"databases": [{"name": "mtfl", "markups": {"2d29": 0}}]}, r"databases\[0\].markups names '2d29'"),
        ({"databases": [{"name": "mtfl", "shift": [1.0]}]}, r"databases\[0\].*shift"),
    ],
)
def test_errors_name_the_field(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        build(Settings, {**SMALL, **change}, "x.yaml")
    assert str(error.value).startswith("x.yaml")


def test_rates_without_a_point_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("databases: [{name: mtfl}]\nphases: [{updates: 1}]\noptimiser: {rate: 5e-4}\n")
    assert read_settings(path).optimiser.rate == 5e-4
    path.write_text("databases: [")
    with pytest.raises(InputError, match="not YAML"):
        read_settings(path)
    with pytest.raises(InputError, match=r"no\.yaml: cannot be read"):
        read_settings(tmp_path / "no.yaml")


def test_learning_rate_by_hand() -> None:
    assert learning_rate(0, 100, 2e-3) == 2e-3
    assert learning_rate(50, 100, 2e-3) == pytest.approx(2e-3 * 0.5**0.9)
    assert learning_rate(100, 100, 2e-3) == 0
    assert learning_rate(0, 100, 1.0, power=1, warmup=10) == pytest.approx(0.1)
    assert learning_rate(9, 100, 1.0, power=1, warmup=10) == pytest.approx(0.91)


def test_phases_follow_each_other() -> None:
    phases = (Phase(3, 64, 16), Phase(2, 128, 8))
    assert [phase_at(s, phases).resolution for s in range(7)] == [64, 64, 64, 128, 128, 128, 128]


def test_batches_of_a_database_spread_out() -> None:
    databases = [{"name": "a", "batches": 2}, {"name": "b"}, {"name": "c", "batches": 3}]
    once = build(Settings, {**SMALL, "databases": databases}, "x").round
    assert sorted(once) == [0, 0, 1, 2, 2, 2]
    assert np.diff([i for i, t in enumerate(once) if t == 2]).max() <= 3


def write(folder: Path, **files: str) -> Path:
    """Writes NAME.yaml for each. Returns the first."""
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder / f"{next(iter(files))}.yaml"


BASE = """
network: {width: 8, stages: 2}
databases: [{name: mtfl}, {name: wflw}]
phases: [{updates: 3, resolution: 32, batch: 2}]
"""


def test_a_file_on_another_says_only_what_differs(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    write(tmp_path / "below", base=BASE)
    path = write(
        tmp_path,
        top="base: middle.yaml\nseed: 7\nnetwork: {stages: 3}",
        middle="base: below/base.yaml\nseed: 5\ndatabases: [{name: w300}]\nworkers: 4",
    )
    got = read_settings(path)
    assert (got.network.width, got.network.stages, got.seed, got.workers) == (8, 3, 7, 4)
    assert [source.name for source in got.databases] == ["w300"]  # a list takes the place of the base's
    assert got.phases[0].updates == 3


@pytest.mark.parametrize(
    ("files", "word"),
    [
        ({"a": "base: b.yaml", "b": "base: a.yaml"}, "form a circle"),
        ({"a": "base: a.yaml"}, "form a circle"),
        ({"a": "base: nowhere.yaml"}, "nowhere.yaml: cannot be read"),
        ({"a": "base: [b.yaml]"}, "base must be the name of a file"),
        ({"a": "base: b.yaml", "b": "text"}, "is missing"),
    ],
)
def test_bad_bases(files: dict[str, str], word: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=word) as caught:
        read_settings(write(tmp_path, **files))
    assert "\n" not in str(caught.value)


RUN = "databases: [{name: a}]\nphases: [{updates: 1}]\n"
LAUGHS = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
LAUGHS += "".join(f"a{i + 1}: &a{i + 1} [{','.join([f'*a{i}'] * 10)}]\n" for i in range(9))
LAUGHING = "&l [" + ",".join(f"&m{i} [{','.join([f'*m{i - 1}' if i else 'x'] * 9)}]" for i in range(9)) + "]"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[" * 20_000, "too deeply"), ("{a: " * 20_000, "too deeply"), ("- " * 20_000, "too deeply"),
        (RUN + "seed: " + "1" * 5_000, "not YAML"), (RUN + "seed: 2020-13-45", "not YAML"),
        (RUN + "seed: 2020-02-30 25:61:61", "not YAML"), (LAUGHS + "seed: *a9", "unknown field"),
        (RUN + "seed: " + LAUGHING, "seed must"), (RUN + "databases: [{name: " + LAUGHING + "}]", "name must"),
        (RUN + "databases: " + LAUGHING, "fields expected"), (RUN + "card: " + LAUGHING, "card must be"),
        (RUN + "card: {a: " + "[" * 50 + "]" * 50 + "}", "card.a must"), (RUN + "seed: " + "9" * 100, "seed must lie"),
        (RUN + "seed: -1", "seed must lie"), (RUN + "optimiser: {rate: .nan}", "rate must"),
        (RUN + "optimiser: {rate: .inf}", "rate must"), (RUN + "optimiser: {rate: " + "9" * 400 + "}", "rate must"),
        ("? [a, b]\n: 1", "not YAML|unknown"), ("&a [*a]", "not YAML|fields expected"),
        (RUN + "seed: &a [*a]", "seed must|not YAML"), (RUN + "seed: !!python/object/apply:os.system [id]", "not YAML"),
        ("!!binary x", "not YAML"), ("\x00", "not YAML"), ("\x1b[2J: 1", "not YAML"),
        ("A" * 300_000 + ": 1", "unknown field|not YAML"), (RUN + "seed: " + "A" * 300_000, "seed must"),
        ("#" * (2 << 20), "larger than"), ("a: b: c", "not YAML"), ("\tseed: 1", "not YAML"),
        (RUN + "network: {markups: [[2d68]]}", "markups"), (RUN + "network: {stages: 1.5}", "stages"),
        (RUN + "network: {width: " + "9" * 300 + "}", "width"), (RUN + "databases: [[[[[]]]]]", "fields expected"),
    ],
)  # fmt: skip
def test_hostile_files_are_refused_in_one_bounded_line(
    text: str, word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(text.encode())
    began = time.process_time()
    command = ["train", "--config", str(path), "--data-root", str(tmp_path), "--out", str(tmp_path / "o")]
    code = cli.main(command)
    said = capsys.readouterr().err
    assert code == 2 and said.startswith(f"acdc-fast: {path}: ") and said.count("\n") == 1, said[:2000]
    assert re.search(word, said), said
    assert len(said) < 1100 and said[:-1].isprintable() and not (tmp_path / "o").exists()
    assert time.process_time() - began < 20


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "s.yaml")
    with pytest.raises(InputError, match="it is not a file"):
        read_settings(tmp_path / "s.yaml")


OWN = """
base: below.yaml
databases: [{name: csv, shifts: {2d-owl: [1, 2]}, markups: {2d-owl: 0.5}}]
phases: [{updates: 10}]
network: {width: 8, markups: [2d-owl, 3d68]}
loss: {markups: {2d-owl: 2}}
"""
BELOW = """
markups:
- name: 2d-owl
  points: [left eye, right eye, beak]
  mirror_pairs: [[left eye, right eye]]
  contours: [[left eye, beak, right eye]]
  eye_corners: [left eye, right eye]
"""


@pytest.fixture
def forgetting() -> Iterator[None]:
    yield
    MARKUPS.pop("2d-owl", None)


def test_own_markups(tmp_path: Path, forgetting: None) -> None:
    (tmp_path / "below.yaml").write_text(BELOW)
    (tmp_path / "x.yaml").write_text(OWN)
    settings = read_settings(tmp_path / "x.yaml")
    assert settings.network.points == {"2d-owl": 3, "3d68": 68}
    assert settings.markups == (MARKUPS["2d-owl"],) and MARKUPS["2d-owl"].contours == ((0, 2, 1),)
    (tmp_path / "again.yaml").write_text(json.dumps(settings.to_dict()))  # as checkpoints and cards have them
    assert read_settings(tmp_path / "again.yaml") == settings
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_bad_own_markups(tmp_path: Path, forgetting: None) -> None:
    for old, new, words in [
        (
            "beak, right",
            "beek, right",
            r"x.yaml: markups\[0\]: markup 2d-owl: contours\[0\]: .*'beek'; is 'beak' meant",
        ),
        ("2d-owl\n", "2d68\n", "x.yaml: markup '2d68' is known already, with other points"),
        ("- name: 2d-owl", "- name: 2d-hen", "network: unknown markup '2d-owl'"),
        ("markups:\n-", "markups:\n ", "x.yaml: markups must be a list"),
    ]:
        (tmp_path / "below.yaml").write_text(BELOW.replace(old, new))
        (tmp_path / "x.yaml").write_text(OWN)
        with pytest.raises(InputError, match=words):
            read_settings(tmp_path / "x.yaml")
        assert not {"2d-owl", "2d-hen"} & set(MARKUPS), "settings that are refused leave nothing behind"
