// The x86 vector instructions that csrc/cpu uses, in plain C++, each lane as Intel's manual (volume 2) writes it: so
// that the AVX2 and AVX-512 sources run on a CPU that has neither. Rounding and denormals are the thread's, as in the
// instructions. What the sources come to use, and is not here, ends the build.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#define PLAIN static inline __attribute__((always_inline))
// They stand in loops that are unrolled over a register tile. Written out there lane by lane, they take minutes to
// compile.
#define APART static __attribute__((noinline))

typedef float __m128 __attribute__((vector_size(16)));
typedef float __m256 __attribute__((vector_size(32)));
typedef float __m512 __attribute__((vector_size(64)));
typedef int __m256i __attribute__((vector_size(32)));
typedef int __m512i __attribute__((vector_size(64)));
typedef __m512i __m512bh;
typedef uint16_t __mmask16;

enum { _CMP_EQ_OQ = 0x00, _CMP_UNORD_Q = 0x03, _CMP_LT_OQ = 0x11, _CMP_GE_OQ = 0x1d };
enum { _MM_FROUND_TO_NEAREST_INT = 0, _MM_FROUND_TO_NEG_INF = 1, _MM_FROUND_NO_EXC = 8 };

namespace plain {

template <class T, class F>
PLAIN T each(F lane) {
  T out = {};
#pragma GCC unroll 16
  for (unsigned i = 0; i < sizeof(T) / 4; ++i) out[i] = lane(i);
  return out;
}
template <class T>
PLAIN T loaded(const void* p) {
  T out;
  std::memcpy(&out, p, sizeof out);
  return out;
}
template <class To, class From>
PLAIN To as(From x) {
  static_assert(sizeof(To) == sizeof(From), "a cast keeps the bits");
  return loaded<To>(&x);
}
template <class T>
PLAIN void stored(void* p, T x) {
  std::memcpy(p, &x, sizeof x);
}
// The second where one is NaN, or where both are zero.
PLAIN float least(float a, float b) { return a < b ? a : b; }
PLAIN float greatest(float a, float b) { return a > b ? a : b; }
PLAIN bool compare(float a, float b, int how) {
  switch (how) {
    case _CMP_EQ_OQ:
      return a == b;
    case _CMP_LT_OQ:
      return a < b;
    case _CMP_GE_OQ:
      return a >= b;
    default:
      return a != a || b != b;  // _CMP_UNORD_Q
  }
}
// To the nearest integer, halves to even.
PLAIN float nearest(float x) { return std::nearbyint(x); }
// a·2^⌊b⌋; whatever the exponent, rounded once.
PLAIN float scaled(float a, float b) {
  if (std::isnan(b)) return b;
  if (std::isinf(b)) return b > 0 ? a * b : a * 0.f;
  return static_cast<float>(
      std::ldexp(static_cast<double>(a), static_cast<int>(std::floor(std::fmax(-400.f, std::fmin(400.f, b))))));
}
// a − ⌊a⌋, and 0 of an infinity. The difference is rounded down too, as vreduce's floor tells it to (seen).
PLAIN float fraction(float a) {
  if (std::isinf(a)) return 0.f;
  const float down = std::floor(a), out = a - down;
  return static_cast<double>(out) + down > a ? std::nextafter(out, 0.f) : out;
}
PLAIN float brain(uint32_t half) {
  const uint32_t bits = half << 16;
  float out;
  std::memcpy(&out, &bits, sizeof out);
  return out;
}

}  // namespace plain

#define EACH(T, value) plain::each<T>([&]([[maybe_unused]] unsigned i) __attribute__((always_inline)) { return value; })

// Four lanes.
PLAIN __m128 _mm_add_ps(__m128 a, __m128 b) { return a + b; }
PLAIN __m128 _mm_min_ps(__m128 a, __m128 b) { return EACH(__m128, plain::least(a[i], b[i])); }
PLAIN __m128 _mm_max_ps(__m128 a, __m128 b) { return EACH(__m128, plain::greatest(a[i], b[i])); }
PLAIN __m128 _mm_add_ss(__m128 a, __m128 b) { return __m128{a[0] + b[0], a[1], a[2], a[3]}; }
PLAIN __m128 _mm_min_ss(__m128 a, __m128 b) { return __m128{plain::least(a[0], b[0]), a[1], a[2], a[3]}; }
PLAIN __m128 _mm_max_ss(__m128 a, __m128 b) { return __m128{plain::greatest(a[0], b[0]), a[1], a[2], a[3]}; }
PLAIN __m128 _mm_movehl_ps(__m128 a, __m128 b) { return __m128{b[2], b[3], a[2], a[3]}; }
PLAIN __m128 _mm_shuffle_ps(__m128 a, __m128 b, int n) {
  return __m128{a[n & 3], a[n >> 2 & 3], b[n >> 4 & 3], b[n >> 6 & 3]};
}
PLAIN float _mm_cvtss_f32(__m128 a) { return a[0]; }

// Eight lanes.
PLAIN __m256 _mm256_loadu_ps(const float* p) { return plain::loaded<__m256>(p); }
PLAIN __m256i _mm256_loadu_si256(const __m256i* p) { return plain::loaded<__m256i>(p); }
PLAIN void _mm256_storeu_ps(float* p, __m256 a) { plain::stored(p, a); }
PLAIN void _mm256_storeu_si256(__m256i* p, __m256i a) { plain::stored(p, a); }
PLAIN __m256 _mm256_maskload_ps(const float* p, __m256i m) { return EACH(__m256, m[i] < 0 ? p[i] : 0.f); }
PLAIN void _mm256_maskstore_ps(float* p, __m256i m, __m256 a) {
  for (int i = 0; i < 8; ++i) {
    if (m[i] < 0) p[i] = a[i];
  }
}
PLAIN __m256 _mm256_set1_ps(float x) { return EACH(__m256, x); }
PLAIN __m256 _mm256_setzero_ps() { return __m256{}; }
PLAIN __m256i _mm256_set1_epi32(int x) { return EACH(__m256i, x); }
PLAIN __m256i _mm256_setr_epi32(int a, int b, int c, int d, int e, int f, int g, int h) {
  return __m256i{a, b, c, d, e, f, g, h};
}
PLAIN __m256 _mm256_add_ps(__m256 a, __m256 b) { return a + b; }
PLAIN __m256 _mm256_sub_ps(__m256 a, __m256 b) { return a - b; }
PLAIN __m256 _mm256_mul_ps(__m256 a, __m256 b) { return a * b; }
PLAIN __m256 _mm256_div_ps(__m256 a, __m256 b) { return a / b; }
PLAIN __m256 _mm256_fmadd_ps(__m256 a, __m256 b, __m256 c) { return EACH(__m256, __builtin_fmaf(a[i], b[i], c[i])); }
PLAIN __m256 _mm256_fnmadd_ps(__m256 a, __m256 b, __m256 c) { return EACH(__m256, __builtin_fmaf(-a[i], b[i], c[i])); }
PLAIN __m256 _mm256_min_ps(__m256 a, __m256 b) { return EACH(__m256, plain::least(a[i], b[i])); }
PLAIN __m256 _mm256_max_ps(__m256 a, __m256 b) { return EACH(__m256, plain::greatest(a[i], b[i])); }
PLAIN __m256 _mm256_round_ps(__m256 a, int) { return EACH(__m256, plain::nearest(a[i])); }
PLAIN __m256i _mm256_cvtps_epi32(__m256 a) { return EACH(__m256i, static_cast<int>(plain::nearest(a[i]))); }
PLAIN __m256i _mm256_add_epi32(__m256i a, __m256i b) { return a + b; }
PLAIN __m256i _mm256_sub_epi32(__m256i a, __m256i b) { return a - b; }
PLAIN __m256i _mm256_cmpgt_epi32(__m256i a, __m256i b) { return EACH(__m256i, a[i] > b[i] ? -1 : 0); }
PLAIN __m256i _mm256_slli_epi32(__m256i a, int n) {
  return EACH(__m256i, static_cast<int>(static_cast<uint32_t>(a[i]) << n));
}
PLAIN __m256i _mm256_srai_epi32(__m256i a, int n) { return EACH(__m256i, a[i] >> n); }
PLAIN __m256 _mm256_castsi256_ps(__m256i a) { return plain::as<__m256>(a); }
PLAIN __m256i _mm256_castps_si256(__m256 a) { return plain::as<__m256i>(a); }
PLAIN __m128 _mm256_castps256_ps128(__m256 a) { return __m128{a[0], a[1], a[2], a[3]}; }
PLAIN __m128 _mm256_extractf128_ps(__m256 a, int n) { return EACH(__m128, a[4 * n + i]); }
PLAIN __m256 _mm256_cmp_ps(__m256 a, __m256 b, int how) {
  return plain::as<__m256>(EACH(__m256i, plain::compare(a[i], b[i], how) ? -1 : 0));
}
PLAIN __m256 _mm256_blendv_ps(__m256 a, __m256 b, __m256 m) {
  const __m256i signs = plain::as<__m256i>(m);
  return EACH(__m256, signs[i] < 0 ? b[i] : a[i]);
}
PLAIN int _mm256_movemask_ps(__m256 a) {
  const __m256i signs = plain::as<__m256i>(a);
  int out = 0;
  for (int i = 0; i < 8; ++i) out |= (signs[i] < 0) << i;
  return out;
}
// Sixteen numbers of 16 bits.
APART __m256i _mm256_maskz_loadu_epi16(__mmask16 m, const void* p) {
  uint16_t out[16] = {};
  for (int i = 0; i < 16; ++i) {
    if (m >> i & 1) out[i] = static_cast<const uint16_t*>(p)[i];
  }
  return plain::loaded<__m256i>(out);
}
APART void _mm256_mask_storeu_epi16(void* p, __mmask16 m, __m256i a) {
  uint16_t in[16];
  plain::stored(in, a);
  for (int i = 0; i < 16; ++i) {
    if (m >> i & 1) static_cast<uint16_t*>(p)[i] = in[i];
  }
}

// Sixteen lanes.
PLAIN __m512 _mm512_loadu_ps(const float* p) { return plain::loaded<__m512>(p); }
PLAIN __m512i _mm512_loadu_si512(const void* p) { return plain::loaded<__m512i>(p); }
PLAIN void _mm512_storeu_ps(float* p, __m512 a) { plain::stored(p, a); }
APART __m512 _mm512_maskz_loadu_ps(__mmask16 m, const float* p) { return EACH(__m512, m >> i & 1 ? p[i] : 0.f); }
APART void _mm512_mask_storeu_ps(float* p, __mmask16 m, __m512 a) {
  for (int i = 0; i < 16; ++i) {
    if (m >> i & 1) p[i] = a[i];
  }
}
PLAIN __m512 _mm512_set1_ps(float x) { return EACH(__m512, x); }
PLAIN __m512 _mm512_setzero_ps() { return __m512{}; }
PLAIN __m512i _mm512_set1_epi32(int x) { return EACH(__m512i, x); }
PLAIN __m512 _mm512_add_ps(__m512 a, __m512 b) { return a + b; }
PLAIN __m512 _mm512_sub_ps(__m512 a, __m512 b) { return a - b; }
PLAIN __m512 _mm512_mul_ps(__m512 a, __m512 b) { return a * b; }
PLAIN __m512 _mm512_div_ps(__m512 a, __m512 b) { return a / b; }
APART __m512 _mm512_fmadd_ps(__m512 a, __m512 b, __m512 c) { return EACH(__m512, __builtin_fmaf(a[i], b[i], c[i])); }
PLAIN __m512 _mm512_fmadd_round_ps(__m512 a, __m512 b, __m512 c, int) { return _mm512_fmadd_ps(a, b, c); }
APART __m512 _mm512_fnmadd_ps(__m512 a, __m512 b, __m512 c) { return EACH(__m512, __builtin_fmaf(-a[i], b[i], c[i])); }
APART __m512 _mm512_min_ps(__m512 a, __m512 b) { return EACH(__m512, plain::least(a[i], b[i])); }
APART __m512 _mm512_max_ps(__m512 a, __m512 b) { return EACH(__m512, plain::greatest(a[i], b[i])); }
APART __m512 _mm512_abs_ps(__m512 a) { return EACH(__m512, std::fabs(a[i])); }
APART __m512 _mm512_roundscale_ps(__m512 a, int) { return EACH(__m512, plain::nearest(a[i])); }
APART __m512 _mm512_scalef_ps(__m512 a, __m512 b) { return EACH(__m512, plain::scaled(a[i], b[i])); }
// Of immediates _MM_FROUND_TO_NEG_INF alone.
APART __m512 _mm512_reduce_ps(__m512 a, int) { return EACH(__m512, plain::fraction(a[i])); }
APART __mmask16 _mm512_cmp_ps_mask(__m512 a, __m512 b, int how) {
  int out = 0;
  for (int i = 0; i < 16; ++i) out |= plain::compare(a[i], b[i], how) << i;
  return static_cast<__mmask16>(out);
}
APART __m512 _mm512_mask_blend_ps(__mmask16 m, __m512 a, __m512 b) { return EACH(__m512, m >> i & 1 ? b[i] : a[i]); }
APART __m512i _mm512_add_epi32(__m512i a, __m512i b) { return EACH(__m512i, static_cast<int>(0u + a[i] + b[i])); }
PLAIN __m512i _mm512_and_si512(__m512i a, __m512i b) { return a & b; }
APART __m512i _mm512_slli_epi32(__m512i a, int n) {
  return EACH(__m512i, static_cast<int>(static_cast<uint32_t>(a[i]) << n));
}
APART __m512i _mm512_srli_epi32(__m512i a, int n) {
  return EACH(__m512i, static_cast<int>(static_cast<uint32_t>(a[i]) >> n));
}
APART __m512i _mm512_mask_and_epi32(__m512i s, __mmask16 m, __m512i a, __m512i b) {
  return EACH(__m512i, m >> i & 1 ? a[i] & b[i] : s[i]);
}
APART __m512i _mm512_mask_or_epi32(__m512i s, __mmask16 m, __m512i a, __m512i b) {
  return EACH(__m512i, m >> i & 1 ? a[i] | b[i] : s[i]);
}
APART __mmask16 _mm512_testn_epi32_mask(__m512i a, __m512i b) {
  int out = 0;
  for (int i = 0; i < 16; ++i) out |= ((a[i] & b[i]) == 0) << i;
  return static_cast<__mmask16>(out);
}
PLAIN __m512 _mm512_castsi512_ps(__m512i a) { return plain::as<__m512>(a); }
PLAIN __m512i _mm512_castps_si512(__m512 a) { return plain::as<__m512i>(a); }
APART __m512i _mm512_cvtepu16_epi32(__m256i a) {
  uint16_t in[16];
  plain::stored(in, a);
  return EACH(__m512i, in[i]);
}
APART __m256i _mm512_cvtepi32_epi16(__m512i a) {
  uint16_t out[16];
  for (int i = 0; i < 16; ++i) out[i] = static_cast<uint16_t>(a[i]);
  return plain::loaded<__m256i>(out);
}
// Halves are joined, as the compilers' sequence for it joins them.
#define REDUCE(join)                                                  \
  float eight[8], four[4];                                            \
  for (int i = 0; i < 8; ++i) eight[i] = join(a[i + 8], a[i]);        \
  for (int i = 0; i < 4; ++i) four[i] = join(eight[i + 4], eight[i]); \
  return join(join(four[3], four[1]), join(four[2], four[0]));
#define PLUS(x, y) ((x) + (y))
APART float _mm512_reduce_add_ps(__m512 a){REDUCE(PLUS)} APART
    float _mm512_reduce_min_ps(__m512 a){REDUCE(plain::least)} APART
    float _mm512_reduce_max_ps(__m512 a){REDUCE(plain::greatest)}

// AVX512-BF16: to nearest even, denormals zero; the odd product first, each sum rounded.
APART __m256i _mm512_cvtneps_pbh(__m512 a) {
  uint16_t out[16];
  for (int i = 0; i < 16; ++i) {
    const float x = a[i];
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    if ((bits & 0x7f800000u) == 0) bits &= 0x80000000u;
    const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    out[i] = static_cast<uint16_t>(nan ? bits >> 16 | 0x40u : (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
  }
  return plain::loaded<__m256i>(out);
}
APART __m512 _mm512_dpbf16_ps(__m512 sum, __m512bh a, __m512bh b) {
  return EACH(__m512, __builtin_fmaf(plain::brain(a[i] & 0xffff), plain::brain(b[i] & 0xffff),
                                     __builtin_fmaf(plain::brain(static_cast<uint32_t>(a[i]) >> 16),
                                                    plain::brain(static_cast<uint32_t>(b[i]) >> 16), sum[i])));
}

#undef EACH
#undef REDUCE
#undef PLUS
#undef PLAIN
#undef APART
