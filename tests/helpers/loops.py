"""AC-DC once more, from the equations alone: numpy, float64, plain loops, no torch and nothing of the package.

Slow on purpose: one look at a function must show that it is the equation. It takes the parameters by their names in
`ACDC.state_dict()`, which is all that it shares with the network under test.
"""

from __future__ import annotations

from math import exp

import numpy as np

Params = dict[str, np.ndarray]


def conv3x3(x: np.ndarray, weight: np.ndarray, stride: int = 1) -> np.ndarray:
    """x (C, H, W), weight (O, C, 3, 3), zero padding 1."""
    c, h, w = x.shape
    padded = np.zeros((c, h + 2, w + 2))
    padded[:, 1:-1, 1:-1] = x
    out = np.zeros((len(weight), h // stride, w // stride))
    for o in range(out.shape[0]):
        for i in range(out.shape[1]):
            for j in range(out.shape[2]):
                patch = padded[:, i * stride : i * stride + 3, j * stride : j * stride + 3]
                out[o, i, j] = (patch * weight[o]).sum()
    return out


def patches(x: np.ndarray, side: int) -> np.ndarray:
    """x (1, H, W) → (side², H / side, W / side): the pixels of each patch as channels, row by row."""
    return np.stack([x[0, i::side, j::side] for i in range(side) for j in range(side)])


def conv1x1(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    out = np.zeros((len(weight), *x.shape[1:]))
    for o in range(len(weight)):
        for c in range(len(x)):
            out[o] += weight[o, c] * x[c]
    return out


def block(x: np.ndarray, p: Params, name: str, stride: int = 1) -> np.ndarray:
    """3×3 convolution, batch norm with running statistics, ReLU."""
    y = conv3x3(x, p[f"{name}.0.weight"], stride)
    for o in range(len(y)):
        scale = p[f"{name}.1.weight"][o] / np.sqrt(p[f"{name}.1.running_var"][o] + 1e-5)
        y[o] = (y[o] - p[f"{name}.1.running_mean"][o]) * scale + p[f"{name}.1.bias"][o]
    return np.maximum(y, 0)


def double(x: np.ndarray) -> np.ndarray:
    """Bilinear ×2, half-pixel centres: output pixel i looks at input coordinate (i + ½)/2 - ½, clamped to the edge."""
    c, h, w = x.shape
    out = np.zeros((c, 2 * h, 2 * w))
    for i in range(2 * h):
        for j in range(2 * w):
            v, u = max((i + 0.5) / 2 - 0.5, 0.0), max((j + 0.5) / 2 - 0.5, 0.0)
            i0, j0 = int(v), int(u)
            i1, j1 = min(i0 + 1, h - 1), min(j0 + 1, w - 1)
            a, b = v - i0, u - j0
            out[:, i, j] = (1 - a) * ((1 - b) * x[:, i0, j0] + b * x[:, i0, j1]) + a * (
                (1 - b) * x[:, i1, j0] + b * x[:, i1, j1]
            )
    return out


def unet(x: np.ndarray, p: Params, name: str) -> np.ndarray:
    stem = p[f"{name}.stem.weight"]
    x = conv1x1(x, stem.reshape(len(stem), -1)) + p[f"{name}.stem.bias"][:, None, None]
    skips = []
    for level in (1, 2, 3):
        x = block(x, p, f"{name}.encode{level}")
        skips.append(x)
        x = block(x, p, f"{name}.down{level}", stride=2)
    for level in (3, 2, 1):
        x = block(double(x), p, f"{name}.up{level}") + skips[level - 1]
        x = block(x, p, f"{name}.decode{level}")
    return x


def geometry_maps(embedding: np.ndarray, p: Params, chain: list[str], solid: list[str]) -> np.ndarray:
    """Eq. 1: depthwise convolution per stream, then the transfer layers one after the other."""
    maps = []
    for stream, markups in (("2d", chain), ("3d", solid)):
        if not markups:
            continue
        kernel = p[f"gtn.depthwise.{stream}"]
        k = len(kernel)
        x = embedding[:k] if stream == "2d" else embedding[len(embedding) - k :]
        x = np.concatenate([conv3x3(x[c : c + 1], kernel[c : c + 1, None]) for c in range(k)])
        for name in markups:
            x = conv1x1(x, p[f"gtn.transfer.{name}"])
            maps.append(x)
    return np.concatenate(maps)


def moments(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eq. 2 and 3 for one map (H, W): mean (x, y) and covariance (xx, xy, yy) in crop units."""
    h, w = logits.shape
    weights = np.array([[exp(logits[y, x] - logits.max()) for x in range(w)] for y in range(h)])
    weights /= weights.sum()
    mean = np.zeros(2)
    for y in range(h):
        for x in range(w):
            mean += weights[y, x] * np.array([(x + 0.5) / w, (y + 0.5) / h])
    covariance = np.zeros(3)
    for y in range(h):
        for x in range(w):
            dx, dy = (x + 0.5) / w - mean[0], (y + 0.5) / h - mean[1]
            covariance += weights[y, x] * np.array([dx * dx, dx * dy, dy * dy])
    return mean, covariance


def mask(logits: np.ndarray) -> np.ndarray:
    """Eq. 4 on the softmax itself: min-max normalised maps (L, H, W), largest per pixel; a constant map gives 0."""
    out = np.zeros(logits.shape[1:])
    for g in logits:
        phi = np.exp(g - g.max())
        phi /= phi.sum()
        if phi.max() > phi.min():
            out = np.maximum(out, (phi - phi.min()) / (phi.max() - phi.min()))
    return out


def acdc(
    crop: np.ndarray, p: Params, stages: int, chain: list[str], solid: list[str], variant: str
) -> list[dict[str, np.ndarray]]:
    """One crop (S, S) through the cascade; per stage the means, covariances, mask and pose (degrees)."""
    patch, out = p["unets.0.stem.weight"].shape[-1], []
    x = patches(crop[None], patch)
    image = x.mean(0)[None]
    for stage in range(stages):
        embedding = unet(x, p, f"unets.{stage}")
        logits = geometry_maps(embedding, p, chain, solid)
        stats = [moments(g) for g in logits]
        means = np.array([m for m, _ in stats])
        result = {"mean": means, "covariance": np.array([c for _, c in stats]), "mask": mask(logits)}
        if variant != "ac":
            points = means[-68:].reshape(-1)
            omega = p["gtn.pose.weight"] @ points + p["gtn.pose.bias"]
            result["pose"] = omega * 90
        out.append(result)
        if stage + 1 < stages:
            phi = result["mask"]
            x = np.concatenate([image, image * phi, embedding, embedding * phi])  # eq. 5
            if variant == "ac-dc":  # eq. 6
                f = 1 / (1 + np.exp(-(p[f"excite.{stage}.weight"] @ omega + p[f"excite.{stage}.bias"])))
                x = x * f[:, None, None]
    return out
