// acdc_fast._native.Engine: the cascade. It takes weights as numpy arrays and returns results as numpy arrays.
#include <algorithm>
#include <cmath>
#include <map>

#include "bindings.h"
#include "engine.h"
#include "thread_pool.h"

namespace acdc {
namespace {

constexpr int kMostPatch = 16;
constexpr py::ssize_t kMostSide = 4096;  // of a crop

// Whether the engine takes square crops of this side.
bool fits(const EngineSpec& spec, py::ssize_t side) {
  return side % (8 * spec.patch) == 0 && side >= 32 * spec.patch && side <= kMostSide;
}

// What sides it takes, for a message.
std::string sides(const EngineSpec& spec) {
  return "S a multiple of " + std::to_string(8 * spec.patch) + " from " + std::to_string(32 * spec.patch);
}

using Doubles = py::array_t<double, py::array::c_style | py::array::forcecast>;

std::unique_ptr<Engine> make_engine(const EngineSpec& spec, const std::map<std::string, Doubles>& arrays, int threads,
                                    const std::string& isa, const std::string& dtype) {
  require(dtype == "float32" || dtype == "bfloat16", "dtype must be float32 or bfloat16, not '" + dtype + "'");
  const auto within = [](const char* name, int value, int low, int high) {
    require(value >= low && value <= high, std::string(name) + " must lie in " + std::to_string(low) + ".." +
                                               std::to_string(high) + ", not " + std::to_string(value));
  };
  within("width", spec.width, 1, 4096);
  within("stages", spec.stages, 1, 64);
  within("patch", spec.patch, 1, kMostPatch);
  within("stream_inputs", spec.stream_inputs, 1, spec.width);
  within("chain_maps", spec.chain_maps, 0, 1 << 16);
  within("solid_maps", spec.solid_maps, 0, 1 << 16);
  require(spec.chain_maps + spec.solid_maps > 0, "chain_maps and solid_maps are both 0");
  Weights weights;
  for (const auto& [name, array] : arrays) weights[name].assign(array.data(), array.data() + array.size());
  const int64_t w = spec.width, fused = 2 + 2 * w, maps = spec.chain_maps + spec.solid_maps;
  require(threads >= 1, "threads must be at least 1, not " + std::to_string(threads));
  require(static_cast<int64_t>(spec.masked.size()) == maps, "masked must have one flag a map");
  auto expect = [&](const std::string& name, int64_t size) {
    const auto it = weights.find(name);
    require(it != weights.end(), "weight " + name + " is missing");
    require(static_cast<int64_t>(it->second.size()) == size,
            "weight " + name + " has " + std::to_string(it->second.size()) + " values, not " + std::to_string(size));
  };
  const struct {
    const char* name;
    int64_t inputs, outputs;
  } convs[] = {{"encode1", w, w},         {"down1", w, w},         {"encode2", w, 2 * w}, {"down2", 2 * w, 2 * w},
               {"encode3", 2 * w, 4 * w}, {"down3", 4 * w, 4 * w}, {"up3", 4 * w, 4 * w}, {"decode3", 4 * w, 2 * w},
               {"up2", 2 * w, 2 * w},     {"decode2", 2 * w, w},   {"up1", w, w},         {"decode1", w, w}};
  for (int s = 0; s < spec.stages; ++s) {
    const std::string prefix = std::to_string(s) + ".";
    for (const auto& conv : convs) {
      expect(prefix + conv.name + ".weight", conv.inputs * conv.outputs * 9);
      expect(prefix + conv.name + ".bias", conv.outputs);
    }
    expect(prefix + "stem.weight", s == 0 ? w * spec.patch * spec.patch : w * fused);
    expect(prefix + "stem.bias", w);
    if (spec.excitation && s + 1 < spec.stages) {
      expect(prefix + "excite.weight", fused * 3);
      expect(prefix + "excite.bias", fused);
    }
  }
  int streams = 0;
  if (spec.chain_maps) expect("depthwise." + std::to_string(streams++), spec.stream_inputs * 9);
  if (spec.solid_maps) expect("depthwise." + std::to_string(streams++), spec.stream_inputs * 9);
  expect("transfer", maps * spec.stream_inputs);
  if (spec.pose) {
    expect("pose.weight", 6ll * spec.solid_maps);
    expect("pose.bias", 3);
  }
  py::gil_scoped_release release;
  return std::make_unique<Engine>(spec, weights, threads, isa, dtype == "bfloat16");
}

// Index of the first crop with a NaN or an infinity, or -1. The sum of x − x is 0 only if every x is finite.
int64_t first_bad_crop(const float* crops, int64_t batch, int64_t area) {
  for (int64_t i = 0; i < batch; ++i) {
    float sum[16] = {};
    const float* crop = crops + i * area;
    for (int64_t p = 0; p < area; p += 16) {
      for (int j = 0; j < 16; ++j) sum[j] += crop[p + j] - crop[p + j];
    }
    for (float s : sum) {
      if (s != 0) return i;
    }
  }
  return -1;
}

py::dict run_engine(Engine& engine, const Floats& crops, int stages, bool all_stages, bool mask, float enough,
                    const std::vector<bool>& asked) {
  const EngineSpec& spec = engine.spec();
  require(crops.ndim() == 4 && crops.shape(1) == 1 && crops.shape(2) == crops.shape(3) && fits(spec, crops.shape(2)),
          "crops must have shape (B, 1, S, S), " + sides(spec));
  require(stages >= 1 && stages <= spec.stages,
          "stages must lie between 1 and " + std::to_string(spec.stages) + ", not " + std::to_string(stages));
  require(enough >= 0 && (enough == 0 || !all_stages),
          "enough must not be negative, and not be asked for with all stages");
  const py::ssize_t batch = crops.shape(0), whole = crops.shape(2), side = whole / spec.patch,
                    kept = all_stages ? stages : 1;
  const py::ssize_t maps = spec.chain_maps + spec.solid_maps;
  const auto given = static_cast<py::ssize_t>(asked.size());
  require(given == 0 || given == maps, "asked must have one flag a map, or none");
  require(given == 0 || std::count(asked.begin(), asked.end(), true), "asked must ask for a map");
  Floats mean({kept, batch, maps, py::ssize_t{2}}), covariance({kept, batch, maps, py::ssize_t{3}});
  py::object pose = py::none(), masks = py::none();
  EngineOutput out{mean.mutable_data(), covariance.mutable_data(), nullptr, nullptr, all_stages, enough};
  if (given) {  // what is not computed must not look like a result
    out.asked.assign(asked.begin(), asked.end());
    std::fill_n(out.mean, mean.size(), NAN);
    std::fill_n(out.covariance, covariance.size(), NAN);
  }
  py::array_t<int> depth(batch);
  out.depth = depth.mutable_data();
  if (spec.pose) {
    Floats array({kept, batch, py::ssize_t{3}});
    out.pose = array.mutable_data();
    pose = std::move(array);
  }
  if (mask) {
    Floats array({kept, batch, py::ssize_t{1}, side, side});
    out.mask = array.mutable_data();
    masks = std::move(array);
  }
  const float* data = crops.data();
  int64_t bad;
  {
    py::gil_scoped_release release;
    bad = first_bad_crop(data, batch, whole * whole);
    if (bad < 0) engine.run(data, static_cast<int>(batch), static_cast<int>(side), stages, out);
  }
  require(bad < 0, "crop " + std::to_string(bad) + " of the batch contains a NaN or an infinity");
  py::dict result;
  result["mean"] = mean;
  result["covariance"] = covariance;
  result["pose"] = pose;
  result["mask"] = masks;
  result["depth"] = depth;
  return result;
}

Profile profile_engine(Engine& engine, const Floats& crop) {
  const EngineSpec& spec = engine.spec();
  require(crop.ndim() == 2 && crop.shape(0) == crop.shape(1) && fits(spec, crop.shape(0)),
          "crop must have shape (S, S), " + sides(spec));
  const int side = static_cast<int>(crop.shape(0)) / spec.patch, maps = spec.chain_maps + spec.solid_maps;
  std::vector<float> mean(maps * 2), covariance(maps * 3), mask(static_cast<size_t>(side) * side);
  float pose[3];
  const float* data = crop.data();
  py::gil_scoped_release release;
  return engine.profile(data, side, {mean.data(), covariance.data(), pose, mask.data(), false});
}

}  // namespace

void bind_engine(py::module_& m) {
  py::class_<Engine>(m, "Engine")
      .def(py::init([](int width, int stages, int stream_inputs, int chain_maps, int solid_maps,
                       const std::vector<bool>& masked, bool pose, bool excitation,
                       const std::map<std::string, Doubles>& weights, int threads, const std::string& isa,
                       const std::string& dtype, int patch) {
             EngineSpec spec{width, stages, stream_inputs, chain_maps, solid_maps, {}, pose, excitation, patch};
             spec.masked.assign(masked.begin(), masked.end());
             return make_engine(spec, weights, threads, isa, dtype);
           }),
           py::kw_only(), py::arg("width"), py::arg("stages"), py::arg("stream_inputs"), py::arg("chain_maps"),
           py::arg("solid_maps"), py::arg("masked"), py::arg("pose"), py::arg("excitation"), py::arg("weights"),
           py::arg("threads"), py::arg("isa") = "", py::arg("dtype") = "float32", py::arg("patch") = 1)
      .def("run", &run_engine, py::arg("crops"), py::arg("stages"), py::arg("all_stages"), py::arg("mask"),
           py::arg("enough") = 0.0f, py::arg("asked") = std::vector<bool>())
      .def("profile", &profile_engine, py::arg("crop"), "Seconds of each step: [(name, seconds)]; see engine.h.")
      .def_property_readonly("isa", &Engine::isa)
      .def_property_readonly("threads", &Engine::threads)
      .def_property_readonly("weight_bytes", &Engine::weight_bytes)
      .def_property_readonly("arena_bytes", &Engine::arena_bytes);
}

}  // namespace acdc
