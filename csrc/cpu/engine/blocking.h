// How the tiles of a convolution are divided into blocks. Results do not depend on it.
#pragma once

#include <algorithm>
#include <cstdint>

#include "engine_types.h"

namespace acdc {

constexpr int64_t kHeavyWeights = 4 << 20;  // bytes; more must not be read again for each small block of tiles
constexpr int kHeavyTiles = 64;             // tiles of a block of such a layer

inline int points_of(ConvKind kind) { return kind == ConvKind::down ? 81 : 36; }

inline int tiles_along(int size) { return (size + 3) / 4; }

// Floats of V and of M for a block of `count` tiles. In V a float may hold two bfloat16 values.
inline int64_t v_floats(const Conv& conv, int count, int lanes) {
  const int64_t floats =
      points_of(conv.kind) * (static_cast<int64_t>(conv.in_blocks) * count * lanes * conv.value_bytes / 4 + lanes);
  return (floats + 15) / 16 * 16;
}
inline int64_t m_floats(const Conv& conv, int count, int lanes) {
  return points_of(conv.kind) * (static_cast<int64_t>(conv.out_blocks) * count + 1) * lanes;
}

struct Blocking {
  bool by_points;  // one block at a time, with its products divided among the threads by groups of points
  int count;       // tiles of a block
};

inline Blocking blocking(const Conv& conv, int tiles, int threads, int lanes) {
  const int64_t weight_bytes = 36ll * conv.inputs * conv.out_blocks * lanes * conv.value_bytes;
  if (weight_bytes >= kHeavyWeights) return {true, std::min(tiles, kHeavyTiles)};
  const int64_t tile_bytes = points_of(conv.kind) * (conv.in_blocks * conv.value_bytes + conv.out_blocks * 4ll) * lanes;
  // V and M of a block share L2 with the weights. So small weights get small blocks; others get enough tiles to repay
  // reading the weights.
  const int64_t block_bytes = std::min<int64_t>(3 << 19, std::max<int64_t>(1 << 18, weight_bytes));
  int count = static_cast<int>(std::max<int64_t>(8, block_bytes / tile_bytes));
  int blocks = (tiles + count - 1) / count;
  blocks = (blocks + threads - 1) / threads * threads;
  count = std::max(1, (tiles + blocks - 1) / blocks);
  return {false, count};
}

}  // namespace acdc
