"""Faces as plain numbers, for JSON. The layout is described in docs/json.md and stays put."""

from __future__ import annotations

from typing import Any

import numpy as np

from .types import Faces


def as_dict(faces: Faces) -> list[dict[str, Any]]:
    """One entry a face: box (xyxy), score, pose (degrees, or None), landmarks, spread, confidence by markup; pixels."""
    return [
        {
            "box": _rounded(faces.boxes[i], 2),
            "score": round(float(faces.scores[i]), 4),
            "pose": None
            if faces.pose is None
            else {name: round(float(getattr(faces.pose, name)[i]), 3) for name in ("yaw", "pitch", "roll")},
            "landmarks": {name: _rounded(points[i], 3) for name, points in faces.landmarks.items()},
            "spread": {name: _rounded(values[i], 3) for name, values in faces.spread.items()},
            "confidence": {name: _rounded(values[i], 4) for name, values in faces.confidence.items()},
        }
        for i in range(len(faces))
    ]


def summary(faces: Faces) -> str:
    """One line a face, for people."""
    lines = []
    for i in range(len(faces)):
        x0, y0, x1, y1 = faces.boxes[i]
        line = f"  face {i}: box {x0:.0f},{y0:.0f}–{x1:.0f},{y1:.0f}, score {faces.scores[i]:.2f}"
        if faces.pose is not None:
            p = faces.pose
            line += f", yaw {p.yaw[i]:+.1f}°, pitch {p.pitch[i]:+.1f}°, roll {p.roll[i]:+.1f}°"
        lines.append(line)
    return "\n".join(lines)


def _rounded(array: np.ndarray, digits: int) -> list[Any]:
    values: list[Any] = np.round(array.astype(np.float64), digits).tolist()
    return values
