"""Doubly-conditional fusion (eq. 5 and 6), with its result stored: f(Ω) ⊙ [I, I⊙Φ, H, H⊙Φ]."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from ..ops.allocate import empty, empty_image
from .launch import cdiv, config, on, power


@triton.jit
def fuse_kernel(
    image, embedding, mask, excitation, out, C, H, W,
    s_b, s_c, s_h, s_w, t_b, t_c, t_h, t_w, BC: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    """Program (pixel block, channel block, face). The first channel block also writes the image's two channels."""
    i_p, i_c, i_b = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    o_p = i_p * BP + tl.arange(0, BP)
    o_c = i_c * BC + tl.arange(0, BC)
    o_y, o_x = (o_p // W).to(tl.int64), (o_p % W).to(tl.int64)
    m_p = o_p < H * W
    o_c64 = o_c.to(tl.int64)[:, None]
    m_cp = (o_c < C)[:, None] & m_p[None, :]
    p_f = excitation + i_b * (2 + 2 * C)
    p_h = embedding + i_b * s_b + o_c64 * s_c + (o_y * s_h + o_x * s_w)[None, :]
    p_out = out + i_b * t_b + o_y * t_h + o_x * t_w  # [BP]
    b_mask = tl.load(mask + i_b * H * W + o_p, mask=m_p, other=0)  # [BP]
    b_h = tl.load(p_h, mask=m_cp, other=0).to(tl.float32)  # [BC, BP]
    b_f = tl.load(p_f + 2 + o_c, mask=o_c < C, other=0)  # [BC]
    b_fm = tl.load(p_f + 2 + C + o_c, mask=o_c < C, other=0)  # [BC]
    tl.store(p_out[None, :] + (o_c64 + 2) * t_c, (b_h * b_f[:, None]).to(out.dtype.element_ty), mask=m_cp)
    b_hm = b_h * b_mask[None, :] * b_fm[:, None]
    tl.store(p_out[None, :] + (o_c64 + 2 + C) * t_c, b_hm.to(out.dtype.element_ty), mask=m_cp)
    if i_c == 0:
        b_image = tl.load(image + i_b * H * W + o_p, mask=m_p, other=0)  # [BP]
        tl.store(p_out, (b_image * tl.load(p_f)).to(out.dtype.element_ty), mask=m_p)
        tl.store(p_out + t_c, (b_image * b_mask * tl.load(p_f + 1)).to(out.dtype.element_ty), mask=m_p)


@triton.jit
def gradient_kernel(
    grad, image, embedding, mask, excitation, grad_image, grad_embedding, grad_mask, grad_excitation, C, H, W,
    g_b, g_c, g_h, g_w, s_b, s_c, s_h, s_w, t_b, t_c, t_h, t_w, BC: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    """Program (pixel block, face). It takes all channels, so that one program sums the mask's gradient."""
    i_p, i_b = tl.program_id(0), tl.program_id(1).to(tl.int64)
    o_p = i_p * BP + tl.arange(0, BP)
    o_y, o_x = (o_p // W).to(tl.int64), (o_p % W).to(tl.int64)
    m_p = o_p < H * W
    F = 2 + 2 * C
    p_f = excitation + i_b * F
    p_df = grad_excitation + (i_b * tl.num_programs(0) + i_p) * F  # this program's part of Σ over pixels
    p_grad = grad + i_b * g_b + o_y * g_h + o_x * g_w  # [BP]
    p_h = embedding + i_b * s_b + o_y * s_h + o_x * s_w  # [BP]
    p_dh = grad_embedding + i_b * t_b + o_y * t_h + o_x * t_w  # [BP]
    b_image = tl.load(image + i_b * H * W + o_p, mask=m_p, other=0)  # [BP], as all below
    b_mask = tl.load(mask + i_b * H * W + o_p, mask=m_p, other=0)
    b_di = tl.load(p_grad, mask=m_p, other=0).to(tl.float32)
    b_dim = tl.load(p_grad + g_c, mask=m_p, other=0).to(tl.float32)
    tl.store(p_df, tl.sum(b_di * b_image, 0))
    tl.store(p_df + 1, tl.sum(b_dim * b_image * b_mask, 0))
    b_dim *= tl.load(p_f + 1)
    tl.store(grad_image + i_b * H * W + o_p, b_di * tl.load(p_f) + b_dim * b_mask, mask=m_p)
    b_dmask = b_dim * b_image
    for i_c in range(0, C, BC):
        o_c = i_c + tl.arange(0, BC)
        m_c = o_c < C
        m_cp = m_c[:, None] & m_p[None, :]
        o_c64 = o_c.to(tl.int64)[:, None]
        b_h = tl.load(p_h[None, :] + o_c64 * s_c, mask=m_cp, other=0).to(tl.float32)  # [BC, BP], as both below
        b_dh = tl.load(p_grad[None, :] + (o_c64 + 2) * g_c, mask=m_cp, other=0).to(tl.float32)
        b_dhm = tl.load(p_grad[None, :] + (o_c64 + 2 + C) * g_c, mask=m_cp, other=0).to(tl.float32)
        b_f = tl.load(p_f + 2 + o_c, mask=m_c, other=0)[:, None]  # [BC, 1]
        b_fm = tl.load(p_f + 2 + C + o_c, mask=m_c, other=0)[:, None]  # [BC, 1]
        tl.store(p_df + 2 + o_c, tl.sum(b_dh * b_h, 1), mask=m_c)
        tl.store(p_df + 2 + C + o_c, tl.sum(b_dhm * b_h * b_mask[None, :], 1), mask=m_c)
        b_dhm *= b_fm
        b_dmask += tl.sum(b_dhm * b_h, 0)
        b_dh = b_dh * b_f + b_dhm * b_mask[None, :]
        tl.store(p_dh[None, :] + o_c64 * t_c, b_dh.to(grad_embedding.dtype.element_ty), mask=m_cp)
    tl.store(grad_mask + i_b * H * W + o_p, b_dmask, mask=m_p)


def tile(x: Tensor, pixels: int) -> tuple[int, int]:
    """(BC, BP): many pixels of few channels; in channels last, where channels are adjacent, the other way round."""
    channels = min(64, power(x.shape[1], 1))
    return (channels, max(1, 8 * pixels // channels)) if x.stride(1) == 1 else (8, pixels)


def forward(image: Tensor, embedding: Tensor, mask: Tensor, excitation: Tensor) -> Tensor:
    b, c, h, w = embedding.shape
    out = empty_image(embedding, 2 + 2 * c)
    bc, bp = tile(embedding, config("dual_fusion", embedding).pixels)
    with on(embedding):
        fuse_kernel[cdiv(h * w, bp), cdiv(c, bc), b](
            image.contiguous(), embedding, mask.contiguous(), excitation.contiguous(), out, c, h, w,
            *embedding.stride(), *out.stride(), BC=bc, BP=bp, num_warps=4,
        )  # fmt: skip
    return out


def backward(
    grad_fused: Tensor, image: Tensor, embedding: Tensor, mask: Tensor, excitation: Tensor, image_grad: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of image (B, 1, H, W), embedding, mask and excitation."""
    b, c, h, w = embedding.shape
    grad_image, grad_mask = empty((b, 1, h, w), embedding), empty((b, 1, h, w), embedding)
    grad_embedding = empty_image(embedding, c)
    bc, bp = tile(embedding, config("dual_fusion", embedding).pixels)
    parts = empty((b, cdiv(h * w, bp), 2 + 2 * c), embedding)
    with on(embedding):
        gradient_kernel[cdiv(h * w, bp), b](
            grad_fused, image.contiguous(), embedding, mask.contiguous(), excitation.contiguous(),
            grad_image, grad_embedding, grad_mask, parts, c, h, w,
            *grad_fused.stride(), *embedding.stride(), *grad_embedding.stride(), BC=bc, BP=bp, num_warps=4,
        )  # fmt: skip
    return grad_image if image_grad else grad_image.new_empty(0), grad_embedding, grad_mask, parts.sum(1)
