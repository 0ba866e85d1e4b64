// The whole cascade on the CPU, from crops to moments, in one call.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernels.h"

namespace acdc {

// A 64-byte aligned buffer of zeros.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(int64_t floats);
  float* data() const { return data_.get(); }
  int64_t bytes() const { return floats_ * static_cast<int64_t>(sizeof(float)); }

 private:
  struct Free {
    void operator()(float* p) const;
  };
  std::unique_ptr<float, Free> data_;
  int64_t floats_ = 0;
};

using Weights = std::map<std::string, std::vector<double>>;

// The engine's part of a config. Engine::Engine lists the names of the weights.
struct EngineSpec {
  int width, stages;
  int stream_inputs;                  // K
  int chain_maps, solid_maps;         // maps of the 2D and of the 3D stream; one of them may be 0
  std::vector<unsigned char> masked;  // for each map, whether it enters the mask
  bool pose, excitation;
  int patch = 1;  // side of the square of the crop's pixels that one place of the maps stands for
};

// Some of the network's maps, packed for the kernels. Each stream's maps are padded separately.
struct MapSet {
  Landmarks net{};  // all but the embedding
  Buffer transfer[2];
  bool solid[2] = {};                      // whether the stream is the 3D one
  int lanes = 0;                           // maps with the padding
  std::vector<int> map, lane;              // of each kept map its number in the network, and its lane
  std::vector<unsigned char> lane_masked;  // [lanes]
};

// Memory for the results of each stage and crop: [stage][crop][...].
struct EngineOutput {
  float* mean;        // [maps][2] crop units
  float* covariance;  // [maps][3]
  float* pose;        // [3] degrees / 90; null without a pose head
  float* mask;        // [side·side]; null if it is not wanted
  bool all_stages;    // false: only the last stage is written
  // A crop ends after the first stage whose maps have a mean spread (crop units) of at most this. 0: it runs all
  // stages.
  float enough = 0;
  int* depth = nullptr;  // number of stages that the crop ran; null if it is not wanted
  // For each map, whether its moments are asked for; empty: all are. What is not asked for is left as it is, or holds
  // what the pose needed. With `enough` all are computed.
  std::vector<unsigned char> asked = {};
};

// Seconds of each step of one crop: "0.encode1", …, "0.extremes", "0.moments", "1.stem". After a convolution come the
// seconds of its parts, "0.encode1/input", "/product", "/output", summed over threads.
using Profile = std::vector<std::pair<std::string, double>>;

class Arena;
struct DeleteArena {
  void operator()(Arena* arena) const;
};
using ArenaHandle = std::unique_ptr<Arena, DeleteArena>;

class Engine {
 public:
  // weights: "<stage>.stem.{weight,bias}", "<stage>.<conv>.{weight,bias}" with batch norm folded, "depthwise.<stream>",
  // "transfer" folded to (maps, K), "pose.{weight,bias}", "<stage>.excite.{weight,bias}". Streams count from 0.
  // bf16: most convolutions multiply bfloat16 numbers (packing.cpp says which do not). It needs bf16_kernels().
  Engine(const EngineSpec& spec, const Weights& weights, int threads, const std::string& isa, bool bf16 = false);

  // crops: [batch][(side·patch)²] finite floats; side, that of the maps, is a multiple of 8, at least 32;
  // 1 ≤ stages ≤ spec.stages. Several threads may call it at once. Results do not depend on threads or batches.
  void run(const float* crops, int batch, int side, int stages, const EngineOutput& out);

  // Runs one crop with all threads and times its steps.
  Profile profile(const float* crop, int side, const EngineOutput& out);

  const EngineSpec& spec() const { return spec_; }
  const char* isa() const { return conv_kernels_.isa; }
  int threads() const { return threads_; }
  int64_t weight_bytes() const { return weight_bytes_; }
  int64_t arena_bytes() const;  // of all idle arenas

 private:
  struct Layer {
    Conv conv;
    Buffer weights, bias;
  };
  struct Stage {
    Buffer stem_bias;
    std::vector<double> stem, excite_weight,
        excite_bias;  // (w, 2 + 2w); (2 + 2w, 3); of the excitation before this stage
    Layer layers[12];
  };

  void pack_conv(Layer& layer, ConvKind kind, int value_bytes, int inputs, int outputs,
                 const std::vector<double>& weight, const std::vector<double>& bias);
  void pack_first_layer(const Weights& weights);
  // The maps of an inner stage, of a stage whose moments and mask are kept, and of the last stage.
  struct StageMaps {
    std::shared_ptr<const MapSet> inner, kept, last;
  };

  void pack_landmarks(const Weights& weights);
  MapSet pack_maps(const std::vector<unsigned char>& wanted) const;
  std::shared_ptr<const MapSet> map_set(const std::vector<unsigned char>& wanted);
  StageMaps stage_maps(const EngineOutput& out);
  void run_crop(Arena& arena, const float* crop, const StageMaps& maps, int stages, int threads, int64_t index,
                int64_t batch, const EngineOutput& out) const;
  void first_layer(Arena& arena, const float* crop, int threads) const;
  void unet(Arena& arena, int stage, int threads) const;
  void convolve(Arena& arena, const Layer& layer, const Tensor& in, const Tensor& out, int threads) const;
  void extremes(Arena& arena, const MapSet& maps, const Landmarks& net, int threads) const;
  void landmarks(Arena& arena, const MapSet& maps, int threads, bool moments, bool mask, float* mean,
                 float* covariance) const;
  void head_pose(const float* mean, float* pose) const;
  const float* averaged(const Arena& arena, const float* crop) const;
  void fused_stem(Arena& arena, const Stage& stage, const float* image, const float* pose, int threads) const;
  ArenaHandle take_arena(int side, int threads);
  void give_back(ArenaHandle arena);
  int vectors(int channels) const { return (channels + kernels_.lanes - 1) / kernels_.lanes; }
  int padded(int channels) const { return vectors(channels) * kernels_.lanes; }
  Buffer track(Buffer buffer);

  EngineSpec spec_;
  const Kernels &kernels_, &conv_kernels_;  // the second for convolutions: bfloat16 if that was asked for
  int threads_;
  std::vector<Stage> stages_;
  Buffer first_weights_, first_bias_;                                             // FirstLayer
  Buffer depthwise_[2];                                                           // of the 2D and of the 3D stream
  std::vector<double> transfer_;                                                  // (maps, K)
  int lanes_of_maps_ = 0;                                                         // of all maps
  std::map<std::vector<unsigned char>, std::shared_ptr<const MapSet>> map_sets_;  // guarded as arenas_ is
  std::vector<double> pose_weight_, pose_bias_;
  int64_t weight_bytes_ = 0;
  std::vector<ArenaHandle> arenas_;  // idle ones; guarded by the process-wide lock in arena.cpp
};

}  // namespace acdc
