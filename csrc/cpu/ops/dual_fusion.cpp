// Doubly-conditional fusion (eq. 5 and 6): f(Ω) ⊙ [image, image·mask, embedding, embedding·mask], channels last.
#include "kernels.h"
#include "maps.h"
#include "thread_pool.h"
#include "vec.h"

namespace acdc::ACDC_ISA_NS {
namespace {

constexpr int kLanes = Vec::lanes;
constexpr int64_t kBlock = 256;  // pixels of a forward task

ACDC_INLINE int lanes_left(int64_t n) { return n < kLanes ? static_cast<int>(n) : kLanes; }

}  // namespace

void dual_fusion_forward(const Fusion& a) {
  const int64_t blocks = (a.pixels + kBlock - 1) / kBlock, c_count = a.channels, fused = 2 + 2 * c_count;
  auto body = [&](int64_t task, int) {
    const int64_t b = task / blocks, first = b * a.pixels + task % blocks * kBlock, last = (b + 1) * a.pixels;
    const int64_t end = first + kBlock < last ? first + kBlock : last;
    const float* f = a.excitation + b * fused;
    for (int64_t p = first; p < end; ++p) {
      float* out = a.fused + p * fused;
      out[0] = f[0] * a.image[p];
      out[1] = f[1] * (a.image[p] * a.mask[p]);
      const Vec mask = Vec::broadcast(a.mask[p]);
      for (int64_t c = 0; c < c_count; c += kLanes) {
        const int n = lanes_left(c_count - c);
        const Vec h = Vec::load(a.embedding + p * c_count + c, n);
        (Vec::load(f + 2 + c, n) * h).store(out + 2 + c, n);
        (Vec::load(f + 2 + c_count + c, n) * (h * mask)).store(out + 2 + c_count + c, n);
      }
    }
  };
  parallel_for(a.batch * blocks, a.threads, body);
}

void dual_fusion_backward(const FusionBackward& a) {
  const int64_t c_count = a.channels, fused = 2 + 2 * c_count;
  auto body = [&](int64_t task, int) {
    const int64_t b = task / a.blocks, first = b * a.pixels + task % a.blocks * a.block_pixels;
    const int64_t last = (b + 1) * a.pixels, end = first + a.block_pixels < last ? first + a.block_pixels : last;
    const float* f = a.excitation + b * fused;
    float* sums = a.scratch + task * fused;
    fill(sums, fused, 0.f);
    for (int64_t p = first; p < end; ++p) {
      const float *g = a.grad_fused + p * fused, image = a.image[p], m = a.mask[p];
      sums[0] += g[0] * image;
      sums[1] += g[1] * (image * m);
      if (a.grad_image) a.grad_image[p] = g[0] * f[0] + g[1] * f[1] * m;
      const Vec mask = Vec::broadcast(m);
      Vec of_mask = Vec::zero();
      for (int64_t c = 0; c < c_count; c += kLanes) {
        const int n = lanes_left(c_count - c);
        const Vec h = Vec::load(a.embedding + p * c_count + c, n);
        const Vec g1 = Vec::load(g + 2 + c, n), g2 = Vec::load(g + 2 + c_count + c, n);
        float *sum1 = sums + 2 + c, *sum2 = sum1 + c_count;
        fma(g1, h, Vec::load(sum1, n)).store(sum1, n);
        fma(g2, h * mask, Vec::load(sum2, n)).store(sum2, n);
        const Vec gf = g2 * Vec::load(f + 2 + c_count + c, n);
        of_mask = fma(gf, h, of_mask);
        fma(gf, mask, g1 * Vec::load(f + 2 + c, n)).store(a.grad_embedding + p * c_count + c, n);
      }
      a.grad_mask[p] = reduce_add(of_mask) + g[1] * f[1] * image;
    }
  };
  parallel_for(a.batch * a.blocks, a.threads, body);
  fill(a.grad_excitation, a.batch * fused, 0.f);
  for (int64_t task = 0; task < a.batch * a.blocks; ++task) {
    float* out = a.grad_excitation + task / a.blocks * fused;
    for (int64_t i = 0; i < fused; ++i) out[i] += a.scratch[task * fused + i];
  }
}

}  // namespace acdc::ACDC_ISA_NS
