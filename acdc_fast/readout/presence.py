"""Whether a crop holds a face: the maps say it, because on anything else they stay wide.

Of each markup the spreads of a face's maps are averaged. The narrowest markup counts, as a multiple of what is usual
for the weights. The chance of a face falls with it: ½ at the multiple that the weights' card names (``presence``), odds
by its ninth power. `training/fits/presence_fit.py` fits the multiple. It was fitted to 460 photographs of
training, as they are and with six kinds of harm (moved, dark, blurred, half covered, tiny, leaning), and to 505 squares
without a face (flat, noise, gradients, shapes, text, what lies beside faces). On these the weights of the package take
1.4 to 4.2 % of the faces for none, and 0.8 to 2.1 % of the squares for a face.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

#: Multiple of the usual spread at which the chance is ½, where the card names none: fitted to all weights together.
USUAL_LIMIT = 2.26
#: The odds go by this power of the multiple. Fitted to each weights alone it is 8 to 11.
POWER = 9.0
#: `Model.align` gives no face for a box that the detector found where the chance is lower, unless it is told a least
#: score. Of 2 168 faces that were found in photographs and frames (`mtfl-aflw-dev`, `aflw68`, held-out `frames68`) the
#: least chance by any of the package's weights was 0.22; a blurred one of 24 pixels had 0.03, a fist 0.0005. Of 341
#: that were darkened, blurred, half covered or cut, `acdc-w16-fast` denies two, the other weights none.
DENIED = 0.01


def presence(spread: ArrayLike, usual: float, limit: float = USUAL_LIMIT) -> np.ndarray:
    """(N,) `confidence.narrowest` spreads and what is usual, the same unit → (N,) float32 chance that a face is there.

    If the usual spread of the weights is not known (``usual`` is infinite), the chance is 1.
    """
    multiple = np.maximum(np.asarray(spread, np.float64) / usual, 1e-12) / limit
    chance: np.ndarray = 1 / (1 + np.minimum(multiple, 1e6) ** POWER)
    return chance.astype(np.float32)
