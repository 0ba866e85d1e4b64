// The mask Φ of eq. 4, from logits and each map's extremes, which come from `spatial_softmax_forward`.
#pragma once
#include "device.cuh"

// level = (exp(g − high) − n) / (1 − n) with n = exp(low − high). A constant map has level 0 everywhere.
struct Level {
  float high, floor, gain;
  __device__ __forceinline__ Level(float high, float low) : high(high) {
    floor = fast_exp(low - high);
    gain = floor < 1.f ? 1.f / (1.f - floor) : 0.f;
  }
  __device__ __forceinline__ float operator()(float g) const { return (fast_exp(g - high) - floor) * gain; }
};

struct Best {  // the highest level of a pixel above 0, and the first map with it
  float level = 0.f;
  int map = -1;
  __device__ __forceinline__ void see(float other, int other_map) {
    if (other > level || (other == level && other > 0.f && other_map < map)) {
      level = other;
      map = other_map;
    }
  }
};

// grid: (pixels / (32·V), batch). All 8 warps work on the same pixels; each takes every eighth map.
template <class T>
__global__ __launch_bounds__(256) void attention_mask_forward(In<T> logits, In<float> high, In<float> low,
                                                              Out<float> mask, Out<int> winner, int maps, int pixels,
                                                              int wide) {
  constexpr int V = Pack<T>::size;
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, p = (blockIdx.x * 32 + lane) * V;
  i64 face = blockIdx.y;
  Best best[V];
#pragma unroll 4
  for (int l = warp; l < maps; l += 8) {
    i64 map = face * maps + l;
    Level level(load(high + map), load(low + map));
    Pack<T> g = load_pack<T>(logits + (map * pixels + (p < pixels ? p : 0)), pixels - p, wide);
#pragma unroll
    for (int i = 0; i < V; ++i) best[i].see(level(to_float(g.v[i])), l);
  }
  Shared shared;
  Best* all = shared.take<Best>(8 * 32 * V);  // (warp, V, lane)
#pragma unroll
  for (int i = 0; i < V; ++i) all[(warp * V + i) * 32 + lane] = best[i];
  __syncthreads();
  for (int i = warp; i < V && p + i < pixels; i += 8) {
    Best b = all[i * 32 + lane];
    for (int w = 1; w < 8; ++w) {
      Best other = all[(w * V + i) * 32 + lane];
      b.see(other.level, other.map);
    }
    store(mask + (face * pixels + p + i), b.level);
    store(winner + (face * pixels + p + i), b.map);
  }
}

// A map's extremes get gradients from the pixels that it won. With r = n/(1 − n):
// dG(argmax) −= (1 + r)·Σ ḡ·m, dG(argmin) += r·Σ ḡ·(m − 1).
struct ExtremeGradient {
  float at_high, at_low, ratio;
};
__device__ __forceinline__ ExtremeGradient extreme_gradient(In<float> grad_mask, In<float> mask, In<int> winner,
                                                            Level level, int l, int pixels, float* scratch) {
  float risen = 0.f, missing = 0.f;
#pragma unroll 4
  for (int p = threadIdx.x; p < pixels; p += blockDim.x)
    if (load(winner + p) == l) {
      float g = load(grad_mask + p), m = load(mask + p);
      risen += g * m;
      missing += g * (m - 1.f);
    }
  risen = block_sum(risen, scratch);
  missing = block_sum(missing, scratch);
  float ratio = level.floor * level.gain;
  return {-(1.f + ratio) * risen, ratio * missing, ratio};
}

// grid: (maps, batch)
template <class T>
__global__ __launch_bounds__(256) void attention_mask_backward(In<float> grad_mask, In<float> mask, In<float> high,
                                                               In<float> low, In<int> argmax, In<int> argmin,
                                                               In<int> winner, Out<T> grad_logits, int pixels) {
  i64 face = blockIdx.y, map = face * gridDim.x + blockIdx.x;
  int l = blockIdx.x, top = load(argmax + map), bottom = load(argmin + map);
  Shared shared;
  In<float> m = mask + face * pixels, grad = grad_mask + face * pixels;
  In<int> winners = winner + face * pixels;
  ExtremeGradient e =
      extreme_gradient(grad, m, winners, Level(load(high + map), load(low + map)), l, pixels, shared.take<float>(32));
#pragma unroll 4
  for (int p = threadIdx.x; p < pixels; p += blockDim.x) {
    float g = load(winners + p) == l ? load(grad + p) * (load(m + p) + e.ratio) : 0.f;
    if (p == top) g += e.at_high;
    if (p == bottom) g += e.at_low;
    store(grad_logits + (map * pixels + p), from_float<T>(g));
  }
}

// grid: (maps, batch). The two sums alone: gradient (batch, maps, 2) at argmax and argmin, for ops that add them
// themselves.
template <class Float>  // float; a template, so that every file may include it
__global__ __launch_bounds__(256) void attention_mask_extremes(In<Float> grad_mask, In<Float> mask, In<Float> high,
                                                               In<Float> low, In<int> winner, Out<Float> gradient,
                                                               int pixels) {
  i64 face = blockIdx.y, map = face * gridDim.x + blockIdx.x;
  Shared shared;
  ExtremeGradient e =
      extreme_gradient(grad_mask + face * pixels, mask + face * pixels, winner + face * pixels,
                       Level(load(high + map), load(low + map)), blockIdx.x, pixels, shared.take<Float>(32));
  if (threadIdx.x == 0) {
    store(gradient + 2 * map, e.at_high);
    store(gradient + (2 * map + 1), e.at_low);
  }
}
