"""Attention mask (eq. 4) from the logits. Of the softmax it needs only exp(g − high) and exp(low − high)."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..ops.allocate import empty, empty_image
from .launch import cdiv, config, on
from .spatial_softmax import blocks, statistics


@triton.jit
def level_scale(high, low, o_bl, m_l):
    """high, gain, shift [BL] of maps o_bl: level = exp(g − high)·gain − shift. A constant map has gain 0."""
    b_high = tl.load(high + o_bl, mask=m_l, other=0)
    b_floor = tl.exp(tl.load(low + o_bl, mask=m_l, other=0) - b_high)
    m_varied = m_l & (b_floor < 1)
    b_gain = tl.where(m_varied, 1 / tl.where(m_varied, 1 - b_floor, 1.0), 0.0)
    return b_high, b_gain, b_floor * b_gain


@triton.jit
def strongest(b_g, o_l, b_high, b_gain, b_shift, b_mask, b_winner, WINNER: tl.constexpr):
    """Running mask and winning map [BP], updated with the maps o_l and their logits b_g [BL, BP]."""
    b_level = tl.exp(b_g - b_high[:, None]) * b_gain[:, None] - b_shift[:, None]
    if WINNER:
        best, i_best = tl.max(b_level, 0, return_indices=True)  # the first of equals
        b_winner = tl.where(best > b_mask, tl.min(o_l, 0) + i_best, b_winner)
    else:
        best = tl.max(b_level, 0)
    return tl.maximum(best, b_mask), b_winner


@triton.jit
def mask_kernel(logits, high, low, mask, winner, L, H, W, s_b, s_l, s_h, s_w, BL: tl.constexpr, BP: tl.constexpr):
    """Program (pixel block, face): largest level over all maps."""
    i_p, i_b = tl.program_id(0), tl.program_id(1).to(tl.int64)
    o_p = i_p * BP + tl.arange(0, BP)
    m_p = o_p < H * W
    p_pixel = logits + i_b * s_b + (o_p // W).to(tl.int64) * s_h + (o_p % W).to(tl.int64) * s_w  # [BP]
    b_mask, b_winner = tl.zeros([BP], tl.float32), tl.full([BP], -1, tl.int32)
    for i_l in range(0, L, BL):
        o_l = i_l + tl.arange(0, BL)
        m_l = o_l < L
        p_g = p_pixel[None, :] + o_l.to(tl.int64)[:, None] * s_l
        b_g = tl.load(p_g, mask=m_l[:, None] & m_p[None, :], other=0).to(tl.float32)  # [BL, BP]
        b_high, b_gain, b_shift = level_scale(high, low, i_b * L + o_l, m_l)
        b_mask, b_winner = strongest(b_g, o_l, b_high, b_gain, b_shift, b_mask, b_winner, True)
    tl.store(mask + i_b * H * W + o_p, b_mask, mask=m_p)
    tl.store(winner + i_b * H * W + o_p, b_winner, mask=m_p)


@triton.jit
def mask_sums_kernel(grad_mask, mask, winner, sums, L, P, BL: tl.constexpr, BP: tl.constexpr):
    """Program (map block, face): Σ ḡ·m and Σ ḡ·(m − 1) over the pixels that each map won."""
    i_l, i_b = tl.program_id(0), tl.program_id(1).to(tl.int64)
    o_l = i_l * BL + tl.arange(0, BL)
    b_top, b_bottom = tl.zeros([BL], tl.float32), tl.zeros([BL], tl.float32)
    for i_p in range(0, P, BP):
        o_p = i_p + tl.arange(0, BP)
        m_p = o_p < P
        b_winner = tl.load(winner + i_b * P + o_p, mask=m_p, other=-1)  # [BP], as both below
        b_mask = tl.load(mask + i_b * P + o_p, mask=m_p, other=0)
        b_grad = tl.load(grad_mask + i_b * P + o_p, mask=m_p, other=0)
        b_won = tl.where(b_winner[None, :] == o_l[:, None], b_grad[None, :], 0.0)  # [BL, BP]
        b_top += tl.sum(b_won * b_mask[None, :], 1)
        b_bottom += tl.sum(b_won * (b_mask - 1)[None, :], 1)
    tl.store(sums + i_b * 2 * L + o_l, b_top, mask=o_l < L)
    tl.store(sums + i_b * 2 * L + L + o_l, b_bottom, mask=o_l < L)


@triton.jit
def mask_gradient(b_grad, b_mask, b_winner, o_p, o_l, m_l, i_b, L, sums, high, low, argmax, argmin):
    """dG [BL, BP] of maps o_l at pixels o_p, from mask, winner and gradient (docs/reference/op-contract.md)."""
    o_bl = i_b * L + o_l
    _, b_gain, b_shift = level_scale(high, low, o_bl, m_l)  # 1 + r and r in the formula
    b_top = tl.load(sums + i_b * 2 * L + o_l, mask=m_l, other=0) * b_gain  # [BL], as below
    b_bottom = tl.load(sums + i_b * 2 * L + L + o_l, mask=m_l, other=0) * b_shift
    b_argmax = tl.load(argmax + o_bl, mask=m_l, other=-1)
    b_argmin = tl.load(argmin + o_bl, mask=m_l, other=-1)
    b_rise = b_grad[None, :] * (b_mask[None, :] + b_shift[:, None])
    b_dg = tl.where(b_winner[None, :] == o_l[:, None], b_rise, 0.0)
    b_dg -= tl.where(o_p[None, :] == b_argmax[:, None], b_top[:, None], 0.0)
    return b_dg + tl.where(o_p[None, :] == b_argmin[:, None], b_bottom[:, None], 0.0)


@triton.jit
def gradient_kernel(
    grad_mask, mask, winner, sums, high, low, argmax, argmin, out,
    L, H, W, t_b, t_l, t_h, t_w, BL: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    """Program (pixel block, map block, face)."""
    i_p, i_l, i_b = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    o_l = i_l * BL + tl.arange(0, BL)
    o_p = i_p * BP + tl.arange(0, BP)
    m_p, m_l = o_p < H * W, o_l < L
    p_face = i_b * H * W + o_p
    b_grad = tl.load(grad_mask + p_face, mask=m_p, other=0)  # [BP], as both below
    b_mask = tl.load(mask + p_face, mask=m_p, other=0)
    b_winner = tl.load(winner + p_face, mask=m_p, other=-1)
    b_dg = mask_gradient(b_grad, b_mask, b_winner, o_p, o_l, m_l, i_b, L, sums, high, low, argmax, argmin)
    p_out = out + i_b * t_b + o_l.to(tl.int64)[:, None] * t_l
    p_out += ((o_p // W).to(tl.int64) * t_h + (o_p % W) * t_w)[None, :]
    tl.store(p_out, b_dg.to(out.dtype.element_ty), mask=m_l[:, None] & m_p[None, :])


def forward(logits: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """mask, high, low, argmax, argmin, winner."""
    b, maps, h, w = logits.shape
    high, low, argmax, argmin = statistics(logits, moments=False)
    mask, winner = empty((b, 1, h, w), logits), empty((b, h, w), logits, torch.int32)
    c = config("attention_mask", logits)
    with on(logits):
        mask_kernel[cdiv(h * w, c.pixels), b](
            logits, high, low, mask, winner, maps, h, w, *logits.stride(),
            BL=c.maps, BP=c.pixels, num_warps=c.warps, num_stages=c.stages,
        )  # fmt: skip
    return mask, high, low, argmax, argmin, winner


def mask_sums(grad_mask: Tensor, mask: Tensor, winner: Tensor, maps: int) -> Tensor:
    """(B, 2, L): sums of the mask's gradient for each map's maximum and minimum, before their factors."""
    b, _, h, w = mask.shape
    sums = empty((b, 2, maps), mask)
    with on(mask):
        mask_sums_kernel[cdiv(maps, 8), b](grad_mask, mask, winner, sums, maps, h * w, BL=8, BP=256, num_warps=4)
    return sums


def backward(
    grad_mask: Tensor, logits: Tensor, mask: Tensor,
    high: Tensor, low: Tensor, argmax: Tensor, argmin: Tensor, winner: Tensor,
) -> Tensor:  # fmt: skip
    b, maps, h, w = logits.shape
    grad_mask, mask, winner = grad_mask.contiguous(), mask.contiguous(), winner.contiguous()
    small = (t.contiguous() for t in (high, low, argmax, argmin))
    sums, out = mask_sums(grad_mask, mask, winner, maps), empty_image(logits, maps)
    bl, bp = blocks(out, config("attention_mask", logits).pixels)
    with on(logits):
        gradient_kernel[cdiv(h * w, bp), cdiv(maps, bl), b](
            grad_mask, mask, winner, sums, *small, out, maps, h, w, *out.stride(), BL=bl, BP=bp, num_warps=4
        )  # fmt: skip
    return out
