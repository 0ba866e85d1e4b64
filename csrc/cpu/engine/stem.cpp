// The cascade's 1×1 stems: the first one on the crop, together with encode1; the others with the doubly-conditional
// fusion folded in.
#include "engine_types.h"
#include "kernels.h"
#include "vec.h"

namespace acdc::ACDC_ISA_NS {

// Patches of more than one pixel: the taps are read for each few pixels again, for registers do not hold them.
static void patches_encode1(const FirstLayer& layer, int first_row, int last_row) {
  constexpr int kPixels = 8;  // the output's side is a multiple of 8, and eight sums hide the latency
  const Tensor& out = layer.out;
  const int patch = layer.patch, taps = 3 * patch;
  const auto border = [](int i, int n) { return i == 0 ? 0 : i == n - 1 ? 2 : 1; };
  for (int y = first_row; y < last_row; ++y) {
    for (int x = 0; x < out.width; x += kPixels) {
      const float* corner = layer.image + (y - 1) * patch * layer.pitch + (x - 1) * patch;
      for (int c = 0; c < out.channels; c += Vec::lanes) {
        const float* w = layer.weights + c * taps * taps;
        const float* bias = layer.bias + c * 9 + border(y, out.height) * 3 * Vec::lanes;
        Vec sum[kPixels];
#pragma GCC unroll 8
        for (int p = 0; p < kPixels; ++p) sum[p] = Vec::load(bias + border(x + p, out.width) * Vec::lanes);
        for (int i = 0; i < taps; ++i) {
          for (int j = 0; j < taps; ++j, w += Vec::lanes) {
            const Vec weight = Vec::load(w);
            const float* source = corner + i * layer.pitch + j;
#pragma GCC unroll 8
            for (int p = 0; p < kPixels; ++p) sum[p] = fma(Vec::broadcast(source[p * patch]), weight, sum[p]);
          }
        }
#pragma GCC unroll 8
        for (int p = 0; p < kPixels; ++p) max(sum[p], Vec::zero()).store(out.at(y, x + p) + c);
      }
    }
  }
}

void stem_encode1(const FirstLayer& layer, int first_row, int last_row) {
  const FlushDenormals guard;
  if (layer.patch > 1) return patches_encode1(layer, first_row, last_row);
  constexpr int kPixels = Vec::lanes == 16 ? 8 : 4;  // S is a multiple of 8
  const Tensor& out = layer.out;
  const auto border = [](int i, int n) { return i == 0 ? 0 : i == n - 1 ? 2 : 1; };
  for (int y = first_row; y < last_row; ++y) {
    for (int c = 0; c < out.channels; c += Vec::lanes) {
      const float *weights = layer.weights + c * 9, *bias = layer.bias + c * 9 + border(y, out.height) * 3 * Vec::lanes;
      Vec w[9];
#pragma GCC unroll 9
      for (int i = 0; i < 9; ++i) w[i] = Vec::load(weights + i * Vec::lanes);
      for (int x = 0; x < out.width; x += kPixels) {
        Vec sum[kPixels];
#pragma GCC unroll 8
        for (int p = 0; p < kPixels; ++p) sum[p] = Vec::load(bias + border(x + p, out.width) * Vec::lanes);
#pragma GCC unroll 9
        for (int i = 0; i < 9; ++i) {
          const float* source = layer.image + (y + i / 3 - 1) * layer.pitch + x + i % 3 - 1;
#pragma GCC unroll 8
          for (int p = 0; p < kPixels; ++p) sum[p] = fma(Vec::broadcast(source[p]), w[i], sum[p]);
        }
#pragma GCC unroll 8
        for (int p = 0; p < kPixels; ++p) max(sum[p], Vec::zero()).store(out.at(y, x + p) + c);
      }
    }
  }
}

void stem_fused(const Stem& stem, int first_row, int last_row) {
  const FlushDenormals guard;
  constexpr int kPixels = Vec::lanes == 16 ? 8 : 4;  // S is a multiple of 8
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
#pragma GCC unroll 8
        for (int p = 0; p < kPixels; ++p) {
          const Vec value = Vec::broadcast(image[p]);
          plain[p] = fma(value, wa, bias);
          masked[p] = value * wb;
        }
        for (int k = 0; k < stem.inputs; ++k) {
          w += 2 * Vec::lanes;
          const Vec a = Vec::load(w), b = Vec::load(w + Vec::lanes);
#pragma GCC unroll 8
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
