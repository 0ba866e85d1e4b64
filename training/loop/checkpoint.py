"""Checkpoints. They are written beside and renamed, so a file of this name is always whole."""

from __future__ import annotations

import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from acdc_fast.errors import AcdcError, InputError
from acdc_fast.files import written_beside

NAME = "checkpoint.pt"


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Raises `AcdcError` if the file cannot be written. The old checkpoint then stays."""
    try:
        with written_beside(path) as beside, open(beside, "wb") as file:
            torch.save(state, file)
    except (OSError, RuntimeError) as error:
        # torch raises an error of its own. If the disk refused, that error is its context and the true reason.
        reason = error.__context__ if isinstance(error.__context__, OSError) else error
        said = getattr(reason, "strerror", None) or reason
        raise AcdcError(f"{path}: cannot be written ({said}); an earlier checkpoint, if any, is unharmed") from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Loads tensors and plain values only, so nothing in the file is run. Raises `InputError`."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no checkpoint there to resume from; without --resume a run begins") from error
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(f"{path}: not a readable checkpoint: {error}") from error
    return state


def random_states() -> dict[str, Any]:
    """States of all generators that a run might use. Batches need none: they depend on seed and update only."""
    kind, keys, position, has_gauss, cached = np.random.get_state()
    version, words, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": (kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached),
        "python": (version, list(words), gauss),
    }


def restore_random_states(states: dict[str, Any]) -> None:
    torch.set_rng_state(states["torch"])
    if states["cuda"] and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
    kind, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
