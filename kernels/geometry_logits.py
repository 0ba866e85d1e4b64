"""A block of logits from a row of the embedding: depthwise 3×3 in float32, then tl.dot with the transfer layers.

Both one-pass kernels and the gradients compute logits this way, each time they need them. No kernel stores them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import dot_dtype


class Layers(NamedTuple):
    """The two layers of the network, packed for the kernels."""

    depthwise: Tensor  # (S, 9, K) float32
    transfer: Tensor  # (L, K) in tl.dot's type
    split: int  # maps before it read the first K channels, the others read the last K


def pack(depthwise: Tensor, transfer: Tensor, split: int, embedding: Tensor) -> Layers:
    """Packs depthwise (S, K, 3, 3) and transfer (L, K) for an ``embedding`` of this type, with the taps outermost."""
    taps = depthwise.flatten(2).transpose(1, 2).to(torch.float32).contiguous()
    return Layers(taps, transfer.to(embedding.dtype).to(dot_dtype(embedding)).contiguous(), split)


@triton.jit
def streams(
    p_face, depthwise, i_y, o_x, o_c, C, H, W, s_c, s_h, s_w,
    K: tl.constexpr, TWO: tl.constexpr, THREE: tl.constexpr, DOT: tl.constexpr, BW: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Depthwise convolutions of both streams, in row i_y at columns o_x, [BW, BC] each, as operands of tl.dot.

    The first stream (2D markups) reads the first K channels, the second (3D markups) the last K. TWO and THREE say
    which of them are computed. b_u and b_v are their results. A block has BW columns, BC channels, and BL maps below.
    """
    b_u, b_v = tl.zeros([BW, BC], tl.float32), tl.zeros([BW, BC], tl.float32)
    m_u, m_v = o_c < K, (o_c >= C - K) & (o_c < C)
    for i_r in tl.range(3, disable_licm=True):  # a loop: loads of nine taps at once would take too many registers
        for i_k in tl.static_range(3):
            # already 64-bit in compiled code; the interpreter's loops count in Python's integers
            y, o_s = tl.cast(i_y + i_r - 1, tl.int64), o_x + i_k - 1
            # outside rows push o_in out of range: Triton 3.9's interpreter refuses a scalar comparison as a mask
            o_in = o_s + tl.where((y >= 0) & (y < H), 0, -(2**30))
            m_s = (o_in >= 0) & (o_in < W)
            p_h = p_face + y * s_h + o_s[:, None] * s_w + o_c.to(tl.int64)[None, :] * s_c
            b_h = tl.load(p_h, mask=m_s[:, None] & (o_c < C)[None, :], other=0).to(tl.float32)  # [BW, BC]
            p_d = depthwise + (3 * i_r + i_k) * K + o_c
            if TWO:
                b_u += b_h * tl.load(p_d, mask=m_u, other=0)[None, :]  # [1, BC]
            if THREE:
                b_v += b_h * tl.load(p_d + 9 * TWO * K - (C - K), mask=m_v, other=0)[None, :]  # [1, BC]
    return b_u.to(p_face.dtype.element_ty).to(DOT), b_v.to(p_face.dtype.element_ty).to(DOT)


@triton.jit
def transfer_rows(transfer, o_l, o_c, L, C, K: tl.constexpr, SPLIT: tl.constexpr):
    """Transfer layers of maps o_l, [BL, BC] twice: of those on the first stream, and of those on the second."""
    p_t = transfer + o_l[:, None] * K + o_c[None, :]
    m_t = (o_l < SPLIT)[:, None] & (o_c < K)[None, :]
    m_s = ((o_l >= SPLIT) & (o_l < L))[:, None] & ((o_c >= C - K) & (o_c < C))[None, :]
    return tl.load(p_t, mask=m_t, other=0), tl.load(p_t - (C - K), mask=m_s, other=0)


@triton.jit
def logits_of(b_t, b_s, b_u, b_v, i_l, SPLIT: tl.constexpr, L: tl.constexpr, PRECISION: tl.constexpr):
    """Logits [BL, BW] of the maps from i_l on. A block with maps of one stream needs one product."""
    b_g = tl.zeros([b_t.shape[0], b_u.shape[0]], tl.float32)
    if i_l < SPLIT:
        b_g = tl.dot(b_t, tl.trans(b_u), b_g, input_precision=PRECISION)
    if SPLIT < L:  # noqa: SIM102 (known at compile time, unlike the next)
        if i_l + b_t.shape[0] > SPLIT:
            b_g = tl.dot(b_s, tl.trans(b_v), b_g, input_precision=PRECISION)
    return b_g


@triton.jit
def place_of(i_t, W, rows, columns):
    """First row (64-bit, because offsets are its multiples) and first column of a face's tile i_t."""
    across = tl.cdiv(W, columns)
    return (i_t // across).to(tl.int64) * rows, i_t % across * columns
