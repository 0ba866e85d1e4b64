"""The weights inside the package, by name."""

from __future__ import annotations

from pathlib import Path

from .errors import InputError

FOLDER = Path(__file__).parent / "pretrained"
#: Weights that are taken unless others are named.
DEFAULT = "acdc-w32"


def bundled() -> dict[str, Path]:
    """Their files."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.safetensors"))}


def bundled_path(name: str) -> Path:
    """Path of the weights of this name; `InputError` says which there are."""
    known = bundled()
    if name not in known:
        raise InputError(f"no weights named {name!r} in this package; it has {', '.join(known) or 'none'}")
    return known[name]
