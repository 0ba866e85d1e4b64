// Spatial softmax and its moments (eq. 2 and 3), one task for each map. The attention map itself is never stored.
#include "kernels.h"
#include "maps.h"
#include "thread_pool.h"
#include "vec.h"

namespace acdc::ACDC_ISA_NS {
namespace {

constexpr int kLanes = Vec::lanes;

// Calls f(x, n, column) for the vectors of a row: n lanes from x on, at columns x, x + 1, …
template <class F>
ACDC_INLINE void for_columns(int64_t width, F& f) {
  float first[kLanes];
  for (int j = 0; j < kLanes; ++j) first[j] = static_cast<float>(j);
  const Vec iota = Vec::load(first);
  for (int64_t x = 0; x < width; x += kLanes) {
    const int n = width - x < kLanes ? static_cast<int>(width - x) : kLanes;
    f(x, n, iota + Vec::broadcast(static_cast<float>(x)));
  }
}

}  // namespace

void spatial_softmax_forward(const LogitMaps& a, const MapStatistics& out) {
  const int64_t w = a.width, pixels = a.height * a.width;
  auto body = [&](int64_t at, int) {
    const float* g = a.logits + at * pixels;
    const Extremes e = extremes_of(g, pixels);
    const float x0 = static_cast<float>(e.argmax % w), y0 = static_cast<float>(e.argmax / w);
    const Vec high = Vec::broadcast(e.high), limit = Vec::broadcast(static_cast<float>(w)), centre = Vec::broadcast(x0);
    // About the argmax and in pixels, so that the covariance of a narrow map does not cancel.
    Vec sum[6];
    for (Vec& s : sum) s = Vec::zero();
    for (int64_t y = 0; y < a.height; ++y) {
      Vec e0 = Vec::zero(), e1 = Vec::zero(), e2 = Vec::zero();
      auto column = [&](int64_t x, int n, Vec at_x) __attribute__((always_inline)) {
        const Vec rise = exp(Vec::load(g + y * w + x, n) - high);
        const Vec weight = n == kLanes ? rise : select(less(at_x, limit), rise, Vec::zero());
        const Vec dx = at_x - centre, edx = weight * dx;
        e0 += weight;
        e1 += edx;
        e2 = fma(edx, dx, e2);
      };
      for_columns(w, column);
      const Vec dy = Vec::broadcast(static_cast<float>(y) - y0), ey = e0 * dy;
      const Vec part[6] = {e0, e1, ey, e2, e1 * dy, ey * dy};
      for (int i = 0; i < 6; ++i) sum[i] += part[i];
    }
    double s[6];
    for (int i = 0; i < 6; ++i) s[i] = reduce_add(sum[i]);
    const double dx = s[1] / s[0], dy = s[2] / s[0], width = static_cast<double>(w),
                 height = static_cast<double>(a.height);
    out.mean[2 * at] = static_cast<float>((x0 + dx + 0.5) / width);
    out.mean[2 * at + 1] = static_cast<float>((y0 + dy + 0.5) / height);
    out.covariance[3 * at] = static_cast<float>((s[3] / s[0] - dx * dx) / (width * width));
    out.covariance[3 * at + 1] = static_cast<float>((s[4] / s[0] - dx * dy) / (width * height));
    out.covariance[3 * at + 2] = static_cast<float>((s[5] / s[0] - dy * dy) / (height * height));
    out.peak[at] = static_cast<float>(1.0 / s[0]);
    out.high[at] = e.high;
    out.argmax[at] = e.argmax;
  };
  parallel_for(a.batch * a.maps, a.threads, body);
}

void spatial_softmax_backward(const SoftmaxBackward& a) {
  const int64_t w = a.logits.width, h = a.logits.height, pixels = h * w;
  auto body = [&](int64_t at, int) {
    const float *g = a.logits.logits + at * pixels, *gm = a.grad_mean + 2 * at, *gc = a.grad_covariance + 3 * at;
    const float *mean = a.maps.mean + 2 * at, *cov = a.maps.covariance + 3 * at, peak = a.maps.peak[at];
    float* out = a.grad_logits + at * pixels;
    const float spike = a.grad_peak[at] * peak;
    const float constant = -(gc[0] * cov[0] + gc[1] * cov[1] + gc[2] * cov[2] + spike);
    const Vec high = Vec::broadcast(a.maps.high[at]), step = Vec::broadcast(1.f / static_cast<float>(w));
    const Vec centre = Vec::broadcast(mean[0]), half = Vec::broadcast(0.5f), c2 = Vec::broadcast(peak * gc[0]);
    for (int64_t y = 0; y < h; ++y) {
      const float dy = (static_cast<float>(y) + 0.5f) / static_cast<float>(h) - mean[1];
      const Vec c0 = Vec::broadcast(peak * (constant + dy * (gm[1] + dy * gc[2])));
      const Vec c1 = Vec::broadcast(peak * (gm[0] + dy * gc[1]));
      auto column = [&](int64_t x, int n, Vec at_x) __attribute__((always_inline)) {
        const Vec dx = (at_x + half) * step - centre;
        (exp(Vec::load(g + y * w + x, n) - high) * fma(dx, fma(dx, c2, c1), c0)).store(out + y * w + x, n);
      };
      for_columns(w, column);
    }
    out[a.maps.argmax[at]] += spike;
  };
  parallel_for(a.logits.batch * a.logits.maps, a.logits.threads, body);
}

}  // namespace acdc::ACDC_ISA_NS
