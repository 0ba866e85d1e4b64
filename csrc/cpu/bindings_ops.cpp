// Binds the training ops. Every array is checked here: dtype, C order, shape; kernels trust their arguments. Results are
// written into arrays that the caller allocated. Images are channels last.
#include <algorithm>
#include <initializer_list>
#include <new>
#include <optional>

#include "bindings.h"
#include "kernels.h"

namespace acdc {
namespace {

using Shape = std::initializer_list<py::ssize_t>;

std::string text(const py::ssize_t* shape, size_t n) {
  std::string out = "(";
  for (size_t i = 0; i < n; ++i) out += (i ? ", " : "") + std::to_string(shape[i]);
  return out + ")";
}

template <class T>
const T* input(const py::array& x, const char* name, Shape shape) {
  require(py::isinstance<py::array_t<T>>(x), std::string(name) + " has another dtype than the kernel reads");
  const bool fits = x.ndim() == static_cast<py::ssize_t>(shape.size()) && std::equal(shape.begin(), shape.end(), x.shape());
  require(fits, std::string(name) + " must have shape " + text(shape.begin(), shape.size()) + ", not " +
                    text(x.shape(), static_cast<size_t>(x.ndim())));
  require(x.flags() & py::array::c_style, std::string(name) + " must be C-contiguous");
  require(reinterpret_cast<uintptr_t>(x.data()) % alignof(T) == 0, std::string(name) + " is not aligned");
  return static_cast<const T*>(x.data());
}

template <class T = float>
T* output(py::array& x, const char* name, Shape shape) {
  input<T>(x, name, shape);
  require(x.writeable(), std::string(name) + " is read-only");
  return static_cast<T*>(x.mutable_data());
}

py::ssize_t extent(const py::array& x, const char* name, int dimensions, int i) {
  require(x.ndim() == dimensions, std::string(name) + " must have " + std::to_string(dimensions) + " dimensions, not " +
                                      std::to_string(x.ndim()));
  require(x.shape(i) > 0, std::string(name) + " is empty");
  return x.shape(i);
}

// Uninitialised floats, aligned to a cache line.
class Scratch {
 public:
  explicit Scratch(int64_t floats)
      : p_(static_cast<float*>(::operator new(static_cast<size_t>(floats) * sizeof(float), std::align_val_t(64)))) {}
  ~Scratch() { ::operator delete(p_, std::align_val_t(64)); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  float* get() const { return p_; }

 private:
  float* p_;
};

int checked_threads(int threads) {
  require(threads >= 1, "threads must be at least 1, not " + std::to_string(threads));
  return threads;
}

constexpr int64_t kMaxPixels = int64_t{1} << 24;  // pixels are counted in floats

void check_pixels(int64_t height, int64_t width) {
  require(height * width < kMaxPixels, "maps must have fewer than 2^24 pixels, not " + std::to_string(height) + " x " +
                                           std::to_string(width));
}

// Statistics as a dictionary of arrays; those that an op does not use may be missing.
MapStatistics statistics(const py::dict& d, py::ssize_t batch, py::ssize_t maps, bool moments, bool extremes) {
  MapStatistics s = {};
  auto get = [&](const char* name) { return py::cast<py::array>(d[name]); };
  auto floats = [&](const char* name) {
    py::array x = get(name);
    return output<float>(x, name, {batch, maps});
  };
  auto pixels = [&](const char* name) {
    py::array x = get(name);
    return output<int32_t>(x, name, {batch, maps});
  };
  s.high = floats("high");
  s.argmax = pixels("argmax");
  if (moments) {
    py::array mean = get("mean"), covariance = get("covariance");
    s.mean = output(mean, "mean", {batch, maps, 2});
    s.covariance = output(covariance, "covariance", {batch, maps, 3});
    s.peak = floats("peak");
  }
  if (extremes) {
    s.low = floats("low");
    s.argmin = pixels("argmin");
  }
  return s;
}

// Kernels index maps by what an earlier call saved: a stray index must not reach them.
void check_indices(const int32_t* index, int64_t n, int64_t low, int64_t end, const char* name) {
  for (int64_t i = 0; i < n; ++i) {
    if (index[i] >= low && index[i] < end) continue;
    throw InputError(std::string(name) + " holds " + std::to_string(index[i]) + ", outside " + std::to_string(low) + ".." +
                     std::to_string(end - 1));
  }
}

int64_t rounded_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

GeometryShape geometry_shape(const py::array& embedding, const py::array& depthwise, const py::array& transfer,
                             int64_t split, int lanes, int threads) {
  GeometryShape s = {};
  s.batch = extent(embedding, "embedding", 4, 0);
  s.height = extent(embedding, "embedding", 4, 1);
  s.width = extent(embedding, "embedding", 4, 2);
  s.channels = extent(embedding, "embedding", 4, 3);
  s.maps = extent(transfer, "transfer", 2, 0);
  s.k = extent(transfer, "transfer", 2, 1);
  s.threads = checked_threads(threads);
  check_pixels(s.height, s.width);
  require(s.k <= s.channels, "transfer reads more channels than embedding has");
  require(split >= 0 && split <= s.maps, "split must lie in 0.." + std::to_string(s.maps));
  const int64_t maps[2] = {split, s.maps - split}, channel[2] = {0, s.channels - s.k}, first[2] = {0, split};
  for (int i = 0; i < 2; ++i) {
    if (!maps[i]) continue;
    s.stream[s.streams++] = {channel[i], first[i], maps[i], s.slots, rounded_up(maps[i], lanes)};
    s.slots += rounded_up(maps[i], lanes);
  }
  s.lanes = lanes;
  s.padded = rounded_up(s.k, lanes);
  s.block_rows = 16;
  s.blocks = (s.height + s.block_rows - 1) / s.block_rows;
  input<float>(depthwise, "depthwise", {s.streams, s.k, 3, 3});
  return s;
}

void geometry_transfer_forward(const py::array& embedding, const py::array& depthwise, const py::array& transfer,
                               int64_t split, const py::array& masked, const py::dict& maps, py::array mask,
                               py::array winner, int threads, const std::string& isa) {
  const Kernels& k = kernels(isa);
  GeometryForward a = {};
  GeometryShape& s = a.shape = geometry_shape(embedding, depthwise, transfer, split, k.lanes, threads);
  a.embedding = input<float>(embedding, "embedding", {s.batch, s.height, s.width, s.channels});
  a.depthwise = static_cast<const float*>(depthwise.data());
  a.transfer = input<float>(transfer, "transfer", {s.maps, s.k});
  a.masked = input<uint8_t>(masked, "masked", {s.maps});
  a.maps = statistics(maps, s.batch, s.maps, true, true);
  a.mask = output(mask, "mask", {s.batch, 1, s.height, s.width});
  a.winner = output<int32_t>(winner, "winner", {s.batch, s.height, s.width});
  const Scratch scratch(geometry_forward_layout(s).total);
  a.scratch = scratch.get();
  py::gil_scoped_release release;
  k.geometry_transfer_forward(a);
}

void geometry_transfer_backward(const py::dict& grads, const py::array& embedding, const py::array& depthwise,
                                const py::array& transfer, int64_t split, const py::dict& maps, const py::array& mask,
                                const py::array& winner, py::array grad_embedding, py::array grad_depthwise,
                                py::array grad_transfer, int threads, const std::string& isa) {
  const Kernels& k = kernels(isa);
  GeometryBackward a = {};
  GeometryShape& s = a.shape = geometry_shape(embedding, depthwise, transfer, split, k.lanes, threads);
  auto grad = [&](const char* name, Shape shape) { return input<float>(py::cast<py::array>(grads[name]), name, shape); };
  a.grad_mean = grad("grad_mean", {s.batch, s.maps, 2});
  a.grad_covariance = grad("grad_covariance", {s.batch, s.maps, 3});
  a.grad_peak = grad("grad_peak", {s.batch, s.maps});
  a.grad_mask = grad("grad_mask", {s.batch, 1, s.height, s.width});
  a.embedding = input<float>(embedding, "embedding", {s.batch, s.height, s.width, s.channels});
  a.depthwise = static_cast<const float*>(depthwise.data());
  a.transfer = input<float>(transfer, "transfer", {s.maps, s.k});
  a.mask = input<float>(mask, "mask", {s.batch, 1, s.height, s.width});
  a.maps = statistics(maps, s.batch, s.maps, true, true);
  a.winner = input<int32_t>(winner, "winner", {s.batch, s.height, s.width});
  check_indices(a.winner, s.batch * s.height * s.width, -1, s.maps, "winner");
  check_indices(a.maps.argmax, s.batch * s.maps, 0, s.height * s.width, "argmax");
  check_indices(a.maps.argmin, s.batch * s.maps, 0, s.height * s.width, "argmin");
  a.grad_embedding = output(grad_embedding, "grad_embedding", {s.batch, s.height, s.width, s.channels});
  a.grad_depthwise = output(grad_depthwise, "grad_depthwise", {s.streams, s.k, 3, 3});
  a.grad_transfer = output(grad_transfer, "grad_transfer", {s.maps, s.k});
  const Scratch scratch(geometry_backward_layout(s).total);
  a.scratch = scratch.get();
  py::gil_scoped_release release;
  k.geometry_transfer_backward(a);
}

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

LogitMaps logit_maps(const py::array& logits, int threads) {
  LogitMaps a = {};
  a.batch = extent(logits, "logits", 4, 0);
  a.maps = extent(logits, "logits", 4, 1);
  a.height = extent(logits, "logits", 4, 2);
  a.width = extent(logits, "logits", 4, 3);
  a.threads = checked_threads(threads);
  check_pixels(a.height, a.width);
  a.logits = input<float>(logits, "logits", {a.batch, a.maps, a.height, a.width});
  return a;
}

void spatial_softmax_forward(const py::array& logits, const py::dict& maps, int threads, const std::string& isa) {
  const LogitMaps a = logit_maps(logits, threads);
  const MapStatistics s = statistics(maps, a.batch, a.maps, true, false);
  const Kernels& k = kernels(isa);
  py::gil_scoped_release release;
  k.spatial_softmax_forward(a, s);
}

void spatial_softmax_backward(const py::array& grad_mean, const py::array& grad_covariance, const py::array& grad_peak,
                              const py::array& logits, const py::dict& maps, py::array grad_logits, int threads,
                              const std::string& isa) {
  SoftmaxBackward a = {};
  const LogitMaps l = a.logits = logit_maps(logits, threads);
  a.grad_mean = input<float>(grad_mean, "grad_mean", {l.batch, l.maps, 2});
  a.grad_covariance = input<float>(grad_covariance, "grad_covariance", {l.batch, l.maps, 3});
  a.grad_peak = input<float>(grad_peak, "grad_peak", {l.batch, l.maps});
  a.maps = statistics(maps, l.batch, l.maps, true, false);
  check_indices(a.maps.argmax, l.batch * l.maps, 0, l.height * l.width, "argmax");
  a.grad_logits = output(grad_logits, "grad_logits", {l.batch, l.maps, l.height, l.width});
  const Kernels& k = kernels(isa);
  py::gil_scoped_release release;
  k.spatial_softmax_backward(a);
}

void attention_mask_forward(const py::array& logits, const py::dict& maps, py::array mask, py::array winner, int threads,
                            const std::string& isa) {
  const LogitMaps a = logit_maps(logits, threads);
  const MapStatistics s = statistics(maps, a.batch, a.maps, false, true);
  float* mask_out = output(mask, "mask", {a.batch, 1, a.height, a.width});
  int32_t* winner_out = output<int32_t>(winner, "winner", {a.batch, a.height, a.width});
  const Kernels& k = kernels(isa);
  py::gil_scoped_release release;
  k.attention_mask_forward(a, s, mask_out, winner_out);
}

void attention_mask_backward(const py::array& grad_mask, const py::array& logits, const py::array& mask,
                             const py::dict& maps, const py::array& winner, py::array grad_logits, int threads,
                             const std::string& isa) {
  const LogitMaps a = logit_maps(logits, threads);
  const MapStatistics s = statistics(maps, a.batch, a.maps, false, true);
  const float* grad = input<float>(grad_mask, "grad_mask", {a.batch, 1, a.height, a.width});
  const float* m = input<float>(mask, "mask", {a.batch, 1, a.height, a.width});
  const int32_t* who = input<int32_t>(winner, "winner", {a.batch, a.height, a.width});
  check_indices(who, a.batch * a.height * a.width, -1, a.maps, "winner");
  check_indices(s.argmax, a.batch * a.maps, 0, a.height * a.width, "argmax");
  check_indices(s.argmin, a.batch * a.maps, 0, a.height * a.width, "argmin");
  float* out = output(grad_logits, "grad_logits", {a.batch, a.maps, a.height, a.width});
  const Scratch spikes(a.batch * 3 * a.maps);
  const Kernels& k = kernels(isa);
  py::gil_scoped_release release;
  k.attention_mask_backward(a, grad, m, who, s, spikes.get(), out);
}

// Blocks of the rows (P, C) of x, which name each channel's statistics too.
BatchNorm batch_norm(const py::array& x, const char* name, int threads) {
  BatchNorm s = {};
  s.pixels = extent(x, name, 2, 0);
  s.channels = extent(x, name, 2, 1);
  s.block_pixels = 512;
  s.blocks = (s.pixels + s.block_pixels - 1) / s.block_pixels;
  s.threads = checked_threads(threads);
  return s;
}

void batch_norm_relu_forward(const py::array& x, const py::array& weight, const py::array& bias, float eps, py::array y,
                             py::array mean, py::array variance, int threads, const std::string& isa) {
  BatchNorm s = batch_norm(x, "x", threads);
  const float* in = input<float>(x, "x", {s.pixels, s.channels});
  const float* w = input<float>(weight, "weight", {s.channels});
  const float* b = input<float>(bias, "bias", {s.channels});
  float* out = output(y, "y", {s.pixels, s.channels});
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
  const float* g = input<float>(grad, "grad", {s.pixels, s.channels});
  const float* in = input<float>(x, "x", {s.pixels, s.channels});
  const float* w = input<float>(weight, "weight", {s.channels});
  const float* b = input<float>(bias, "bias", {s.channels});
  const float* m = input<float>(mean, "mean", {s.channels});
  const float* v = input<float>(variance, "variance", {s.channels});
  float* gx = output(grad_x, "grad_x", {s.pixels, s.channels});
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

void bind_ops(py::module_& m) {
  m.def("geometry_transfer_forward", &geometry_transfer_forward);
  m.def("geometry_transfer_backward", &geometry_transfer_backward);
  m.def("dual_fusion_conv1x1_forward", &dual_fusion_conv1x1_forward);
  m.def("dual_fusion_conv1x1_backward", &dual_fusion_conv1x1_backward);
  m.def("dual_fusion_forward", &dual_fusion_forward);
  m.def("dual_fusion_backward", &dual_fusion_backward);
  m.def("batch_norm_relu_forward", &batch_norm_relu_forward);
  m.def("batch_norm_relu_backward", &batch_norm_relu_backward);
  m.def("spatial_softmax_forward", &spatial_softmax_forward);
  m.def("spatial_softmax_backward", &spatial_softmax_backward);
  m.def("attention_mask_forward", &attention_mask_forward);
  m.def("attention_mask_backward", &attention_mask_backward);
}

}  // namespace acdc
