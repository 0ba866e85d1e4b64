"""Geometry transfer network (eq. 1 to 4) without logits or attention maps in memory.

Both passes compute a block of logits from a row of the embedding: depthwise 3×3 in float32, then tl.dot with
transfer layers. The first leaves statistics of every map; the second, `cascade_transition`, mask and next stem's
output. The embedding is best channels last: a pixel's channels are then one run of memory at any tap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..ops.allocate import empty, empty_image
from .attention_mask import mask_gradient, mask_sums
from .dual_fusion_conv1x1 import TYPES
from .launch import cdiv, config, dot_dtype, on, power, precision, strip_rows
from .spatial_softmax import LOWEST, NOWHERE, SUMS, finish, softmax_gradient


class Layers(NamedTuple):
    """The network's two layers as the kernels read them, zero where a stream does not read a channel."""

    depthwise: Tensor  # (S, 9, C) float32
    transfer: Tensor  # (L, C) in tl.dot's type
    split: int  # maps before it read the first stream


def pack(depthwise: Tensor, transfer: Tensor, split: int, embedding: Tensor) -> Layers:
    """Spread K channels of each stream over the C of the embedding: the first stream's first, the second's last."""
    (streams, k), maps, c = depthwise.shape[:2], transfer.shape[0], embedding.shape[1]
    taps, rows = transfer.new_zeros(streams, 9, c), transfer.new_zeros(maps, c)
    if split > 0:
        taps[0, :, :k], rows[:split, :k] = depthwise[0].flatten(1).t(), transfer[:split]
    if split < maps:
        taps[-1, :, c - k :], rows[split:, c - k :] = depthwise[-1].flatten(1).t(), transfer[split:]
    return Layers(taps, rows.to(embedding.dtype).to(dot_dtype(embedding)), split)


@triton.jit
def streams(
    p_face, depthwise, i_y, o_x, o_c, C, H, W, s_c, s_h, s_w,
    TWO: tl.constexpr, THREE: tl.constexpr, DOT: tl.constexpr, BW: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Both streams' depthwise convolutions of row i_y at columns o_x, [BW, BC] each, for tl.dot."""
    b_u, b_v = tl.zeros([BW, BC], tl.float32), tl.zeros([BW, BC], tl.float32)
    m_c = o_c < C
    for i_r in tl.range(3, disable_licm=True):  # a loop, for nine taps' loads at once take too many registers
        for i_k in tl.static_range(3):
            y, o_s = i_y + i_r - 1, o_x + i_k - 1
            m_s = (o_s >= 0) & (o_s < W) & (y >= 0) & (y < H)
            p_h = p_face + y * s_h + o_s[:, None] * s_w + o_c.to(tl.int64)[None, :] * s_c
            b_h = tl.load(p_h, mask=m_s[:, None] & m_c[None, :], other=0).to(tl.float32)  # [BW, BC]
            p_d = depthwise + (3 * i_r + i_k) * C + o_c
            if TWO:
                b_u += b_h * tl.load(p_d, mask=m_c, other=0)[None, :]  # [1, BC]
            if THREE:
                b_v += b_h * tl.load(p_d + 9 * TWO * C, mask=m_c, other=0)[None, :]  # [1, BC]
    return b_u.to(p_face.dtype.element_ty).to(DOT), b_v.to(p_face.dtype.element_ty).to(DOT)


@triton.jit
def transfer_rows(transfer, o_l, o_c, L, C, SPLIT: tl.constexpr):
    """Transfer layers of maps o_l, [BL, BC]: those that read the first stream, those that read the second."""
    m_c = (o_c < C)[None, :]
    p_t = transfer + o_l[:, None] * C + o_c[None, :]
    b_t = tl.load(p_t, mask=(o_l < SPLIT)[:, None] & m_c, other=0)
    b_s = tl.load(p_t, mask=((o_l >= SPLIT) & (o_l < L))[:, None] & m_c, other=0)
    return b_t, b_s


@triton.jit
def logits_of(b_t, b_s, b_u, b_v, i_l, SPLIT: tl.constexpr, L: tl.constexpr, PRECISION: tl.constexpr):
    """Logits [BL, BW] of the maps from i_l on; a block of maps of one stream needs one product."""
    b_g = tl.zeros([b_t.shape[0], b_u.shape[0]], tl.float32)
    if i_l < SPLIT:
        b_g = tl.dot(b_t, tl.trans(b_u), b_g, input_precision=PRECISION)
    if SPLIT < L:  # noqa: SIM102 (known when compiled, unlike the next)
        if i_l + b_t.shape[0] > SPLIT:
            b_g = tl.dot(b_s, tl.trans(b_v), b_g, input_precision=PRECISION)
    return b_g


@triton.jit
def statistics_kernel(
    embedding, depthwise, transfer, sums, places, C, H, W, rows, s_b, s_c, s_h, s_w,
    I_L: tl.constexpr, L: tl.constexpr, SPLIT: tl.constexpr, PLACES: tl.constexpr, DOT: tl.constexpr,
    PRECISION: tl.constexpr, BL: tl.constexpr, BW: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Program (strip of rows, face): sums of the maps from I_L on over the strip, as spatial_softmax keeps them."""
    i_s, i_b = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)  # 64-bit rows and offsets
    o_l, o_c = I_L + tl.arange(0, BL), tl.arange(0, BC)
    b_t, b_s = transfer_rows(transfer, o_l, o_c, L, C, SPLIT)
    b_high, b_low = tl.full([BL], LOWEST, tl.float32), tl.full([BL], -LOWEST, tl.float32)
    b_top, b_bottom = tl.full([BL], NOWHERE, tl.int32), tl.full([BL], NOWHERE, tl.int32)
    b_e, b_ex, b_ey = tl.zeros([BL], tl.float32), tl.zeros([BL], tl.float32), tl.zeros([BL], tl.float32)
    b_exx, b_exy, b_eyy = tl.zeros([BL], tl.float32), tl.zeros([BL], tl.float32), tl.zeros([BL], tl.float32)
    for i_y in range(i_s * rows, tl.minimum((i_s + 1) * rows, H)):
        y = i_y - 0.5 * (H - 1)
        for i_x in tl.range(0, W, BW, disable_licm=True):
            o_x = i_x + tl.arange(0, BW)
            x = o_x - 0.5 * (W - 1)
            m_x = (o_x < W)[None, :]
            p_face = embedding + i_b * s_b
            b_u, b_v = streams(
                p_face, depthwise, i_y, o_x, o_c, C, H, W, s_c, s_h, s_w, SPLIT > 0, SPLIT < L, DOT, BW, BC
            )
            b_g = logits_of(b_t, b_s, b_u, b_v, I_L, SPLIT, L, PRECISION)  # [BL, BW]
            b_rise, b_fall = tl.where(m_x, b_g, LOWEST), tl.where(m_x, b_g, -LOWEST)
            if PLACES:
                high, i_high = tl.max(b_rise, 1, return_indices=True)
                low, i_low = tl.min(b_fall, 1, return_indices=True)
                b_top = tl.where(high > b_high, (i_y * W + i_x + i_high).to(tl.int32), b_top)
                b_bottom = tl.where(low < b_low, (i_y * W + i_x + i_low).to(tl.int32), b_bottom)
            else:
                high, low = tl.max(b_rise, 1), tl.min(b_fall, 1)
            top = tl.maximum(b_high, high)
            scale = tl.exp(b_high - top)
            b_p = tl.where(m_x, tl.exp(b_g - top[:, None]), 0.0)
            e, ex, exx = tl.sum(b_p, 1), tl.sum(b_p * x[None, :], 1), tl.sum(b_p * (x * x)[None, :], 1)
            b_e, b_ex, b_ey = b_e * scale + e, b_ex * scale + ex, b_ey * scale + e * y
            b_exx, b_exy, b_eyy = b_exx * scale + exx, b_exy * scale + ex * y, b_eyy * scale + e * y * y
            b_high, b_low = top, tl.minimum(b_low, low)
    m_l = o_l < L
    o_part = (i_b * tl.num_programs(0) + i_s) * L
    p_sum = sums + o_part * SUMS + o_l
    tl.store(p_sum, b_high, mask=m_l)
    tl.store(p_sum + L, b_low, mask=m_l)
    tl.store(p_sum + 2 * L, b_e, mask=m_l)
    tl.store(p_sum + 3 * L, b_ex, mask=m_l)
    tl.store(p_sum + 4 * L, b_ey, mask=m_l)
    tl.store(p_sum + 5 * L, b_exx, mask=m_l)
    tl.store(p_sum + 6 * L, b_exy, mask=m_l)
    tl.store(p_sum + 7 * L, b_eyy, mask=m_l)
    if PLACES:
        tl.store(places + o_part * 2 + o_l, b_top, mask=m_l)
        tl.store(places + o_part * 2 + L + o_l, b_bottom, mask=m_l)


def statistics(embedding: Tensor, layers: Layers, places: bool) -> tuple[Tensor, ...]:
    """mean, covariance, peak, high, low of every map, and with ``places`` argmax and argmin."""
    (b, c, h, w), maps = embedding.shape, layers.transfer.shape[0]
    cfg = config("geometry_transfer", embedding)
    rows, bl = strip_rows(h, b, embedding.device), min(cfg.maps, power(maps))
    sums = empty((b, cdiv(h, rows), 8, maps), embedding)
    found = empty((b, cdiv(h, rows), 2, maps), embedding, torch.int32) if places else None
    with on(embedding):
        for i_l in range(0, maps, bl):
            statistics_kernel[cdiv(h, rows), b](
                embedding, layers.depthwise, layers.transfer, sums, found if places else sums, c, h, w, rows,
                *embedding.stride(), I_L=i_l, L=maps, SPLIT=layers.split, PLACES=places,
                DOT=TYPES[dot_dtype(embedding)], PRECISION=precision(embedding),
                BL=bl, BW=min(cfg.pixels, power(w)), BC=power(c), num_warps=cfg.warps, num_stages=cfg.stages,
            )  # fmt: skip
    return finish(sums, found, h, w)


@triton.jit
def map_gradient(
    b_g, i_y, o_x, o_l, i_b, L, H, W, grad_mean, grad_covariance, grad_peak, mean, covariance, peak, high, argmax,
    grad_mask, mask, winner, sums, low, argmin,
):  # fmt: skip
    """dG [BL, BW] of logits b_g of maps o_l in row i_y: the moments' part and the mask's."""
    o_p, m_x, m_l = i_y * W + o_x, o_x < W, o_l < L
    b_dm = tl.load(grad_mask + i_b * H * W + o_p, mask=m_x, other=0)  # [BW], as both below
    b_mask = tl.load(mask + i_b * H * W + o_p, mask=m_x, other=0)
    b_winner = tl.load(winner + i_b * H * W + o_p, mask=m_x, other=-1)
    b_dg = softmax_gradient(
        b_g, o_p, (o_x + 0.5) / W, tl.zeros_like(o_x) + (i_y + 0.5) / H, i_b * L + o_l, m_l,
        grad_mean, grad_covariance, grad_peak, mean, covariance, peak, high, argmax,
    )  # fmt: skip
    b_dg += mask_gradient(b_dm, b_mask, b_winner, o_p, o_l, m_l, i_b, L, sums, high, low, argmax, argmin)
    return tl.where(m_x[None, :] & m_l[:, None], b_dg, 0.0)


@triton.jit
def stream_gradient_kernel(
    embedding, depthwise, transfer, grad_stream, grad_mean, grad_covariance, grad_peak, mean, covariance, peak, high,
    argmax, grad_mask, mask, winner, sums, low, argmin, C, H, W, rows, s_b, s_c, s_h, s_w,
    L: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
    BL: tl.constexpr, BW: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Program (strip of rows, face): gradient of one stream's depthwise convolution, (B, H, W, C), of its L maps."""
    i_s, i_b = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)  # 64-bit rows and offsets
    o_c = tl.arange(0, BC)
    for i_y in range(i_s * rows, tl.minimum((i_s + 1) * rows, H)):
        for i_x in tl.range(0, W, BW, disable_licm=True):
            o_x = i_x + tl.arange(0, BW)
            p_face = embedding + i_b * s_b
            b_u, _b_v = streams(p_face, depthwise, i_y, o_x, o_c, C, H, W, s_c, s_h, s_w, True, False, DOT, BW, BC)
            b_du = tl.zeros([BW, BC], tl.float32)
            for i_l in tl.range(0, L, BL, disable_licm=True):
                o_l = i_l + tl.arange(0, BL)
                b_t, _b_s = transfer_rows(transfer, o_l, o_c, L, C, L)
                b_g = tl.dot(b_t, tl.trans(b_u), input_precision=PRECISION)  # [BL, BW]
                b_dg = map_gradient(
                    b_g, i_y, o_x, o_l, i_b, L, H, W, grad_mean, grad_covariance, grad_peak, mean, covariance, peak,
                    high, argmax, grad_mask, mask, winner, sums, low, argmin,
                )  # fmt: skip
                b_dg = b_dg.to(embedding.dtype.element_ty).to(DOT)
                b_du = tl.dot(tl.trans(b_dg), b_t, b_du, input_precision=PRECISION)
            p_out = grad_stream + ((i_b * H + i_y) * W + o_x)[:, None] * C + o_c[None, :]
            tl.store(p_out, b_du.to(grad_stream.dtype.element_ty), mask=(o_x < W)[:, None] & (o_c < C)[None, :])


@triton.jit
def transfer_gradient_kernel(
    embedding, depthwise, transfer, grad_transfer, grad_mean, grad_covariance, grad_peak, mean, covariance, peak, high,
    argmax, grad_mask, mask, winner, sums, low, argmin, C, H, W, rows, s_b, s_c, s_h, s_w,
    L: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
    BL: tl.constexpr, BW: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Program (strip of rows, map block, face): gradient of one stream's transfer layers, (B, strips, L, C)."""
    i_s, i_l, i_b = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2).to(tl.int64)
    o_l, o_c = i_l * BL + tl.arange(0, BL), tl.arange(0, BC)
    b_t, _b_s = transfer_rows(transfer, o_l, o_c, L, C, L)
    b_dt = tl.zeros([BL, BC], tl.float32)
    for i_y in range(i_s * rows, tl.minimum((i_s + 1) * rows, H)):
        for i_x in tl.range(0, W, BW, disable_licm=True):
            o_x = i_x + tl.arange(0, BW)
            p_face = embedding + i_b * s_b
            b_u, _b_v = streams(p_face, depthwise, i_y, o_x, o_c, C, H, W, s_c, s_h, s_w, True, False, DOT, BW, BC)
            b_g = tl.dot(b_t, tl.trans(b_u), input_precision=PRECISION)  # [BL, BW]
            b_dg = map_gradient(
                b_g, i_y, o_x, o_l, i_b, L, H, W, grad_mean, grad_covariance, grad_peak, mean, covariance, peak,
                high, argmax, grad_mask, mask, winner, sums, low, argmin,
            )  # fmt: skip
            b_dt = tl.dot(b_dg.to(embedding.dtype.element_ty).to(DOT), b_u, b_dt, input_precision=PRECISION)
    p_out = grad_transfer + ((i_b * tl.num_programs(0) + i_s) * L + o_l)[:, None] * C + o_c[None, :]
    tl.store(p_out, b_dt, mask=(o_l < L)[:, None] & (o_c < C)[None, :])


@triton.jit
def depthwise_gradient_kernel(
    embedding, depthwise, grad_stream, grad_embedding, grad_depthwise, K, H, W, rows,
    s_b, s_c, s_h, s_w, t_b, t_c, t_h, t_w, ADD: tl.constexpr, BW: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Program (strip of rows, channel block, face): gradients of a stream's channels and of its depthwise filters."""
    i_s, i_c, i_b = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2).to(tl.int64)
    o_c, o_t = i_c * BC + tl.arange(0, BC), tl.arange(0, 16)
    m_c, o_c64 = o_c < K, o_c.to(tl.int64)[None, :]
    b_dd = tl.zeros([16, BC], tl.float32)
    for i_y in range(i_s * rows, tl.minimum((i_s + 1) * rows, H)):
        for i_x in range(0, W, BW):
            o_x = i_x + tl.arange(0, BW)
            m_cx = (o_x < W)[:, None] & m_c[None, :]
            p_h = embedding + i_b * s_b + i_y * s_h + o_x[:, None] * s_w + o_c64 * s_c
            p_dh = grad_embedding + i_b * t_b + i_y * t_h + o_x[:, None] * t_w + o_c64 * t_c
            b_h = tl.load(p_h, mask=m_cx, other=0).to(tl.float32)  # [BW, BC], as below
            b_dh = tl.load(p_dh, mask=m_cx & ADD, other=0).to(tl.float32)
            for i_tap in tl.range(9, disable_licm=True):
                y, o_s = i_y + 1 - i_tap // 3, o_x + 1 - i_tap % 3
                m_s = ((o_s >= 0) & (o_s < W) & (y >= 0) & (y < H))[:, None] & m_c[None, :]
                p_du = grad_stream + ((i_b * H + y) * W + o_s)[:, None] * K + o_c[None, :]
                b_du = tl.load(p_du, mask=m_s, other=0).to(tl.float32)  # [BW, BC]
                b_dh += b_du * tl.load(depthwise + i_tap * K + o_c, mask=m_c, other=0)[None, :]
                b_dd += tl.where(o_t[:, None] == i_tap, tl.sum(b_du * b_h, 0)[None, :], 0.0)
            tl.store(p_dh, b_dh.to(grad_embedding.dtype.element_ty), mask=m_cx)
    p_dd = grad_depthwise + (i_b * tl.num_programs(0) + i_s) * 9 * K + o_t[:, None] * K + o_c[None, :]
    tl.store(p_dd, b_dd, mask=(o_t < 9)[:, None] & m_c[None, :])


def forward(
    embedding: Tensor, depthwise: Tensor, transfer: Tensor, split: int, masked: Sequence[bool]
) -> tuple[Tensor, ...]:
    """mean, covariance, peak, mask, high, low, argmax, argmin, winner."""
    from .cascade_transition import attend  # which needs this module's kernels

    layers = pack(depthwise, transfer, split, embedding)
    mean, covariance, peak, high, low, argmax, argmin = statistics(embedding, layers, places=True)
    entering = None if all(masked) else torch.tensor(list(masked), device=low.device)
    mask, winner = attend(embedding, layers, high, lowered(low, high, entering))
    return mean, covariance, peak, mask, high, low, argmax, argmin, winner


def lowered(low: Tensor, high: Tensor, masked: Tensor | None) -> Tensor:
    """``low``, raised to ``high`` for maps that stay out of the mask: constant maps do not enter it."""
    return low if masked is None else torch.where(masked, low, high)


def backward(
    grad_mean: Tensor, grad_covariance: Tensor, grad_peak: Tensor, grad_mask: Tensor,
    embedding: Tensor, depthwise: Tensor, transfer: Tensor, split: int,
    mean: Tensor, covariance: Tensor, peak: Tensor, mask: Tensor,
    high: Tensor, low: Tensor, argmax: Tensor, argmin: Tensor, winner: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of embedding, depthwise and transfer."""
    maps, k, c = transfer.shape[0], depthwise.shape[1], embedding.shape[1]
    grad_mask, mask, winner = grad_mask.contiguous(), mask.contiguous(), winner.contiguous()
    sums = mask_sums(grad_mask, mask, winner, maps)
    of_maps = (grad_mean, grad_covariance, grad_peak, mean, covariance, peak, high, argmax, low, argmin)
    grad_embedding, grads = empty_image(embedding, c), []
    if k < c:
        grad_embedding.zero_()
    for first, l0, l1 in [s for s in ((0, 0, split), (c - k, split, maps)) if s[1] < s[2]]:
        channels = slice(first, first + k)
        *moments, low_, argmin_ = (t[:, l0:l1].contiguous() for t in of_maps)
        image = (grad_mask, mask, winner - l0, sums[:, :, l0:l1].contiguous())
        saved = [*moments, *image, low_, argmin_]
        layers, out = (depthwise[len(grads)], transfer[l0:l1]), grad_embedding[:, channels]
        grads.append(_stream_backward(embedding[:, channels], *layers, saved, out, add=k < c or bool(grads)))
    return grad_embedding, torch.stack([g[0] for g in grads]), torch.cat([g[1] for g in grads])


def _stream_backward(
    embedding: Tensor, depthwise: Tensor, transfer: Tensor, saved: list[Tensor], grad_embedding: Tensor, add: bool
) -> tuple[Tensor, Tensor]:
    """One stream's gradients: of depthwise (K, 3, 3) and transfer (L, K); the embedding's is written or added."""
    (b, k, h, w), maps, cfg = embedding.shape, transfer.shape[0], config("geometry_transfer.backward", embedding)
    taps, rows_of, _ = pack(depthwise[None], transfer, maps, embedding)
    rows = strip_rows(h, b, embedding.device, most=8)
    strips, bw, bl = cdiv(h, rows), min(cfg.pixels, power(w)), min(cfg.maps, power(maps))
    common = {
        "L": maps, "DOT": TYPES[dot_dtype(embedding)], "PRECISION": precision(embedding),
        "BL": bl, "BW": bw, "BC": power(k), "num_warps": cfg.warps, "num_stages": cfg.stages,
    }  # fmt: skip
    place = (k, h, w, rows, *embedding.stride())
    grad_stream = empty((b, h, w, k), embedding, embedding.dtype)
    grad_transfer, grad_depthwise = empty((b, strips, maps, k), embedding), empty((b, strips, 9, k), embedding)
    bc = min(64, power(k))
    with on(embedding):
        stream_gradient_kernel[strips, b](embedding, taps, rows_of, grad_stream, *saved, *place, **common)
        transfer_gradient_kernel[strips, cdiv(maps, bl), b](
            embedding, taps, rows_of, grad_transfer, *saved, *place, **common
        )
        depthwise_gradient_kernel[strips, cdiv(k, bc), b](
            embedding, taps, grad_stream, grad_embedding, grad_depthwise, *place, *grad_embedding.stride(),
            ADD=add, BW=bw, BC=bc, num_warps=4,
        )  # fmt: skip
    return grad_depthwise.sum((0, 1)).t().reshape(k, 3, 3), grad_transfer.sum((0, 1))
