// AVX-512 (F, VL, DQ, BW): sixteen floats, thirty-two registers.
#pragma once

#include <immintrin.h>

#include "isa.h"

namespace acdc::ACDC_ISA_NS {

struct Mask {
  __mmask16 m;
};

struct Vec {
  static constexpr int lanes = 16;
  __m512 v;

  static ACDC_INLINE __mmask16 first(int n) { return static_cast<__mmask16>((1u << n) - 1u); }
  static ACDC_INLINE Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static ACDC_INLINE Vec load(const float* p, int n) { return {_mm512_maskz_loadu_ps(first(n), p)}; }
  static ACDC_INLINE Vec broadcast(float x) { return {_mm512_set1_ps(x)}; }
  static ACDC_INLINE Vec zero() { return {_mm512_setzero_ps()}; }
  ACDC_INLINE void store(float* p) const { _mm512_storeu_ps(p, v); }
  ACDC_INLINE void store(float* p, int n) const { _mm512_mask_storeu_ps(p, first(n), v); }
};

ACDC_INLINE Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
ACDC_INLINE Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
ACDC_INLINE Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
ACDC_INLINE Vec operator/(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
ACDC_INLINE Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
ACDC_INLINE Vec fnma(Vec a, Vec b, Vec c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }
ACDC_INLINE Vec min(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }
ACDC_INLINE Vec max(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
ACDC_INLINE Mask less(Vec a, Vec b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
ACDC_INLINE Mask at_least(Vec a, Vec b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ)}; }
ACDC_INLINE bool all(Mask m) { return m.m == 0xffff; }
ACDC_INLINE Mask equal(Vec a, Vec b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)}; }
ACDC_INLINE Vec select(Mask m, Vec a, Vec b) { return {_mm512_mask_blend_ps(m.m, b.v, a.v)}; }
ACDC_INLINE Vec abs(Vec a) { return {_mm512_abs_ps(a.v)}; }
ACDC_INLINE Vec round(Vec a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
ACDC_INLINE Vec scale2(Vec a, Vec n) { return {_mm512_scalef_ps(a.v, n.v)}; }
ACDC_INLINE Vec fraction(Vec a) { return {_mm512_reduce_ps(a.v, _MM_FROUND_TO_NEG_INF)}; }
ACDC_INLINE float reduce_add(Vec a) { return _mm512_reduce_add_ps(a.v); }
ACDC_INLINE float reduce_min(Vec a) { return _mm512_reduce_min_ps(a.v); }
ACDC_INLINE float reduce_max(Vec a) { return _mm512_reduce_max_ps(a.v); }

}  // namespace acdc::ACDC_ISA_NS
