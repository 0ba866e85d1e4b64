"""Order, resumption and errors of a recipe; its steps are commands that other tests run."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from acdc_fast.errors import InputError
from acdc_fast.training import recipe
from acdc_fast.training.data.taught import labels_path
from acdc_fast.training.loop.checkpoint import NAME
from acdc_fast.training.settings import read_settings
from acdc_fast.weights import bundled

TEXT = """
name: small
start: acdc-w16-fast
processes: 2
draw: [{source: synthetic, split: test, faces: 4}]
teach: [{weights: acdc-w32, database: mtfl}]
runs: [one.yaml, two.yaml]
fits: {pose: [synthetic/train], presence: [frames68, "mtfl/train[:5]"], enough: [frames68], limit: 7, refinement: 9}
"""


@pytest.fixture
def written(tmp_path: Path) -> Path:
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / "mtfl-train.tar").write_bytes(b"")
    (tmp_path / "recipe.yaml").write_text(TEXT)
    for name in ("one", "two", "three"):
        (tmp_path / f"{name}.yaml").write_text("databases: [{name: mtfl}]\nphases: [{updates: 1}]\n")
    return tmp_path / "recipe.yaml"


class Shell:
    """Replaces `run_step`: records commands, makes the files that they would make, and fails on request."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.fails = ""

    def run(self, command: list[str], lock: int) -> int:
        self.commands.append(command)
        if self.fails and self.fails in command:
            return 3
        results = [command[command.index(f) + 1] for f in ("-o", "--pose", "--presence", "--enough") if f in command]
        if "acdc_fast.training.teach" in command:
            data = command[command.index("--data-root") + 1]
            names = command[command.index("--database") + 1], "train", Path(command[3]).stem
            results = [str(labels_path(Path(data), *names))]
        if "--out" in command:
            results = [str(Path(command[command.index("--out") + 1]) / "weights.safetensors")]
        for result in results:
            Path(result).parent.mkdir(exist_ok=True)
            Path(result).write_bytes(b"")
        return 0


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Shell:
    shell = Shell()
    monkeypatch.setattr(recipe, "run_step", shell.run)
    return shell


def test_steps_follow_each_other(written: Path, tmp_path: Path, shell: Shell) -> None:
    out = tmp_path / "out"
    assert recipe.run_recipe(written, tmp_path / "faces", out) == 0
    assert (out / "data" / "mtfl-train.tar").is_symlink()
    draw, teach, one, two, refinement, people, pose, confidence, orientation, presence, visibility, enough = (
        shell.commands
    )
    assert draw[-2:] == ["-o", str(out / "data" / "synthetic-test.tar")]
    assert teach[2:] == ["acdc_fast.training.teach", "acdc-w32", "--data-root", str(out / "data"),
                         "--database", "mtfl", "--split", "train"]  # fmt: skip
    assert one[one.index("--init") + 1] == str(bundled()["acdc-w16-fast"])
    assert two[two.index("--init") + 1] == str(out / "one" / "weights.safetensors")
    assert "--nproc-per-node" in two and two[two.index("--device") + 1] == "auto"
    fits = (people, pose, confidence, orientation, presence, visibility, enough)
    made = [c[3] for c in fits]
    kinds = ["fits.people_fit", "evaluation.evaluate", "fits.confidence_fit", "fits.orientation_fit",
             "evaluation.evaluate", "fits.visibility_fit", "evaluation.evaluate"]  # fmt: skip
    assert [c[2] for c in fits] == [f"acdc_fast.training.{kind}" for kind in kinds]
    fit = ["acdc_fast.training.fits.refinement_fit", str(out / "two" / "weights.safetensors"), "--limit", "9"]
    assert refinement[2:6] == fit
    assert refinement[refinement.index("--config") + 1] == str(tmp_path / "two.yaml")
    expected = ["refinement", "people", "pose", "confidence", "orientation", "presence", "visibility"]
    assert made == [str(out / f"small-{name}.safetensors") for name in expected]
    assert presence[presence.index("--databases") + 1 : presence.index("--presence")] == ["frames68", "mtfl/train[:5]"]
    assert pose[-2:] == ["--limit", "7"] and "--limit" not in presence and all("--half" in c for c in fits)
    assert (out / "small.safetensors").exists()
    shell.commands.clear()
    assert recipe.run_recipe(written, tmp_path / "faces", out) == 0
    assert shell.commands == []


def test_the_pose_may_be_held_near_the_dense_layer(written: Path, tmp_path: Path) -> None:
    for ridge, wanted in (("", False), (", pose_ridge: 30", True)):
        written.write_text(TEXT.replace("refinement: 9", "refinement: 9" + ridge))
        found = recipe.steps(recipe.read_recipe(written), tmp_path, tmp_path / "out", "python")
        asked = [command for _, command in found if "--pose-ridge" in command]
        assert len(asked) == wanted
        for command in asked:
            assert "--pose" in command and command[command.index("--pose-ridge") + 1] == "30.0"


def test_a_refinement_may_be_fitted_to_other_databases(written: Path, tmp_path: Path) -> None:
    written.write_text(TEXT.replace("refinement: 9", "refinement: 9, settings: ../other.yaml"))
    found = recipe.steps(recipe.read_recipe(written), tmp_path, tmp_path / "out", "python")
    fit = next(command for _, command in found if "acdc_fast.training.fits.refinement_fit" in command)
    assert fit[fit.index("--config") + 1] == str(tmp_path / "../other.yaml")


def test_weights_that_are_their_own_teacher(written: Path, tmp_path: Path, shell: Shell) -> None:
    """The first recipe runs to its end. Its weights are the teacher, and the next recipe starts from its last run."""
    second = tmp_path / "second.yaml"
    second.write_text(
        "{name: better, draw: [], first: recipe.yaml, share: 0.7, teach: [{database: mtfl}], runs: [three.yaml],\n"
        " fits: {people: false, refinement: null}}\n"
    )
    out = tmp_path / "out"
    assert recipe.run_recipe(second, tmp_path / "faces", out) == 0
    teach, three, between, pose, presence, enough = shell.commands[-6:]
    assert teach[3] == str(out / "small.safetensors")  # not the teacher that the first recipe had for the same faces
    two_and_three = [str(out / run / "weights.safetensors") for run in ("two", "three")]
    assert three[three.index("--init") + 1] == two_and_three[0]
    assert between[2:7] == ["acdc_fast.training.fits.interpolate", *two_and_three, "--share", "0.7"]
    assert pose[3] == between[-1] and presence[3] == str(out / "better-pose.safetensors")
    assert enough[-1] == str(out / "better.safetensors")
    second.write_text(second.read_text().replace("first: recipe.yaml, ", ""))
    with pytest.raises(InputError, match="a teacher without weights"):
        recipe.read_recipe(second)
    second.write_text(second.read_text().replace("name: better", "name: better, start: acdc-w32, first: recipe.yaml"))
    with pytest.raises(InputError, match="start or first"):
        recipe.read_recipe(second)
    written.write_text(TEXT.replace("start: acdc-w16-fast", "share: 0.5").replace("one.yaml, ", ""))
    with pytest.raises(InputError, match="share mixes two runs' weights"):
        recipe.read_recipe(written)


def test_an_interrupted_recipe_goes_on_from_its_checkpoint(written: Path, tmp_path: Path, shell: Shell) -> None:
    out = tmp_path / "out"
    shell.fails = str(tmp_path / "two.yaml")
    assert recipe.run_recipe(written, tmp_path / "faces", out) == 3
    (out / "two").mkdir()
    (out / "two" / NAME).write_bytes(b"")
    shell.fails, shell.commands = "", []
    assert recipe.run_recipe(written, tmp_path / "faces", out) == 0
    assert "--resume" in shell.commands[0]
    assert "--init" not in shell.commands[0]


def test_recipes_are_read_strictly(written: Path, tmp_path: Path) -> None:
    written.write_text(TEXT.replace("runs", "run"))
    with pytest.raises(InputError, match=r"recipe.yaml: unknown field 'run'"):
        recipe.run_recipe(written, tmp_path / "faces", tmp_path / "out")
    written.write_text(TEXT.replace("processes: 2", "share: 1.5"))
    with pytest.raises(InputError, match=r"recipe.yaml: share must lie between 0 and 1, not 1.5"):
        recipe.run_recipe(written, tmp_path / "faces", tmp_path / "out")
    written.write_text(TEXT)
    with pytest.raises(InputError, match="--data-root .*: no such folder"):
        recipe.run_recipe(written, tmp_path / "nowhere", tmp_path / "out")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("runs: [one.yaml, two.yaml]", "runs: []", "recipe.yaml: runs must name at least one"),
        ("two.yaml", "one.yaml", "runs: two have the name 'one'"), ("two.yaml", "four.yaml", "four.yaml: cannot be"),
        ("name: small", "name: ../small", "name must be that of a file"), ("name: small", "name: ''", "name must be"),
        ("processes: 2", "processes: 0", "processes must be at least 1, not 0"),
        ("processes: 2", "device: gpu", "device must be one of auto, cpu, cuda, not 'gpu'"),
        ("faces: 4", "faces: 0", r"draw\[0\].faces must be at least 1"),
        ("source: synthetic", "source: painted", r"draw\[0\]: nobody draws 'painted/test'"),
        ("split: test", "split: ../x", r"draw\[0\]: nobody draws"),
        ("database: mtfl", "database: mtlf", r"teach\[0\].database: unknown database 'mtlf'"),
        ("weights: acdc-w32", "weights: absent", r"teach\[0\].weights: 'absent': there is no such weights file"),
        ("start: acdc-w16-fast", "start: absent", "start: 'absent': there is no such weights file"),
        ("start: acdc-w16-fast", "first: recipe.yaml", "first: the recipes form a circle"),
        ("presence: [frames68, ", "presence: [frames86, ", r"fits.presence\[0\]: unknown database 'frames86'"),
        ("enough: [frames68]", "enough: []", "fits.enough must name"), ("limit: 7", "limit: 0", "fits.limit must be"),
        ("limit: 7", "pose_ridge: -1", "fits.pose_ridge must be above 0"),
        ("refinement: 9", "settings: four.yaml", "four.yaml: cannot be read"),
    ],
)  # fmt: skip
def test_what_no_step_can_use_is_refused_before_the_first(
    old: str, new: str, says: str, written: Path, tmp_path: Path, shell: Shell
) -> None:
    assert old in TEXT
    written.write_text(TEXT.replace(old, new))
    with pytest.raises(InputError, match=says):
        recipe.run_recipe(written, tmp_path / "faces", tmp_path / "out")
    assert shell.commands == [] and not (tmp_path / "out").exists()


@pytest.mark.parametrize("path", sorted(Path(__file__).parents[2].glob("configs/**/recipe*.yaml")), ids=str)
def test_the_recipes_of_the_repository_are_whole(path: Path) -> None:
    found = recipe.read_recipe(path)
    widths = [read_settings(path.parent / run).network.width for run in found.runs]
    assert widths == sorted(widths)
    assert not found.fits.settings or read_settings(path.parent / found.fits.settings)
    assert not found.start or found.start in bundled()
    assert all(teacher.weights in bundled() or teacher.weights is None for teacher in found.teach)
    recipes, folder = [found], path.parent
    while recipes[-1].first:
        folder, file = (folder / recipes[-1].first).parent, folder / recipes[-1].first
        recipes.append(recipe.read_recipe(file))
    made = {t.weights or before.name for one, before in pairwise(recipes) for t in one.teach}
    made |= {str(teacher.weights) for teacher in recipes[-1].teach}
    drawn = {(d.source, d.split) for one in recipes for d in one.draw}
    sources = [s for run in found.runs for s in read_settings(path.parent / run).databases]
    assert {s.taught for s in sources if s.taught} <= made
    assert {(s.name, s.split) for s in sources if s.name in ("synthetic", "skinned", "reposed")} <= drawn
    own = {t.weights or recipes[1].name for t in found.teach}
    assert own <= {s.taught for s in sources}  # nobody teaches for nothing
    if found.first:
        before = path.parent / found.first
        last = before.parent / recipe.read_recipe(before).runs[-1]
        networks = [read_settings(run).network for run in (last, path.parent / found.runs[0])]
        mask = networks[1].mask_markups  # changes no array
        assert replace(networks[0], mask_markups=mask) == networks[1]
