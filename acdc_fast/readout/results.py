"""Faces as plain numbers, for JSON, and as text. The layout is fixed: docs/reference/json-and-parquet.md."""

from __future__ import annotations

from typing import Any

from ..types import Faces


def as_dict(faces: Faces) -> list[dict[str, Any]]:
    """One entry a face: see `Faces.to_dict`."""
    entries: list[dict[str, Any]] = faces.to_dict()["faces"]
    return entries


def summary(faces: Faces) -> str:
    """One line a face, for people."""
    return "\n".join(faces.line(i) for i in range(len(faces)))
