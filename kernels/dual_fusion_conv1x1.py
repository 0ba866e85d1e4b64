"""Fusion and the next U-Net's stem in one (eq. 5 and 6, then a 1×1 convolution). Fused features are never stored.

With the excitation f and the stem's weight W = [W_I, W_IΦ, W_H, W_HΦ], a pixel's output is
bias + f_I·I·W_I + (f_H·W_H)·H + Φ·(f_IΦ·I·W_IΦ + (f_HΦ·W_HΦ)·H): two matrix products with matrices of each face.
Backward sums Z = Σ_p F⁰(p) ∂y(p)ᵀ, where F⁰ is F before excitation. Z gives the gradients of weight and excitation.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..ops.allocate import empty, empty_image
from .launch import cdiv, config, dot_dtype, on, power, precision, processors

TYPES = {torch.float32: tl.float32, torch.float16: tl.float16, torch.bfloat16: tl.bfloat16}


@triton.jit
def excited(weight, excitation, o_f, m_f, o_o, OC, STORAGE: tl.constexpr, DOT: tl.constexpr):
    """Rows o_f of the stem's weight (2 + 2C, O), each times its excitation: [BC, BO]."""
    b_w = tl.load(weight + o_f[:, None] * OC + o_o[None, :], mask=m_f[:, None] & (o_o < OC)[None, :], other=0)
    b_f = tl.load(excitation + o_f, mask=m_f, other=0)[:, None]
    return (b_w.to(tl.float32) * b_f).to(STORAGE).to(DOT)


@triton.jit
def stem(b_h, b_image, b_mask, b_w, b_wm, b_wi, b_wim, b_bias, PRECISION: tl.constexpr):
    """Next stem's output [BP, BO] from features b_h [BP, BC], image and mask [BP], with excited weights."""
    b_y = tl.dot(b_h, b_wm, input_precision=PRECISION) + b_image[:, None] * b_wim[None, :]
    b_y = b_y * b_mask[:, None] + b_image[:, None] * b_wi[None, :] + b_bias[None, :]
    return b_y + tl.dot(b_h, b_w, input_precision=PRECISION)


@triton.jit
def stem_kernel(
    image, embedding, mask, excitation, weight, bias, out, C, OC, H, W, span,
    s_b, s_c, s_h, s_w, t_b, t_c, t_h, t_w,
    DOT: tl.constexpr, PRECISION: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr, BO: tl.constexpr,
):  # fmt: skip
    """Program (span of pixels, output block, face)."""
    i_s, i_o, i_b = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    o_c, o_o = tl.arange(0, BC), i_o * BO + tl.arange(0, BO)
    m_c, m_o = o_c < C, o_o < OC
    p_f = excitation + i_b * (2 + 2 * C)
    b_w = excited(weight, p_f, 2 + o_c, m_c, o_o, OC, embedding.dtype.element_ty, DOT)
    b_wm = excited(weight, p_f, 2 + C + o_c, m_c, o_o, OC, embedding.dtype.element_ty, DOT)
    b_wi = tl.load(weight + o_o, mask=m_o, other=0) * tl.load(p_f)  # [BO], as both below
    b_wim = tl.load(weight + OC + o_o, mask=m_o, other=0) * tl.load(p_f + 1)
    b_bias = tl.load(bias + o_o, mask=m_o, other=0)
    end = tl.minimum((i_s + 1) * span, H * W)
    for i_p in range(i_s * span, end, BP):
        o_p = i_p + tl.arange(0, BP)
        o_y, o_x = (o_p // W).to(tl.int64), (o_p % W).to(tl.int64)
        m_p = o_p < end
        b_image = tl.load(image + i_b * H * W + o_p, mask=m_p, other=0)  # [BP], as below
        b_mask = tl.load(mask + i_b * H * W + o_p, mask=m_p, other=0)
        p_h = embedding + i_b * s_b + (o_y * s_h + o_x * s_w)[:, None] + o_c.to(tl.int64)[None, :] * s_c
        b_h = tl.load(p_h, mask=m_p[:, None] & m_c[None, :], other=0).to(DOT)  # [BP, BC]
        b_y = stem(b_h, b_image, b_mask, b_w, b_wm, b_wi, b_wim, b_bias, PRECISION)
        p_out = out + i_b * t_b + (o_y * t_h + o_x * t_w)[:, None] + o_o.to(tl.int64)[None, :] * t_c
        tl.store(p_out, b_y.to(out.dtype.element_ty), mask=m_p[:, None] & m_o[None, :])


@triton.jit
def gradient_kernel(
    grad, image, embedding, mask, excitation, weight, grad_image, grad_embedding, grad_mask, z, C, OC, H, W, span,
    g_b, g_o, g_h, g_w, s_b, s_c, s_h, s_w, t_b, t_c, t_h, t_w,
    DOT: tl.constexpr, PRECISION: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr, BO: tl.constexpr,
):  # fmt: skip
    """Program (span of pixels, channel block, face). Channel block 0 also does image and bias."""
    i_s, i_c, i_b = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    o_c, o_o = i_c * BC + tl.arange(0, BC), tl.arange(0, BO)
    m_c, m_o = o_c < C, o_o < OC
    m_w = m_c[:, None] & m_o[None, :]
    p_f = excitation + i_b * (2 + 2 * C)
    b_f = tl.load(p_f + 2 + o_c, mask=m_c, other=0)  # [BC], as below
    b_fm = tl.load(p_f + 2 + C + o_c, mask=m_c, other=0)
    p_w = weight + (2 + o_c)[:, None] * OC + o_o[None, :]
    b_w = tl.load(p_w, mask=m_w, other=0).to(embedding.dtype.element_ty).to(DOT)  # [BC, BO], as below
    b_wm = tl.load(p_w + C * OC, mask=m_w, other=0).to(embedding.dtype.element_ty).to(DOT)
    b_wi = tl.load(weight + o_o, mask=m_o, other=0)  # [BO], as below
    b_wim = tl.load(weight + OC + o_o, mask=m_o, other=0)
    b_z, b_zm = tl.zeros([BC, BO], tl.float32), tl.zeros([BC, BO], tl.float32)
    b_zi, b_zim, b_bias = tl.zeros([BO], tl.float32), tl.zeros([BO], tl.float32), tl.zeros([BO], tl.float32)
    end = tl.minimum((i_s + 1) * span, H * W)
    for i_p in range(i_s * span, end, BP):
        o_p = i_p + tl.arange(0, BP)
        o_y, o_x = (o_p // W).to(tl.int64), (o_p % W).to(tl.int64)
        m_p = o_p < end
        m_cp = m_p[:, None] & m_c[None, :]
        b_image = tl.load(image + i_b * H * W + o_p, mask=m_p, other=0)  # [BP], as below
        b_mask = tl.load(mask + i_b * H * W + o_p, mask=m_p, other=0)
        p_h = embedding + i_b * s_b + (o_y * s_h + o_x * s_w)[:, None] + o_c.to(tl.int64)[None, :] * s_c
        b_h = tl.load(p_h, mask=m_cp, other=0).to(DOT)  # [BP, BC]
        p_g = grad + i_b * g_b + (o_y * g_h + o_x * g_w)[:, None] + o_o.to(tl.int64)[None, :] * g_o
        b_dy = tl.load(p_g, mask=m_p[:, None] & m_o[None, :], other=0)  # [BP, BO]
        b_dy32 = b_dy.to(tl.float32)
        b_dy = b_dy.to(DOT)
        b_dym = (b_dy32 * b_mask[:, None]).to(grad.dtype.element_ty).to(DOT)
        b_z = tl.dot(tl.trans(b_h), b_dy, b_z, input_precision=PRECISION)
        b_zm = tl.dot(tl.trans(b_h), b_dym, b_zm, input_precision=PRECISION)
        b_dhm = tl.dot(b_dy, tl.trans(b_wm), input_precision=PRECISION) * b_fm[None, :]  # [BP, BC]
        b_dh = tl.dot(b_dy, tl.trans(b_w), input_precision=PRECISION) * b_f[None, :] + b_dhm * b_mask[:, None]
        p_dh = grad_embedding + i_b * t_b + (o_y * t_h + o_x * t_w)[:, None] + o_c.to(tl.int64)[None, :] * t_c
        tl.store(p_dh, b_dh.to(grad_embedding.dtype.element_ty), mask=m_cp)
        b_dmask = tl.sum(b_dhm * b_h.to(tl.float32), 1)
        if i_c == 0:
            b_di = tl.sum(b_dy32 * b_wi[None, :], 1) * tl.load(p_f)
            b_dim = tl.sum(b_dy32 * b_wim[None, :], 1) * tl.load(p_f + 1)
            tl.store(grad_image + i_b * H * W + o_p, b_di + b_dim * b_mask, mask=m_p)
            b_dmask += b_dim * b_image
            b_zi += tl.sum(b_dy32 * b_image[:, None], 0)
            b_zim += tl.sum(b_dy32 * (b_image * b_mask)[:, None], 0)
            b_bias += tl.sum(b_dy32, 0)
        tl.store(grad_mask + (i_b * tl.num_programs(1) + i_c) * H * W + o_p, b_dmask, mask=m_p)
    p_z = z + (i_b * tl.num_programs(0) + i_s) * (3 + 2 * C) * OC + o_o  # rows: as weight's, then the bias
    tl.store(p_z[None, :] + (2 + o_c)[:, None] * OC, b_z, mask=m_w)
    tl.store(p_z[None, :] + (2 + C + o_c)[:, None] * OC, b_zm, mask=m_w)
    if i_c == 0:
        tl.store(p_z, b_zi, mask=m_o)
        tl.store(p_z + OC, b_zim, mask=m_o)
        tl.store(p_z + (2 + 2 * C) * OC, b_bias, mask=m_o)


def _span(x: Tensor, block: int) -> int:
    """Pixels of a program: many, so that weights are read seldom; few enough to fill the device."""
    pixels, programs = x.shape[2] * x.shape[3], max(1, cdiv(2 * processors(x.device), x.shape[0]))
    return min(16 * block, cdiv(cdiv(pixels, programs), block) * block)


def forward(image: Tensor, embedding: Tensor, mask: Tensor, excitation: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    (b, c, h, w), o = embedding.shape, weight.shape[0]
    out, cfg = empty_image(embedding, o), config("dual_fusion_conv1x1", embedding)
    bo, span = min(64, power(o)), _span(embedding, cfg.pixels)
    with on(embedding):
        stem_kernel[cdiv(h * w, span), cdiv(o, bo), b](
            image.contiguous(), embedding, mask.contiguous(), excitation.contiguous(), weight.t().contiguous(),
            bias.contiguous(), out, c, o, h, w, span, *embedding.stride(), *out.stride(),
            DOT=TYPES[dot_dtype(embedding)], PRECISION=precision(embedding), BP=cfg.pixels, BC=power(c), BO=bo,
            num_warps=cfg.warps, num_stages=cfg.stages,
        )  # fmt: skip
    return out


def backward(
    grad_out: Tensor, image: Tensor, embedding: Tensor, mask: Tensor, excitation: Tensor, weight: Tensor,
    image_grad: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of image, embedding, mask, excitation, weight and bias."""
    (b, c, h, w), o = embedding.shape, weight.shape[0]
    cfg = config("dual_fusion_conv1x1.backward", embedding)
    bc, span = min(cfg.maps, power(c)), _span(embedding, cfg.pixels)
    splits, channel_blocks = cdiv(h * w, span), cdiv(c, bc)
    grad_image, grad_embedding = empty((b, 1, h, w), embedding), empty_image(embedding, c)
    masks, z = empty((b, channel_blocks, h, w), embedding), empty((b, splits, 3 + 2 * c, o), embedding)
    with on(embedding):
        gradient_kernel[splits, channel_blocks, b](
            grad_out, image.contiguous(), embedding, mask.contiguous(), excitation.contiguous(),
            weight.t().contiguous(), grad_image, grad_embedding, masks, z, c, o, h, w, span,
            *grad_out.stride(), *embedding.stride(), *grad_embedding.stride(),
            DOT=TYPES[dot_dtype(embedding)], PRECISION=precision(embedding), BP=cfg.pixels, BC=bc, BO=power(o),
            num_warps=cfg.warps, num_stages=cfg.stages,
        )  # fmt: skip
    z = z.sum(1)
    features, grad_bias = z[:, :-1], z[:, -1].sum(0)
    grad_excitation = (features * weight.t()).sum(2)
    grad_weight = (features * excitation[:, :, None]).sum(0).t().contiguous()
    grad_mask = masks.sum(1, keepdim=True)
    grad_image = grad_image if image_grad else grad_image.new_empty(0)
    return grad_image, grad_embedding, grad_mask, grad_excitation, grad_weight, grad_bias
