// Batch norm over a training batch, and ReLU, in one op on channels-last rows (P, C), P = B·H·W, of float32 or
// bfloat16. Statistics and arithmetic are float32 and double. Forward and backward read their large
// arrays twice and write once. Of these only the input is kept; the ReLU's sign is computed again.
#include "bf16_images.h"
#include "kernels.h"
#include "maps.h"
#include "thread_pool.h"
#include "vec.h"

namespace acdc::ACDC_ISA_NS {
namespace {

constexpr int kLanes = Vec::lanes;
constexpr int kChains = 4;  // independent sums, to hide the latency of additions

template <class T>
ACDC_INLINE float first_pixel(const T* x) {
  float first[kLanes];
  load_lanes(x, 1).store(first);
  return first[0];
}

ACDC_INLINE int lanes_left(int64_t n) { return n < kLanes ? static_cast<int>(n) : kLanes; }

// Adds over the pixels of a block into two sums, kChains pixels at a time: f(p, a, b) adds pixel p to a and b.
template <class F>
ACDC_INLINE void two_sums(int64_t first, int64_t last, float* a, float* b, int lanes, F& f) {
  Vec sum[kChains], other[kChains];
  for (int i = 0; i < kChains; ++i) sum[i] = other[i] = Vec::zero();
  int64_t p = first;
  for (; p + kChains <= last; p += kChains)
    for (int i = 0; i < kChains; ++i) f(p + i, sum[i], other[i]);
  for (; p < last; ++p) f(p, sum[0], other[0]);
  ((sum[0] + sum[1]) + (sum[2] + sum[3])).store(a, lanes);
  ((other[0] + other[1]) + (other[2] + other[3])).store(b, lanes);
}

// Σ over tasks of partial (tasks, 2, C), in order.
ACDC_INLINE void combine(const BatchNorm& s, int64_t c, double* sum, double* other) {
  *sum = *other = 0;
  for (int64_t task = 0; task < s.blocks; ++task) {
    *sum += s.scratch[task * 2 * s.channels + c];
    *other += s.scratch[(task * 2 + 1) * s.channels + c];
  }
}

template <class T>
void forward(const BatchNorm& s, const T* x, const float* weight, const float* bias, float eps, T* y, float* mean,
             float* variance) {
  const int64_t c_count = s.channels;
  auto sums = [&](int64_t task, int) {
    const int64_t first = task * s.block_pixels;
    const int64_t last = first + s.block_pixels < s.pixels ? first + s.block_pixels : s.pixels;
    for (int64_t c = 0; c < c_count; c += kLanes) {
      const int lanes = lanes_left(c_count - c);
      const Vec origin = load_lanes(x + c, lanes);  // the first pixel, so that a large mean does not cancel
      auto add = [&](int64_t p, Vec& a, Vec& b) __attribute__((always_inline)) {
        const Vec d = load_lanes(x + p * c_count + c, lanes) - origin;
        a += d;
        b = fma(d, d, b);
      };
      float* out = s.scratch + task * 2 * c_count + c;
      two_sums(first, last, out, out + c_count, lanes, add);
    }
  };
  parallel_for(s.blocks, s.threads, sums);
  float *scale = s.table, *shift = s.table + c_count;
  for (int64_t c = 0; c < c_count; ++c) {
    double sum, squares;
    combine(s, c, &sum, &squares);
    const double n = static_cast<double>(s.pixels), offset = sum / n, v = squares / n - offset * offset;
    mean[c] = static_cast<float>(static_cast<double>(first_pixel(x + c)) + offset);
    variance[c] = static_cast<float>(v > 0 ? v : 0);
    scale[c] = weight[c] / __builtin_sqrtf(variance[c] + eps);
    shift[c] = bias[c] - mean[c] * scale[c];
  }
  auto apply = [&](int64_t task, int) {
    const int64_t first = task * s.block_pixels;
    const int64_t last = first + s.block_pixels < s.pixels ? first + s.block_pixels : s.pixels;
    for (int64_t c = 0; c < c_count; c += kLanes) {
      const int lanes = lanes_left(c_count - c);
      const Vec a = Vec::load(scale + c, lanes), b = Vec::load(shift + c, lanes), zero = Vec::zero();
      for (int64_t p = first; p < last; ++p) {
        const Vec v = fma(load_lanes(x + p * c_count + c, lanes), a, b);
        store_lanes(select(less(v, zero), zero, v), y + p * c_count + c, lanes);  // NaN stays NaN
      }
    }
  };
  parallel_for(s.blocks, s.threads, apply);
}

// With g the gradient where y > 0 and x̂ the normalised input: grad_x = scale·(g − mean(g) − x̂·mean(g·x̂)).
template <class T>
void backward(const BatchNorm& s, const T* grad, const T* x, const float* weight, const float* bias, const float* mean,
              const float* variance, float eps, T* grad_x, float* grad_weight, float* grad_bias) {
  const int64_t c_count = s.channels;
  float *scale = s.table, *shift = scale + c_count, *slope = shift + c_count, *constant = slope + c_count;
  for (int64_t c = 0; c < c_count; ++c) {
    scale[c] = weight[c] / __builtin_sqrtf(variance[c] + eps);
    shift[c] = bias[c] - mean[c] * scale[c];
  }
  auto sums = [&](int64_t task, int) {
    const int64_t first = task * s.block_pixels;
    const int64_t last = first + s.block_pixels < s.pixels ? first + s.block_pixels : s.pixels;
    for (int64_t c = 0; c < c_count; c += kLanes) {
      const int lanes = lanes_left(c_count - c);
      const Vec a = Vec::load(scale + c, lanes), b = Vec::load(shift + c, lanes), m = Vec::load(mean + c, lanes);
      auto add = [&](int64_t p, Vec& of_bias, Vec& of_weight) __attribute__((always_inline)) {
        const Vec v = load_lanes(x + p * c_count + c, lanes), zero = Vec::zero();
        const Vec g = select(less(zero, fma(v, a, b)), load_lanes(grad + p * c_count + c, lanes), zero);
        of_bias += g;
        of_weight = fma(g, v - m, of_weight);
      };
      float* out = s.scratch + task * 2 * c_count + c;
      two_sums(first, last, out, out + c_count, lanes, add);
    }
  };
  parallel_for(s.blocks, s.threads, sums);
  for (int64_t c = 0; c < c_count; ++c) {
    double of_bias, of_weight;
    combine(s, c, &of_bias, &of_weight);
    const double n = static_cast<double>(s.pixels),
                 inverse = 1.0 / __builtin_sqrt(static_cast<double>(variance[c]) + eps);
    const double k = scale[c] * inverse * inverse * of_weight / n;
    grad_bias[c] = static_cast<float>(of_bias);
    grad_weight[c] = static_cast<float>(of_weight * inverse);
    slope[c] = static_cast<float>(-k);
    constant[c] = static_cast<float>(k * mean[c] - scale[c] * of_bias / n);
  }
  auto apply = [&](int64_t task, int) {
    const int64_t first = task * s.block_pixels;
    const int64_t last = first + s.block_pixels < s.pixels ? first + s.block_pixels : s.pixels;
    for (int64_t c = 0; c < c_count; c += kLanes) {
      const int lanes = lanes_left(c_count - c);
      const Vec a = Vec::load(scale + c, lanes), b = Vec::load(shift + c, lanes), zero = Vec::zero();
      const Vec k = Vec::load(slope + c, lanes), k0 = Vec::load(constant + c, lanes);
      for (int64_t p = first; p < last; ++p) {
        const Vec v = load_lanes(x + p * c_count + c, lanes);
        const Vec g = select(less(zero, fma(v, a, b)), load_lanes(grad + p * c_count + c, lanes), zero);
        store_lanes(fma(g, a, fma(v, k, k0)), grad_x + p * c_count + c, lanes);
      }
    }
  };
  parallel_for(s.blocks, s.threads, apply);
}

}  // namespace

void batch_norm_relu_forward(const BatchNorm& s, const void* x, const float* weight, const float* bias, float eps,
                             void* y, float* mean, float* variance) {
  const auto as = [&](auto type) {
    using T = decltype(type);
    forward(s, static_cast<const T*>(x), weight, bias, eps, static_cast<T*>(y), mean, variance);
  };
  s.half ? as(Brain()) : as(float());
}

void batch_norm_relu_backward(const BatchNorm& s, const void* grad, const void* x, const float* weight,
                              const float* bias, const float* mean, const float* variance, float eps, void* grad_x,
                              float* grad_weight, float* grad_bias) {
  const auto as = [&](auto type) {
    using T = decltype(type);
    backward(s, static_cast<const T*>(grad), static_cast<const T*>(x), weight, bias, mean, variance, eps,
             static_cast<T*>(grad_x), grad_weight, grad_bias);
  };
  s.half ? as(Brain()) : as(float());
}

}  // namespace acdc::ACDC_ISA_NS
