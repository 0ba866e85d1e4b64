"""Both detectors together: our own network looks first, the library only where the network is unsure.

Where both have looked, a box counts that the network is sure of, that the library is sure of, or that both see. So
there are fewer boxes without a face than either detector gives alone.
"""

from __future__ import annotations

import numpy as np

#: From this score on a box of the network needs no second opinion.
SURE = 0.9
#: A box of the network between this score and `SURE` makes the library look; so does a picture without a sure one.
DOUBT = 0.5
#: From this score on a box of the library needs none either. Below it, down to `TOGETHER`, the network must see the
#: face too: with at least `SEEN`, and an intersection over union above `SAME`.
LIBRARY_SURE, TOGETHER, SEEN, SAME = 0.8, 0.4, 0.2, 0.3


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Boxes (N, 4 or more), (M, 4 or more) → (N, M) intersection over union."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:4], b[None, :, 2:4])
    shared = np.maximum(high - low, 0).prod(2)
    area, other = ((each[:, 2:4] - each[:, :2]).prod(1) for each in (a, b))
    return np.asarray(shared / (area[:, None] + other - shared))


def unsure(own: np.ndarray) -> bool:
    """Whether the library must look too. ``own``: (N, 5) boxes and scores of the network from `SEEN` on."""
    sure = own[:, 4] >= SURE
    return not sure.any() or bool(((own[:, 4] >= DOUBT) & ~sure).any())


def agreed(own: np.ndarray, library: np.ndarray) -> np.ndarray:
    """(N, 5) of the network from `SEEN` on, (M, 5) of the library from `TOGETHER` on → (K, 5) boxes and scores.

    A face of which the network is sure keeps the network's box, the others the library's. No face comes twice."""
    sure = own[own[:, 4] >= SURE]
    alone = library[:, 4] >= LIBRARY_SURE
    seen = (overlaps(library, own) > SAME).any(1)
    known = (overlaps(library, sure) > SAME).any(1)
    return np.concatenate([sure, library[(alone | seen) & ~known]])
