"""Gradients of the geometry transfer network. Its logits are computed again, twice for each stream, and never stored.

Each stream has three kernels: for the gradient of the depthwise convolution's output, for that of the transfer layers,
and for those of the embedding and the filters. Partial sums of programs are added in a fixed order.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..ops.allocate import empty, empty_image
from .attention_mask import mask_gradient, mask_sums
from .dual_fusion_conv1x1 import TYPES
from .geometry_logits import pack, streams, transfer_rows
from .launch import cdiv, config, dot_dtype, near, on, power, precision, strip_rows
from .spatial_softmax import softmax_gradient


@triton.jit
def map_gradient(
    b_g, i_y, o_x, o_l, i_b, L, H, W, grad_mean, grad_covariance, grad_peak, mean, covariance, peak, high, argmax,
    grad_mask, mask, winner, sums, low, argmin,
):  # fmt: skip
    """dG [BL, BW] of logits b_g of maps o_l in row i_y: the part of the moments and the part of the mask."""
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
    L: tl.constexpr, K: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
    BL: tl.constexpr, BW: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Program (strip of rows, face): gradient (B, H, W, C) of one stream's depthwise output, from its L maps."""
    i_s, i_b = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)  # 64-bit rows and offsets
    o_c = tl.arange(0, BC)
    for i_y in range(i_s * rows, tl.minimum((i_s + 1) * rows, H)):
        for i_x in tl.range(0, W, BW, disable_licm=True):
            o_x = i_x + tl.arange(0, BW)
            p_face = embedding + i_b * s_b
            b_u, _b_v = streams(p_face, depthwise, i_y, o_x, o_c, C, H, W, s_c, s_h, s_w, K, True, False, DOT, BW, BC)
            b_du = tl.zeros([BW, BC], tl.float32)
            for i_l in tl.range(0, L, BL, disable_licm=True):
                o_l = i_l + tl.arange(0, BL)
                b_t, _b_s = transfer_rows(transfer, o_l, o_c, L, C, K, L)
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
    L: tl.constexpr, K: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
    BL: tl.constexpr, BW: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Program (strip of rows, map block, face): gradient of one stream's transfer layers, (B, strips, L, C)."""
    i_s, i_l, i_b = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2).to(tl.int64)
    o_l, o_c = i_l * BL + tl.arange(0, BL), tl.arange(0, BC)
    b_t, _b_s = transfer_rows(transfer, o_l, o_c, L, C, K, L)
    b_dt = tl.zeros([BL, BC], tl.float32)
    for i_y in range(i_s * rows, tl.minimum((i_s + 1) * rows, H)):
        for i_x in tl.range(0, W, BW, disable_licm=True):
            o_x = i_x + tl.arange(0, BW)
            p_face = embedding + i_b * s_b
            b_u, _b_v = streams(p_face, depthwise, i_y, o_x, o_c, C, H, W, s_c, s_h, s_w, K, True, False, DOT, BW, BC)
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
    """Program (strip of rows, channel block, face): gradients of one stream's channels and depthwise filters."""
    i_s, i_c, i_b = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2).to(tl.int64)
    o_c, o_t = i_c * BC + tl.arange(0, BC), tl.arange(0, 16)
    m_c, o_c64 = o_c < K, o_c.to(tl.int64)[None, :]
    b_dd = tl.zeros([16, BC], tl.float32)
    for i_y in range(i_s * rows, tl.minimum((i_s + 1) * rows, H)):
        for i_x in range(0, W, BW):
            o_x = i_x + tl.arange(0, BW)
            m_cx = (o_x < W)[:, None] & m_c[None, :]
            row = tl.cast(i_y, tl.int64)  # as in `geometry_logits.streams`
            p_h = embedding + i_b * s_b + row * s_h + o_x[:, None] * s_w + o_c64 * s_c
            p_dh = grad_embedding + i_b * t_b + row * t_h + o_x[:, None] * t_w + o_c64 * t_c
            b_h = tl.load(p_h, mask=m_cx, other=0).to(tl.float32)  # [BW, BC], as below
            b_dh = tl.zeros_like(b_h)
            if ADD:
                b_dh += tl.load(p_dh, mask=m_cx, other=0).to(tl.float32)
            for i_tap in tl.range(9, disable_licm=True):
                y, o_s = i_y + 1 - i_tap // 3, o_x + 1 - i_tap % 3
                o_in = o_s + tl.where((y >= 0) & (y < H), 0, -(2**30))  # outside rows: out of range
                m_s = ((o_in >= 0) & (o_in < W))[:, None] & m_c[None, :]
                p_du = grad_stream + ((i_b * H + y) * W + o_s)[:, None] * K + o_c[None, :]
                b_du = tl.load(p_du, mask=m_s, other=0).to(tl.float32)  # [BW, BC]
                b_dh += b_du * tl.load(depthwise + i_tap * K + o_c, mask=m_c, other=0)[None, :]
                b_dd += tl.where(o_t[:, None] == i_tap, tl.sum(b_du * b_h, 0)[None, :], 0.0)
            tl.store(p_dh, b_dh.to(grad_embedding.dtype.element_ty), mask=m_cx)
    p_dd = grad_depthwise + (i_b * tl.num_programs(0) + i_s) * 9 * K + o_t[:, None] * K + o_c[None, :]
    tl.store(p_dd, b_dd, mask=(o_t < 9)[:, None] & m_c[None, :])


def backward(
    grad_mean: Tensor, grad_covariance: Tensor, grad_peak: Tensor, grad_mask: Tensor,
    embedding: Tensor, depthwise: Tensor, transfer: Tensor, split: int,
    mean: Tensor, covariance: Tensor, peak: Tensor, mask: Tensor,
    high: Tensor, low: Tensor, argmax: Tensor, argmin: Tensor, winner: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of embedding, depthwise and transfer."""
    embedding = near(embedding)
    maps, k, c = transfer.shape[0], depthwise.shape[1], embedding.shape[1]
    grad_mask, mask, winner = grad_mask.contiguous(), mask.contiguous(), winner.contiguous()
    sums = mask_sums(grad_mask, mask, winner, maps)
    of_maps = (grad_mean, grad_covariance, grad_peak, mean, covariance, peak, high, argmax, low, argmin)
    grad_embedding = empty_image(embedding, c)
    grads: list[tuple[Tensor, Tensor]] = []
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
    """One stream's gradients of depthwise (K, 3, 3) and transfer (L, K). That of the embedding is written or added."""
    (b, k, h, w), maps, cfg = embedding.shape, transfer.shape[0], config("geometry_transfer.backward", embedding)
    taps, rows_of, _ = pack(depthwise[None], transfer, maps, embedding)
    rows = strip_rows(h, b, embedding.device)
    strips, bw, bl = cdiv(h, rows), min(cfg.pixels, power(w)), min(cfg.maps, power(maps))
    common = {
        "L": maps, "K": k, "DOT": TYPES[dot_dtype(embedding)], "PRECISION": precision(embedding),
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
