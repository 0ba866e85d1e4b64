"""What the eager network gives in bfloat16 and in float64, kept on disk.

Each instruction set of bfloat16 is compared with the same results, in a process of its own, and torch takes minutes for
them on a CPU that lacks bfloat16. Our native ops take no part, so the results are the same with every instruction set.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from helpers.kept import digest, kept
from helpers.nets import arrays
from helpers.paths import ROOT

from acdc_fast import ACDC
from acdc_fast.engines.eager import EagerEngine
from acdc_fast.files import written_beside
from acdc_fast.types import Prediction

#: What changes torch's arithmetic from outside.
OUTSIDE = ("ATEN_", "DNNL_", "MKL_", "OMP_NUM_THREADS", "ONEDNN_", "TORCH_")

Stages = Sequence[Prediction]


def half_and_exact(network: ACDC, x: np.ndarray) -> tuple[Stages, Stages]:
    """All stages of the network for these crops: in bfloat16 (autocast), and in float64."""
    held = arrays(network)
    told = [repr(network.config), str(x.shape), x, *(part for name in sorted(held) for part in (name, held[name]))]
    key = hashlib.sha256()
    for part in told:
        key.update(part.encode() if isinstance(part, str) else part.tobytes())
    sources = [*(ROOT / "acdc_fast").rglob("*.py"), Path(__file__).resolve()]
    outside = sorted(item for item in os.environ.items() if item[0].startswith(OUTSIDE))
    machine = (torch.__config__.show(), torch.backends.cpu.get_cpu_capability(), torch.get_num_threads(), outside)
    room = kept("eager", digest(sorted(sources), torch.__version__, np.__version__, machine), lambda _: None)
    path = room / f"{key.hexdigest()}.pickle"
    if not path.exists():
        with written_beside(path) as beside:
            beside.write_bytes(pickle.dumps(computed(network, x)))
    found: tuple[Stages, Stages] = pickle.loads(path.read_bytes())
    return found


def computed(network: ACDC, x: np.ndarray) -> tuple[Stages, Stages]:
    with patch.dict(os.environ, ACDC_BACKEND="reference"):
        found = [
            EagerEngine(network.config, arrays(network), dtype=dtype)(x, all_stages=True).stages
            for dtype in ("bfloat16", "float64")
        ]
    assert found[0] is not None and found[1] is not None
    return found[0], found[1]
