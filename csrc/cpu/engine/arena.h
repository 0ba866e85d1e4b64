// The memory of one run: one block that is taken before the run and divided here, so that a run allocates nothing.
#pragma once

#include "engine.h"

namespace acdc {

constexpr int kRowsPerTask = 4;  // of the passes over H; fixed, so that sums do not depend on the number of threads
constexpr int kExtremes = 3;     // for each map: least logit, greatest logit, place of the greatest

struct Clock;

// All memory of one run at one resolution: each activation in its own place, scratch for each thread, sums of the
// passes over H. The frame of zeros around an activation is never written, so it stays zero from run to run.
class Arena {
 public:
  // Activations: x is the stem's output, h the embedding. An up layer adds to its skip in place.
  enum Name { kX, kSkip1, kDown1, kSkip2, kDown2, kSkip3, kDown3, kDecode3, kDecode2, kEmbedding, kNames };

  // Activations at full resolution are float32, the others have the kernels' type.
  Arena(int side, int threads, int lanes, int value_bytes, const EngineSpec& spec, int maps, int64_t scratch_floats);

  const Tensor& operator[](Name name) const { return tensors[name]; }
  float* extremes() const { return memory.data() + parts[0]; }
  float* levels() const { return memory.data() + parts[1]; }
  // The crop, in a frame of zeros as wide as a patch.
  float* image() const { return memory.data() + parts[5] + (image_pitch() + 1) * patch; }
  int64_t image_pitch() const { return static_cast<int64_t>(side + 2) * patch; }
  float* small() const { return memory.data() + parts[6]; }  // [side·side] the crop averaged over patches
  float* mask() const { return memory.data() + parts[2]; }
  float* stem() const { return memory.data() + parts[3]; }
  float* scratch(int slot) const { return memory.data() + parts[4] + slot * scratch_floats; }
  int64_t bytes() const {
    return memory.bytes() + static_cast<int64_t>((sums.size() + excitation.size()) * sizeof(double)) +
           static_cast<int64_t>(peaks.size() * sizeof(float));
  }

  const int side, threads, patch;  // side of the maps
  std::vector<double> sums;        // [task][kSumRows][maps]
  std::vector<float> peaks;        // for each of the network's maps, the number of a pixel near its last greatest logit
  std::vector<double> excitation;  // [2 + 2·width]
  Clock* clock = nullptr;          // set while a profile is taken
  ArenaHandle next;                // links the arenas of one run's threads, which each work on their own crop

 private:
  const int64_t scratch_floats;
  Tensor tensors[kNames];
  int64_t parts[7];  // where each begins in memory: extremes, levels, mask, stem weights, scratch, crop, its mean
  Buffer memory;
};

}  // namespace acdc
