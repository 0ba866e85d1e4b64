// acdc_fast._native.Detector (weights come from numpy) and shrink, which makes a picture smaller.
#include <algorithm>
#include <cmath>

#include "bindings_checks.h"
#include "detector.h"

namespace acdc {
namespace {

using Bytes = py::array_t<uint8_t, py::array::c_style>;

int side(py::ssize_t n, const char* name) {
  require(n >= 1 && n <= kDetectorLargest, std::string(name) + " must lie between 1 and " +
                                               std::to_string(kDetectorLargest) + ", not " + std::to_string(n));
  return static_cast<int>(n);
}

std::unique_ptr<Detector> make_detector(int stem, const std::vector<std::tuple<int, int, int>>& blocks,
                                        const std::vector<std::pair<int, int>>& levels,
                                        const std::map<std::string, Floats>& arrays, const std::string& isa) {
  DetectorSpec spec{stem, {}, levels};
  const auto sane = [](int n) { return n >= 1 && n <= 1024; };
  int inputs = stem;
  require(sane(stem) && !blocks.empty() && blocks.size() <= 64, "the detector needs a stem and 1 to 64 blocks");
  for (const auto& [in, out, stride] : blocks) {
    require(in == inputs && sane(out) && (stride == 1 || stride == 2), "a block does not fit the one before it");
    spec.blocks.push_back({in, out, stride});
    inputs = out;
  }
  int before = -1, along = 2, at = 0;
  require(!levels.empty() && levels.back().first == static_cast<int>(blocks.size()) - 1,
          "the last level must be the last block");
  for (size_t i = 0; i < levels.size(); ++i) {
    const auto& [block, stride] = levels[i];
    require(block > before && block < static_cast<int>(blocks.size()), "levels must rise");
    for (; at <= block; ++at) along *= spec.blocks[at].stride;
    require(stride == along && (i == 0 || stride == 2 * levels[i - 1].second), "each level must have half the cells");
    before = block;
  }
  DetectorWeights weights;
  for (const auto& [name, array] : arrays) weights[name].assign(array.data(), array.data() + array.size());
  const auto expect = [&](const std::string& name, int64_t size) {
    const auto it = weights.find(name);
    require(it != weights.end(), "weight " + name + " is missing");
    require(static_cast<int64_t>(it->second.size()) == size,
            "weight " + name + " has " + std::to_string(it->second.size()) + " values, not " + std::to_string(size));
  };
  const auto layer = [&](const std::string& name, int64_t in, int64_t out) {
    expect(name + ".weight", in * out);
    expect(name + ".bias", out);
  };
  const auto block = [&](const std::string& name, int64_t in, int64_t out) {
    layer(name + ".depthwise", 9, in);
    layer(name + ".pointwise", in, out);
  };
  layer("stem", 9, stem);
  for (size_t i = 0; i < blocks.size(); ++i) {
    block("backbone." + std::to_string(i), spec.blocks[i].inputs, spec.blocks[i].outputs);
  }
  for (size_t i = 0; i < levels.size(); ++i) {
    const int64_t count = spec.blocks[levels[i].first].outputs;
    layer("head." + std::to_string(i), count, kDetectorOutputs);
    if (i + 1 == levels.size()) break;
    layer("down." + std::to_string(i), spec.blocks[levels[i + 1].first].outputs, count);
    block("neck." + std::to_string(i), count, count);
  }
  return std::make_unique<Detector>(spec, weights, isa);
}

py::array_t<float> find(const Detector& detector, const Bytes& grey, float least, int part, int parts) {
  require(grey.ndim() == 2, "grey must have shape (H, W)");
  require(least >= 0 && least <= 1, "least must lie between 0 and 1");
  const int height = side(grey.shape(0), "the height"), width = side(grey.shape(1), "the width");
  require(parts >= 1 && 0 <= part && part < parts, "part must lie between 0 and parts - 1");
  std::vector<FoundFace> found;
  {
    const DetectorPicture picture{grey.data(), height, width, width};
    py::gil_scoped_release release;
    found = detector.find(picture, least, {part, parts});
  }
  py::array_t<float> out({static_cast<py::ssize_t>(found.size()), py::ssize_t{5}});
  static_assert(sizeof(FoundFace) == 5 * sizeof(float), "rows of five");
  if (!found.empty()) std::copy_n(&found[0].x0, 5 * found.size(), out.mutable_data());
  return out;
}

py::list outputs(const Detector& detector, const Bytes& grey) {
  require(grey.ndim() == 2, "grey must have shape (H, W)");
  const int height = side(grey.shape(0), "the height"), width = side(grey.shape(1), "the width");
  const auto values = detector.outputs({grey.data(), height, width, width});
  py::list out;
  for (size_t i = 0; i < values.size(); ++i) {
    const int stride = detector.spec().levels[i].second;
    py::array_t<float> level({py::ssize_t{kDetectorOutputs}, static_cast<py::ssize_t>((height + stride - 1) / stride),
                              static_cast<py::ssize_t>((width + stride - 1) / stride)});
    std::copy(values[i].begin(), values[i].end(), level.mutable_data());
    out.append(level);
  }
  return out;
}

Bytes shrink(const Bytes& image, int factor, const std::string& isa) {
  require(image.ndim() == 2 || (image.ndim() == 3 && image.shape(2) == 3), "image must be (H, W) or (H, W, 3) uint8");
  require(factor >= 1 && factor <= 128, "factor must lie between 1 and 128");
  const int channels = image.ndim() == 3 ? 3 : 1;
  const py::ssize_t height = image.shape(0) / factor, width = image.shape(1) / factor;
  require(height >= 1 && width >= 1 && image.shape(0) <= (1 << 20) && image.shape(1) <= (1 << 20),
          "image must be at least factor and at most 2^20 pixels wide and high");
  Bytes out({height, width});
  const Kernels& k = kernels(isa);
  const uint8_t* from = image.data();
  uint8_t* to = out.mutable_data();
  const int64_t pitch = static_cast<int64_t>(image.shape(1)) * channels;
  py::gil_scoped_release release;
  std::vector<uint16_t> columns(static_cast<size_t>(width) * factor * channels);
  for (py::ssize_t y = 0; y < height; ++y) {
    k.shrink_row(from + y * factor * pitch, pitch, channels, factor, static_cast<int>(width), columns.data(),
                 to + y * width);
  }
  return out;
}

py::array_t<double> join(const py::array_t<double, py::array::c_style>& cells, double same, double power) {
  require(cells.ndim() == 2 && cells.shape(1) == 5, "cells must have shape (N, 5)");
  const auto* first = reinterpret_cast<const Face*>(cells.data());
  require(std::all_of(cells.data(), cells.data() + cells.size(), [](double x) { return std::isfinite(x); }),
          "cells must be finite");  // others would have no order
  static_assert(sizeof(Face) == 5 * sizeof(double), "rows of five");
  const std::vector<Face> faces = join_cells({first, first + cells.shape(0)}, same, power);
  py::array_t<double> out({static_cast<py::ssize_t>(faces.size()), py::ssize_t{5}});
  if (!faces.empty()) std::copy_n(faces[0].data(), 5 * faces.size(), out.mutable_data());
  return out;
}

}  // namespace

void bind_detector(py::module_& m) {
  py::class_<Detector>(m, "Detector")
      .def(py::init(&make_detector), py::kw_only(), py::arg("stem"), py::arg("blocks"), py::arg("levels"),
           py::arg("weights"), py::arg("isa") = "")
      .def("find", &find, py::arg("grey").noconvert(), py::arg("least"), py::arg("part") = 0, py::arg("parts") = 1,
           "(H, W) uint8 → (N, 5) float32: x0, y0, x1, y1, score of every cell that scores at least `least`; of all "
           "rows of cells, or of one of so many parts of them.")
      .def("outputs", &outputs, py::arg("grey").noconvert(),
           "(H, W) uint8 → [(5, ⌈H/s⌉, ⌈W/s⌉) float32] of each level.")
      .def_property_readonly("isa", &Detector::isa);
  m.def("join_cells", &join, py::arg("cells").noconvert(), py::arg("same"), py::arg("power"),
        "(N, 5) float64 boxes and scores of cells → (K, 5) float64, one row a face.");
  m.def("shrink", &shrink, py::arg("image").noconvert(), py::arg("factor"), py::arg("isa") = "",
        "(H, W) or (H, W, 3) uint8 → (H // factor, W // factor) uint8, the rounded mean grey of factor² pixels.");
}

}  // namespace acdc
