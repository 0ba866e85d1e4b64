// Shared by the ops on attention maps: extremes of a map, and the mask's gradient at them.
#pragma once

#include <cstdint>

#include "vec.h"

namespace acdc::ACDC_ISA_NS {

ACDC_INLINE void fill(float* p, int64_t n, float value) {
  for (int64_t i = 0; i < n; ++i) p[i] = value;
}

// exp by the same code as in the loops over pixels, so that the lowest pixel of a map adds exactly 0 to the mask.
ACDC_INLINE float exp_one(float x) {
  float out[Vec::lanes];
  exp(Vec::broadcast(x)).store(out);
  return out[0];
}

// Largest and smallest of n < 2²⁴ values, and where each is first. NaNs are ignored. Inside, `up` and `down` are the
// places of `high` and `low` in each lane.
struct Extremes {
  float high, low;
  int32_t argmax, argmin;
};

ACDC_INLINE Extremes extremes_of(const float* g, int64_t n) {
  constexpr int lanes = Vec::lanes;
  const Vec infinite = Vec::broadcast(__builtin_inff());
  Extremes e = {-__builtin_inff(), __builtin_inff(), 0, 0};
  int64_t i = 0;
  if (n >= lanes) {
    float first[lanes];
    for (int j = 0; j < lanes; ++j) first[j] = static_cast<float>(j);
    Vec high = Vec::zero() - infinite, low = infinite, up = Vec::zero(), down = Vec::zero(), at = Vec::load(first);
    for (; i + lanes <= n; i += lanes) {
      const Vec v = Vec::load(g + i);
      const Mask above = less(high, v), below = less(v, low);
      high = select(above, v, high), up = select(above, at, up);
      low = select(below, v, low), down = select(below, at, down);
      at += Vec::broadcast(static_cast<float>(lanes));
    }
    e.high = reduce_max(high), e.low = reduce_min(low);
    const Mask is_high = equal(high, Vec::broadcast(e.high)), is_low = equal(low, Vec::broadcast(e.low));
    e.argmax = static_cast<int32_t>(reduce_min(select(is_high, up, infinite)));
    e.argmin = static_cast<int32_t>(reduce_min(select(is_low, down, infinite)));
  }
  for (; i < n; ++i) {
    if (e.high < g[i]) e.high = g[i], e.argmax = static_cast<int32_t>(i);
    if (g[i] < e.low) e.low = g[i], e.argmin = static_cast<int32_t>(i);
  }
  return e;
}

// The rise of a map: n/(1 − n), where n = exp(lowest − highest logit). 0 for a constant map. The gradient of the mask
// uses it (docs/reference/op-contract.md).
ACDC_INLINE float rise_of(float n) { return n < 1.f ? n / (1.f - n) : 0.f; }

// The mask's gradient at the extremes, for the maps of one face. Sums run over the pixels that a map won:
// −(1 + rise)·Σ grad·mask at its argmax, and rise·Σ grad·(mask − 1) at its argmin, with its `rise_of`
// (docs/reference/op-contract.md). A winning pixel itself gets grad·(mask + rise).
ACDC_INLINE void mask_spikes(const float* grad, const float* mask, const int32_t* winner, int64_t pixels,
                             const float* rise, int64_t maps, float* at_argmax, float* at_argmin) {
  fill(at_argmax, maps, 0.f);
  fill(at_argmin, maps, 0.f);
  for (int64_t p = 0; p < pixels; ++p) {
    const int32_t l = winner[p];
    if (l < 0) continue;
    at_argmax[l] += grad[p] * mask[p];
    at_argmin[l] += grad[p] * (mask[p] - 1.f);
  }
  for (int64_t l = 0; l < maps; ++l) {
    at_argmax[l] *= -(1.f + rise[l]);
    at_argmin[l] *= rise[l];
  }
}

}  // namespace acdc::ACDC_ISA_NS
