// `Panels` by AMX tiles: a tile's rows are tiles of the convolution. It multiplies 32 channels at a time, so two
// channel blocks of V lie side by side; 16 where the blocks are odd in number. See conv_panel.h.
#pragma once

#include <algorithm>

#include "amx.h"

namespace acdc::ACDC_ISA_NS {

class Panels {
 public:
  Panels(const Conv& conv, int tiles)
      : inner_(together(conv) * static_cast<int>(kLanes)),
        steps_(conv.in_blocks / together(conv)),
        tiles_(tiles),
        rows_(std::min(tiles, kTileRows)),
        registers_(rows_, inner_) {}

  static ACDC_INLINE int64_t place(const Conv& conv, int block, int tile, int tiles) {
    const int side = together(conv);
    return ((static_cast<int64_t>(block) / side * tiles + tile) * side + block % side) * kLanes;
  }

  // Two times sixteen rows at a time. The last ones are those before the end, so some rows may be computed twice.
  template <int C>
  void multiply(const Value* v, const Value* right, float* m) {
    for (int row = 0; row < tiles_; row += 2 * kTileRows) {
      const int first = std::min(row, tiles_ - rows_), second = std::min(row + kTileRows, tiles_ - rows_);
      if (second > first) {
        multiply<2, C>(v, first, second, right, m);
      } else {
        multiply<1, C>(v, first, first, right, m);
      }
    }
  }

 private:
  static ACDC_INLINE int together(const Conv& conv) { return conv.in_blocks % 2 == 0 ? 2 : 1; }

  template <int R, int C>
  ACDC_INLINE void multiply(const Value* v, int first, int second, const Value* right, float* m) {
    registers_.clear<0, 0>();
    if constexpr (C > 1) registers_.clear<0, 1>();
    if constexpr (R > 1) registers_.clear<1, 0>();
    if constexpr (R > 1 && C > 1) registers_.clear<1, 1>();
    for (int step = 0; step < steps_; ++step) {
      registers_.right<0>(right, 2 * C * kLanes);
      registers_.left<0>(v + static_cast<int64_t>(first) * inner_, inner_);
      registers_.multiply<0, 0>();
      if constexpr (C > 1) registers_.right<1>(right + 2 * kLanes, 2 * C * kLanes);
      if constexpr (C > 1) registers_.multiply<0, 1>();
      if constexpr (R > 1) registers_.left<1>(v + static_cast<int64_t>(second) * inner_, inner_);
      if constexpr (R > 1) registers_.multiply<1, 0>();
      if constexpr (R > 1 && C > 1) registers_.multiply<1, 1>();
      v += static_cast<int64_t>(tiles_) * inner_;
      right += static_cast<int64_t>(inner_) * C * kLanes;
    }
    const int64_t block = tiles_ * kLanes;
    registers_.store<0, 0>(m + first * kLanes);
    if constexpr (C > 1) registers_.store<0, 1>(m + block + first * kLanes);
    if constexpr (R > 1) registers_.store<1, 0>(m + second * kLanes);
    if constexpr (R > 1 && C > 1) registers_.store<1, 1>(m + block + second * kLanes);
  }

  int inner_, steps_, tiles_, rows_;
  Tiles registers_;
};

}  // namespace acdc::ACDC_ISA_NS
