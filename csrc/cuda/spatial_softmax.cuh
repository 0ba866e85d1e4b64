// Moments of softmax maps, eq. 2 and 3, from one read of the logits. One block for each map.
#pragma once
#include "device.cuh"

// An online softmax with its moments: sums of exp(g − high), and of that times powers of the pixel distance to the
// highest pixel. The origin follows the maximum, so narrow maps lose no digits.
struct Running {
  float high = -infinity(), low = infinity(), sum = 0, x = 0, y = 0, xx = 0, xy = 0, yy = 0;
  int argmax = 0x7fffffff, argmin = 0x7fffffff, column = 0, row = 0;  // column and row of argmax

  __device__ __forceinline__ void move_origin(float to_high, int to_column, int to_row, int pixel) {
    float scale = high == -infinity() ? 0.f : fast_exp(high - to_high);
    float dx = float(column - to_column), dy = float(row - to_row);
    xx = scale * (xx + dx * (2 * x + dx * sum));
    xy = scale * (xy + dx * y + dy * x + dx * dy * sum);
    yy = scale * (yy + dy * (2 * y + dy * sum));
    x = scale * (x + dx * sum);
    y = scale * (y + dy * sum);
    sum *= scale;
    high = to_high;
    column = to_column;
    row = to_row;
    argmax = pixel;
  }
  // The extremes come before the sums: `add` may only see values up to `high`.
  __device__ __forceinline__ void see_low(float g, int pixel) {
    if (g < low || (g == low && pixel < argmin)) {
      low = g;
      argmin = pixel;
    }
  }
  __device__ __forceinline__ void add(float g, int to_column, int to_row) {
    float e = g == -infinity() ? 0.f : fast_exp(g - high);
    float dx = float(to_column - column), dy = float(to_row - row), ex = e * dx, ey = e * dy;
    sum += e;
    x += ex;
    y += ey;
    xx += ex * dx;
    xy += ex * dy;
    yy += ey * dy;
  }
  __device__ __forceinline__ void merge(Running other) {
    see_low(other.low, other.argmin);
    bool theirs = other.high > high || (other.high == high && other.argmax < argmax);
    if (theirs)
      move_origin(other.high, other.column, other.row, other.argmax);
    else
      other.move_origin(high, column, row, argmax);
    sum += other.sum;
    x += other.x;
    y += other.y;
    xx += other.xx;
    xy += other.xy;
    yy += other.yy;
  }
  __device__ __forceinline__ Running from_lane(int step) const {
    Running r;
    r.high = __shfl_xor_sync(kAllLanes, high, step);
    r.low = __shfl_xor_sync(kAllLanes, low, step);
    r.sum = __shfl_xor_sync(kAllLanes, sum, step);
    r.x = __shfl_xor_sync(kAllLanes, x, step);
    r.y = __shfl_xor_sync(kAllLanes, y, step);
    r.xx = __shfl_xor_sync(kAllLanes, xx, step);
    r.xy = __shfl_xor_sync(kAllLanes, xy, step);
    r.yy = __shfl_xor_sync(kAllLanes, yy, step);
    r.argmax = __shfl_xor_sync(kAllLanes, argmax, step);
    r.argmin = __shfl_xor_sync(kAllLanes, argmin, step);
    r.column = __shfl_xor_sync(kAllLanes, column, step);
    r.row = __shfl_xor_sync(kAllLanes, row, step);
    return r;
  }
};

// The results for each map: mean (maps, 2), covariance (maps, 3), in crop units; all other arrays (maps,).
struct MapOutputs {
  Out<float> mean, covariance, peak, high, low;
  Out<int> argmax, argmin;
};

__device__ __forceinline__ void write_map(const MapOutputs& out, i64 map, const Running& r, int height, int width) {
  float n = 1.f / r.sum, sx = 1.f / float(width), sy = 1.f / float(height), x = r.x * n, y = r.y * n;
  store(out.mean + 2 * map, (float(r.column) + .5f + x) * sx);
  store(out.mean + (2 * map + 1), (float(r.row) + .5f + y) * sy);
  store(out.covariance + 3 * map, (r.xx * n - x * x) * sx * sx);
  store(out.covariance + (3 * map + 1), (r.xy * n - x * y) * sx * sy);
  store(out.covariance + (3 * map + 2), (r.yy * n - y * y) * sy * sy);
  store(out.peak + map, n);
  store(out.high + map, r.high);
  store(out.low + map, r.low);
  store(out.argmax + map, r.argmax);
  store(out.argmin + map, r.argmin);
}

// grid: maps; logits (maps, height·width)
template <class T>
__global__ __launch_bounds__(256) void spatial_softmax_forward(In<T> logits, MapOutputs out, int height, int width,
                                                               int wide) {
  constexpr int V = Pack<T>::size;
  int pixels = height * width, threads = blockDim.x;
  In<T> map = logits + i64(blockIdx.x) * pixels;
  Running r;
  for (int p = threadIdx.x * V; p < pixels; p += 2 * threads * V) {
    int q = p + threads * V;
    Pack<T> loads[2] = {load_pack<T>(map + p, pixels - p, wide),
                        load_pack<T>(map + (q < pixels ? q : 0), pixels - q, wide)};
#pragma unroll
    for (int j = 0; j < 2; ++j) {  // both loads are in flight before the first is used
      int first = j ? q : p, count = pixels - first, best = -1;
      float high = r.high;
#pragma unroll
      for (int i = 0; i < V; ++i)
        if (i < count) {
          float g = to_float(loads[j].v[i]);
          r.see_low(g, first + i);
          if (g > high || r.argmax == 0x7fffffff) {
            if (best < 0 || g > high) best = i;
            high = g > high ? g : high;
          }
        }
      if (best >= 0) r.move_origin(high, (first + best) % width, (first + best) / width, first + best);
      int column = first % width, row = first / width;
#pragma unroll
      for (int i = 0; i < V; ++i)
        if (i < count) {
          r.add(to_float(loads[j].v[i]), column, row);
          if (++column == width) column = 0, ++row;
        }
    }
  }
#pragma unroll
  for (int step = 16; step; step /= 2) r.merge(r.from_lane(step));
  Shared shared;
  Running* warps = shared.take<Running>(32);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = r;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int i = 1; i < threads / 32; ++i) r.merge(warps[i]);
    write_map(out, blockIdx.x, r, height, width);
  }
}

// The numbers for the gradient of one map's moments: dG(p) = φ(p)·`slope`(p), and `spike` more at argmax.
struct MapGradient {
  float high, peak, mx, my, gx, gy, gxx, gxy, gyy, constant, spike;
  int argmax;
  __device__ __forceinline__ MapGradient(In<float> grad_mean, In<float> grad_covariance, In<float> grad_peak,
                                         In<float> mean, In<float> covariance, In<float> peaks, In<float> highs,
                                         In<int> argmaxes, i64 map) {
    high = load(highs + map);
    peak = load(peaks + map);
    mx = load(mean + 2 * map);
    my = load(mean + (2 * map + 1));
    gx = load(grad_mean + 2 * map);
    gy = load(grad_mean + (2 * map + 1));
    gxx = load(grad_covariance + 3 * map);
    gxy = load(grad_covariance + (3 * map + 1));
    gyy = load(grad_covariance + (3 * map + 2));
    spike = peak * load(grad_peak + map);
    constant = gxx * load(covariance + 3 * map) + gxy * load(covariance + (3 * map + 1)) +
               gyy * load(covariance + (3 * map + 2)) + spike;
    argmax = load(argmaxes + map);
  }
  __device__ __forceinline__ float attention(float g) const { return peak * fast_exp(g - high); }
  __device__ __forceinline__ float slope(float x, float y) const {  // x, y in crop units
    float dx = x - mx, dy = y - my;
    return gx * dx + gy * dy + gxx * dx * dx + gxy * dx * dy + gyy * dy * dy - constant;
  }
};

// grid: maps
template <class T>
__global__ __launch_bounds__(256) void spatial_softmax_backward(In<float> grad_mean, In<float> grad_covariance,
                                                                In<float> grad_peak, In<T> logits, In<float> mean,
                                                                In<float> covariance, In<float> peak, In<float> high,
                                                                In<int> argmax, Out<T> grad_logits, int height,
                                                                int width, int wide) {
  constexpr int V = Pack<T>::size;
  int pixels = height * width;
  i64 map = blockIdx.x, o_map = map * pixels;
  MapGradient m(grad_mean, grad_covariance, grad_peak, mean, covariance, peak, high, argmax, map);
  float sx = 1.f / float(width), sy = 1.f / float(height);
#pragma unroll 2
  for (int p = threadIdx.x * V; p < pixels; p += blockDim.x * V) {
    Pack<T> g = load_pack<T>(logits + (o_map + p), pixels - p, wide), out;
    int column = p % width, row = p / width;
#pragma unroll
    for (int i = 0; i < V; ++i) {
      float x = (float(column) + .5f) * sx, y = (float(row) + .5f) * sy;
      out.v[i] = from_float<T>(m.attention(to_float(g.v[i])) * m.slope(x, y) + (p + i == m.argmax ? m.spike : 0.f));
      if (++column == width) column = 0, ++row;
    }
    store_pack<T>(grad_logits + (o_map + p), out, pixels - p, wide);
  }
}
