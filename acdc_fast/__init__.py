"""Facial landmarks and head pose with AC-DC: names of the contract, loaded when first used."""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# A library says nothing unless its user asks: docs/guides/troubleshooting.md, "What happened inside".
logging.getLogger(__name__).addHandler(logging.NullHandler())

_HOME = {
    "ACDCConfig": "config",
    "ACDC": "network",
    "Camera": "photo.camera",
    "Model": "model",
    "Faces": "types",
    "HeadPose": "types",
    "Moments": "types",
    "Prediction": "types",
    "BackendUnavailable": "errors",
    "AcdcError": "errors",
    "InputError": "errors",
    "env_report": "commands.env",
}
#: Rooms that are attributes of the package, and where each lies.
_ROOMS = {"ops": "ops", "draw": "photo.draw", "coordinates": "photo.coordinates", "markups": "markups"}

if TYPE_CHECKING:
    from . import ops as ops
    from .commands.env import env_report as env_report
    from .config import ACDCConfig as ACDCConfig
    from .errors import AcdcError as AcdcError
    from .errors import BackendUnavailable as BackendUnavailable
    from .errors import InputError as InputError
    from .model import Model as Model
    from .network import ACDC as ACDC
    from .photo.camera import Camera as Camera
    from .types import Faces as Faces
    from .types import HeadPose as HeadPose
    from .types import Moments as Moments
    from .types import Prediction as Prediction

__all__ = [*_HOME, "ops"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    elif name in _ROOMS:
        value = importlib.import_module(f".{_ROOMS[name]}", __name__)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME, *_ROOMS])
