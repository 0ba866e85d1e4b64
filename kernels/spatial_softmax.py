"""Spatial softmax (eq. 2 and 3). One read of the logits gives moments, peak and extremes. φ is never stored.

Statistics of a map: high, low and their pixels, and with e = exp(g − high) the sums of e, ex, ey, exx, exy, eyy. Here x
and y are pixels from the middle of the map: so float32 keeps second moments exact to 1e-7 in crop units.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..ops.allocate import empty, empty_image
from .launch import cdiv, config, on, processors

SUMS = tl.constexpr(8)  # rows of the partial sums: high, low, then e, ex, ey, exx, exy, eyy
LOWEST = tl.constexpr(-3.4028234663852886e38)
NOWHERE = tl.constexpr(2**31 - 1)


@triton.jit
def statistics_kernel(
    logits, sums, places, L, H, W, s_b, s_l, s_h, s_w, span,
    BL: tl.constexpr, BP: tl.constexpr, MOMENTS: tl.constexpr,
):  # fmt: skip
    """Program (split, map block, face): online statistics of ``span`` pixels, separate in each lane of a block."""
    i_s, i_l, i_b = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    o_l = i_l * BL + tl.arange(0, BL)
    m_l = o_l < L
    p_map = logits + i_b.to(tl.int64) * s_b + o_l.to(tl.int64)[:, None] * s_l  # [BL, 1]
    b_high = tl.full([BL, BP], LOWEST, tl.float32)
    b_low = tl.full([BL, BP], -LOWEST, tl.float32)
    b_top = tl.full([BL, BP], NOWHERE, tl.int32)
    b_bottom = tl.full([BL, BP], NOWHERE, tl.int32)
    b_e, b_ex, b_ey = tl.zeros([BL, BP], tl.float32), tl.zeros([BL, BP], tl.float32), tl.zeros([BL, BP], tl.float32)
    b_exx, b_exy, b_eyy = tl.zeros_like(b_e), tl.zeros_like(b_e), tl.zeros_like(b_e)
    end = tl.minimum((i_s + 1) * span, H * W)
    for i_p in range(i_s * span, end, BP):
        o_p = i_p + tl.arange(0, BP)
        o_y, o_x = o_p // W, o_p % W
        m_p = m_l[:, None] & (o_p < end)[None, :]
        p_g = p_map + (o_y.to(tl.int64) * s_h + o_x.to(tl.int64) * s_w)[None, :]
        b_g = tl.load(p_g, mask=m_p, other=0).to(tl.float32)  # [BL, BP]
        m_rise = m_p & (b_g > b_high)
        m_fall = m_p & (b_g < b_low)
        if MOMENTS:
            x, y = (o_x - 0.5 * (W - 1))[None, :], (o_y - 0.5 * (H - 1))[None, :]
            b_t = tl.exp(-tl.abs(b_g - b_high))  # one exponential: the scale of the old sums, or the new term
            b_scale = tl.where(m_rise, b_t, 1.0)
            b_t = tl.where(m_p, tl.where(m_rise, 1.0, b_t), 0.0)
            b_e = b_e * b_scale + b_t
            b_ex, b_ey = b_ex * b_scale + b_t * x, b_ey * b_scale + b_t * y
            b_exx, b_exy = b_exx * b_scale + b_t * x * x, b_exy * b_scale + b_t * x * y
            b_eyy = b_eyy * b_scale + b_t * y * y
        b_high, b_top = tl.where(m_rise, b_g, b_high), tl.where(m_rise, o_p[None, :], b_top)
        b_low, b_bottom = tl.where(m_fall, b_g, b_low), tl.where(m_fall, o_p[None, :], b_bottom)
    high, low = tl.max(b_high, 1), tl.min(b_low, 1)  # [BL]
    top = tl.min(tl.where(b_high == high[:, None], b_top, NOWHERE), 1)
    bottom = tl.min(tl.where(b_low == low[:, None], b_bottom, NOWHERE), 1)
    o_part = (i_b.to(tl.int64) * tl.num_programs(0) + i_s) * L
    p_sum = sums + o_part * SUMS + o_l
    tl.store(p_sum, high, mask=m_l)
    tl.store(p_sum + L, low, mask=m_l)
    tl.store(places + o_part * 2 + o_l, top, mask=m_l)
    tl.store(places + o_part * 2 + L + o_l, bottom, mask=m_l)
    if MOMENTS:
        b_scale = tl.exp(b_high - high[:, None])
        tl.store(p_sum + 2 * L, tl.sum(b_e * b_scale, 1), mask=m_l)
        tl.store(p_sum + 3 * L, tl.sum(b_ex * b_scale, 1), mask=m_l)
        tl.store(p_sum + 4 * L, tl.sum(b_ey * b_scale, 1), mask=m_l)
        tl.store(p_sum + 5 * L, tl.sum(b_exx * b_scale, 1), mask=m_l)
        tl.store(p_sum + 6 * L, tl.sum(b_exy * b_scale, 1), mask=m_l)
        tl.store(p_sum + 7 * L, tl.sum(b_eyy * b_scale, 1), mask=m_l)


@triton.jit
def finish_kernel(
    sums, places, mean, covariance, peak, high, low, argmax, argmin, L, H, W, splits,
    BL: tl.constexpr, MOMENTS: tl.constexpr, PLACES: tl.constexpr,
):  # fmt: skip
    """Program (map block, face): joins the splits' statistics and turns the sums into moments in crop units."""
    i_l, i_b = tl.program_id(0), tl.program_id(1)
    o_l = i_l * BL + tl.arange(0, BL)
    m_l = o_l < L
    b_high, b_low = tl.full([BL], LOWEST, tl.float32), tl.full([BL], -LOWEST, tl.float32)
    b_top, b_bottom = tl.full([BL], NOWHERE, tl.int32), tl.full([BL], NOWHERE, tl.int32)
    e, ex, ey = tl.zeros([BL], tl.float32), tl.zeros([BL], tl.float32), tl.zeros([BL], tl.float32)
    exx, exy, eyy = tl.zeros([BL], tl.float32), tl.zeros([BL], tl.float32), tl.zeros([BL], tl.float32)
    for i_s in range(splits):
        o_part = (i_b.to(tl.int64) * splits + i_s) * L
        p_sum = sums + o_part * SUMS + o_l
        h = tl.load(p_sum, mask=m_l, other=0)  # [BL], as all below
        n = tl.load(p_sum + L, mask=m_l, other=0)
        if PLACES:
            i_top = tl.load(places + o_part * 2 + o_l, mask=m_l, other=0)
            i_bottom = tl.load(places + o_part * 2 + L + o_l, mask=m_l, other=0)
            # of equals take the first in row-major order; the parts are tiles and come in another order
            b_top = tl.where((h > b_high) | ((h == b_high) & (i_top < b_top)), i_top, b_top)
            b_bottom = tl.where((n < b_low) | ((n == b_low) & (i_bottom < b_bottom)), i_bottom, b_bottom)
        top = tl.maximum(b_high, h)
        if MOMENTS:
            old, new = tl.exp(b_high - top), tl.exp(h - top)
            e = e * old + new * tl.load(p_sum + 2 * L, mask=m_l, other=1)
            ex = ex * old + new * tl.load(p_sum + 3 * L, mask=m_l, other=0)
            ey = ey * old + new * tl.load(p_sum + 4 * L, mask=m_l, other=0)
            exx = exx * old + new * tl.load(p_sum + 5 * L, mask=m_l, other=0)
            exy = exy * old + new * tl.load(p_sum + 6 * L, mask=m_l, other=0)
            eyy = eyy * old + new * tl.load(p_sum + 7 * L, mask=m_l, other=0)
        b_high, b_low = top, tl.minimum(b_low, n)
    o_out = i_b.to(tl.int64) * L + o_l
    tl.store(high + o_out, b_high, mask=m_l)
    tl.store(low + o_out, b_low, mask=m_l)
    if PLACES:
        tl.store(argmax + o_out, b_top, mask=m_l)
        tl.store(argmin + o_out, b_bottom, mask=m_l)
    if MOMENTS:
        x, y = ex / e, ey / e
        tl.store(mean + o_out * 2, x / W + 0.5, mask=m_l)
        tl.store(mean + o_out * 2 + 1, y / H + 0.5, mask=m_l)
        tl.store(covariance + o_out * 3, tl.maximum(exx / e - x * x, 0) / W / W, mask=m_l)
        tl.store(covariance + o_out * 3 + 1, (exy / e - x * y) / W / H, mask=m_l)
        tl.store(covariance + o_out * 3 + 2, tl.maximum(eyy / e - y * y, 0) / H / H, mask=m_l)
        tl.store(peak + o_out, 1 / e, mask=m_l)


@triton.jit
def softmax_gradient(
    b_g, o_p, x, y, o_bl, m_l, grad_mean, grad_covariance, grad_peak, mean, covariance, peak, high, argmax
):
    """dG [BL, BP] of logits b_g of maps o_bl [BL] at pixels o_p, which lie at x, y [BP] in crop units. Formula:
    docs/reference/op-contract.md."""
    g_x = tl.load(grad_mean + o_bl * 2, mask=m_l, other=0)[:, None]  # [BL, 1], as all below
    g_y = tl.load(grad_mean + o_bl * 2 + 1, mask=m_l, other=0)[:, None]
    g_xx = tl.load(grad_covariance + o_bl * 3, mask=m_l, other=0)[:, None]
    g_xy = tl.load(grad_covariance + o_bl * 3 + 1, mask=m_l, other=0)[:, None]
    g_yy = tl.load(grad_covariance + o_bl * 3 + 2, mask=m_l, other=0)[:, None]
    b_peak = tl.load(peak + o_bl, mask=m_l, other=0)[:, None]
    g_peak = tl.load(grad_peak + o_bl, mask=m_l, other=0)[:, None] * b_peak
    dx = x[None, :] - tl.load(mean + o_bl * 2, mask=m_l, other=0)[:, None]
    dy = y[None, :] - tl.load(mean + o_bl * 2 + 1, mask=m_l, other=0)[:, None]
    h = g_x * dx + g_xx * (dx * dx - tl.load(covariance + o_bl * 3, mask=m_l, other=0)[:, None])
    h += g_xy * (dx * dy - tl.load(covariance + o_bl * 3 + 1, mask=m_l, other=0)[:, None])
    h += g_y * dy + g_yy * (dy * dy - tl.load(covariance + o_bl * 3 + 2, mask=m_l, other=0)[:, None])
    b_phi = b_peak * tl.exp(b_g - tl.load(high + o_bl, mask=m_l, other=0)[:, None])
    m_top = o_p[None, :] == tl.load(argmax + o_bl, mask=m_l, other=-1)[:, None]
    return b_phi * (h - g_peak) + tl.where(m_top, g_peak, 0.0)


@triton.jit
def gradient_kernel(
    logits, out, grad_mean, grad_covariance, grad_peak, mean, covariance, peak, high, argmax,
    L, H, W, s_b, s_l, s_h, s_w, t_b, t_l, t_h, t_w, BL: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    """Program (pixel block, map block, face)."""
    i_p, i_l, i_b = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    o_l = i_l * BL + tl.arange(0, BL)
    o_p = i_p * BP + tl.arange(0, BP)
    o_y, o_x = o_p // W, o_p % W
    m_l = o_l < L
    m_p = m_l[:, None] & (o_p < H * W)[None, :]
    p_map = logits + i_b * s_b + o_l.to(tl.int64)[:, None] * s_l  # [BL, 1]
    p_g = p_map + (o_y.to(tl.int64) * s_h + o_x.to(tl.int64) * s_w)[None, :]
    b_g = tl.load(p_g, mask=m_p, other=0).to(tl.float32)  # [BL, BP]
    b_dg = softmax_gradient(
        b_g, o_p, (o_x + 0.5) / W, (o_y + 0.5) / H, i_b * L + o_l, m_l,
        grad_mean, grad_covariance, grad_peak, mean, covariance, peak, high, argmax,
    )  # fmt: skip
    p_out = out + i_b * t_b + o_l.to(tl.int64)[:, None] * t_l + (o_y.to(tl.int64) * t_h + o_x * t_w)[None, :]
    tl.store(p_out, b_dg.to(out.dtype.element_ty), mask=m_p)


def blocks(x: Tensor, pixels: int) -> tuple[int, int]:
    """(BL, BP): blocks along the pixels; along the maps if those are adjacent (channels last)."""
    return (32, max(16, pixels // 32)) if x.stride(1) == 1 and x.shape[1] > 1 else (1, pixels)


def statistics(logits: Tensor, moments: bool) -> tuple[Tensor, ...]:
    """(mean, covariance, peak,) high, low, argmax, argmin of every map."""
    b, maps, h, w = logits.shape
    c = config("spatial_softmax", logits)
    bl, bp = blocks(logits, c.pixels)
    splits = min(cdiv(h * w, 4 * bp), max(1, cdiv(4 * processors(logits.device), b * cdiv(maps, bl))))
    span = cdiv(cdiv(h * w, splits), bp) * bp
    splits = cdiv(h * w, span)
    sums = empty((b, splits, 8, maps), logits)
    places = empty((b, splits, 2, maps), logits, torch.int32)
    with on(logits):
        statistics_kernel[splits, cdiv(maps, bl), b](
            logits, sums, places, maps, h, w, *logits.stride(), span,
            BL=bl, BP=bp, MOMENTS=moments, num_warps=c.warps,
        )  # fmt: skip
    return finish(sums, places, h, w, moments)


def finish(sums: Tensor, places: Tensor | None, h: int, w: int, moments: bool = True) -> tuple[Tensor, ...]:
    """Joins partial sums (B, splits, 8, L) and places (B, splits, 2, L). Without places there is no argmax, argmin."""
    b, splits, _, maps = sums.shape
    mean, covariance, peak = empty((b, maps, 2), sums), empty((b, maps, 3), sums), empty((b, maps), sums)
    high, low = empty((b, maps), sums), empty((b, maps), sums)
    found = places is not None
    argmax, argmin = (empty((b, maps), sums, torch.int32) if found else high for _ in range(2))
    with on(sums):
        finish_kernel[cdiv(maps, 64), b](
            sums, places if found else sums, mean, covariance, peak, high, low, argmax, argmin, maps, h, w, splits,
            BL=64, MOMENTS=moments, PLACES=found, num_warps=2,
        )  # fmt: skip
    out = (mean, covariance, peak) if moments else ()
    return (*out, high, low, argmax, argmin) if found else (*out, high, low)


def forward(logits: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """mean, covariance, peak, high, argmax."""
    mean, covariance, peak, high, _, argmax, _ = statistics(logits, moments=True)
    return mean, covariance, peak, high, argmax


def backward(
    grad_mean: Tensor, grad_covariance: Tensor, grad_peak: Tensor,
    logits: Tensor, mean: Tensor, covariance: Tensor, peak: Tensor, high: Tensor, argmax: Tensor,
) -> Tensor:  # fmt: skip
    b, maps, h, w = logits.shape
    out = empty_image(logits, maps)
    c = config("spatial_softmax", logits)
    bl, bp = blocks(out, c.pixels)
    small = (grad_mean, grad_covariance, grad_peak, mean, covariance, peak, high, argmax)
    with on(logits):
        gradient_kernel[cdiv(h * w, bp), cdiv(maps, bl), b](
            logits, out, *(t.contiguous() for t in small), maps, h, w, *logits.stride(), *out.stride(),
            BL=bl, BP=bp, num_warps=c.warps,
        )  # fmt: skip
    return out
