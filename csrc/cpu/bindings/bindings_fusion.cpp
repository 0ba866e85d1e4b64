// Binds the training ops between the maps and the next stage: dual_fusion, dual_fusion_conv1x1, batch_norm_relu.
// Results go into arrays that the caller allocated. Images are channels last.
#include <optional>

#include "bindings_checks.h"
#include "kernels.h"

namespace acdc {
namespace {

void dual_fusion_conv1x1_forward(const py::array& image, const py::array& embedding, const py::array& mask,
                                 const py::array& folded, const py::array& bias, py::array out, int threads,
                                 const std::string& isa) {
  FusionConvForward a = {};
  a.batch = extent(embedding, "embedding", 3, 0);
  a.pixels = extent(embedding, "embedding", 3, 1);
  a.channels = extent(embedding, "embedding", 3, 2);
  a.outputs = extent(bias, "bias", 1, 0);
  a.threads = checked_threads(threads);
  a.image = input<float>(image, "image", {a.batch, a.pixels});
  a.embedding = input<float>(embedding, "embedding", {a.batch, a.pixels, a.channels});
  a.mask = input<float>(mask, "mask", {a.batch, a.pixels});
  a.folded = input<float>(folded, "folded", {a.batch, 2, 1 + a.channels, a.outputs});
  a.bias = input<float>(bias, "bias", {a.outputs});
  a.out = output(out, "out", {a.batch, a.pixels, a.outputs});
  const Kernels& k = kernels(isa);
  py::gil_scoped_release release;
  k.dual_fusion_conv1x1_forward(a);
}

void dual_fusion_conv1x1_backward(const py::array& grad_out, const py::array& image, const py::array& embedding,
                                  const py::array& mask, const py::array& folded, const py::array& folded_transposed,
                                  std::optional<py::array> grad_image, py::array grad_embedding, py::array grad_mask,
                                  py::array grad_folded, py::array grad_bias, int threads, const std::string& isa) {
  FusionConvBackward a = {};
  a.batch = extent(embedding, "embedding", 3, 0);
  a.pixels = extent(embedding, "embedding", 3, 1);
  a.channels = extent(embedding, "embedding", 3, 2);
  a.outputs = extent(grad_out, "grad_out", 3, 2);
  a.block_pixels = 1024;
  a.blocks = (a.pixels + a.block_pixels - 1) / a.block_pixels;
  a.threads = checked_threads(threads);
  a.grad_out = input<float>(grad_out, "grad_out", {a.batch, a.pixels, a.outputs});
  a.image = input<float>(image, "image", {a.batch, a.pixels});
  a.embedding = input<float>(embedding, "embedding", {a.batch, a.pixels, a.channels});
  a.mask = input<float>(mask, "mask", {a.batch, a.pixels});
  a.folded = input<float>(folded, "folded", {a.batch, 2, 1 + a.channels, a.outputs});
  a.folded_transposed = input<float>(folded_transposed, "folded_transposed", {a.batch, 2, a.outputs, 1 + a.channels});
  a.grad_image = grad_image ? output(*grad_image, "grad_image", {a.batch, a.pixels}) : nullptr;
  a.grad_embedding = output(grad_embedding, "grad_embedding", {a.batch, a.pixels, a.channels});
  a.grad_mask = output(grad_mask, "grad_mask", {a.batch, a.pixels});
  a.grad_folded = output(grad_folded, "grad_folded", {a.batch, 2, 1 + a.channels, a.outputs});
  a.grad_bias = output(grad_bias, "grad_bias", {a.outputs});
  const Scratch scratch(a.batch * a.blocks * (2 * (1 + a.channels) + 1) * a.outputs);
  a.scratch = scratch.get();
  const Kernels& k = kernels(isa);
  py::gil_scoped_release release;
  k.dual_fusion_conv1x1_backward(a);
}

void dual_fusion_forward(const py::array& image, const py::array& embedding, const py::array& mask,
                         const py::array& excitation, py::array fused, int threads, const std::string& isa) {
  Fusion a = {};
  a.batch = extent(embedding, "embedding", 3, 0);
  a.pixels = extent(embedding, "embedding", 3, 1);
  a.channels = extent(embedding, "embedding", 3, 2);
  a.threads = checked_threads(threads);
  a.image = input<float>(image, "image", {a.batch, a.pixels});
  a.embedding = input<float>(embedding, "embedding", {a.batch, a.pixels, a.channels});
  a.mask = input<float>(mask, "mask", {a.batch, a.pixels});
  a.excitation = input<float>(excitation, "excitation", {a.batch, 2 + 2 * a.channels});
  a.fused = output(fused, "fused", {a.batch, a.pixels, 2 + 2 * a.channels});
  const Kernels& k = kernels(isa);
  py::gil_scoped_release release;
  k.dual_fusion_forward(a);
}

void dual_fusion_backward(const py::array& grad_fused, const py::array& image, const py::array& embedding,
                          const py::array& mask, const py::array& excitation, std::optional<py::array> grad_image,
                          py::array grad_embedding, py::array grad_mask, py::array grad_excitation, int threads,
                          const std::string& isa) {
  FusionBackward a = {};
  a.batch = extent(embedding, "embedding", 3, 0);
  a.pixels = extent(embedding, "embedding", 3, 1);
  a.channels = extent(embedding, "embedding", 3, 2);
  a.block_pixels = 1024;
  a.blocks = (a.pixels + a.block_pixels - 1) / a.block_pixels;
  a.threads = checked_threads(threads);
  a.grad_fused = input<float>(grad_fused, "grad_fused", {a.batch, a.pixels, 2 + 2 * a.channels});
  a.image = input<float>(image, "image", {a.batch, a.pixels});
  a.embedding = input<float>(embedding, "embedding", {a.batch, a.pixels, a.channels});
  a.mask = input<float>(mask, "mask", {a.batch, a.pixels});
  a.excitation = input<float>(excitation, "excitation", {a.batch, 2 + 2 * a.channels});
  a.grad_image = grad_image ? output(*grad_image, "grad_image", {a.batch, a.pixels}) : nullptr;
  a.grad_embedding = output(grad_embedding, "grad_embedding", {a.batch, a.pixels, a.channels});
  a.grad_mask = output(grad_mask, "grad_mask", {a.batch, a.pixels});
  a.grad_excitation = output(grad_excitation, "grad_excitation", {a.batch, 2 + 2 * a.channels});
  const Scratch scratch(a.batch * a.blocks * (2 + 2 * a.channels));
  a.scratch = scratch.get();
  const Kernels& k = kernels(isa);
  py::gil_scoped_release release;
  k.dual_fusion_backward(a);
}

// Blocks of rows of x (P, C). The statistics of each channel have C values too.
BatchNorm batch_norm(const py::array& x, const char* name, int threads) {
  BatchNorm s = {};
  s.pixels = extent(x, name, 2, 0);
  s.channels = extent(x, name, 2, 1);
  s.block_pixels = 512;
  s.blocks = (s.pixels + s.block_pixels - 1) / s.block_pixels;
  s.threads = checked_threads(threads);
  s.half = py::isinstance<py::array_t<uint16_t>>(x);
  return s;
}

// Rows of float32, or of bfloat16 as numpy's uint16.
const void* rows(const BatchNorm& s, const py::array& x, const char* name) {
  if (s.half) return input<uint16_t>(x, name, {s.pixels, s.channels});
  return input<float>(x, name, {s.pixels, s.channels});
}

void* new_rows(const BatchNorm& s, py::array& x, const char* name) {
  if (s.half) return output<uint16_t>(x, name, {s.pixels, s.channels});
  return output(x, name, {s.pixels, s.channels});
}

void batch_norm_relu_forward(const py::array& x, const py::array& weight, const py::array& bias, float eps, py::array y,
                             py::array mean, py::array variance, int threads, const std::string& isa) {
  BatchNorm s = batch_norm(x, "x", threads);
  const void* in = rows(s, x, "x");
  const float* w = input<float>(weight, "weight", {s.channels});
  const float* b = input<float>(bias, "bias", {s.channels});
  void* out = new_rows(s, y, "y");
  float* m = output(mean, "mean", {s.channels});
  float* v = output(variance, "variance", {s.channels});
  const Scratch scratch(s.blocks * 2 * s.channels + 4 * s.channels);
  s.scratch = scratch.get();
  s.table = s.scratch + s.blocks * 2 * s.channels;
  const Kernels& k = kernels(isa);
  py::gil_scoped_release release;
  k.batch_norm_relu_forward(s, in, w, b, eps, out, m, v);
}

void batch_norm_relu_backward(const py::array& grad, const py::array& x, const py::array& weight, const py::array& bias,
                              const py::array& mean, const py::array& variance, float eps, py::array grad_x,
                              py::array grad_weight, py::array grad_bias, int threads, const std::string& isa) {
  BatchNorm s = batch_norm(x, "x", threads);
  const void* g = rows(s, grad, "grad");
  const void* in = rows(s, x, "x");
  const float* w = input<float>(weight, "weight", {s.channels});
  const float* b = input<float>(bias, "bias", {s.channels});
  const float* m = input<float>(mean, "mean", {s.channels});
  const float* v = input<float>(variance, "variance", {s.channels});
  void* gx = new_rows(s, grad_x, "grad_x");
  float* gw = output(grad_weight, "grad_weight", {s.channels});
  float* gb = output(grad_bias, "grad_bias", {s.channels});
  const Scratch scratch(s.blocks * 2 * s.channels + 4 * s.channels);
  s.scratch = scratch.get();
  s.table = s.scratch + s.blocks * 2 * s.channels;
  const Kernels& k = kernels(isa);
  py::gil_scoped_release release;
  k.batch_norm_relu_backward(s, g, in, w, b, m, v, eps, gx, gw, gb);
}

}  // namespace

void bind_fusion(py::module_& m) {
  m.def("dual_fusion_conv1x1_forward", &dual_fusion_conv1x1_forward);
  m.def("dual_fusion_conv1x1_backward", &dual_fusion_conv1x1_backward);
  m.def("dual_fusion_forward", &dual_fusion_forward);
  m.def("dual_fusion_backward", &dual_fusion_backward);
  m.def("batch_norm_relu_forward", &batch_norm_relu_forward);
  m.def("batch_norm_relu_backward", &batch_norm_relu_backward);
}

}  // namespace acdc
