// The one-dimensional transforms of the three convolutions. All have output tiles of 4. The two-dimensional transforms
// nest them.
//
// Same: F(4, 3) on the points 0, ±2/3, ±3/2, ∞. These cost as many operations as the usual 0, ±1, ±2, ∞, because the
// product of 2/3 and 3/2 is 1. Their rounding error is half as large.
//
// Up: the same after bilinear ×2 with half-pixel centres. Bᵀ·U maps 4 low-resolution pixels to the 6 points. U is taken
// times 4, and the packed weights hold the 1/16.
//
// Down: stride 2, with even and odd pixels apart. Taps 0 and 2 meet the odd pixels 2o − 1 and 2o + 1: F(4, 2) on the
// points ±1/2, ±5/4, ∞. Tap 1 meets the even pixels: four plain products with one weight. That makes 9 points; direct
// convolution takes 12 products.
#pragma once

#include "vec.h"

namespace acdc::ACDC_ISA_NS {

constexpr float kA = 2.f / 3, kB = 3.f / 2, kA2 = kA * kA, kB2 = kB * kB, kS = kA2 + kB2;
constexpr float kC = 0.5f, kD = 1.25f, kC2 = kC * kC, kD2 = kD * kD;  // of the odd phase

ACDC_INLINE Vec times(float c, Vec x) { return Vec::broadcast(c) * x; }
ACDC_INLINE Vec plus(float c, Vec x, Vec y) { return fma(Vec::broadcast(c), x, y); }    // c·x + y
ACDC_INLINE Vec minus(float c, Vec x, Vec y) { return fnma(Vec::broadcast(c), x, y); }  // y − c·x

struct Same {
  static constexpr int reach = 6, points = 6, step = 4,
                       offset = -1;                    // pixels read, products, pixels from tile to tile, first pixel
  static constexpr int order[6] = {0, 5, 1, 2, 3, 4};  // points as `input` makes them, two at a time
  static constexpr int place(int i, int j) { return i * 6 + j; }

  template <int pair>
  static ACDC_INLINE void input(const Vec d[6], Vec t[2]) {
    if constexpr (pair == 0) {
      t[0] = d[0] + minus(kS, d[2], d[4]);
      t[1] = d[1] + minus(kS, d[3], d[5]);
    } else {
      constexpr float p = pair == 1 ? kA : kB, q2 = pair == 1 ? kB2 : kA2;
      const Vec even = minus(q2, d[2], d[4]), odd = minus(q2, d[1], d[3]);
      t[0] = plus(p, odd, even);
      t[1] = minus(p, odd, even);
    }
  }
  static ACDC_INLINE void output(const Vec m[6], Vec y[4]) {
    const Vec sa = m[1] + m[2], qa = m[1] - m[2], sb = m[3] + m[4], qb = m[3] - m[4];
    y[0] = m[0] + sa + sb;
    y[1] = plus(kA, qa, times(kB, qb));
    y[2] = plus(kA2, sa, times(kB2, sb));
    y[3] = plus(kA2 * kA, qa, plus(kB2 * kB, qb, m[5]));
  }
};

struct Up : Same {
  static constexpr int reach = 4, step = 2, offset = -1;  // in low-resolution pixels

  // With u = 4·U·x: u0 = 3x0 + x1, u1 = x0 + 3x1, u2 = 3x1 + x2, …, u5 = x2 + 3x3, put through Same::input.
  template <int pair>
  static ACDC_INLINE void input(const Vec x[4], Vec t[2]) {
    if constexpr (pair == 0) {
      t[0] = plus(3.f, x[0], plus(1 - 3 * kS, x[1], plus(3 - kS, x[2], x[3])));
      t[1] = plus(3.f, x[3], plus(1 - 3 * kS, x[2], plus(3 - kS, x[1], x[0])));
    } else {
      constexpr float p = pair == 1 ? kA : kB, q2 = pair == 1 ? kB2 : kA2;
      const Vec even = plus(-3 * q2, x[1], plus(3 - q2, x[2], x[3]));
      const Vec odd = plus(-q2, x[0], plus(1 - 3 * q2, x[1], times(3.f, x[2])));
      t[0] = plus(p, odd, even);
      t[1] = minus(p, odd, even);
    }
  }
};

struct Down {
  static constexpr int reach = 9, points = 9, step = 8, offset = -1;
  static constexpr int order[9] = {0, 1, 2, 3, 4, 5, 6, 7, 8};
  // Points that share weights are neighbours: those of the even phase, along one axis or both.
  static constexpr int place(int i, int j) {
    return i < 5 ? i * 9 + j : j < 5 ? 45 + 4 * j + (i - 5) : 65 + 4 * (i - 5) + (j - 5);
  }

  template <int pair>
  static ACDC_INLINE void input(const Vec d[9], Vec t[2]) {  // odd phase: d[0], d[2], …, d[8]
    if constexpr (pair < 2) {
      constexpr float p = pair == 0 ? kC : kD, q2 = pair == 0 ? kD2 : kC2;
      const Vec even = minus(q2, d[2], d[6]), odd = minus(q2, d[0], d[4]);
      t[0] = plus(p, odd, even);
      t[1] = minus(p, odd, even);
    } else if constexpr (pair == 2) {
      t[0] = plus(kC2 * kD2, d[0], minus(kC2 + kD2, d[4], d[8]));
      t[1] = d[1];
    } else {
      t[0] = d[4 * pair - 9];
      if constexpr (pair == 3) t[1] = d[5];
    }
  }
  static ACDC_INLINE void output(const Vec m[9], Vec y[4]) {
    const Vec sc = m[0] + m[1], qc = m[0] - m[1], sd = m[2] + m[3], qd = m[2] - m[3];
    y[0] = sc + sd + m[5];
    y[1] = plus(kC, qc, plus(kD, qd, m[6]));
    y[2] = plus(kC2, sc, plus(kD2, sd, m[7]));
    y[3] = plus(kC2 * kC, qc, plus(kD2 * kD, qd, m[4] + m[8]));
  }
};

}  // namespace acdc::ACDC_ISA_NS
