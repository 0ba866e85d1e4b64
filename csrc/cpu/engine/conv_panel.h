// M = V · (G w) for all tiles of one point and one panel of C vectors of outputs: `Panels::multiply`. Where V lies is
// `Panels::place`: the first lane of a channel block of a tile. By vectors, or by AMX tiles where there are some.
#pragma once

#include "engine_types.h"
#include "gemm.h"

namespace acdc::ACDC_ISA_NS {

constexpr int64_t kLanes = Vec::lanes;

}  // namespace acdc::ACDC_ISA_NS

#if defined(ACDC_ISA_AVX512AMX)
#include "conv_panel_amx.h"
#else

namespace acdc::ACDC_ISA_NS {

// R rows × C vectors of one point's M.
template <int R, int C>
void multiply_tile(const Value* left, int64_t left_block, const Value* right, int inner, float* m, int64_t m_block,
                   Ahead ahead) {
  Tile<R, C> t;
  multiply(t, left, left_block, right, inner, ahead);
#pragma GCC unroll 32
  for (int i = 0; i < R; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < C; ++j) t.at[i][j].store(m + j * m_block + i * kLanes);
  }
}

template <int R, int C>
void multiply_rows(int rows, const Value* left, int64_t left_block, const Value* right, int inner, float* m,
                   int64_t m_block, Ahead ahead) {
  if (rows == R) return multiply_tile<R, C>(left, left_block, right, inner, m, m_block, ahead);
  if constexpr (R > 1) multiply_rows<R - 1, C>(rows, left, left_block, right, inner, m, m_block, ahead);
}

class Panels {
 public:
  Panels(const Conv& conv, int tiles) : inner_(conv.inputs), tiles_(tiles) {}

  static ACDC_INLINE int64_t place(const Conv&, int block, int tile, int tiles) {
    return (static_cast<int64_t>(block) * tiles + tile) * kLanes;
  }

  // In nearly equal shares of at most kRows[C] tiles.
  template <int C>
  void multiply(const Value* v, const Value* right, float* m) const {
    const int64_t block = tiles_ * kLanes;
    const int shares = (tiles_ + kRows[C] - 1) / kRows[C];
    const int64_t panel = static_cast<int64_t>(inner_) * C * kLanes * sizeof(Value);
    const int64_t step = panel / (shares * inner_) + 1;
    const char* const next = reinterpret_cast<const char*>(right) + panel;
    for (int s = 0, row = 0; s < shares; ++s) {
      const Ahead ahead = {next + s * step * inner_, step};
      const int rows = (tiles_ - row) / (shares - s);
      multiply_rows<kRows[C], C>(rows, v + row * kLanes, block, right, inner_, m + row * kLanes, block, ahead);
      row += rows;
    }
  }

 private:
  int inner_, tiles_;
};

}  // namespace acdc::ACDC_ISA_NS
#endif
