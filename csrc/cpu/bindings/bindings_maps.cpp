// Binds the training ops on attention maps: geometry_transfer, spatial_softmax, attention_mask. Results go into arrays
// that the caller allocated. Embeddings are channels last.
#include "bindings_checks.h"
#include "kernels.h"

namespace acdc {
namespace {

constexpr int64_t kMaxPixels = int64_t{1} << 24;  // pixels are counted in floats

void check_pixels(int64_t height, int64_t width) {
  require(height * width < kMaxPixels,
          "maps must have fewer than 2^24 pixels, not " + std::to_string(height) + " x " + std::to_string(width));
}

// Statistics as a dictionary of arrays. Those that an op does not use may be missing.
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

// Kernels use indices that an earlier call saved, so a wrong index must not reach them.
void check_indices(const int32_t* index, int64_t n, int64_t low, int64_t end, const char* name) {
  for (int64_t i = 0; i < n; ++i) {
    if (index[i] >= low && index[i] < end) continue;
    throw InputError(std::string(name) + " holds " + std::to_string(index[i]) + ", outside " + std::to_string(low) +
                     ".." + std::to_string(end - 1));
  }
}

// Statistics that an earlier call saved, checked before they index maps of `pixels` pixels.
MapStatistics saved_statistics(const py::dict& d, py::ssize_t batch, py::ssize_t maps, int64_t pixels, bool moments,
                               bool extremes) {
  const MapStatistics s = statistics(d, batch, maps, moments, extremes);
  check_indices(s.argmax, batch * maps, 0, pixels, "argmax");
  if (extremes) check_indices(s.argmin, batch * maps, 0, pixels, "argmin");
  return s;
}

// For each pixel, the map that its mask comes from; −1 for none.
const int32_t* saved_winner(const py::array& winner, py::ssize_t batch, py::ssize_t height, py::ssize_t width,
                            int64_t maps) {
  const int32_t* who = input<int32_t>(winner, "winner", {batch, height, width});
  check_indices(who, batch * height * width, -1, maps, "winner");
  return who;
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
  auto grad = [&](const char* name, Shape shape) {
    return input<float>(py::cast<py::array>(grads[name]), name, shape);
  };
  a.grad_mean = grad("grad_mean", {s.batch, s.maps, 2});
  a.grad_covariance = grad("grad_covariance", {s.batch, s.maps, 3});
  a.grad_peak = grad("grad_peak", {s.batch, s.maps});
  a.grad_mask = grad("grad_mask", {s.batch, 1, s.height, s.width});
  a.embedding = input<float>(embedding, "embedding", {s.batch, s.height, s.width, s.channels});
  a.depthwise = static_cast<const float*>(depthwise.data());
  a.transfer = input<float>(transfer, "transfer", {s.maps, s.k});
  a.mask = input<float>(mask, "mask", {s.batch, 1, s.height, s.width});
  a.maps = saved_statistics(maps, s.batch, s.maps, s.height * s.width, true, true);
  a.winner = saved_winner(winner, s.batch, s.height, s.width, s.maps);
  a.grad_embedding = output(grad_embedding, "grad_embedding", {s.batch, s.height, s.width, s.channels});
  a.grad_depthwise = output(grad_depthwise, "grad_depthwise", {s.streams, s.k, 3, 3});
  a.grad_transfer = output(grad_transfer, "grad_transfer", {s.maps, s.k});
  const Scratch scratch(geometry_backward_layout(s).total);
  a.scratch = scratch.get();
  py::gil_scoped_release release;
  k.geometry_transfer_backward(a);
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
  a.maps = saved_statistics(maps, l.batch, l.maps, l.height * l.width, true, false);
  a.grad_logits = output(grad_logits, "grad_logits", {l.batch, l.maps, l.height, l.width});
  const Kernels& k = kernels(isa);
  py::gil_scoped_release release;
  k.spatial_softmax_backward(a);
}

void attention_mask_forward(const py::array& logits, const py::dict& maps, py::array mask, py::array winner,
                            int threads, const std::string& isa) {
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
  const float* grad = input<float>(grad_mask, "grad_mask", {a.batch, 1, a.height, a.width});
  const float* m = input<float>(mask, "mask", {a.batch, 1, a.height, a.width});
  const int32_t* who = saved_winner(winner, a.batch, a.height, a.width, a.maps);
  const MapStatistics s = saved_statistics(maps, a.batch, a.maps, a.height * a.width, false, true);
  float* out = output(grad_logits, "grad_logits", {a.batch, a.maps, a.height, a.width});
  const Scratch spikes(a.batch * 3 * a.maps);
  const Kernels& k = kernels(isa);
  py::gil_scoped_release release;
  k.attention_mask_backward(a, grad, m, who, s, spikes.get(), out);
}

}  // namespace

void bind_maps(py::module_& m) {
  m.def("geometry_transfer_forward", &geometry_transfer_forward);
  m.def("geometry_transfer_backward", &geometry_transfer_backward);
  m.def("spatial_softmax_forward", &spatial_softmax_forward);
  m.def("spatial_softmax_backward", &spatial_softmax_backward);
  m.def("attention_mask_forward", &attention_mask_forward);
  m.def("attention_mask_backward", &attention_mask_backward);
}

}  // namespace acdc
