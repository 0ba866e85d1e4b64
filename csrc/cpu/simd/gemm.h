// The register-tiled product of every layer. R rows × C vectors of outputs stay in registers while the inner dimension
// runs. One broadcast of the left operand serves C products; one load of the right operand serves R.
//
// Left:  [k block][row][lanes], with `left_block` values between k blocks, as the input transforms store it.
// Right: [k][C·lanes], packed at load. In bfloat16 [k/2][C·lanes][2], and the inner dimension is even.
#pragma once

#include <cstdint>

#include "value.h"

namespace acdc::ACDC_ISA_NS {

// Vectors and rows of the register tile: as many accumulators as fit the registers beside the operands.
#if defined(ACDC_ISA_AVX512) || defined(ACDC_ISA_NEON)
constexpr int kPanel = 2;                   // vectors
constexpr int kRows[] = {0, 28, 14, 8, 6};  // rows, by vectors
constexpr int kLandmarkPanel = 3, kLandmarkRows = 8;
#else
constexpr int kPanel = 2;
constexpr int kRows[] = {0, 12, 6, 4, 3};
constexpr int kLandmarkPanel = 3, kLandmarkRows = 4;
#endif

template <int R, int C>
struct Tile {
  Vec at[R][C];
};

template <int R, int C>
ACDC_INLINE void multiply_step(Tile<R, C>& t, const float* left, const float* right) {
  Vec b[C];
  for (int j = 0; j < C; ++j) b[j] = Vec::load(right + j * Vec::lanes);
#pragma GCC unroll 32
  for (int i = 0; i < R; ++i) {
    const Vec a = Vec::broadcast(left[i * Vec::lanes]);
#pragma GCC unroll 4
    for (int j = 0; j < C; ++j) t.at[i][j] = fma(a, b[j], t.at[i][j]);
  }
}

#if defined(ACDC_ISA_AVX512BF16)
template <int R, int C>
ACDC_INLINE void multiply_step(Tile<R, C>& t, const bf16* left, const bf16* right) {
  Pairs b[C];
  for (int j = 0; j < C; ++j) b[j] = Pairs::load(right + 2 * j * Vec::lanes);
#pragma GCC unroll 32
  for (int i = 0; i < R; ++i) {
    const Pairs a = Pairs::broadcast(left + i * Vec::lanes);
#pragma GCC unroll 4
    for (int j = 0; j < C; ++j) t.at[i][j] = dot_bf16(t.at[i][j], a, b[j]);
  }
}
#endif

// Prefetches memory for the next product, a little at each step.
struct Ahead {
  const char* at;
  int64_t step;
  ACDC_INLINE void next() { __builtin_prefetch(at, 0, 2), at += step; }
};
struct Nothing {
  ACDC_INLINE void next() {}
};

template <int R, int C, class T, class Prefetch = Nothing>
ACDC_INLINE void multiply(Tile<R, C>& t, const T* left, int64_t left_block, const T* right, int inner,
                          Prefetch prefetch = {}) {
#pragma GCC unroll 32
  for (int i = 0; i < R; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < C; ++j) t.at[i][j] = Vec::zero();
  }
  for (int k = 0; k < inner; k += Vec::lanes, left += left_block) {
    const int count = inner - k < Vec::lanes ? inner - k : Vec::lanes;
#pragma GCC unroll 4
    for (int kk = 0; kk < count; kk += kPack<T>, right += kPack<T> * C * Vec::lanes) {
      multiply_step<R, C>(t, left + kk, right);
      prefetch.next();
    }
  }
}

}  // namespace acdc::ACDC_ISA_NS
