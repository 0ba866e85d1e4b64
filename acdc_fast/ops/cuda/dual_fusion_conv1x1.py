"""`dual_fusion_conv1x1` of backend `cuda` (eq. 5 and 6, then the next stem): csrc/cuda/dual_fusion_conv1x1.cuh."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from ..allocate import empty, empty_image
from .dual_fusion import dual_fusion
from .launch import launch
from .plan import (
    cdiv,
    column_stride,
    dense_image,
    flat,
    layout,
    limits,
    pack_fragments,
    round16,
    taken,
)


class StemShape(ctypes.Structure):
    _fields_ = [("outputs", ctypes.c_int), ("channels", ctypes.c_int), ("tile", ctypes.c_int)]


def staged(outputs: int, tile: int) -> int:
    """Number of values of one tile's result, in either layout."""
    return round16(outputs) * (tile + 8) + tile * 8


def stem_bytes(s: StemShape, size: int) -> list[int]:
    """Bytes of shared memory for each part of a Stem, with values of ``size`` bytes."""
    return [2 * round16(s.outputs) * round16(s.channels) * size, 3 * s.outputs * 4, (2 + 2 * s.channels) * 4]


def pack_stem(weight: Tensor, bias: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The H and H⊙Φ columns as fragments (2, …), and the image's columns with the bias (O, 3)."""
    c = (weight.shape[1] - 2) // 2
    packed = torch.stack([pack_fragments(weight[:, 2 : 2 + c], dtype), pack_fragments(weight[:, 2 + c :], dtype)])
    return packed, torch.cat([weight[:, :2], bias[:, None]], dim=1).contiguous()


class dual_fusion_conv1x1:
    """The fusion and the next stem in one, csrc/cuda/dual_fusion_conv1x1.cuh. If the weights do not fit a block's
    shared memory, the fused features are stored and a plain matrix product follows."""

    @staticmethod
    def forward(
        image: Tensor, embedding: Tensor, mask: Tensor, excitation: Tensor, weight: Tensor, bias: Tensor
    ) -> Tensor:
        embedding = dense_image(embedding)
        (b, c, h, w), o, size = embedding.shape, weight.shape[0], embedding.element_size()
        for tile in (64, 32, 16):
            s = StemShape(o, c, tile)
            shared = taken(*stem_bytes(s, size), tile * column_stride(c) * size, staged(o, tile) * size, 2 * tile * 4)
            if shared <= limits(embedding)[0]:
                break
        else:
            fused = dual_fusion.forward(image, embedding, mask, excitation)
            product = torch.einsum("bkhw,ok->bohw", fused.float(), weight) + bias[:, None, None]
            return empty_image(embedding, o).copy_(product)
        out = empty_image(embedding, o)
        packed, terms = pack_stem(weight, bias, embedding.dtype)
        grid = [_parts(embedding, tile), b]
        launch(
            "dual_fusion_conv1x1_forward", embedding.dtype, grid, shared, flat(image), embedding, flat(mask),
            flat(excitation), packed, terms, out, s, layout(embedding, h * w), layout(out, h * w), h * w,
        )  # fmt: skip
        return out

    @staticmethod
    def backward(
        grad_out: Tensor, image: Tensor, embedding: Tensor, mask: Tensor, excitation: Tensor, weight: Tensor,
        image_grad: bool,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        embedding, grad_out = dense_image(embedding), dense_image(grad_out.to(embedding.dtype))
        (b, c, h, w), o, size = embedding.shape, weight.shape[0], embedding.element_size()
        pixels = h * w
        image, mask, excitation = flat(image), flat(mask), flat(excitation)
        for tile in (64, 32, 16):
            s = StemShape(o, c, tile)
            columns = [tile * column_stride(n) * size for n in (o, c)]
            shared = taken(2 * round16(c) * round16(o) * size, *columns, (2 + 2 * c) * 4)
            if shared <= limits(embedding)[0]:
                break
        else:
            return _stored_backward(grad_out, image, embedding, mask, excitation, weight, image_grad)
        grad_image, grad_mask = (empty((b, 1, h, w), embedding, torch.float32) for _ in range(2))
        grad_embedding, blocks = empty_image(embedding, c), _parts(embedding, tile)
        packed, terms = pack_stem(weight, torch.zeros_like(weight[:, 0]), embedding.dtype)
        packed = torch.stack([pack_fragments(m.T, embedding.dtype) for m in (weight[:, 2 : 2 + c], weight[:, 2 + c :])])
        places = [layout(t, pixels) for t in (grad_out, embedding)]
        launch(
            "dual_fusion_conv1x1_backward", embedding.dtype, [blocks, b], shared, grad_out, image, embedding, mask,
            excitation,
            packed, terms, grad_image, grad_embedding, grad_mask, s, *places, layout(grad_embedding, pixels), pixels,
        )  # fmt: skip
        parts = empty((b, blocks, o, 2 * c + 3), embedding, torch.float32)
        launch(
            "dual_fusion_conv1x1_weights", embedding.dtype, [blocks, cdiv(o, 64) * cdiv(c, 64), b],
            taken(*2 * [tile * column_stride(64) * size], 2 * tile * 4), grad_out, image, embedding, mask, parts, s,
            *places,
            pixels,
        )  # fmt: skip
        sums = parts.sum(1)  # (B, O, 2C + 3): H, H⊙Φ, image, masked image, 1
        raw = torch.cat([sums[..., 2 * c : 2 * c + 2], sums[..., : 2 * c]], dim=2)
        grad_excitation = torch.einsum("bok,ok->bk", raw, weight)
        grad_weight = torch.einsum("bok,bk->ok", raw, excitation)
        return grad_image, grad_embedding, grad_mask, grad_excitation, grad_weight, sums[..., -1].sum(0)


def _parts(embedding: Tensor, tile: int) -> int:
    """Blocks of a face: about two for each processor, each with enough tiles to repay loading the weights."""
    b, _, h, w = embedding.shape
    return min(cdiv(h * w, tile), max(1, cdiv(2 * limits(embedding)[1], b)))


def _stored_backward(
    grad_out: Tensor, image: Tensor, embedding: Tensor, mask: Tensor, excitation: Tensor, weight: Tensor,
    image_grad: bool,
) -> tuple[Tensor, ...]:  # fmt: skip
    grad = grad_out.float()
    fused = dual_fusion.forward(image, embedding, mask, excitation).float()
    grad_fused = torch.einsum("bohw,ok->bkhw", grad, weight)
    grads = dual_fusion.backward(grad_fused, image, embedding, mask, excitation, image_grad)
    return (*grads, torch.einsum("bohw,bkhw->ok", grad, fused), grad.sum((0, 2, 3)))
