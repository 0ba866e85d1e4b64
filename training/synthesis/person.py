"""The person and the face's motion: identity, expression, gaze."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .mesh import FaceModel

Rng = np.random.Generator

# Usual expressions, as strengths of the model's shapes. "*" stands for both sides.
_MOODS: dict[str, dict[str, float]] = {
    "smile": {"mouthSmile_*": 0.8, "cheekSquint_*": 0.4, "eyeSquint_*": 0.3, "mouthDimple_*": 0.2},
    "laugh": {
        "mouthSmile_*": 0.9,
        "jawOpen": 0.35,
        "cheekSquint_*": 0.6,
        "mouthUpperUp_*": 0.5,
        "mouthLowerDown_*": 0.4,
    },
    "talk": {"jawOpen": 0.25, "mouthFunnel": 0.3, "mouthLowerDown_*": 0.3},
    "shout": {"jawOpen": 0.9, "browDown_*": 0.4, "mouthStretch_*": 0.4},
    "surprise": {"jawOpen": 0.5, "browInnerUp_*": 0.8, "browOuterUp_*": 0.7, "eyeWide_*": 0.7},
    "frown": {"browDown_*": 0.8, "mouthFrown_*": 0.6, "eyeSquint_*": 0.4},
    "sad": {"browInnerUp_*": 0.7, "mouthFrown_*": 0.6, "mouthShrugLower": 0.4},
    "disgust": {"noseSneer_*": 0.8, "mouthUpperUp_*": 0.5, "browDown_*": 0.5, "eyeSquint_*": 0.5},
    "pucker": {"mouthPucker": 0.8, "mouthFunnel": 0.2},
    "press": {"mouthPress_*": 0.8, "mouthRollLower": 0.4, "mouthRollUpper": 0.4},
    "blink": {"eyeBlink_*": 1.0},
}


@dataclass(frozen=True)
class Gaze:
    """Direction of both eyes in the head, radians: to the image's right in a frontal view, and up."""

    side: float
    up: float


def sample_identity(model: FaceModel, rng: Rng) -> np.ndarray:
    """Vertices (V, 3) of a resting face. Normal coefficients, with a varying spread of 0.7 to 1.15."""
    weights = rng.normal(0, 1, len(model.identity)).clip(-2.5, 2.5) * rng.uniform(0.7, 1.15)
    return np.asarray(model.neutral + (weights.astype(np.float32) @ model.identity).reshape(-1, 3))


def sample_expression(model: FaceModel, rng: Rng) -> tuple[dict[str, float], Gaze]:
    """Strengths of the model's expression shapes by name, and the gaze."""
    strengths: dict[str, float] = {}
    kind = rng.random()
    if kind > 0.25:
        mood = _MOODS[str(rng.choice(list(_MOODS), p=_MOOD_ODDS))]
        for name, value in mood.items():
            _raise(strengths, name, value * rng.uniform(0.3, 1.2), rng)
    if kind > 0.6:
        names = sorted({n.replace("_L", "_*").replace("_R", "_*") for n in model.expression} - {"PupilDilate_*"})
        usable = [n for n in names if not n.startswith("eyeLook")]
        for name in rng.permutation(usable)[: rng.integers(1, 5)]:
            _raise(strengths, str(name), rng.beta(1.2, 2.5), rng)
    if rng.random() < 0.08:
        _raise(strengths, "eyeBlink_*", rng.uniform(0.3, 1), rng)
    gaze = Gaze(rng.normal(0, 0.25), rng.normal(-0.03, 0.15))
    _raise(strengths, "eyeLookUp_*" if gaze.up > 0 else "eyeLookDown_*", min(1.0, abs(gaze.up) / 0.5), None)
    if strengths.get("jawOpen", 0) > 0.3:  # an open jaw and a closed mouth contradict each other
        strengths.pop("mouthClose", None)
    return {n: float(np.clip(v, 0, 1)) for n, v in strengths.items() if n in model.expression and v > 0.01}, gaze


_MOOD_ODDS = np.array([5, 4, 3, 1, 1, 1.5, 1, 1, 0.8, 1, 0.7])
_MOOD_ODDS = _MOOD_ODDS / _MOOD_ODDS.sum()


def _raise(strengths: dict[str, float], name: str, value: float, rng: Rng | None) -> None:
    sides = [name.replace("*", s) for s in "LR"] if "*" in name else [name]
    for side in sides:
        uneven = rng.uniform(0.8, 1.2) if rng is not None else 1.0
        strengths[side] = max(strengths.get(side, 0.0), value * uneven)


def apply_expression(model: FaceModel, vertices: np.ndarray, strengths: dict[str, float], gaze: Gaze) -> np.ndarray:
    """The face's vertices with an expression, and the eyeballs turned about their centres."""
    out = vertices.copy()
    for name, value in strengths.items():
        out += np.float32(value) * model.expression[name]
    c, s = np.cos(gaze.side), np.sin(gaze.side)
    cu, su = np.cos(gaze.up), np.sin(gaze.up)
    rotation = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]) @ np.array([[1, 0, 0], [0, cu, su], [0, -su, cu]])
    for eye in model.eye_vertices:
        centre = (out[eye].max(0) + out[eye].min(0)) / 2
        out[eye] = (out[eye] - centre) @ rotation.T.astype(np.float32) + centre
    return np.asarray(out)
