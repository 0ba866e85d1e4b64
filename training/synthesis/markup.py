"""The place of each markup's points on the face, in its texture layout (u, v in [0, 1]; u → 1 − u mirrors it).

Lips, lids and nostrils are the model's own 68 points. The true jaw line comes from the mean of the 2000 shapes of
AFLW2000-3D, aligned with the neutral head: it runs in front of the ear and under the chin, behind the outline that one
sees from the front. Each outline point slides from that line towards the middle of the face, on a *track*, to the
head's outline. People label the outline that they see (300W, WFLW); 3D labels stay on the bone.

Heights are those of real labels on frontal faces. The contour of 68 starts level with the eyes, that of 98 a third of
the eyes' distance higher. People put the tip of the nose lower than the point nearest to the viewer.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .mesh import FaceModel

# The image-left half of the contour: 12 places from the temple to the chin. Each has its place on the bone, the end of
# its track, and the outward direction in a frontal view (x right, y up).
_BONE = np.array(
    [[0.112, 0.215], [0.112, 0.262], [0.108, 0.310], [0.105, 0.364], [0.110, 0.442], [0.108, 0.526], [0.117, 0.620],
     [0.150, 0.696], [0.210, 0.725], [0.303, 0.750], [0.402, 0.751], [0.500, 0.746]]
)  # fmt: skip
_TRACK_END = np.array(
    [[0.300, 0.170], [0.310, 0.220], [0.360, 0.310], [0.370, 0.350], [0.360, 0.410], [0.360, 0.470], [0.365, 0.530],
     [0.375, 0.580], [0.395, 0.620], [0.430, 0.645], [0.470, 0.655], [0.500, 0.660]]
)  # fmt: skip
_OUTWARD = np.array(
    [[-1, 0.25], [-1, 0.2], [-1, 0.15], [-1, 0.1], [-1, 0], [-1, -0.1], [-1, -0.2], [-0.9, -0.45], [-0.75, -0.65],
     [-0.5, -0.85], [-0.25, -0.97], [0, -1]]
)  # fmt: skip
# The contour's points among these 12 places: equal steps along the frontal outline of the neutral head.
_AT98 = np.array([0, 1.05, 2.09, 3.11, 3.75, 4.27, 4.81, 5.36, 5.87, 6.45, 7.14, 8.06, 8.71, 9.36, 9.96, 10.5, 11])
_AT68 = np.array([1.9, 3.53, 4.47, 5.43, 6.39, 7.79, 9.0, 10.09, 11.0])
_AT_JAW = np.array([3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0])  # 3D points 0–8, as in AFLW2000-3D
_BRIDGE = np.array([[0.5, 0.2921], [0.5, 0.3353], [0.5, 0.3758], [0.5, 0.4089]])  # points 27–30 of 2D labels
_BRIDGE_3D = np.array([[0.5, 0.2811], [0.5, 0.3258], [0.5, 0.3616], [0.5, 0.3989]])  # of AFLW2000-3D's mean shape
NOSE_TIP = np.array([[0.5, 0.4175]])  # for the 5 points: lower again
_NOSTRILS = np.array([[0.4331, 0.4567], [0.4696, 0.4587], [0.5, 0.4586]])
_EYE68 = np.array(
    [
        [0.31487, 0.28134],
        [0.33891, 0.27747],
        [0.36833, 0.27789],
        [0.40095, 0.28559],
        [0.36839, 0.28809],
        [0.33045, 0.28809],
    ]
)
_EYE98 = np.array(  # quarters of the lids' length
    [[0.3149, 0.2813], [0.3336, 0.2777], [0.3555, 0.2775], [0.3768, 0.2786], [0.4010, 0.2856], [0.3743, 0.2882],
     [0.3491, 0.2886], [0.3253, 0.2876]]
)  # fmt: skip
_OUTER_LIP = np.array(
    [
        [0.3885, 0.5580],
        [0.4239, 0.5074],
        [0.4685, 0.4903],
        [0.5, 0.4897],
        [0.5, 0.6410],
        [0.4439, 0.6367],
        [0.4058, 0.6152],
    ]
)
_INNER_LIP = np.array([[0.4109, 0.5659], [0.4550, 0.5341], [0.5, 0.5314], [0.5, 0.6088], [0.4443, 0.6047]])
#: Upper and lower edge of the image-left brow, outer end first. Both edges share the outer end.
BROW_UPPER = np.array([[0.236, 0.214], [0.292, 0.193], [0.346, 0.191], [0.396, 0.199], [0.432, 0.209]])
BROW_LOWER = np.array([[0.236, 0.214], [0.294, 0.208], [0.346, 0.210], [0.396, 0.219], [0.432, 0.231]])

TRACK_SAMPLES = 24


def mirror(uv: np.ndarray) -> np.ndarray:
    return np.asarray(uv * [-1.0, 1.0] + [1.0, 0.0])


def _at(places: np.ndarray, table: np.ndarray) -> np.ndarray:
    return np.stack([np.interp(places, np.arange(len(table)), table[:, k]) for k in range(2)], 1)


def contour_tracks(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tracks (2n − 1, S, 2) of a whole contour, from the bone inwards, and its outward directions (2n − 1, 2)."""
    start, end, outward = _at(places, _BONE), _at(places, _TRACK_END), _at(places, _OUTWARD)
    t = np.linspace(0, 1, TRACK_SAMPLES)[:, None]
    tracks = start[:, None] * (1 - t) + end[:, None] * t
    tracks = np.concatenate([tracks, mirror(tracks[-2::-1])])
    outward = np.concatenate([outward, outward[-2::-1] * [-1, 1]])
    return tracks, outward / np.linalg.norm(outward, axis=1, keepdims=True)


def brow_edges(lift: float, thickness: float, gap: float) -> tuple[np.ndarray, np.ndarray]:
    """Edges of one person's image-left brow: raised by ``lift``, ``thickness`` a factor, inner end moved by ``gap``."""
    middle = (BROW_UPPER + BROW_LOWER) / 2
    half = (BROW_LOWER - BROW_UPPER) / 2 * thickness
    shift = np.stack([gap * np.linspace(0, 1, 5) ** 2, np.full(5, -lift)], 1)
    return middle - half + shift, middle + half + shift


def _both(points: np.ndarray, order: list[int]) -> np.ndarray:
    """Points of the image-left feature, then of the other one: its point k mirrors point order[k]."""
    return np.concatenate([points, mirror(points[order])])


def surface_points(brow: tuple[np.ndarray, np.ndarray]) -> dict[str, np.ndarray]:
    """Layout positions of all points fixed to the face: "2d98" from 33 to 95, "2d68" from 17, "3d68", nose tip."""
    upper, lower = brow
    nostrils = np.concatenate([_NOSTRILS, mirror(_NOSTRILS[1::-1])])
    lips_out = np.concatenate(
        [_OUTER_LIP[:4], mirror(_OUTER_LIP[2::-1]), mirror(_OUTER_LIP[:3:-1])[:2], _OUTER_LIP[4:]]
    )
    lips_in = np.concatenate([_INNER_LIP[:3], mirror(_INNER_LIP[1::-1]), mirror(_INNER_LIP[4:]), _INNER_LIP[3:]])
    lips = np.concatenate([lips_out, lips_in])
    brow98 = np.concatenate([upper, lower[:0:-1], mirror(upper[::-1]), mirror(lower[1:])])
    eyes98 = _both(_EYE98, [4, 3, 2, 1, 0, 7, 6, 5])
    # 68-point labels lie inside the brow, nearer to its upper edge.
    brow68 = _both(0.75 * upper + 0.25 * lower, [4, 3, 2, 1, 0])
    eyes68 = _both(_EYE68, [3, 2, 1, 0, 5, 4])
    jaw = _at(_AT_JAW, _BONE)
    return {
        "2d98": np.concatenate([brow98, _BRIDGE, nostrils, eyes98, lips]),
        "2d68": np.concatenate([brow68, _BRIDGE, nostrils, eyes68, lips]),
        "3d68": np.concatenate([jaw, mirror(jaw[-2::-1]), brow68, _BRIDGE_3D, nostrils, eyes68, lips]),
        "tip": NOSE_TIP,
    }


def eye_centres(points98: np.ndarray) -> np.ndarray:
    """Middle of each eye's outline, image-left first: (98, D) -> (2, D)."""
    return np.stack([points98[60:68].mean(0), points98[68:76].mean(0)])


def eye_centres_68(points68: np.ndarray) -> np.ndarray:
    """The same from 68 points. They lack the middle of each lid, so a lid's points get 1.5 times a corner's weight."""
    weights = np.array([1, 1.5, 1.5, 1, 1.5, 1.5])[:, None] / 8
    return np.stack([(points68[36:42] * weights).sum(0), (points68[42:48] * weights).sum(0)])


Located = tuple[np.ndarray, np.ndarray]  # vertices (n, 3) and their weights (n, 3)


@lru_cache(maxsize=2)
def _contours(model: FaceModel) -> dict[str, tuple[Located, np.ndarray]]:
    """Tracks and outward directions of each markup's contour on a model."""
    tracks = {"2d98": contour_tracks(_AT98), "2d68": contour_tracks(_AT68)}
    return {name: (model.locate(at.reshape(-1, 2)), outward) for name, (at, outward) in tracks.items()}


class Points:
    """The markups of one person, read from posed vertices."""

    def __init__(self, model: FaceModel, brow: tuple[np.ndarray, np.ndarray]) -> None:
        self.model = model
        self.fixed = {name: model.locate(uv) for name, uv in surface_points(brow).items()}
        self.contours = _contours(model)

    def read(self, vertices: np.ndarray, roll: float) -> dict[str, np.ndarray]:
        """Positions (L, 3) of "2d98", "2d68", "2d5", "3d68" from projected vertices (V, 3): x right, y down, depth.

        ``roll`` in radians, clockwise in the image: the outward directions turn with it.
        """
        fixed = {name: _blend(vertices, at) for name, at in self.fixed.items()}
        pupils = np.stack([vertices[iris].mean(0) for iris in self.model.irises])
        points98 = np.concatenate([self._contour("2d98", vertices, roll), fixed["2d98"], pupils])
        points68 = np.concatenate([self._contour("2d68", vertices, roll), fixed["2d68"]])
        five = np.concatenate([eye_centres(points98), fixed["tip"], points68[[48, 54]]])
        return {"2d98": points98, "2d68": points68, "2d5": five, "3d68": fixed["3d68"]}

    def _contour(self, markup: str, vertices: np.ndarray, roll: float) -> np.ndarray:
        """(P, 3): for each contour point, the place on its track that lies farthest outward in the image."""
        at, outward = self.contours[markup]
        tracks = _blend(vertices, at).reshape(len(outward), TRACK_SAMPLES, 3)
        c, s = np.cos(roll), np.sin(roll)
        turned = outward * [1, -1] @ np.array([[c, s], [-s, c]])
        reach = np.einsum("psk,pk->ps", tracks[..., :2], turned)
        return np.asarray(np.take_along_axis(tracks, reach.argmax(1)[:, None, None], 1)[:, 0])


def _blend(vertices: np.ndarray, at: Located) -> np.ndarray:
    corners, weights = at
    return np.asarray((vertices[corners] * weights[..., None]).sum(1))
