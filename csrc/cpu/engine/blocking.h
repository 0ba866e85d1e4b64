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

struct Blocking {
  bool by_points;  // one block at a time, with its products divided among the threads by groups of points
  int count;       // tiles of a block
};

// Points by which M lies below V: the largest group of points that share weights, because a group's V is read once for
// each panel of weights.
inline int lag_of(ConvKind kind) { return kind == ConvKind::down ? 16 : 1; }

// Bytes of one lane of one tile's channels in V or M, whichever is larger.
inline int64_t lane_bytes(const Conv& conv) { return std::max(conv.in_blocks * conv.value_bytes, conv.out_blocks * 4); }

// Floats of one point of V or M, and one vector more; otherwise all points of a tile would share one cache set.
inline int64_t point_floats(const Conv& conv, int count, int lanes) {
  return ((lane_bytes(conv) * count + 3) / 4 + 1) * lanes;
}

// Where M must not lie over V: threads that share a block take its points in any order.
inline bool apart(const Blocking& cut, int threads) { return cut.by_points && threads > 1; }

inline int64_t block_floats(const Conv& conv, const Blocking& cut, int threads, int lanes) {
  const int points = points_of(conv.kind);
  return (points + (apart(cut, threads) ? points : lag_of(conv.kind))) * point_floats(conv, cut.count, lanes);
}

inline TileBlock tile_block(const Conv& conv, const Blocking& cut, int threads, int lanes, int first, int count,
                            float* memory) {
  const int64_t point = point_floats(conv, count, lanes);
  const int below = apart(cut, threads) ? points_of(conv.kind) : lag_of(conv.kind);
  return {first, count, memory + below * point, memory, point};
}

inline Blocking blocking(const Conv& conv, int tiles, int threads, int lanes) {
  const int64_t weight_bytes = 36ll * conv.inputs * conv.out_blocks * lanes * conv.value_bytes;
  if (weight_bytes >= kHeavyWeights) return {true, std::min(tiles, kHeavyTiles)};
  const int64_t tile_bytes = points_of(conv.kind) * lane_bytes(conv) * lanes;
  // A block shares L2 with the weights. So small weights get small blocks; others get enough tiles to repay reading the
  // weights.
  const int64_t block_bytes = std::min<int64_t>(1 << 19, std::max<int64_t>(1 << 18, weight_bytes / 2));
  int count = static_cast<int>(std::max<int64_t>(8, block_bytes / tile_bytes));
  int blocks = (tiles + count - 1) / count;
  blocks = (blocks + threads - 1) / threads * threads;
  count = std::max(1, (tiles + blocks - 1) / blocks);
  return {false, count};
}

}  // namespace acdc
