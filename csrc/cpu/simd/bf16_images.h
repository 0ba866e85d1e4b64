// bfloat16 images of training ops, as autocast makes them, on every instruction set: read into float32, and rounded
// back to nearest even. (bf16.h is for the engine: products of bfloat16, AVX-512 only.)
#pragma once

#include <cstdint>
#include <cstring>

#include "vec.h"

namespace acdc::ACDC_ISA_NS {

struct Brain {
  uint16_t bits;
};

ACDC_INLINE Vec load_lanes(const float* p, int n) { return Vec::load(p, n); }
ACDC_INLINE void store_lanes(Vec x, float* p, int n) { x.store(p, n); }

#if defined(ACDC_ISA_AVX512)

ACDC_INLINE Vec load_lanes(const Brain* p, int n) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(Vec::first(n), p));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}

ACDC_INLINE void store_lanes(Vec x, Brain* p, int n) {
  const __m512i bits = _mm512_castps_si512(x.v), high = _mm512_srli_epi32(bits, 16);
  const __m512i bias = _mm512_add_epi32(_mm512_and_si512(high, _mm512_set1_epi32(1)), _mm512_set1_epi32(0x7fff));
  __m512i out = _mm512_srli_epi32(_mm512_add_epi32(bits, bias), 16);
  // Rounding a NaN could carry into its sign or make it infinite, so a NaN is kept a NaN.
  out = _mm512_mask_or_epi32(out, _mm512_cmp_ps_mask(x.v, x.v, _CMP_UNORD_Q), high, _mm512_set1_epi32(0x40));
  _mm256_mask_storeu_epi16(p, Vec::first(n), _mm512_cvtepi32_epi16(out));
}

#else

ACDC_INLINE Vec load_lanes(const Brain* p, int n) {
  uint32_t wide[Vec::lanes] = {};
  for (int i = 0; i < n; ++i) wide[i] = static_cast<uint32_t>(p[i].bits) << 16;
  float values[Vec::lanes];
  std::memcpy(values, wide, sizeof values);
  return Vec::load(values);
}

ACDC_INLINE void store_lanes(Vec x, Brain* p, int n) {
  float values[Vec::lanes];
  uint32_t bits[Vec::lanes];
  x.store(values);
  std::memcpy(bits, values, sizeof bits);
  for (int i = 0; i < n; ++i) {
    const uint32_t high = bits[i] >> 16;
    const bool nan = (bits[i] & 0x7fffffffu) > 0x7f800000u;  // rounding could carry, so a NaN is kept a NaN
    p[i].bits = static_cast<uint16_t>(nan ? high | 0x40u : (bits[i] + 0x7fffu + (high & 1u)) >> 16);
  }
}

#endif

}  // namespace acdc::ACDC_ISA_NS
