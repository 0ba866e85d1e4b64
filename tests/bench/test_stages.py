"""The benches of whole calls hold on to functions of the package by name: they must be there, and be put back."""

from __future__ import annotations

from pathlib import Path

import around_network
import busy_cores
import numpy as np
import pytest
from helpers.paths import PHOTO
from stages import Span, recorded

from acdc_fast import Model
from acdc_fast import model as models
from acdc_fast.photo import finding


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.from_pretrained("acdc-w16-fast", threads=2)


def test_every_stage_is_recorded_and_the_functions_are_put_back(model: Model) -> None:
    before = finding.load_picture, finding.detect, models.Model._run
    with recorded() as spans:
        faces = model.align([PHOTO, PHOTO])
    assert [len(f) for f in faces] == [1, 1]
    counts = {stage: sum(s.stage == stage for s in spans) for stage in ("read", "find", "network")}
    assert counts["read"] == counts["find"] == 2 and counts["network"] >= 1
    assert all(s.end >= s.start and s.cpu >= 0 for s in spans)
    assert (finding.load_picture, finding.detect, models.Model._run) == before


def test_what_is_left_beside_the_network(model: Model) -> None:
    found = around_network.measured(model, around_network.photo(), calls=2, detector="both")
    whole, *parts, beside, cpu = (np.array(values) for values in found.values())
    assert whole.shape == (2,) and np.allclose(whole, sum(parts) + beside)
    assert (beside > 0).all() and (cpu > 0).all() and all((part > 0).all() for part in parts)


def test_shares_of_the_cores(model: Model, tmp_path: Path) -> None:
    seconds, busy, wanted, idle, cpu = busy_cores.once(model, [PHOTO] * 20, cpus=2)
    assert seconds > 0 and busy > 0 and 0 < wanted <= 1
    assert idle.pop("all samples") > 0 and set(idle) <= {"beside the network", "network"}
    assert list(cpu) == ["read", "find", "network", "rest"] and min(cpu["read"], cpu["find"], cpu["network"]) > 0


def test_what_the_callers_thread_did() -> None:
    spans = [Span("network", 1, 2.0, 3.0, 0.1), Span("find", 2, 0.0, 9.0, 0.1), Span("network", 1, 5.0, 6.0, 0.1)]
    assert busy_cores.stage_of(spans, thread=1) == [
        (-np.inf, "beside the network"),
        (2.0, "network"),
        (3.0, "beside the network"),
        (5.0, "network"),
        (6.0, "beside the network"),
    ]
