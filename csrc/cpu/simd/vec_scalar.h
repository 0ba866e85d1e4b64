// Any CPU: four floats in the compiler's generic vectors, with the platform's baseline instructions only. Here fma
// rounds the product and the sum separately.
#pragma once

#include <cstring>

#include "isa.h"

namespace acdc::ACDC_ISA_NS {

typedef float Floats __attribute__((vector_size(16)));
typedef int Ints __attribute__((vector_size(16)));
typedef unsigned Words __attribute__((vector_size(16)));  // bits of floats: sums of exponents may run over

struct Mask {
  Ints m;
};

struct Vec {
  static constexpr int lanes = 4;
  Floats v;

  static ACDC_INLINE Vec load(const float* p) {
    Vec r;
    std::memcpy(&r.v, p, sizeof r.v);
    return r;
  }
  static ACDC_INLINE Vec load(const float* p, int n) {
    Vec r = zero();
    for (int i = 0; i < n; ++i) r.v[i] = p[i];
    return r;
  }
  static ACDC_INLINE Vec broadcast(float x) { return {Floats{x, x, x, x}}; }
  static ACDC_INLINE Vec zero() { return broadcast(0.f); }
  ACDC_INLINE void store(float* p) const { std::memcpy(p, &v, sizeof v); }
  ACDC_INLINE void store(float* p, int n) const {
    for (int i = 0; i < n; ++i) p[i] = v[i];
  }
};

ACDC_INLINE Vec operator+(Vec a, Vec b) { return {a.v + b.v}; }
ACDC_INLINE Vec operator-(Vec a, Vec b) { return {a.v - b.v}; }
ACDC_INLINE Vec operator*(Vec a, Vec b) { return {a.v * b.v}; }
ACDC_INLINE Vec operator/(Vec a, Vec b) { return {a.v / b.v}; }
ACDC_INLINE Vec fma(Vec a, Vec b, Vec c) { return {a.v * b.v + c.v}; }
ACDC_INLINE Vec fnma(Vec a, Vec b, Vec c) { return {c.v - a.v * b.v}; }
ACDC_INLINE Mask less(Vec a, Vec b) { return {a.v < b.v}; }
ACDC_INLINE Mask at_least(Vec a, Vec b) { return {a.v >= b.v}; }
ACDC_INLINE bool all(Mask m) { return (m.m[0] & m.m[1] & m.m[2] & m.m[3]) != 0; }
ACDC_INLINE Mask equal(Vec a, Vec b) { return {a.v == b.v}; }
ACDC_INLINE Vec select(Mask m, Vec a, Vec b) { return {(Floats)((m.m & (Ints)a.v) | (~m.m & (Ints)b.v))}; }
ACDC_INLINE Vec min(Vec a, Vec b) { return select(less(a, b), a, b); }
ACDC_INLINE Vec max(Vec a, Vec b) { return select(less(b, a), a, b); }

// Adding 1.5·2²³ leaves no bits for fractions. For |a| < 2²².
ACDC_INLINE Vec round(Vec a) {
  const Floats magic = Vec::broadcast(12582912.f).v;
  return {(a.v + magic) - magic};
}

// In two steps of half the exponent each, so that results may be denormal or infinite.
ACDC_INLINE Vec scale2(Vec a, Vec n) {
  const Ints whole = __builtin_convertvector(n.v, Ints), half = whole >> 1;
  return {a.v * (Floats)((Words)(half + 127) << 23) * (Floats)((Words)(whole - half + 127) << 23)};
}

ACDC_INLINE Vec add_exponent(Vec a, Vec t) { return {(Floats)((Words)a.v + ((Words)t.v << 23))}; }

ACDC_INLINE float reduce_add(Vec a) { return (a.v[0] + a.v[1]) + (a.v[2] + a.v[3]); }
ACDC_INLINE float reduce_min(Vec a) {
  const float x = a.v[0] < a.v[1] ? a.v[0] : a.v[1], y = a.v[2] < a.v[3] ? a.v[2] : a.v[3];
  return x < y ? x : y;
}
ACDC_INLINE float reduce_max(Vec a) {
  const float x = a.v[0] > a.v[1] ? a.v[0] : a.v[1], y = a.v[2] > a.v[3] ? a.v[2] : a.v[3];
  return x > y ? x : y;
}

}  // namespace acdc::ACDC_ISA_NS
