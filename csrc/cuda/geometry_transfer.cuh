// The geometry transfer network in one op: from H to moments and extremes of all maps, and from those to the mask.
#pragma once
#include "attention_mask.cuh"
#include "geometry_strip.cuh"
#include "spatial_softmax.cuh"

constexpr int kPartWords = 12;

// Statistics of each strip: parts (batch, strips, maps, 12). grid: (strips, groups of 16 row tiles, batch). A warp has
// two row tiles.
template <class T>
__global__ __launch_bounds__(256, sizeof(T) == 2 ? 2 : 1) void geometry_transfer_statistics(
    In<T> embedding, In<float> depthwise, In<T> packed, Out<float> parts, Geometry s, Layout at) {
  constexpr int N = Strip<T>::kColumns;
  int m0 = blockIdx.y * kGroup, m1 = m0 + kGroup < s.tiles() ? m0 + kGroup : s.tiles(), g = threadIdx.x % 32 / 4,
      t = threadIdx.x % 4;
  Shared shared;
  Strip<T> strip(s, at, embedding, 0, m0, m1, shared);
  strip.begin(depthwise, packed);
  Running r[2][2];
  for (int y = strip.y0; y < strip.y1; ++y) {
    strip.advance(y);
    for (int first = 0; first < s.tile; first += 8 * N)
#pragma unroll
      for (int i_m = 0; i_m < 2; ++i_m) {
        int m = m0 + threadIdx.x / 32 * 2 + i_m, column = strip.x0 + first + 2 * t;
        if (m >= m1) continue;
        float c[N][4];
        strip.logits(c, m, first);
#pragma unroll
        for (int i_r = 0; i_r < 2; ++i_r) {
          Running& map = r[i_m][i_r];
          float high = map.high;
          int best = -1;
#pragma unroll
          for (int i = 0; i < 2 * N; ++i) {
            float& x = c[i / 2][2 * i_r + i % 2];
            int q = column + i / 2 * 8 + i % 2;
            if (q < s.width) {
              map.see_low(x, y * s.width + q);
              if (x > high) high = x, best = q;
            } else {
              x = -infinity();
            }
          }
          if (best >= 0) map.move_origin(high, best, y, y * s.width + best);
#pragma unroll
          for (int i = 0; i < 2 * N; ++i) map.add(c[i / 2][2 * i_r + i % 2], column + i / 2 * 8 + i % 2, y);
        }
      }
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    Running& map = r[i / 2][i % 2];
    map.merge(map.from_lane(1));
    map.merge(map.from_lane(2));
    int m = m0 + threadIdx.x / 32 * 2 + i / 2, l = m < m1 ? s.map(m, i % 2 * 8 + g) : -1;
    if (t == 0 && l >= 0) {
      Out<float> part = parts + ((i64(blockIdx.z) * gridDim.x + blockIdx.x) * s.maps + l) * kPartWords;
      store16(part, Pack<float>{{map.high, map.low, map.sum, map.x}});
      store16(part + 4, Pack<float>{{map.y, map.xx, map.xy, map.yy}});
      store16(part + 8, Pack<float>{{bits_float(map.argmax), bits_float(map.argmin), bits_float(map.column),
                                     bits_float(map.row)}});
    }
  }
}

// Joins the strips' statistics, one thread for each map. grid: maps·batch / 128
template <class Float>  // float
__global__ __launch_bounds__(128) void geometry_transfer_combine(In<Float> parts, MapOutputs out, int maps, int strips,
                                                                 int height, int width, i64 count) {
  i64 map = i64(blockIdx.x) * blockDim.x + threadIdx.x;
  if (map >= count) return;
  Running r;
  for (int i = 0; i < strips; ++i) {
    In<Float> part = parts + ((map / maps * strips + i) * maps + map % maps) * kPartWords;
    Pack<float> a = load16(part), b = load16(part + 4), c = load16(part + 8);
    Running other;
    other.high = a.v[0], other.low = a.v[1], other.sum = a.v[2], other.x = a.v[3];
    other.y = b.v[0], other.xx = b.v[1], other.xy = b.v[2], other.yy = b.v[3];
    other.argmax = float_bits(c.v[0]), other.argmin = float_bits(c.v[1]), other.column = float_bits(c.v[2]),
    other.row = float_bits(c.v[3]);
    r.merge(other);
  }
  write_map(out, map, r, height, width);
}

// The mask of the strip's current row into phi[tile], and its winners. Each warp compares the maps of its row tiles;
// the best of all warps is then chosen.
template <class T>
__device__ void strip_mask(const Strip<T>& strip, const Pack<float>* levels, Best* best, float* phi, int* winner) {
  constexpr int N = Strip<T>::kColumns;
  const Geometry& s = strip.s;
  int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, warp = threadIdx.x / 32;
  for (int first = 0; first < s.tile; first += 8 * N) {
    Best b[2 * N];
    for (int m = warp; m < s.tiles(); m += 8) {
      float c[N][4];
      strip.logits(c, m, first);
#pragma unroll
      for (int i_r = 0; i_r < 2; ++i_r) {
        int l = s.map(m, i_r * 8 + g);
        if (l < 0) continue;
        Pack<float> level = levels[l];  // high, floor, gain
#pragma unroll
        for (int i = 0; i < 2 * N; ++i)
          b[i].see((fast_exp(c[i / 2][2 * i_r + i % 2] - level.v[0]) - level.v[1]) * level.v[2], l);
      }
    }
#pragma unroll
    for (int i = 0; i < 2 * N; ++i) {
#pragma unroll
      for (int step = 4; step < 32; step *= 2) {
        float level = __shfl_xor_sync(kAllLanes, b[i].level, step);
        int map = __shfl_xor_sync(kAllLanes, b[i].map, step);
        b[i].see(level, map);
      }
      if (g == 0) best[warp * s.tile + first + i / 2 * 8 + 2 * t + i % 2] = b[i];
    }
  }
  __syncthreads();
  for (int p = threadIdx.x; p < s.tile; p += blockDim.x) {
    Best b = best[p];
    for (int w = 1; w < 8; ++w) b.see(best[w * s.tile + p].level, best[w * s.tile + p].map);
    phi[p] = b.level;
    winner[p] = b.map;
  }
}

__device__ inline void begin_levels(Pack<float>* levels, In<float> high, In<float> low, In<int> masked, int maps) {
  for (int l = threadIdx.x; l < maps; l += blockDim.x) {
    i64 map = i64(blockIdx.z) * maps + l;
    Level level(load(high + map), load(low + map));
    levels[l] = {{level.high, level.floor, load(masked + l) ? level.gain : 0.f, 0.f}};
  }
}

// grid: (strips, 1, batch). Mask and winners, for training.
template <class T>
__global__ __launch_bounds__(256, sizeof(T) == 2 ? 2 : 1) void geometry_transfer_mask(
    In<T> embedding, In<float> depthwise, In<T> packed, In<float> high, In<float> low, In<int> masked, Out<float> mask,
    Out<int> winner, Geometry s, Layout at) {
  Shared shared;
  Strip<T> strip(s, at, embedding, 0, 0, s.tiles(), shared);
  Pack<float>* levels = shared.take<Pack<float>>(s.maps);
  Best* best = shared.take<Best>(8 * s.tile);
  float* phi = shared.take<float>(s.tile);
  int* winners = shared.take<int>(s.tile);
  begin_levels(levels, high, low, masked, s.maps);
  strip.begin(depthwise, packed);
  for (int y = strip.y0; y < strip.y1; ++y) {
    strip.advance(y);
    strip_mask(strip, levels, best, phi, winners);
    for (int p = threadIdx.x; p < s.tile && strip.x0 + p < s.width;
         p += blockDim.x) {  // by the threads that wrote them
      i64 o = (i64(blockIdx.z) * s.height + y) * s.width + strip.x0 + p;
      store(mask + o, phi[p]);
      store(winner + o, winners[p]);
    }
  }
}
