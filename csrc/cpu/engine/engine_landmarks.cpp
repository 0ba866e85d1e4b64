// The geometry transfer network and the layer of the pose. The two passes over H are divided among the threads.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "arena.h"
#include "engine.h"
#include "profile.h"
#include "thread_pool.h"

namespace acdc {
namespace {

constexpr float kSteep = 8;  // powers of two between the least and the greatest value of a map: see Levels

// A step through n tasks that visits each task once, and neighbours far apart in time: prime to n, about 0.38 n.
int spread_step(int n) {
  int step = std::max(1, n * 3 / 8);
  while (std::gcd(step, n) != 1) ++step;
  return step;
}

}  // namespace

// Without wanted moments (never for the last stage), only the moments of the 3D points are computed, because the pose
// needs them.
void Engine::landmarks(Arena& arena, int threads, WantedMoments wanted, float* mean, float* covariance) const {
  const bool whole = wanted != WantedMoments::none;
  const int side = arena.side, maps = lanes_of_maps_, tasks = side / kRowsPerTask;
  Landmarks net = landmarks_;
  net.embedding = arena[Arena::kEmbedding];
  // low, high, peak: for each map its extremes, and the number of a pixel near the greatest logit.
  float *low = arena.levels(), *high = low + maps, *peak = high + maps, *scale = peak + maps, *shift = scale + maps;
  std::fill_n(low, maps, INFINITY);
  std::fill_n(high, maps, -INFINITY);
  // Maps are probably greatest where they were before, in this face's last stage or in the face before. So the pass
  // starts from the logits at those pixels, and can skip more tiles. The result is exact in any case. Rows go all over
  // H at first, for the same reason.
  kernels_.landmark_seed(net, peak, arena.scratch(0), low, high);
  auto own_extremes = [&](int slot) { return arena.extremes() + static_cast<int64_t>(slot) * kExtremes * maps; };
  for (int slot = 0; slot < threads; ++slot) std::memcpy(own_extremes(slot), low, sizeof(float) * kExtremes * maps);
  const int step = spread_step(tasks);
  auto extremes = [&](int64_t task, int slot) {
    float* own = own_extremes(slot);
    const int row = static_cast<int>(task * step % tasks) * kRowsPerTask;
    kernels_.landmark_extremes(net, row, row + kRowsPerTask, arena.scratch(slot), own, own + maps, own + 2 * maps);
  };
  parallel_for(tasks, threads, extremes);
  if (arena.clock) arena.clock->step("moments");
  for (int slot = 0; slot < threads; ++slot) {
    const float* own = own_extremes(slot);
    for (int l = 0; l < maps; ++l) {
      low[l] = std::min(low[l], own[l]);
      if (own[maps + l] > high[l]) high[l] = own[maps + l], peak[l] = own[2 * maps + l];
    }
  }
  kernels_.landmark_levels(low, high, lane_masked_.data(), maps, scale, shift);
  Levels levels = {high, scale, shift, {}, {}};
  for (int s = 0, map = 0; s < net.streams; ++s) {
    const bool solid = spec_.solid_maps && s + 1 == net.streams;
    levels.wanted[s] = whole ? wanted : solid && spec_.pose ? WantedMoments::mean : WantedMoments::none;
    const int end = map + net.blocks[s] * kernels_.lanes, all = end - map;
    int steep = 0;
    for (; map < end; ++map) steep += high[map] - low[map] >= kSteep;
    levels.steep[s] = 2 * steep > all;
  }
  auto moments = [&](int64_t task, int slot) {
    const int row = static_cast<int>(task) * kRowsPerTask;
    kernels_.landmark_moments(net, row, row + kRowsPerTask, levels, arena.scratch(slot),
                              arena.sums.data() + task * kSums * maps, arena.mask());
  };
  parallel_for(tasks, threads, moments);
  double* total = arena.sums.data();
  for (int t = 1; t < tasks; ++t) {
    const double* own = total + static_cast<int64_t>(t) * kSums * maps;
    for (int i = 0; i < (whole ? kSums : 3) * maps; ++i) total[i] += own[i];
  }
  for (size_t i = whole ? 0 : spec_.chain_maps; i < map_lane_.size(); ++i) {
    const int l = map_lane_[i];
    const double e = total[l], x = total[maps + l] / e, y = total[2 * maps + l] / e;
    const double area = static_cast<double>(side) * side;
    mean[2 * i] = static_cast<float>((x + 0.5) / side);
    mean[2 * i + 1] = static_cast<float>((y + 0.5) / side);
    if (!whole) continue;
    covariance[3 * i] = static_cast<float>(std::max(0., total[3 * maps + l] / e - x * x) / area);
    covariance[3 * i + 1] = static_cast<float>((total[4 * maps + l] / e - x * y) / area);
    covariance[3 * i + 2] = static_cast<float>(std::max(0., total[5 * maps + l] / e - y * y) / area);
  }
}

void Engine::head_pose(const float* mean, float* pose) const {
  const float* points = mean + 2 * spec_.chain_maps;
  for (int i = 0; i < 3; ++i) {
    double sum = pose_bias_[i];
    for (int j = 0; j < 2 * spec_.solid_maps; ++j) sum += pose_weight_[i * 2 * spec_.solid_maps + j] * points[j];
    pose[i] = static_cast<float>(sum);
  }
}

}  // namespace acdc
