"""Expressions for the fit of blendshapes: any of them, on one side or both, and their strengths under phones' names.

The expressions of `person` are those of ordinary pictures: both sides of a face move together, and few moods make up
most faces. A read-out fitted to them would learn that a closed left eye means a closed right eye.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from acdc_fast.readout.blendshapes import NAMES

from .mesh import FaceModel
from .person import Gaze, Rng, sample_expression

#: Angle of the gaze, radians, that counts as 1.
FULL_GAZE = 0.5
#: Pairs of which a face shows at most one: they move the same points in opposite directions.
_OPPOSITES = (
    ("jawLeft", "jawRight"), ("mouthLeft", "mouthRight"),
    ("eyeWide_L", "eyeBlink_L"), ("eyeWide_R", "eyeBlink_R"),
    ("eyeWide_L", "eyeSquint_L"), ("eyeWide_R", "eyeSquint_R"),
)  # fmt: skip
#: Shapes of the model that phones do not give, or that follow from the gaze.
_LEFT_OUT = ("PupilDilate", "cheekRaiser", "eyeLook")


def sample_free(model: FaceModel, rng: Rng) -> tuple[dict[str, float], Gaze]:
    """Strengths of the model's expression shapes by name, and the gaze. Half of the faces have an ordinary expression,
    sometimes weaker on one side; most have up to six further shapes, each on both sides or on one."""
    strengths, gaze = sample_expression(model, rng)
    if rng.random() < 0.5:
        strengths = {}
    elif rng.random() < 0.3:
        side, share = rng.choice(["_L", "_R"]), rng.uniform(0, 0.7)
        strengths = {n: v * share if n.endswith(side) else v for n, v in strengths.items()}
    strengths = {n: v for n, v in strengths.items() if not n.startswith(_LEFT_OUT)}
    names = sorted({n.removesuffix("_L").removesuffix("_R") for n in model.expression if not n.startswith(_LEFT_OUT)})
    for name in rng.permutation(names)[: rng.integers(0, 7)]:
        _add(model, strengths, str(name), rng)
    if rng.random() < 0.15:
        _add(model, strengths, "eyeBlink", rng)
    for first, second in _OPPOSITES:
        weaker = min(first, second, key=lambda n: strengths.get(n, 0.0))
        strengths.pop(weaker, None)
    strengths["mouthClose"] = min(strengths.get("mouthClose", 0.0), strengths.get("jawOpen", 0.0))
    gaze = Gaze(gaze.side * 1.2, gaze.up * 1.3)
    lid = "eyeLookUp" if gaze.up > 0 else "eyeLookDown"
    strengths |= {f"{lid}_{side}": abs(gaze.up) / FULL_GAZE for side in "LR"}
    return {n: float(np.clip(v, 0, 1)) for n, v in strengths.items() if n in model.expression and v > 0.01}, gaze


def _add(model: FaceModel, strengths: dict[str, float], name: str, rng: Rng) -> None:
    """One shape more. A paired one: half of the time on both sides, alike or not, else on one side."""
    value = rng.beta(1.3, 1.3)
    if name in model.expression:
        strengths[name] = max(strengths.get(name, 0.0), value)
        return
    one_side, favoured = rng.random() < 0.5, rng.choice(["_L", "_R"])
    if name in ("browInnerUp", "cheekPuff"):  # phones know no sides of these
        one_side = False
    for side in ("_L", "_R"):
        if not one_side or side == favoured:
            strengths[name + side] = max(strengths.get(name + side, 0.0), value * rng.uniform(0.8, 1.2))


def blendshapes_of(strengths: Mapping[str, float], gaze: Gaze) -> np.ndarray:
    """(52,) float32 in [0, 1] in the order of `NAMES`. The gaze is given to both eyes; the tongue is never out."""
    values = dict.fromkeys(NAMES, 0.0)
    for name in NAMES:
        base = name.removesuffix("Left").removesuffix("Right")
        own = base + {"Left": "_L", "Right": "_R"}.get(name.removeprefix(base), "")
        if name in strengths:
            values[name] = strengths[name]
        elif own in strengths:
            values[name] = strengths[own]
        elif f"{name}_L" in strengths or f"{name}_R" in strengths:
            values[name] = (strengths.get(f"{name}_L", 0.0) + strengths.get(f"{name}_R", 0.0)) / 2
    # The image's right is the person's left.
    side, up = gaze.side / FULL_GAZE, gaze.up / FULL_GAZE
    looks = {"OutLeft": side, "InRight": side, "InLeft": -side, "OutRight": -side}
    looks |= {f"{way}{eye}": value for way, value in (("Up", up), ("Down", -up)) for eye in ("Left", "Right")}
    values |= {f"eyeLook{name}": value for name, value in looks.items()}
    return np.asarray(np.clip([values[name] for name in NAMES], 0, 1), np.float32)
