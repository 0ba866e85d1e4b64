"""Model: a call with many crops runs in slices, with the same result, and ends soon when it is told to."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from helpers.patience import PATIENCE

torch = pytest.importorskip("torch", reason="torch is not installed: the tests give tensors, too")

from helpers.models import BACKENDS, DEGREES, UNITS  # noqa: E402
from helpers.small import small_weights  # noqa: E402

from acdc_fast import Model, Prediction  # noqa: E402


@pytest.mark.parametrize("backend", [b for b in BACKENDS if b != "gpu"])
def test_a_long_batch_in_turns_is_the_same(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = small_weights()
    crops = torch.rand(23, 1, 64, 64)
    model = Model(weights, backend=backend, threads=1)
    calls: list[int] = []
    engine = model.engine

    class Counting:
        device, threads, name, takes_tensors = "cpu", 1, engine.name, engine.takes_tensors

        def __call__(self, crops: object, **options: object) -> Prediction:
            calls.append(len(crops))
            return engine(crops, **options)

    whole = engine(crops if engine.takes_tensors else crops.numpy(), all_stages=True)
    model.engine = Counting()
    monkeypatch.setattr("acdc_fast.engines.slices.SLICE", 1e-9)  # so that no turn grows
    for each in (crops, crops.numpy()):
        got = model(each, all_stages=True)
        for mine, theirs in zip([got, *got.stages], [whole, *whole.stages], strict=True):
            for name, points in theirs.landmarks.items():
                assert np.abs(np.asarray(mine.landmarks[name]) - np.asarray(points)).max() < UNITS
                assert np.abs(np.asarray(mine.covariance[name]) - np.asarray(theirs.covariance[name])).max() < UNITS
            assert np.abs(np.asarray(mine.pose) - np.asarray(theirs.pose)).max() < DEGREES
            assert np.abs(np.asarray(mine.mask) - np.asarray(theirs.mask)).max() < 2e-3
    assert len(calls) > 4 and sum(calls) == 46


LONG = """
import os, signal, threading, time
import numpy as np
from acdc_fast import Model
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore Ctrl-C
model = Model.from_pretrained(threads=1)
crops = np.zeros((2000, 1, 128, 128), np.float32)
model(crops[:1])
struck = []
def strike():
    while time.process_time() < begun + 1:
        time.sleep(0.05)
    struck.append(time.process_time())
    os.kill(os.getpid(), signal.SIGINT)
begun = time.process_time()
threading.Thread(target=strike).start()
try:
    model(crops)
except KeyboardInterrupt:
    print(time.process_time() - struck[0])
"""


def test_ctrl_c_in_a_long_call() -> None:
    """The call takes minutes of one thread. It ends within a second of processor time, which other work cannot take."""
    run = subprocess.run([sys.executable, "-c", LONG], capture_output=True, text=True, timeout=PATIENCE)
    assert run.returncode == 0 and 0 <= float(run.stdout) < 1, run
