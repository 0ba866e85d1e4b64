"""`geometry_transfer` of backend `cuda`, and `cascade_transition`: from one stage to the next, for inference."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from . import reference
from .allocate import empty, empty_image
from .cuda_fusion import StemShape, _flat, dual_fusion_conv1x1, pack_stem, staged, stem_bytes
from .cuda_launch import launch
from .cuda_plan import Layout, cdiv, column_stride, dense_image, layout, limits, pack_fragments, round16, taken

#: Most rows of a strip: 64 read 1.06 × H with their halo; fewer where the processors would idle.
MOST_ROWS, LEAST_ROWS = 64, 8
MOST_TILES = 16  # row tiles of 16 maps that one block of the gradient kernel accumulates
CHANNEL_BLOCK = 48  # and channels


class Geometry(ctypes.Structure):
    _fields_ = [(n, ctypes.c_int) for n in ("height", "width", "maps", "split", "k", "streams", "tile", "rows")]


class Plan(NamedTuple):
    s: Geometry
    shared: int
    strips: int
    tiles: int  # row tiles of 16 maps


def row_tiles(maps: int, split: int) -> int:
    return cdiv(split, 16) + cdiv(maps - split, 16)


def plan(embedding: Tensor, depthwise: Tensor, maps: int, split: int, extra: str = "", outputs: int = 0) -> Plan | None:
    """Strips and shared memory of a kernel that walks them; None where no strip fits. ``extra``: "mask", "stem",
    "gradient"
    or "" for the statistics."""
    (b, c, h, w), size, k, streams = embedding.shape, embedding.element_size(), depthwise.shape[1], depthwise.shape[0]
    limit, processors = limits(embedding)
    tiles = row_tiles(maps, split)
    fits: list[tuple[int, int]] = []
    for tile in (64, 32) if size == 2 else (64, 32, 16):
        stem = StemShape(outputs, c, tile)
        depth = max(streams * tile * column_stride(k), staged(outputs, tile) if extra == "stem" else 0)
        here = min(tiles, MOST_TILES) if not extra else tiles
        parts = [4 * (tile + 2) * column_stride(c) * size, depth * size, here * round16(k) * 16 * size,
        streams * k * 36]
        if extra == "gradient":
            parts += [tile * (16 * tiles + 8) * size, 16 * tiles * 64, 2 * tile * 4, tile * 4]
        if extra == "stem":
            parts += stem_bytes(stem, size)
        if extra in ("mask", "stem"):
            parts += [maps * 16, 8 * tile * 8, *[tile * 4] * (2 if extra == "mask" else 3)]
        if taken(*parts) <= limit and (tile < w + 32 or tile <= 32):
            fits.append((tile, taken(*parts)))
    if not fits:
        return None
    tile, shared = next((f for f in fits if f[1] <= limit // 2), fits[0])  # two blocks a processor if possible
    across = cdiv(w, tile)
    rows = min(MOST_ROWS, max(LEAST_ROWS, cdiv(h, cdiv(2 * processors, across * b))), h)
    return Plan(Geometry(h, w, maps, split, k, streams, tile, rows), shared, across * cdiv(h, rows), tiles)


def pack_transfer(transfer: Tensor, split: int, dtype: torch.dtype) -> Tensor:
    """Fragments of all maps, those before ``split`` and the others in row tiles of their own."""
    return torch.cat([pack_fragments(part, dtype) for part in (transfer[:split], transfer[split:]) if len(part)])


@lru_cache(maxsize=16)
def flags(masked: tuple[bool, ...], device: torch.device) -> Tensor:
    return torch.tensor(masked, dtype=torch.int32, device=device)


def _place(x: Tensor) -> Layout:
    return layout(x, x.shape[3])


class geometry_transfer:
    """csrc/cuda/geometry_transfer.cuh; where no strip fits a block's shared memory, logits are stored and the two ops
    that
    read them follow."""

    @staticmethod
    def statistics(embedding: Tensor, depthwise: Tensor, transfer: Tensor, split: int) -> list[Tensor] | None:
        """mean, covariance, peak, high, low, argmax, argmin of all maps; None where no strip fits."""
        embedding = dense_image(embedding)
        b, maps = embedding.shape[0], transfer.shape[0]
        p = plan(embedding, depthwise, maps, split)
        if p is None:
            return None
        parts = empty((b, p.strips, maps, 12), embedding, torch.float32)
        packed = pack_transfer(transfer, split, embedding.dtype)
        grid = [p.strips, cdiv(p.tiles, MOST_TILES), b]
        place = _place(embedding)
        launch(
            "geometry_transfer_statistics", embedding.dtype, grid, p.shared, embedding, _flat(depthwise), packed,
            parts, p.s, place
        )
        out = [empty(s, embedding, torch.float32) for s in ((b, maps, 2), (b, maps, 3), *3 * ((b, maps),))]
        out += [empty((b, maps), embedding, torch.int32) for _ in range(2)]
        launch(
            "geometry_transfer_combine", torch.float32, [cdiv(b * maps, 128)], 0, parts, out, maps, p.strips,
            p.s.height,
            p.s.width, ctypes.c_longlong(b * maps), block=128,
        )  # fmt: skip
        return out

    @staticmethod
    def forward(
        embedding: Tensor, depthwise: Tensor, transfer: Tensor, split: int, masked: Sequence[bool]
    ) -> tuple[Tensor, ...]:
        embedding = dense_image(embedding)
        (b, _, h, w), maps = embedding.shape, transfer.shape[0]
        out = geometry_transfer.statistics(embedding, depthwise, transfer, split)
        p = plan(embedding, depthwise, maps, split, "mask")
        if out is None or p is None:
            return _stored_forward(embedding, depthwise, transfer, split, masked)
        mean, covariance, peak, high, low, argmax, argmin = out
        mask, winner = empty((b, 1, h, w), embedding, torch.float32), empty((b, h, w), embedding, torch.int32)
        packed = pack_transfer(transfer, split, embedding.dtype)
        launch(
            "geometry_transfer_mask", embedding.dtype, [p.strips, 1, b], p.shared, embedding, _flat(depthwise), packed,
            high, low, flags(tuple(map(bool, masked)), embedding.device), mask, winner, p.s, _place(embedding),
        )  # fmt: skip
        return mean, covariance, peak, mask, high, low, argmax, argmin, winner

    @staticmethod
    def backward(
        grad_mean: Tensor, grad_covariance: Tensor, grad_peak: Tensor, grad_mask: Tensor,
        embedding: Tensor, depthwise: Tensor, transfer: Tensor, split: int, mean: Tensor, covariance: Tensor,
        peak: Tensor,
        mask: Tensor, high: Tensor, low: Tensor, argmax: Tensor, argmin: Tensor, winner: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        embedding = dense_image(embedding)
        (b, c, h, w), maps, (streams, k) = embedding.shape, transfer.shape[0], depthwise.shape[:2]
        grads = [t.contiguous() for t in (grad_mean, grad_covariance, grad_peak)]
        saved = [t.contiguous() for t in (mean, covariance, peak, high, low)]
        grad_mask, mask, winner, argmax, argmin = (t.contiguous() for t in (grad_mask, mask, winner, argmax, argmin))
        p = plan(embedding, depthwise, maps, split, "gradient")
        if p is None or p.tiles > MOST_TILES:
            return _stored_backward(
                grads, grad_mask, embedding, depthwise, transfer, split, [*saved, argmax, argmin], mask, winner
            )
        extremes = empty((b, maps, 2), embedding, torch.float32)
        launch(
            "attention_mask_extremes", torch.float32, [maps, b], 32 * 4, grad_mask, mask, saved[3], saved[4], winner,
            extremes, h * w
        )
        taps, packed = _flat(depthwise), pack_transfer(transfer, split, embedding.dtype)
        halves = [part for part in (transfer[:split], transfer[split:]) if len(part)]
        transposed = torch.cat([pack_fragments(part.T, embedding.dtype).flatten() for part in halves])
        grad_depth = empty((b, streams, k, h * w), embedding, embedding.dtype)
        parts = empty((b * p.strips, 16 * p.tiles, k), embedding, torch.float32)
        launch(
            "geometry_transfer_gradient", embedding.dtype, [p.strips, cdiv(k, CHANNEL_BLOCK), b], p.shared,
            [*grads, *saved, extremes, argmax, argmin], grad_mask, mask, winner, embedding, taps, packed, transposed,
            grad_depth, parts, p.s, _place(embedding),
        )  # fmt: skip
        slots, first = parts.sum(0), round16(split)
        grad_transfer = torch.cat([slots[:split], slots[first : first + maps - split]])
        grad_embedding, dense = empty_image(embedding, c), embedding.contiguous()
        launch(
            "depthwise_backward_input", embedding.dtype, [cdiv(h * w, 256), c, b], 0, grad_depth, taps,
            grad_embedding, p.s,
            _place(grad_embedding),
        )  # fmt: skip
        tap_parts = empty((b, streams, k, 3, 3), embedding, torch.float32)
        launch(
            "depthwise_backward_weight", embedding.dtype, [streams * k, b], 32 * 4, grad_depth, dense, tap_parts, p.s,
            Layout(h * w, 1, c, 0),
        )  # fmt: skip
        return grad_embedding, tap_parts.sum(0), grad_transfer


def _stored_forward(
    embedding: Tensor, depthwise: Tensor, transfer: Tensor, split: int, masked: Sequence[bool]
) -> tuple[Tensor, ...]:
    from .cuda import attention_mask, spatial_softmax

    logits = reference.geometry_logits(embedding.float(), depthwise, transfer, split).contiguous()
    mean, covariance, peak, high, low, argmax, argmin = spatial_softmax._extremes(logits)
    chosen = flags(tuple(map(bool, masked)), embedding.device).bool()
    mask, winner = attention_mask.levels(logits, high, torch.where(chosen, low, high))
    return mean, covariance, peak, mask, high, low, argmax, argmin, winner


def _stored_backward(
    grads: list[Tensor], grad_mask: Tensor, embedding: Tensor, depthwise: Tensor, transfer: Tensor, split: int,
    saved: list[Tensor], mask: Tensor, winner: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    from .cuda import attention_mask, spatial_softmax

    mean, covariance, peak, high, low, argmax, argmin = saved
    inputs = [t.detach().float().requires_grad_() for t in (embedding, depthwise, transfer)]
    with torch.enable_grad():
        logits = reference.geometry_logits(inputs[0], inputs[1], inputs[2], split)
    values = logits.detach().contiguous()
    g_mean, g_covariance, g_peak = grads
    grad = spatial_softmax.backward(g_mean, g_covariance, g_peak, values, mean, covariance, peak, high, argmax)
    grad = grad + attention_mask.backward(grad_mask, values, mask, high, low, argmax, argmin, winner)
    of_embedding, of_depthwise, of_transfer = torch.autograd.grad(logits, inputs, grad)
    return empty_image(embedding, embedding.shape[1]).copy_(of_embedding), of_depthwise, of_transfer


class cascade_transition:
    """From one stage to the next in one pass over its embedding, for inference."""

    @staticmethod
    def forward(
        embedding: Tensor, depthwise: Tensor, transfer: Tensor, split: int, masked: Sequence[bool], high: Tensor,
        low: Tensor,
        image: Tensor, excitation: Tensor, weight: Tensor, bias: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """The next stem's output (B, O, H, W) and the mask (B, 1, H, W), from what `geometry_transfer.statistics`
        gave."""
        embedding = dense_image(embedding)
        (b, _, h, w), o = embedding.shape, weight.shape[0]
        p = plan(embedding, depthwise, transfer.shape[0], split, "stem", o)
        if p is None:
            mask = geometry_transfer.forward(embedding, depthwise, transfer, split, masked)[3]
            return dual_fusion_conv1x1.forward(image, embedding, mask, excitation, weight, bias), mask
        mask, out = empty((b, 1, h, w), embedding, torch.float32), empty_image(embedding, o)
        stem, terms = pack_stem(weight, bias, embedding.dtype)
        launch(
            "geometry_transfer_stem", embedding.dtype, [p.strips, 1, b], p.shared, _flat(image), embedding,
            _flat(depthwise),
            pack_transfer(transfer, split, embedding.dtype), high, low, flags(tuple(map(bool, masked)),
            embedding.device),
            _flat(excitation), stem, terms, mask, out, p.s, StemShape(o, embedding.shape[1], p.s.tile),
            _place(embedding),
            _place(out),
        )  # fmt: skip
        return out, mask
