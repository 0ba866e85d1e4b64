// Attention mask (eq. 4): the softmax's denominator cancels, so a map's level is (exp(g − high) − n)/(1 − n) with
// n = exp(low − high), and the mask is the highest level of all maps.
#include "kernels.h"
#include "maps.h"
#include "thread_pool.h"
#include "vec.h"

namespace acdc::ACDC_ISA_NS {
namespace {

constexpr int kLanes = Vec::lanes;
constexpr int64_t kBlock = 1024;  // pixels of a task; their levels stay in the first-level cache

}  // namespace

void attention_mask_forward(const LogitMaps& a, const MapStatistics& maps, float* mask, int32_t* winner) {
  const int64_t pixels = a.height * a.width, blocks = (pixels + kBlock - 1) / kBlock;
  auto extremes = [&](int64_t at, int) {
    const Extremes e = extremes_of(a.logits + at * pixels, pixels);
    maps.high[at] = e.high, maps.low[at] = e.low;
    maps.argmax[at] = e.argmax, maps.argmin[at] = e.argmin;
  };
  parallel_for(a.batch * a.maps, a.threads, extremes);

  auto levels = [&](int64_t task, int) {
    const int64_t b = task / blocks, first = task % blocks * kBlock;
    const int64_t count = first + kBlock < pixels ? kBlock : pixels - first;
    float level[kBlock], owner[kBlock];
    fill(level, kBlock, 0.f);
    fill(owner, kBlock, -1.f);
    for (int64_t l = 0; l < a.maps; ++l) {
      const int64_t at = b * a.maps + l;
      const float n = exp_one(maps.low[at] - maps.high[at]);
      if (!(n < 1.f)) continue;  // constant
      const Vec high = Vec::broadcast(maps.high[at]), floor = Vec::broadcast(n),
                scale = Vec::broadcast(1.f / (1.f - n));
      const Vec map = Vec::broadcast(static_cast<float>(l));
      const float* g = a.logits + at * pixels + first;
      for (int64_t p = 0; p < count; p += kLanes) {
        const int lanes = count - p < kLanes ? static_cast<int>(count - p) : kLanes;
        const Vec rise = (exp(Vec::load(g + p, lanes) - high) - floor) * scale, best = Vec::load(level + p);
        const Mask above = less(best, rise);
        select(above, rise, best).store(level + p);
        select(above, map, Vec::load(owner + p)).store(owner + p);
      }
    }
    for (int64_t p = 0; p < count; ++p) {
      mask[b * pixels + first + p] = level[p];
      winner[b * pixels + first + p] = static_cast<int32_t>(owner[p]);
    }
  };
  parallel_for(a.batch * blocks, a.threads, levels);
}

// spikes: (B, 3, L) scratch.
void attention_mask_backward(const LogitMaps& a, const float* grad_mask, const float* mask, const int32_t* winner,
                             const MapStatistics& maps, float* spikes, float* grad_logits) {
  const int64_t pixels = a.height * a.width;
  auto clear = [&](int64_t at, int) { fill(grad_logits + at * pixels, pixels, 0.f); };
  parallel_for(a.batch * a.maps, a.threads, clear);
  auto face = [&](int64_t b, int) {
    const float *grad = grad_mask + b * pixels, *m = mask + b * pixels;
    const int32_t* who = winner + b * pixels;
    float *rise = spikes + b * 3 * a.maps, *at_argmax = rise + a.maps, *at_argmin = at_argmax + a.maps;
    float* out = grad_logits + b * a.maps * pixels;
    for (int64_t l = 0; l < a.maps; ++l)
      rise[l] = rise_of(exp_one(maps.low[b * a.maps + l] - maps.high[b * a.maps + l]));
    mask_spikes(grad, m, who, pixels, rise, a.maps, at_argmax, at_argmin);
    for (int64_t p = 0; p < pixels; ++p)
      if (who[p] >= 0) out[who[p] * pixels + p] += grad[p] * (m[p] + rise[who[p]]);
    for (int64_t l = 0; l < a.maps; ++l) {
      out[l * pixels + maps.argmax[b * a.maps + l]] += at_argmax[l];
      out[l * pixels + maps.argmin[b * a.maps + l]] += at_argmin[l];
    }
  };
  parallel_for(a.batch, a.threads, face);
}

}  // namespace acdc::ACDC_ISA_NS
