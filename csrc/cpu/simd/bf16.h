// bfloat16 on AVX-512. Sixteen values are read into a Vec or written from one. Products take pairs.
//
// In namespaces avx512bf16 and avx512amx these are the instructions vdpbf16ps and vcvtneps2bf16. The emulated
// namespaces are for tests only. They compute the same bits in AVX-512 float32, as Intel's manual (volume 2) defines
// them: round to nearest even, denormals are zero on the way in and out (FlushDenormals does that for the products),
// the odd product first.
#pragma once

#include <cstdint>

#include "vec.h"

namespace acdc::ACDC_ISA_NS {

using bf16 = uint16_t;

// Sixteen pairs.
struct Pairs {
  __m512i v;

  static ACDC_INLINE Pairs load(const bf16* p) { return {_mm512_loadu_si512(p)}; }
  // One pair in all lanes.
  static ACDC_INLINE Pairs broadcast(const bf16* p) {
    int both;
    __builtin_memcpy(&both, p, sizeof both);
    return {_mm512_set1_epi32(both)};
  }
};

ACDC_INLINE Vec load(const bf16* p) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}

#if defined(ACDC_ISA_AVX512BF16_EMULATED) || defined(ACDC_ISA_AVX512AMX_EMULATED)

ACDC_INLINE void store(Vec x, bf16* p) {
  const __m512i bits = _mm512_castps_si512(x.v), high = _mm512_srli_epi32(bits, 16);
  const __m512i bias = _mm512_add_epi32(_mm512_and_si512(high, _mm512_set1_epi32(1)), _mm512_set1_epi32(0x7fff));
  __m512i out = _mm512_srli_epi32(_mm512_add_epi32(bits, bias), 16);
  const __mmask16 tiny = _mm512_testn_epi32_mask(bits, _mm512_set1_epi32(0x7f800000));
  out = _mm512_mask_and_epi32(out, tiny, high, _mm512_set1_epi32(0x8000));
  out = _mm512_mask_or_epi32(out, _mm512_cmp_ps_mask(x.v, x.v, _CMP_UNORD_Q), high, _mm512_set1_epi32(0x40));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(out));
}

// sum + a₁·b₁ + a₀·b₀ in each lane.
ACDC_INLINE Vec dot_bf16(Vec sum, Pairs a, Pairs b) {
  constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  const __m512i odd = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  const __m512 a1 = _mm512_castsi512_ps(_mm512_and_si512(a.v, odd)),
               b1 = _mm512_castsi512_ps(_mm512_and_si512(b.v, odd));
  const __m512 a0 = _mm512_castsi512_ps(_mm512_slli_epi32(a.v, 16)),
               b0 = _mm512_castsi512_ps(_mm512_slli_epi32(b.v, 16));
  return {_mm512_fmadd_round_ps(a0, b0, _mm512_fmadd_round_ps(a1, b1, sum.v, kNearest), kNearest)};
}

#else

ACDC_INLINE void store(Vec x, bf16* p) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), (__m256i)_mm512_cvtneps_pbh(x.v));
}

// sum + a₁·b₁ + a₀·b₀ in each lane.
ACDC_INLINE Vec dot_bf16(Vec sum, Pairs a, Pairs b) { return {_mm512_dpbf16_ps(sum.v, (__m512bh)a.v, (__m512bh)b.v)}; }

#endif

}  // namespace acdc::ACDC_ISA_NS
