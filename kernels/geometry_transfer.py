"""Geometry transfer network (eq. 1 to 4), with neither logits nor attention maps in memory.

Two passes over the embedding compute its logits, tile by tile. The first gives statistics of every map. The second,
`cascade_transition`, gives the mask and the next stem's output. The embedding should be channels last: the channels of
a pixel then lie in one run of memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..ops.allocate import empty, flags
from .dual_fusion_conv1x1 import TYPES
from .geometry_logits import Layers, logits_of, pack, place_of, streams, transfer_rows
from .geometry_transfer_backward import backward as backward
from .launch import cdiv, config, dot_dtype, near, on, power, precision, tile_of
from .spatial_softmax import LOWEST, NOWHERE, SUMS, finish


@triton.jit
def statistics_kernel(
    embedding, depthwise, transfer, sums, places, C, H, W, rows, columns, s_b, s_c, s_h, s_w,
    I_L: tl.constexpr, L: tl.constexpr, K: tl.constexpr, SPLIT: tl.constexpr, PLACES: tl.constexpr,
    DOT: tl.constexpr, PRECISION: tl.constexpr, BL: tl.constexpr, BW: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Program (tile, face): sums over the tile of the maps from I_L on, in the form of spatial_softmax."""
    i_t, i_b = tl.program_id(0), tl.program_id(1).to(tl.int64)
    y0, x0 = place_of(i_t, W, rows, columns)
    o_l, o_c = I_L + tl.arange(0, BL), tl.arange(0, BC)
    b_t, b_s = transfer_rows(transfer, o_l, o_c, L, C, K, SPLIT)
    b_high, b_low = tl.full([BL], LOWEST, tl.float32), tl.full([BL], -LOWEST, tl.float32)
    b_top, b_bottom = tl.full([BL], NOWHERE, tl.int32), tl.full([BL], NOWHERE, tl.int32)
    b_e, b_ex, b_ey = tl.zeros([BL], tl.float32), tl.zeros([BL], tl.float32), tl.zeros([BL], tl.float32)
    b_exx, b_exy, b_eyy = tl.zeros([BL], tl.float32), tl.zeros([BL], tl.float32), tl.zeros([BL], tl.float32)
    for i_y in range(y0, tl.minimum(y0 + rows, H)):
        y = i_y - 0.5 * (H - 1)
        for i_x in tl.range(x0, tl.minimum(x0 + columns, W), BW, disable_licm=True):
            o_x = i_x + tl.arange(0, BW)
            x = o_x - 0.5 * (W - 1)
            m_x = (o_x < W)[None, :]
            p_face = embedding + i_b * s_b
            b_u, b_v = streams(
                p_face, depthwise, i_y, o_x, o_c, C, H, W, s_c, s_h, s_w, K, SPLIT > 0, SPLIT < L, DOT, BW, BC
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
    o_part = (i_b * tl.num_programs(0) + i_t) * L
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
    embedding = near(embedding)
    (b, c, h, w), maps = embedding.shape, layers.transfer.shape[0]
    cfg = config("geometry_transfer", embedding)
    bw, bl = min(cfg.pixels, power(w)), min(cfg.maps, power(maps))
    rows, columns = tile_of(embedding, bw)
    tiles = cdiv(h, rows) * cdiv(w, columns)
    sums = empty((b, tiles, 8, maps), embedding)
    found = empty((b, tiles, 2, maps), embedding, torch.int32) if places else None
    with on(embedding):
        for i_l in range(0, maps, bl):
            statistics_kernel[tiles, b](
                embedding, layers.depthwise, layers.transfer, sums, found if places else sums, c, h, w, rows,
                columns, *embedding.stride(), I_L=i_l, L=maps, K=layers.transfer.shape[1], SPLIT=layers.split,
                PLACES=places, DOT=TYPES[dot_dtype(embedding)], PRECISION=precision(embedding),
                BL=bl, BW=bw, BC=power(c), num_warps=cfg.warps, num_stages=cfg.stages,
            )  # fmt: skip
    return finish(sums, found, h, w)


def forward(
    embedding: Tensor, depthwise: Tensor, transfer: Tensor, split: int, masked: Sequence[bool]
) -> tuple[Tensor, ...]:
    """mean, covariance, peak, mask, high, low, argmax, argmin, winner."""
    from .cascade_transition import attend  # here, because it needs this module's kernels

    layers = pack(depthwise, transfer, split, embedding)
    mean, covariance, peak, high, low, argmax, argmin = statistics(embedding, layers, places=True)
    entering = None if all(masked) else flags(tuple(masked), low.device)
    mask, winner = attend(embedding, layers, high, lowered(low, high, entering))
    return mean, covariance, peak, mask, high, low, argmax, argmin, winner


def lowered(low: Tensor, high: Tensor, masked: Tensor | None) -> Tensor:
    """``low``, raised to ``high`` for maps that stay out of the mask: a constant map has no part in it."""
    return low if masked is None else torch.where(masked, low, high)
