// Vec: a few floats of the instruction set that this file is compiled for, and code that all of them share.
//
// Each vec_<isa>.h defines (all lane by lane):
//   Vec::lanes, Vec::load(p), Vec::load(p, n) (the first n ≤ lanes, the rest 0), v.store(p), v.store(p, n),
//   Vec::broadcast(x), Vec::zero(), + - * /, fma(a, b, c) = a·b + c, fnma(a, b, c) = c − a·b, min and max (the second
//   argument if one is NaN), less(a, b), at_least(a, b), equal(a, b) → Mask, all(mask), select(mask, a, b) = mask ? a
//   : b, round(v), scale2(v, n) = v·2ⁿ for integral n, add_exponent(v, t) = v·2ⁿ where the last bits of t are n (not in
//   AVX-512), reduce_add, reduce_min, reduce_max.
#pragma once

#include "isa.h"

#if defined(ACDC_ISA_AVX512)
#include "vec_avx512.h"
#elif defined(ACDC_ISA_AVX2)
#include "vec_avx2.h"
#elif defined(ACDC_ISA_NEON)
#include "vec_neon.h"
#else
#include "vec_scalar.h"
#endif

namespace acdc::ACDC_ISA_NS {

ACDC_INLINE Vec& operator+=(Vec& a, Vec b) { return a = a + b; }
ACDC_INLINE Vec& operator-=(Vec& a, Vec b) { return a = a - b; }
ACDC_INLINE Vec& operator*=(Vec& a, Vec b) { return a = a * b; }

#if !defined(ACDC_ISA_AVX512)
ACDC_INLINE Vec abs(Vec a) { return max(a, Vec::zero() - a); }
#endif

// While it exists, this thread treats denormal numbers as zero. They are far below every tolerance here, and each can
// cost as much as a hundred operations. The exponentials of a map that is nearly one pixel are full of them.
class FlushDenormals {
 public:
#if defined(__x86_64__)
  ACDC_INLINE FlushDenormals() : saved_(__builtin_ia32_stmxcsr()) { __builtin_ia32_ldmxcsr(saved_ | 0x8040u); }
  ACDC_INLINE ~FlushDenormals() { __builtin_ia32_ldmxcsr(saved_); }

 private:
  unsigned saved_;
#elif defined(__aarch64__)
  ACDC_INLINE FlushDenormals() {
    __asm__ volatile("mrs %0, fpcr" : "=r"(saved_));
    __asm__ volatile("msr fpcr, %0" : : "r"(saved_ | (1ull << 24)));
  }
  ACDC_INLINE ~FlushDenormals() { __asm__ volatile("msr fpcr, %0" : : "r"(saved_)); }

 private:
  unsigned long long saved_;
#else
  ACDC_INLINE FlushDenormals() {}
#endif
};

// eˣ to about 1 ulp: x = n·ln 2 + r with |r| ≤ ½·ln 2, minimax polynomial of degree 6 in r. exp(−∞) = 0, exp(> 88.73) =
// ∞, results below 2⁻¹²⁶ are denormal, NaN stays NaN.
ACDC_INLINE Vec exp(Vec x) {
  x = min(Vec::broadcast(89.f), max(Vec::broadcast(-104.f), x));
  const Vec n = round(x * Vec::broadcast(1.44269504f));
  Vec r = fnma(n, Vec::broadcast(0.693359375f), x);
  r = fnma(n, Vec::broadcast(-2.12194440e-4f), r);
  Vec p = Vec::broadcast(1.9875691500e-4f);
  p = fma(p, r, Vec::broadcast(1.3981999507e-3f));
  p = fma(p, r, Vec::broadcast(8.3334519073e-3f));
  p = fma(p, r, Vec::broadcast(4.1665795894e-2f));
  p = fma(p, r, Vec::broadcast(1.6666665459e-1f));
  p = fma(p, r, Vec::broadcast(5.0000001201e-1f));
  p = fma(p, r * r, r) + Vec::broadcast(1.f);
  return scale2(p, n);
}

// 2ˣ for x ≤ 0 to 3 ulp, by a polynomial of degree 5. 2⁰ is exactly 1. −∞ and very small x give 0 or at most 2⁻¹²⁶.
#if defined(ACDC_ISA_AVX512)
// vreduce gives the fraction, vscalef multiplies by 2^⌊x⌋. The polynomial is for [0, 1).
ACDC_INLINE Vec exp2_of_negative(Vec x) {
  const Vec r = fraction(x);
  Vec p = fma(Vec::broadcast(1.867130292e-3f), r, Vec::broadcast(9.017029845e-3f));
  p = fma(p, r, Vec::broadcast(5.579991345e-2f));
  p = fma(p, r, Vec::broadcast(2.401644501e-1f));
  p = fma(p, r, Vec::broadcast(6.931513118e-1f));
  p = fma(p, r, Vec::broadcast(1.f));
  return scale2(p, x);
}
#else
// Adding a large constant rounds x to n; the last bits of the sum are then n. The polynomial is for |x − n| ≤ ½, and n
// is added to the exponent.
ACDC_INLINE Vec exp2_of_negative(Vec x) {
  const Vec magic = Vec::broadcast(12582912.f);  // 1.5·2²³
  x = max(Vec::broadcast(-126.f), x);
  const Vec t = x + magic, r = x - (t - magic);
  Vec p = fma(Vec::broadcast(1.32647263e-3f), r, Vec::broadcast(9.67151301e-3f));
  p = fma(p, r, Vec::broadcast(5.55073375e-2f));
  p = fma(p, r, Vec::broadcast(2.40222421e-1f));
  p = fma(p, r, Vec::broadcast(6.93146978e-1f));
  p = fma(p, r, Vec::broadcast(1.f));
  return add_exponent(p, t);
}
#endif

// 2⁻ʳ rounds to 1 for r below this. The polynomials, exact only at 0, miss that by one unit. So a map of a smaller
// range counts as constant.
constexpr float kFlat = 0x1p-24f;

}  // namespace acdc::ACDC_ISA_NS
