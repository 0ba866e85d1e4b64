"""One pass over the embedding, from one stage to the next: mask, fusion, excitation and the next U-Net's stem.

The logits are computed again from the embedding, as in the statistics pass. Logits and fused features are never stored.
The mask is stored if it is asked for.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..ops.allocate import empty, empty_image
from .attention_mask import level_scale, strongest
from .dual_fusion_conv1x1 import TYPES, excited, stem
from .geometry_logits import Layers, logits_of, place_of, streams, transfer_rows
from .launch import cdiv, config, dot_dtype, near, on, power, precision, tile_of


@triton.jit
def transition_kernel(
    embedding, depthwise, transfer, high, low, image, excitation, weight, bias, mask, winner, out,
    C, OC, H, W, rows, columns, s_b, s_c, s_h, s_w, i_sb, i_sh, i_sw, t_b, t_c, t_h, t_w,
    L: tl.constexpr, K: tl.constexpr, SPLIT: tl.constexpr, MASK: tl.constexpr, WINNER: tl.constexpr, STEM: tl.constexpr,
    DOT: tl.constexpr, PRECISION: tl.constexpr,
    BL: tl.constexpr, BW: tl.constexpr, BC: tl.constexpr, BO: tl.constexpr,
):  # fmt: skip
    """Program (tile, face)."""
    i_b = tl.program_id(1).to(tl.int64)
    y0, x0 = place_of(tl.program_id(0), W, rows, columns)
    o_c, o_o = tl.arange(0, BC), tl.arange(0, BO)
    m_c, m_o = o_c < C, o_o < OC
    p_face = embedding + i_b * s_b
    if STEM:
        p_f = excitation + i_b * (2 + 2 * C)
        b_w = excited(weight, p_f, 2 + o_c, m_c, o_o, OC, embedding.dtype.element_ty, DOT)  # [BC, BO]
        b_wm = excited(weight, p_f, 2 + C + o_c, m_c, o_o, OC, embedding.dtype.element_ty, DOT)  # [BC, BO]
        b_wi = tl.load(weight + o_o, mask=m_o, other=0).to(tl.float32) * tl.load(p_f)  # [BO], as both below
        b_wim = tl.load(weight + OC + o_o, mask=m_o, other=0).to(tl.float32) * tl.load(p_f + 1)
        b_bias = tl.load(bias + o_o, mask=m_o, other=0)
    for i_y in range(y0, tl.minimum(y0 + rows, H)):
        for i_x in tl.range(x0, tl.minimum(x0 + columns, W), BW, disable_licm=True):
            o_x = i_x + tl.arange(0, BW)
            m_x = o_x < W
            b_u, b_v = streams(
                p_face, depthwise, i_y, o_x, o_c, C, H, W, s_c, s_h, s_w, K, SPLIT > 0, SPLIT < L, DOT, BW, BC
            )
            b_mask, b_winner = tl.zeros([BW], tl.float32), tl.full([BW], -1, tl.int32)
            for i_l in tl.range(0, L, BL, disable_licm=True):
                o_l = i_l + tl.arange(0, BL)
                b_t, b_s = transfer_rows(transfer, o_l, o_c, L, C, K, SPLIT)
                b_g = logits_of(b_t, b_s, b_u, b_v, i_l, SPLIT, L, PRECISION)  # [BL, BW]
                b_high, b_gain, b_shift = level_scale(high, low, i_b * L + o_l, o_l < L)
                b_mask, b_winner = strongest(b_g, o_l, b_high, b_gain, b_shift, b_mask, b_winner, WINNER)
            o_p = i_b * H * W + i_y * W + o_x
            if MASK:
                tl.store(mask + o_p, b_mask, mask=m_x)
            if WINNER:
                tl.store(winner + o_p, b_winner, mask=m_x)
            if STEM:
                row = tl.cast(i_y, tl.int64)  # as in `streams`
                b_image = tl.load(image + i_b * i_sb + row * i_sh + o_x.to(tl.int64) * i_sw, mask=m_x, other=0)  # [BW]
                p_h = p_face + row * s_h + o_x[:, None] * s_w + o_c.to(tl.int64)[None, :] * s_c
                b_h = tl.load(p_h, mask=m_x[:, None] & m_c[None, :], other=0).to(DOT)  # [BW, BC]
                b_image = b_image.to(tl.float32)
                b_y = stem(b_h, b_image, b_mask, b_w, b_wm, b_wi, b_wim, b_bias, PRECISION)  # [BW, BO]
                p_out = out + i_b * t_b + row * t_h + o_x[:, None] * t_w + o_o.to(tl.int64)[None, :] * t_c
                tl.store(p_out, b_y.to(out.dtype.element_ty), mask=m_x[:, None] & m_o[None, :])


def _launch(
    embedding: Tensor, layers: Layers, high: Tensor, low: Tensor, mask: Tensor | None, winner: Tensor | None,
    image: Tensor | None, excitation: Tensor | None, weight: Tensor | None, bias: Tensor | None, out: Tensor | None,
) -> None:  # fmt: skip
    embedding = near(embedding)
    (b, c, h, w), maps = embedding.shape, layers.transfer.shape[0]
    cfg = config("cascade_transition", embedding)
    bw = min(cfg.pixels, power(w))
    rows, columns = tile_of(embedding, bw)
    o = 1 if weight is None else weight.shape[1]
    place = (0, 0, 0) if image is None else (image.stride(0), *image.stride()[2:])
    absent = high  # any valid pointer: the flags keep the kernel from reading it
    given = (absent if t is None else t for t in (image, excitation, weight, bias, mask, winner, out))
    with on(embedding):
        transition_kernel[cdiv(h, rows) * cdiv(w, columns), b](
            embedding, layers.depthwise, layers.transfer, high, low, *given, c, o, h, w, rows, columns,
            *embedding.stride(), *place, *(out.stride() if out is not None else (0, 0, 0, 0)),
            L=maps, K=layers.transfer.shape[1], SPLIT=layers.split,
            MASK=mask is not None, WINNER=winner is not None, STEM=out is not None,
            DOT=TYPES[dot_dtype(embedding)], PRECISION=precision(embedding),
            BL=min(cfg.maps, power(maps)), BW=bw, BC=power(c), BO=power(o),
            num_warps=cfg.warps, num_stages=cfg.stages,
        )  # fmt: skip


def attend(embedding: Tensor, layers: Layers, high: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
    """Mask (B, 1, H, W) and winning maps (B, H, W) from an embedding and the extremes of its maps."""
    b, _, h, w = embedding.shape
    mask, winner = empty((b, 1, h, w), embedding), empty((b, h, w), embedding, torch.int32)
    _launch(embedding, layers, high, low, mask, winner, None, None, None, None, None)
    return mask, winner


def transition(
    embedding: Tensor, layers: Layers, high: Tensor, low: Tensor,
    image: Tensor, excitation: Tensor, weight: Tensor, bias: Tensor, mask: bool,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """The next stem's output (B, O, H, W), and the mask (B, 1, H, W) if it is asked for.

    weight (2 + 2C, O) should have the embedding's type, because every program reads it.
    """
    b, _, h, w = embedding.shape
    out = empty_image(embedding, weight.shape[1])
    stored = empty((b, 1, h, w), embedding) if mask else None
    _launch(embedding, layers, high, low, stored, None, image, excitation, weight, bias, out)
    return out, stored


def mask_of(embedding: Tensor, layers: Layers, high: Tensor, low: Tensor) -> Tensor:
    """The mask (B, 1, H, W) alone, for the last stage."""
    b, _, h, w = embedding.shape
    mask = empty((b, 1, h, w), embedding)
    _launch(embedding, layers, high, low, mask, None, None, None, None, None, None)
    return mask
