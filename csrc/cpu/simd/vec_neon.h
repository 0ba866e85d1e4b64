// NEON of AArch64: four floats, thirty-two registers.
#pragma once

#include <arm_neon.h>

#include "isa.h"

namespace acdc::ACDC_ISA_NS {

struct Mask {
  uint32x4_t m;
};

struct Vec {
  static constexpr int lanes = 4;
  float32x4_t v;

  static ACDC_INLINE Vec load(const float* p) { return {vld1q_f32(p)}; }
  static ACDC_INLINE Vec load(const float* p, int n) {
    float t[4] = {0.f, 0.f, 0.f, 0.f};
    for (int i = 0; i < n; ++i) t[i] = p[i];
    return load(t);
  }
  static ACDC_INLINE Vec broadcast(float x) { return {vdupq_n_f32(x)}; }
  static ACDC_INLINE Vec zero() { return broadcast(0.f); }
  ACDC_INLINE void store(float* p) const { vst1q_f32(p, v); }
  ACDC_INLINE void store(float* p, int n) const {
    float t[4];
    store(t);
    for (int i = 0; i < n; ++i) p[i] = t[i];
  }
};

ACDC_INLINE Vec operator+(Vec a, Vec b) { return {vaddq_f32(a.v, b.v)}; }
ACDC_INLINE Vec operator-(Vec a, Vec b) { return {vsubq_f32(a.v, b.v)}; }
ACDC_INLINE Vec operator*(Vec a, Vec b) { return {vmulq_f32(a.v, b.v)}; }
ACDC_INLINE Vec operator/(Vec a, Vec b) { return {vdivq_f32(a.v, b.v)}; }
ACDC_INLINE Vec fma(Vec a, Vec b, Vec c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
ACDC_INLINE Vec fnma(Vec a, Vec b, Vec c) { return {vfmsq_f32(c.v, a.v, b.v)}; }
ACDC_INLINE Mask less(Vec a, Vec b) { return {vcltq_f32(a.v, b.v)}; }
ACDC_INLINE Mask at_least(Vec a, Vec b) { return {vcgeq_f32(a.v, b.v)}; }
ACDC_INLINE bool all(Mask m) { return vminvq_u32(m.m) != 0; }
ACDC_INLINE Mask equal(Vec a, Vec b) { return {vceqq_f32(a.v, b.v)}; }
ACDC_INLINE Vec select(Mask m, Vec a, Vec b) { return {vbslq_f32(m.m, a.v, b.v)}; }
ACDC_INLINE Vec min(Vec a, Vec b) { return select(less(a, b), a, b); }  // vminq returns NaN if a is NaN
ACDC_INLINE Vec max(Vec a, Vec b) { return select(less(b, a), a, b); }
ACDC_INLINE Vec round(Vec a) { return {vrndnq_f32(a.v)}; }

// In two steps of half the exponent each, so that results may be denormal or infinite.
ACDC_INLINE Vec scale2(Vec a, Vec n) {
  const int32x4_t whole = vcvtnq_s32_f32(n.v), half = vshrq_n_s32(whole, 1), bias = vdupq_n_s32(127);
  const int32x4_t rest = vsubq_s32(whole, half);
  const float32x4_t x = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(half, bias), 23));
  const float32x4_t y = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(rest, bias), 23));
  return {vmulq_f32(vmulq_f32(a.v, x), y)};
}

ACDC_INLINE Vec add_exponent(Vec a, Vec t) {
  const int32x4_t n = vshlq_n_s32(vreinterpretq_s32_f32(t.v), 23);
  return {vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(a.v), n))};
}

ACDC_INLINE float reduce_add(Vec a) { return vaddvq_f32(a.v); }
ACDC_INLINE float reduce_min(Vec a) { return vminvq_f32(a.v); }
ACDC_INLINE float reduce_max(Vec a) { return vmaxvq_f32(a.v); }

}  // namespace acdc::ACDC_ISA_NS
