// The first pass of the geometry transfer network over H: least and greatest logit of every map.
#include "kernels.h"
#include "landmarks.h"

namespace acdc::ACDC_ISA_NS {

namespace {

template <int C>
struct Range {
  Vec low[C], high[C];
};

// The range of vectors [first, first + D) widened by all of R pixels' logits, pairwise, lest each wait for the one
// before.
template <int R, int D, int C>
ACDC_INLINE void widen(Range<C>& range, int first, const Tile<R, D>& t) {
#pragma GCC unroll 3
  for (int j = 0; j < D; ++j) {
    Vec low[R], high[R];
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) low[i] = high[i] = t.at[i][j];
#pragma GCC unroll 4
    for (int step = R / 2; step; step /= 2) {
#pragma GCC unroll 8
      for (int i = 0; i < step; ++i) low[i] = min(low[i], low[i + step]), high[i] = max(high[i], high[i + step]);
    }
    range.low[first + j] = min(low[0], range.low[first + j]),
                      range.high[first + j] = max(high[0], range.high[first + j]);
  }
}

template <int C>
ACDC_INLINE void widen_by_tile(Range<C>& range, const Landmarks& net, const float* d, const float* right) {
  for (int p = 0; p < kTilePixels; p += kLandmarkRows) {
    Tile<kLandmarkRows, C> t;
    multiply(t, d + p * kLanes, kStripBlock, right, net.inputs);
    widen(range, 0, t);
  }
}

struct Bounded {
  int tried = 0, spared = 0;
  // Bounds cost an eighth of the products.
  bool pays() const { return 6 * spared >= tried; }
};

// Where `bounded` is given, a tile whose logits must lie within what has been seen already is left out.
template <int C>
void extremes_panel(const Landmarks& net, const TiledStrip& s, const float* right, Bounded* bounded, float* low,
                    float* high) {
  Range<C> range;
  for (int j = 0; j < C; ++j) range.low[j] = Vec::load(low + j * kLanes), range.high[j] = Vec::load(high + j * kLanes);
  for (int first = 0; first < s.tiles; first += kBoundRows) {
    const int tiles = s.tiles - first < kBoundRows ? s.tiles - first : kBoundRows;
    const float* d = s.d + first * kTilePixels * kLanes;
    if (!bounded) {
      for (int i = 0; i < tiles; ++i) widen_by_tile(range, net, d + i * kTilePixels * kLanes, right);
      continue;
    }
    const Bounds<C> bounds = logit_bounds<C>(net, s, first, right);
    for (int i = 0; i < tiles; ++i, d += kTilePixels * kLanes) {
      bool within[C];
      int spared = 0;
      for (int j = 0; j < C; ++j) {
        within[j] = all(at_least(range.high[j], bounds.high[i][j])) && all(at_least(bounds.low[i][j], range.low[j]));
        spared += within[j];  // never for a NaN
      }
      bounded->tried += C, bounded->spared += spared;
      if (!spared) {
        widen_by_tile(range, net, d, right);
        continue;
      }
#pragma GCC unroll 3
      for (int j = 0; j < C; ++j) {
        if (within[j]) continue;
        for (int p = 0; p < kTilePixels; p += kColumnRows) {
          widen(range, j, logits_column<C>(net, d + p * kLanes, right + j * kLanes));
        }
      }
    }
  }
  for (int j = 0; j < C; ++j) range.low[j].store(low + j * kLanes), range.high[j].store(high + j * kLanes);
}

}  // namespace

void landmark_extremes(const Landmarks& net, int first_row, int last_row, float* scratch, float* low, float* high) {
  const FlushDenormals guard;
  const int width = net.embedding.width;
  Bounded bounded;
  for (int y = first_row; y < last_row; y += kStripRows) {
    for (int x = 0; x < width; x += kStrip) {
      const int count = width - x < kStrip ? width - x : kStrip;
      const bool pays = bounded.pays();
      for (int stream = 0, map = 0; stream < net.streams; map += net.blocks[stream++] * static_cast<int>(kLanes)) {
        const TiledStrip strip = tiled_strip(net, stream, y, x, count, pays, scratch);
        each_panel(net, stream, [&](auto panel, int n, const float* right) {
          const int64_t at = map + n * kLanes;
          extremes_panel<decltype(panel)::vectors>(net, strip, right, pays ? &bounded : nullptr, low + at, high + at);
        });
      }
    }
  }
}

}  // namespace acdc::ACDC_ISA_NS
