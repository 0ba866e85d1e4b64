"""Which jobs are the same: finished output and parts of another one are never mixed in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("torch", reason="torch is not installed: it makes the weights of these tests")
pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra [parquet])")

from helpers.batch_jobs import quiet
from helpers.small import fitted, small_weights

from acdc_fast import Model
from acdc_fast.batch import job as batch
from acdc_fast.errors import AcdcError, InputError


def test_parts_of_another_run_are_not_mixed_in(
    tmp_path: Path, folder: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.parquet"
    monkeypatch.setattr(batch, "row_of", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        batch.run_batch(model, str(folder), str(out))
    monkeypatch.undo()
    other = Model(small_weights(seed=1, stages=1), resolution=32)
    with pytest.raises(AcdcError, match="another run.*weights"):
        batch.run_batch(other, str(folder), str(out))
    assert batch.run_batch(model, str(folder), str(out), note=quiet).rows == 4


def test_finished_output_is_left_or_refused(tmp_path: Path, folder: Path, model: Model) -> None:
    """The same job is done already; another job is refused; only --overwrite replaces."""
    for suffix in (".parquet", ".csv", ".jsonl"):
        out = tmp_path / f"o{suffix}"
        first = batch.run_batch(model, str(folder), str(out), note=quiet)
        before, when = out.read_bytes(), out.stat().st_mtime_ns
        again = batch.run_batch(model, str(folder), str(out), note=quiet)
        assert (again.rows, again.faces, again.broken, again.resumed) == (4, 2, 1, 4) and first.resumed == 0
        assert out.stat().st_mtime_ns == when
        other = Model(small_weights(seed=1, stages=1), resolution=32)
        with pytest.raises(InputError, match=r"is there already.*weights differ.*--overwrite"):
            batch.run_batch(other, str(folder), str(out), note=quiet)
        assert out.read_bytes() == before
        batch.run_batch(other, str(folder), str(out), overwrite=True, note=quiet)
        assert out.read_bytes() != before
        batch.run_batch(model, str(folder), str(out), overwrite=True, note=quiet)
        assert out.read_bytes() == before
        out.write_bytes(before + b"\n")
        with pytest.raises(InputError, match="is there already"):
            batch.run_batch(other, str(folder), str(out), note=quiet)


def test_everything_that_changes_results_makes_another_job(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of other weights (in any part), options, images or versions are never mixed."""
    weights = small_weights(stages=2)
    refinement, pose = fitted(weights)
    whole = replace(weights, refinement=refinement, pose=pose, card={"narrowest_spread": "0.01"})
    out = tmp_path / "o.parquet"
    batch.run_batch(Model(whole, resolution=32), str(folder), str(out), note=quiet)
    numbers = {m: v * 1.5 for m, v in refinement.numbers.items()}
    changed = {
        "refinement": replace(whole, refinement=replace(refinement, numbers=numbers)),
        "no refinement": replace(whole, refinement=None),
        "pose": replace(whole, pose=replace(pose, numbers=pose.numbers * 2)), "no pose": replace(whole, pose=None),
        "spread": replace(whole, card={"narrowest_spread": "0.02"}),
        "calibration": replace(whole, calibration={"2d68": (1.0, 0.0, 2.0)}),
        "array": replace(whole, arrays={**whole.arrays, "gtn.pose.bias": whole.arrays["gtn.pose.bias"] + 1}),
        "markups": replace(whole, markups=("2d68",)),
    }  # fmt: skip
    for name, other in changed.items():
        with pytest.raises(InputError, match="weights.* differ"):
            batch.run_batch(Model(other, resolution=32), str(folder), str(out), note=quiet)
            pytest.fail(f"another {name} is taken for the same job")
    for options, word in (
        ({"stages": 1}, "stages"), ({"resolution": 40}, "resolution"), ({"backend": "eager"}, "backend"),
        ({"backend": "eager", "dtype": "float64"}, "dtype"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=word):
            batch.run_batch(Model(whole, **{"resolution": 32, **options}), str(folder), str(out), note=quiet)
    model = Model(whole, resolution=32)
    with pytest.raises(InputError, match="search differ"):
        batch.run_batch(model, str(folder), str(out), note=quiet, search={"min_score": 0.7})
    monkeypatch.setattr(batch, "__version__", "9")
    with pytest.raises(InputError, match="version differ"):
        batch.run_batch(model, str(folder), str(out), note=quiet)
    monkeypatch.undo()
    for change in (
        lambda: Image.new("RGB", (9, 9)).save(folder / "aa.png"), lambda: (folder / "aa.png").rename(folder / "ab.png"),
        lambda: Image.new("RGB", (9, 10)).save(folder / "b.png"), (folder / "a.jpg").unlink,
    ):  # fmt: skip
        change()
        with pytest.raises(InputError, match="images differ"):
            batch.run_batch(model, str(folder), str(out), note=quiet)
        batch.run_batch(model, str(folder), str(out), overwrite=True, note=quiet)
