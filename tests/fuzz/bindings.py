"""Calls of the C++ library with arguments that are almost right: shapes, types, layouts, indices and sizes."""

from __future__ import annotations

import contextlib
import random
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from acdc_fast import _native

HUGE = [0, -1, 1, 2, 2**31 - 1, -(2**31), 65536, 4097, 3]


class Draw:
    """Arguments drawn from bytes; about one in ten is spoilt."""

    def __init__(self, data: bytes) -> None:
        self.rng = random.Random(zlib.crc32(data))
        self.numbers = np.random.default_rng(zlib.adler32(data))
        self.isa = self.rng.choice(_native.available_isas())

    def spoilt(self) -> bool:
        return self.rng.random() < 0.02

    def size(self, most: int = 20) -> int:
        return self.rng.choice([1, 1, 2, 3, 5, 8, 16, 17, self.rng.randint(1, most)])

    def threads(self) -> int:
        return self.rng.choice(HUGE[:2]) if self.spoilt() else self.rng.choice([1, 1, 2, 3])

    def floats(self, *shape: int, dtype: Any = np.float32) -> Any:
        if self.spoilt():
            shape = tuple(max(0, n + self.rng.choice([-1, 0, 1])) for n in shape)
        if self.spoilt():
            shape = shape[: self.rng.randint(0, len(shape))] + (1,) * self.rng.randint(0, 2)
        x = self.numbers.normal(0, self.rng.choice([1e-40, 1.0, 1.0, 1.0, 1e30]), shape).astype(dtype)
        if self.rng.random() < 0.05 and x.size:
            x.flat[self.rng.randrange(x.size)] = self.rng.choice([np.nan, np.inf, -np.inf, 3e38])
        if self.spoilt():
            x = x.astype(self.rng.choice([np.float64, np.int32, np.uint8, np.float16, object]))
        if self.spoilt():
            x = np.asfortranarray(x)
        if self.spoilt():
            x = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:]
        if self.spoilt():
            x.flags.writeable = False
        return self.rng.choice([None, "x", 3, [1.0]]) if self.spoilt() else x

    def indices(self, low: int, end: int, *shape: int) -> Any:
        x = self.numbers.integers(low, max(end, low + 1), shape).astype(np.int32)
        if self.spoilt() and x.size:
            x.flat[self.rng.randrange(x.size)] = self.rng.choice([*HUGE, end, low - 1])
        return x[..., :-1] if self.spoilt() and x.ndim else x

    def statistics(self, b: int, maps: int, pixels: int) -> dict[str, Any]:
        found = {
            "high": self.floats(b, maps), "low": self.floats(b, maps), "argmax": self.indices(0, pixels, b, maps),
            "argmin": self.indices(0, pixels, b, maps), "mean": self.floats(b, maps, 2),
            "covariance": self.floats(b, maps, 3), "peak": self.floats(b, maps),
        }  # fmt: skip
        if self.spoilt():
            del found[self.rng.choice(list(found))]
        return found


def logit_ops(d: Draw) -> None:
    b, maps, h, w = d.size(3), d.size(), d.size(), d.size(70)
    logits, stats, mask = d.floats(b, maps, h, w), d.statistics(b, maps, h * w), d.floats(b, 1, h, w)
    winner, out = d.indices(-1, maps, b, h, w), d.floats(b, maps, h, w)
    d.rng.choice(
        [
            lambda: _native.spatial_softmax_forward(logits, stats, d.threads(), d.isa),
            lambda: _native.spatial_softmax_backward(
                d.floats(b, maps, 2), d.floats(b, maps, 3), d.floats(b, maps), logits, stats, out, d.threads(), d.isa
            ),
            lambda: _native.attention_mask_forward(logits, stats, mask, winner, d.threads(), d.isa),
            lambda: _native.attention_mask_backward(
                d.floats(b, 1, h, w), logits, mask, stats, winner, out, d.threads(), d.isa
            ),
        ]
    )()


def geometry(d: Draw) -> None:
    b, h, w, k, maps = d.size(3), d.size(), d.size(40), d.size(), d.size(40)
    c, split = k + d.rng.randint(0, k), d.rng.randint(0, maps)
    if d.spoilt():
        split = d.rng.choice([*HUGE, maps + 1])
    streams = int(split > 0) + int(split < maps)
    embedding, depthwise, transfer = d.floats(b, h, w, c), d.floats(streams, k, 3, 3), d.floats(maps, k)
    stats, mask, winner = d.statistics(b, maps, h * w), d.floats(b, 1, h, w), d.indices(-1, maps, b, h, w)
    masked = d.numbers.integers(0, 2, maps).astype(np.uint8)
    if d.rng.random() < 0.5:
        _native.geometry_transfer_forward(
            embedding, depthwise, transfer, split, masked, stats, mask, winner, d.threads(), d.isa
        )
        return
    grads = {"grad_mean": d.floats(b, maps, 2), "grad_covariance": d.floats(b, maps, 3),
             "grad_peak": d.floats(b, maps), "grad_mask": d.floats(b, 1, h, w)}  # fmt: skip
    _native.geometry_transfer_backward(
        grads, embedding, depthwise, transfer, split, stats, mask, winner, d.floats(b, h, w, c),
        d.floats(streams, k, 3, 3), d.floats(maps, k), d.threads(), d.isa,
    )  # fmt: skip


def fusion(d: Draw) -> None:
    b, p, c, o = d.size(3), d.size(1300), d.size(), d.size()
    image, h, mask, folded = d.floats(b, p), d.floats(b, p, c), d.floats(b, p), d.floats(b, 2, 1 + c, o)
    excitation, grad = d.floats(b, 2 + 2 * c), d.rng.choice([None, np.empty((b, p), np.float32)])
    d.rng.choice(
        [
            lambda: _native.dual_fusion_conv1x1_forward(
                image, h, mask, folded, d.floats(o), d.floats(b, p, o), d.threads(), d.isa
            ),
            lambda: _native.dual_fusion_conv1x1_backward(
                d.floats(b, p, o), image, h, mask, folded, d.floats(b, 2, o, 1 + c), grad, d.floats(b, p, c),
                d.floats(b, p), d.floats(b, 2, 1 + c, o), d.floats(o), d.threads(), d.isa,
            ),
            lambda: _native.dual_fusion_forward(
                image, h, mask, excitation, d.floats(b, p, 2 + 2 * c), d.threads(), d.isa
            ),
            lambda: _native.dual_fusion_backward(
                d.floats(b, p, 2 + 2 * c), image, h, mask, excitation, grad, d.floats(b, p, c), d.floats(b, p),
                d.floats(b, 2 + 2 * c), d.threads(), d.isa,
            ),
        ]
    )()  # fmt: skip


def norm(d: Draw) -> None:
    p, c = d.size(1100), d.size(70)
    kind = d.rng.choice([np.float32, np.uint16])
    x, y = (np.abs(d.numbers.normal(0, 9, (p, c))).astype(kind) for _ in range(2))
    weight, bias, mean, variance = (d.floats(c) for _ in range(4))
    if d.rng.random() < 0.5:
        _native.batch_norm_relu_forward(x, weight, bias, 1e-5, y, mean, variance, d.threads(), d.isa)
    else:
        _native.batch_norm_relu_backward(
            y, x, weight, bias, mean, variance, 1e-5, np.empty_like(x), d.floats(c), d.floats(c), d.threads(), d.isa
        )


def rasterize(d: Draw) -> None:
    v, t = d.size(), d.size(40)
    vertices, triangles = d.floats(v, 3), d.indices(0, v, t, 3)
    if isinstance(vertices, np.ndarray) and vertices.dtype == np.float32 and vertices.flags.writeable:
        vertices *= np.float32(d.rng.choice([1, 10, 1e4]))
    if d.rng.random() < 0.3:
        _native.vertex_normals(vertices, triangles)
        return
    height, width = (d.rng.choice([*HUGE[:4], 16385]) if d.spoilt() else d.size(50) for _ in range(2))
    _native.rasterize(vertices, triangles, d.floats(v, d.size(4)), height, width, d.rng.random() < 0.5)


def engine(d: Draw) -> None:
    from acdc_fast.config import ACDCConfig
    from acdc_fast.engines.common import folded_weights
    from acdc_fast.network_arrays import state_shapes

    variant, markups = d.rng.choice([("ac", ("2d98",)), ("ac-dc", ("2d68", "3d68"))])
    sizes = {"width": d.rng.choice([4, 8]), "stages": d.rng.choice([1, 2]), "patch": d.rng.choice([1, 1, 2, 3])}
    config = ACDCConfig(**sizes, variant=variant, markups=markups)
    arrays = {n: np.abs(d.numbers.normal(0.3, 0.2, s)).astype(np.float32) for n, s in state_shapes(config).items()}
    folded = dict(folded_weights(config, arrays))
    if d.rng.random() < 0.2:
        name = d.rng.choice(sorted(folded))
        folded[name] = d.floats(*np.shape(folded[name]))
    options: dict[str, Any] = dict(
        width=config.width, stages=config.stages, stream_inputs=config.stream_channels,
        chain_maps=sum(config.points[n] for n in config.chain), solid_maps=sum(config.points[n] for n in config.solid),
        masked=list(config.masked_maps), pose=config.has_pose, excitation=config.has_excitation, weights=folded,
        threads=d.threads(), isa=d.isa, patch=config.patch,
    )  # fmt: skip
    if d.rng.random() < 0.3:
        name = d.rng.choice(["width", "stages", "stream_inputs", "chain_maps", "solid_maps", "patch"])
        options[name] = d.rng.choice([*HUGE, options[name] + 1, options[name] - 1])
    made = _native.Engine(**options)
    side = 32 * config.patch if not d.spoilt() else d.rng.choice([0, 8, 33, 40, 64, 96])
    stages = d.rng.choice([*HUGE, config.stages]) if d.rng.random() < 0.2 else config.stages
    made.run(d.floats(d.size(3), 1, side, side), stages, d.rng.random() < 0.3, d.rng.random() < 0.5)


def detector(d: Draw) -> None:
    """The detector with two levels, and what makes pictures small."""
    height, width = d.size(90), d.size(90)
    grey = d.numbers.integers(0, 256, (height, width), dtype=np.uint8)
    if d.rng.random() < 0.5:
        colour = d.numbers.integers(0, 256, (height, width, 3), dtype=np.uint8)
        factor = d.rng.choice([*HUGE, 91]) if d.spoilt() else d.rng.randint(1, 4)
        _native.shrink(d.rng.choice([grey, colour, grey.T]), factor, d.isa)
        return
    widths = [d.size(20) for _ in range(4)]
    blocks = [(widths[0], widths[1], 2), (widths[1], widths[2], 2), (widths[2], widths[3], 2)]
    levels = [(1, 8), (2, 16)]
    shapes = {"stem": (9, widths[0])}
    for i, (inputs, outputs, _) in enumerate(blocks):
        shapes[f"backbone.{i}.depthwise"], shapes[f"backbone.{i}.pointwise"] = (9, inputs), (inputs, outputs)
    for i, (block, _) in enumerate(levels):
        shapes[f"head.{i}"] = (blocks[block][1], 5)
    near, far = widths[2], widths[3]
    shapes |= {"down.0": (far, near), "neck.0.depthwise": (9, near), "neck.0.pointwise": (near, near)}
    weights = {}
    for name, (inputs, outputs) in shapes.items():
        weights[f"{name}.weight"], weights[f"{name}.bias"] = d.floats(inputs * outputs), d.floats(outputs)
    if d.rng.random() < 0.2:
        levels = d.rng.choice([[], [(2, 8)], [(0, 4), (2, 16)], [(1, 8), (9, 16)], [(2, 16), (1, 8)]])
        blocks = d.rng.choice([blocks, [], blocks[:2], [(d.rng.choice(HUGE), 4, 2), *blocks[1:]]])
    made = _native.Detector(stem=widths[0], blocks=blocks, levels=levels, weights=weights, isa=d.isa)
    if d.rng.random() < 0.3:
        made.outputs(grey)
        return
    parts = d.rng.choice([1, 1, 2, 3, 7])
    part, parts = d.rng.choice([(d.rng.choice(HUGE), parts), (0, 2**31 - 1)]) if d.spoilt() else (parts // 2, parts)
    made.find(grey, d.rng.choice([0.0, 0.5, np.nan, -1.0]), part, parts)


def join(d: Draw) -> None:
    """Cells of one face or of several become one box each."""
    cells = d.floats(d.size(), 5, dtype=np.float64)
    _native.join_cells(cells, d.rng.choice([0.0, 0.5, 1.0, np.nan]), d.rng.choice([0.0, 1.0, 4.0, np.inf, -1.0]))


CALLS: list[Callable[[Draw], None]] = [logit_ops, geometry, fusion, norm, rasterize, detector, join]


def call(data: bytes) -> None:
    """One call. What pybind11 refuses by type (`TypeError`) is refused; so are missing entries of a dictionary."""
    draw = Draw(data)
    with contextlib.suppress(TypeError, KeyError):
        (engine if draw.rng.random() < 0.05 else draw.rng.choice(CALLS))(draw)
