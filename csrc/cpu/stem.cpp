// The cascade's 1×1 stems: the first one on the crop, the others with the doubly-conditional fusion folded in.
#include "engine_types.h"
#include "kernels.h"
#include "vec.h"

namespace acdc::ACDC_ISA_NS {

// out = weight·I + bias at rows [first_row, last_row).
void stem_image(const float* image, const float* weight, const float* bias, int first_row, int last_row,
                const Tensor& out) {
  const FlushDenormals guard;
  for (int y = first_row; y < last_row; ++y) {
    float* target = out.at(y, 0);
    for (int x = 0; x < out.width; ++x) {
      const Vec value = Vec::broadcast(image[y * out.width + x]);
      for (int c = 0; c < out.channels; c += Vec::lanes, target += Vec::lanes) {
        fma(value, Vec::load(weight + c), Vec::load(bias + c)).store(target);
      }
    }
  }
}

void stem_fused(const Stem& stem, int first_row, int last_row) {
  const FlushDenormals guard;
  constexpr int kPixels = 4;  // S is a multiple of 8
  const int width = stem.out.width, blocks = stem.out.channels / Vec::lanes;
  const int64_t share = static_cast<int64_t>(1 + stem.inputs) * 2 * Vec::lanes;
  for (int y = first_row; y < last_row; ++y) {
    for (int x = 0; x < width; x += kPixels) {
      const float *image = stem.image + y * width + x, *mask = stem.mask + y * width + x;
      const float* h = stem.embedding.at(y, x);
      for (int c = 0; c < blocks; ++c) {
        const float* w = stem.weights + c * share;
        const Vec bias = Vec::load(stem.bias + c * Vec::lanes), wa = Vec::load(w), wb = Vec::load(w + Vec::lanes);
        Vec plain[kPixels], masked[kPixels];
#pragma GCC unroll 4
        for (int p = 0; p < kPixels; ++p) {
          const Vec value = Vec::broadcast(image[p]);
          plain[p] = fma(value, wa, bias);
          masked[p] = value * wb;
        }
        for (int k = 0; k < stem.inputs; ++k) {
          w += 2 * Vec::lanes;
          const Vec a = Vec::load(w), b = Vec::load(w + Vec::lanes);
#pragma GCC unroll 4
          for (int p = 0; p < kPixels; ++p) {
            const Vec value = Vec::broadcast(h[p * stem.embedding.channels + k]);
            plain[p] = fma(value, a, plain[p]);
            masked[p] = fma(value, b, masked[p]);
          }
        }
        for (int p = 0; p < kPixels; ++p) {
          fma(Vec::broadcast(mask[p]), masked[p], plain[p]).store(stem.out.at(y, x + p) + c * Vec::lanes);
        }
      }
    }
  }
}

}  // namespace acdc::ACDC_ISA_NS
