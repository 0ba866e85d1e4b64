"""Sizes for csrc/cuda/geometry_transfer: the strips of rows of a block, its shared memory, its packed layers."""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..allocate import flags
from .dual_fusion_conv1x1 import StemShape, staged, stem_bytes
from .plan import Layout, cdiv, column_stride, flat, layout, limits, pack_fragments, round16, taken

face_tile: Callable[..., tuple[int, int]] = importlib.import_module("acdc_fast.kernels.tiles").tile
MOST_ROWS, LEAST_ROWS = 64, 4  # of a strip; with fewer rows each row of H would be read more than 1½ times
MOST_TILES = 16  # row tiles (16 maps each) that one block of the statistics or gradient kernel accumulates


class Geometry(ctypes.Structure):
    _fields_ = [(n, ctypes.c_int) for n in ("height", "width", "maps", "split", "k", "streams", "tile", "rows")]


class Plan(NamedTuple):
    s: Geometry
    shared: int
    strips: int
    tiles: int  # row tiles of 16 maps


class Layers(NamedTuple):
    """Depthwise (S, K, 3, 3) and transfer (L, K), plain and packed for the kernels."""

    depthwise: Tensor
    transfer: Tensor
    split: int
    fragments: Tensor  # of all maps; those before ``split`` and the others have separate row tiles


def pack(depthwise: Tensor, transfer: Tensor, split: int, dtype: torch.dtype) -> Layers:
    parts = [pack_fragments(part, dtype) for part in (transfer[:split], transfer[split:]) if len(part)]
    return Layers(flat(depthwise), transfer, split, torch.cat(parts))


def entering(masked: Sequence[bool], device: torch.device) -> Tensor:
    """(L,) 1 for each map that enters the mask, else 0."""
    return flags(tuple(map(bool, masked)), device, torch.int32)


def place(x: Tensor) -> Layout:
    return layout(x, x.shape[3])


def shared_bytes(embedding: Tensor, layers: Layers, tile: int, tiles: int, extra: str, outputs: int) -> int:
    """Bytes for one block: a ring of four rows of H, the depthwise row, packed layers, and the parts for ``extra``."""
    (c, size), (streams, k) = (embedding.shape[1], embedding.element_size()), layers.depthwise.shape[:2]
    depth = max(streams * tile * column_stride(k), staged(outputs, tile) if extra == "stem" else 0)
    here = tiles if extra else min(tiles, MOST_TILES)
    parts = [4 * (tile + 2) * column_stride(c) * size, depth * size, here * round16(k) * 16 * size, streams * k * 36]
    if extra == "gradient":
        parts += [tile * (16 * tiles + 8) * size, 16 * tiles * 64, 2 * tile * 4, tile * 4]
    if extra == "stem":
        parts += stem_bytes(StemShape(outputs, c, tile), size)
    if extra in ("mask", "stem"):
        parts += [len(layers.transfer) * 16, 8 * tile * 8, *[tile * 4] * (2 if extra == "mask" else 3)]
    return taken(*parts)


def plan(embedding: Tensor, layers: Layers, extra: str = "", outputs: int = 0) -> Plan | None:
    """Strips and shared memory of a kernel that walks them. None if no strip fits. ``extra``: "mask", "stem",
    "gradient" or "" for the statistics."""
    (b, _, h, w), maps, split = embedding.shape, len(layers.transfer), layers.split
    limit, processors = limits(embedding)
    tiles = cdiv(split, 16) + cdiv(maps - split, 16)
    candidates = [t for t in ((64, 32) if embedding.element_size() == 2 else (64, 32, 16)) if t < w + 32 or t <= 32]
    sizes = [(t, shared_bytes(embedding, layers, t, tiles, extra, outputs)) for t in candidates]
    fits = [s for s in sizes if s[1] <= limit]
    if not fits:
        return None
    tile, shared = next((f for f in fits if f[1] <= limit // 2), fits[0])  # two blocks on a processor if possible
    across, (streams, k) = cdiv(w, tile), layers.depthwise.shape[:2]
    rows = min(MOST_ROWS, max(LEAST_ROWS, face_tile(h, tile, b * across, processors, tile)[0]), h)
    return Plan(Geometry(h, w, maps, split, k, streams, tile, rows), shared, across * cdiv(h, rows), tiles)
