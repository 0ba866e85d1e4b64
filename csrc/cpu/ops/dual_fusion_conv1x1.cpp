// Doubly-conditional fusion followed by the next stem's 1×1 convolution (eq. 5 and 6). Fused features are never stored.
//
// With the excitation folded into the weights, out(p) = bias + M₁·z(p) + mask(p)·M₂·z(p), z = [image; embedding].
// Lanes hold outputs in the forward pass, and embedding channels for the gradient of z.
#include "kernels.h"
#include "maps.h"
#include "thread_pool.h"
#include "vec.h"

namespace acdc::ACDC_ISA_NS {
namespace {

constexpr int kLanes = Vec::lanes;
constexpr int64_t kBlock = 256;  // pixels of a forward task

ACDC_INLINE int lanes_left(int64_t n) { return n < kLanes ? static_cast<int>(n) : kLanes; }

// P pixels from p, one vector of outputs from o.
template <int P>
ACDC_INLINE void forward_pixels(const FusionConvForward& a, const float* folded, int64_t p, int64_t o, int lanes) {
  const int64_t c_count = a.channels, outputs = a.outputs, second = (1 + c_count) * outputs;
  const Vec bias = Vec::load(a.bias + o, lanes);
  Vec plain[P], masked[P];
  const Vec m1 = Vec::load(folded + o, lanes), m2 = Vec::load(folded + second + o, lanes);
  for (int i = 0; i < P; ++i) {
    const Vec z = Vec::broadcast(a.image[p + i]);
    plain[i] = fma(z, m1, bias);
    masked[i] = z * m2;
  }
  const float* m = folded + outputs + o;
  for (int64_t c = 0; c < c_count; ++c, m += outputs) {
    const Vec n1 = Vec::load(m, lanes), n2 = Vec::load(m + second, lanes);
    for (int i = 0; i < P; ++i) {
      const Vec z = Vec::broadcast(a.embedding[(p + i) * c_count + c]);
      plain[i] = fma(z, n1, plain[i]);
      masked[i] = fma(z, n2, masked[i]);
    }
  }
  for (int i = 0; i < P; ++i)
    fma(Vec::broadcast(a.mask[p + i]), masked[i], plain[i]).store(a.out + (p + i) * outputs + o, lanes);
}

// Gradients of embedding, mask and image at P pixels.
template <int P>
ACDC_INLINE void backward_pixels(const FusionConvBackward& a, int64_t b, int64_t p) {
  const int64_t c_count = a.channels, outputs = a.outputs, second = (1 + c_count) * outputs;
  const float *folded = a.folded + b * 2 * second, *transposed = a.folded_transposed + b * 2 * second;
  Vec of_mask[P], of_image[P];
  for (int i = 0; i < P; ++i) of_mask[i] = of_image[i] = Vec::zero();
  for (int64_t o = 0; o < outputs; o += kLanes) {
    const int lanes = lanes_left(outputs - o);
    const Vec m1 = Vec::load(folded + o, lanes), m2 = Vec::load(folded + second + o, lanes);
    for (int i = 0; i < P; ++i) {
      const Vec g = Vec::load(a.grad_out + (p + i) * outputs + o, lanes), q = g * m2;
      of_mask[i] = fma(q, Vec::broadcast(a.image[p + i]), of_mask[i]);
      of_image[i] += fma(q, Vec::broadcast(a.mask[p + i]), g * m1);
    }
  }
  for (int64_t c = 0; c < c_count; c += kLanes) {
    const int lanes = lanes_left(c_count - c);
    Vec plain[P], masked[P];
    for (int i = 0; i < P; ++i) plain[i] = masked[i] = Vec::zero();
    const float* m = transposed + 1 + c;
    for (int64_t o = 0; o < outputs; ++o, m += 1 + c_count) {
      const Vec m1 = Vec::load(m, lanes), m2 = Vec::load(m + second, lanes);
      for (int i = 0; i < P; ++i) {
        const Vec g = Vec::broadcast(a.grad_out[(p + i) * outputs + o]);
        plain[i] = fma(g, m1, plain[i]);
        masked[i] = fma(g, m2, masked[i]);
      }
    }
    for (int i = 0; i < P; ++i) {
      const int64_t at = (p + i) * c_count + c;
      fma(Vec::broadcast(a.mask[p + i]), masked[i], plain[i]).store(a.grad_embedding + at, lanes);
      of_mask[i] = fma(Vec::load(a.embedding + at, lanes), masked[i], of_mask[i]);
    }
  }
  for (int i = 0; i < P; ++i) {
    a.grad_mask[p + i] = reduce_add(of_mask[i]);
    if (a.grad_image) a.grad_image[p + i] = reduce_add(of_image[i]);
  }
}

// Writes a vector of outputs to sums (2, 1 + C, O), from row 1 + c on for N channels: Σ over pixels [p, end) of grad·z,
// and of mask·grad·z.
template <int N>
ACDC_INLINE void backward_weights(const FusionConvBackward& a, int64_t p, int64_t end, int64_t c, int64_t o, int lanes,
                                  float* sums) {
  const int64_t outputs = a.outputs, second = (1 + a.channels) * outputs;
  Vec plain[N], masked[N];
  for (int i = 0; i < N; ++i) plain[i] = masked[i] = Vec::zero();
  for (; p < end; ++p) {
    const Vec g = Vec::load(a.grad_out + p * outputs + o, lanes), gm = g * Vec::broadcast(a.mask[p]);
    for (int i = 0; i < N; ++i) {
      const Vec z = Vec::broadcast(a.embedding[p * a.channels + c + i]);
      plain[i] = fma(g, z, plain[i]);
      masked[i] = fma(gm, z, masked[i]);
    }
  }
  for (int i = 0; i < N; ++i) {
    plain[i].store(sums + (1 + c + i) * outputs + o, lanes);
    masked[i].store(sums + second + (1 + c + i) * outputs + o, lanes);
  }
}

// The same for the image (row 0), and for the bias, after the two matrices.
ACDC_INLINE void backward_image_weights(const FusionConvBackward& a, int64_t p, int64_t end, int64_t o, int lanes,
                                        float* sums) {
  const int64_t outputs = a.outputs, second = (1 + a.channels) * outputs;
  Vec plain = Vec::zero(), masked = Vec::zero(), bias = Vec::zero();
  for (; p < end; ++p) {
    const Vec g = Vec::load(a.grad_out + p * outputs + o, lanes), gz = g * Vec::broadcast(a.image[p]);
    bias += g;
    plain += gz;
    masked = fma(gz, Vec::broadcast(a.mask[p]), masked);
  }
  plain.store(sums + o, lanes);
  masked.store(sums + second + o, lanes);
  bias.store(sums + 2 * second + o, lanes);
}

}  // namespace

void dual_fusion_conv1x1_forward(const FusionConvForward& a) {
  const int64_t blocks = (a.pixels + kBlock - 1) / kBlock;
  auto body = [&](int64_t task, int) {
    const int64_t b = task / blocks, first = task % blocks * kBlock;
    const int64_t last = first + kBlock < a.pixels ? first + kBlock : a.pixels;
    const float* folded = a.folded + b * 2 * (1 + a.channels) * a.outputs;
    for (int64_t o = 0; o < a.outputs; o += kLanes) {
      const int lanes = lanes_left(a.outputs - o);
      int64_t p = b * a.pixels + first;
      const int64_t end = b * a.pixels + last;
      for (; p + 4 <= end; p += 4) forward_pixels<4>(a, folded, p, o, lanes);
      for (; p < end; ++p) forward_pixels<1>(a, folded, p, o, lanes);
    }
  };
  parallel_for(a.batch * blocks, a.threads, body);
}

void dual_fusion_conv1x1_backward(const FusionConvBackward& a) {
  const int64_t matrix = (1 + a.channels) * a.outputs, task_floats = 2 * matrix + a.outputs;
  auto body = [&](int64_t task, int) {
    const int64_t b = task / a.blocks, first = b * a.pixels + task % a.blocks * a.block_pixels;
    const int64_t last = b * a.pixels + a.pixels, end = first + a.block_pixels < last ? first + a.block_pixels : last;
    float* sums = a.scratch + task * task_floats;
    int64_t p = first;
    for (; p + 4 <= end; p += 4) backward_pixels<4>(a, b, p);
    for (; p < end; ++p) backward_pixels<1>(a, b, p);
    for (int64_t o = 0; o < a.outputs; o += kLanes) {
      const int lanes = lanes_left(a.outputs - o);
      backward_image_weights(a, first, end, o, lanes, sums);
      int64_t c = 0;
      for (; c + 8 <= a.channels; c += 8) backward_weights<8>(a, first, end, c, o, lanes, sums);
      for (; c < a.channels; ++c) backward_weights<1>(a, first, end, c, o, lanes, sums);
    }
  };
  parallel_for(a.batch * a.blocks, a.threads, body);
  fill(a.grad_folded, a.batch * 2 * matrix, 0.f);
  fill(a.grad_bias, a.outputs, 0.f);
  for (int64_t task = 0; task < a.batch * a.blocks; ++task) {
    const float* sums = a.scratch + task * task_floats;
    float* out = a.grad_folded + task / a.blocks * 2 * matrix;
    for (int64_t i = 0; i < 2 * matrix; ++i) out[i] += sums[i];
    for (int64_t o = 0; o < a.outputs; ++o) a.grad_bias[o] += sums[2 * matrix + o];
  }
}

}  // namespace acdc::ACDC_ISA_NS
