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

// Adds the sums of all tasks to those of the first. Each task's sums of map l are in units of 2^row[l], row being its
// last one, a whole number; the result is in units of the greatest, and the factors are exact.
void join_sums(double* total, int tasks, int maps, int rows) {
  constexpr int kChunk = 32;
  double* const unit = total + static_cast<int64_t>(kSums) * maps;
  for (int t = 1; t < tasks; ++t) {
    const double* own = total + static_cast<int64_t>(t) * kSumRows * maps;
    const double* own_unit = own + static_cast<int64_t>(kSums) * maps;
    for (int first = 0; first < maps; first += kChunk) {
      const int count = std::min(kChunk, maps - first);
      double mine[kChunk], theirs[kChunk];
      for (int i = 0; i < count; ++i) {
        const double old = unit[first + i], other = own_unit[first + i];
        mine[i] = other > old ? std::exp2(old - other) : 1;
        theirs[i] = other < old ? std::exp2(other - old) : 1;
        if (other > old) unit[first + i] = other;
      }
      for (int row = 0; row < rows; ++row) {
        double* const to = total + static_cast<int64_t>(row) * maps + first;
        const double* const from = own + static_cast<int64_t>(row) * maps + first;
        for (int i = 0; i < count; ++i) to[i] = to[i] * mine[i] + from[i] * theirs[i];
      }
    }
  }
}

}  // namespace

// The first pass: low, high and peak of arena.levels(), for the maps of masked streams.
void Engine::extremes(Arena& arena, const MapSet& set, const Landmarks& net, int threads) const {
  const int maps = set.lanes, tasks = arena.side / kRowsPerTask;
  // low, high, peak: for each map its extremes, and the number of a pixel near the greatest logit.
  float *low = arena.levels(), *high = low + maps, *peak = high + maps;
  std::fill_n(low, maps, INFINITY);
  std::fill_n(high, maps, -INFINITY);
  std::fill_n(peak, maps, 0.f);
  for (size_t i = 0; i < set.map.size(); ++i) peak[set.lane[i]] = arena.peaks[set.map[i]];
  // Maps are probably greatest where they were before, in this face's last stage or in the face before. So the pass
  // starts from the logits at those pixels, and can skip more tiles. The result is exact in any case. Rows go all over
  // H at first, for the same reason.
  kernels_.landmark_seed(net, peak, arena.scratch(0), low, high);
  auto own_extremes = [&](int slot) { return arena.extremes() + static_cast<int64_t>(slot) * kExtremes * maps; };
  for (int slot = 0; slot < threads; ++slot) std::memcpy(own_extremes(slot), low, sizeof(float) * kExtremes * maps);
  const int step = spread_step(tasks);
  auto pass = [&](int64_t task, int slot) {
    float* own = own_extremes(slot);
    const int row = static_cast<int>(task * step % tasks) * kRowsPerTask;
    kernels_.landmark_extremes(net, row, row + kRowsPerTask, arena.scratch(slot), own, own + maps, own + 2 * maps);
  };
  parallel_for(tasks, threads, pass);
  for (int slot = 0; slot < threads; ++slot) {
    const float* own = own_extremes(slot);
    for (int l = 0; l < maps; ++l) {
      low[l] = std::min(low[l], own[l]);
      if (own[maps + l] > high[l]) high[l] = own[maps + l], peak[l] = own[2 * maps + l];
    }
  }
  for (size_t i = 0; i < set.map.size(); ++i) arena.peaks[set.map[i]] = peak[set.lane[i]];
}

// `moments`: all of them are wanted; otherwise only the means of the 3D points, because the pose needs them. Without
// `mask` no extremes are needed: the second pass then makes its own reference for each map.
void Engine::landmarks(Arena& arena, const MapSet& set, int threads, bool moments, bool mask, float* mean,
                       float* covariance) const {
  const int side = arena.side, maps = set.lanes, tasks = side / kRowsPerTask;
  Landmarks net = set.net;
  net.embedding = arena[Arena::kEmbedding];
  for (int s = 0; s < net.streams; ++s) net.masked[s] = net.masked[s] && mask;
  float *low = arena.levels(), *high = low + maps, *scale = low + kExtremes * maps, *shift = scale + maps;
  if (arena.clock) arena.clock->step("extremes");
  if (mask) extremes(arena, set, net, threads);
  if (arena.clock) arena.clock->step("moments");
  if (mask) kernels_.landmark_levels(low, high, set.lane_masked.data(), maps, scale, shift);
  Levels levels = {high, scale, shift, {}, {}};
  for (int s = 0, map = 0; s < net.streams; ++s) {
    levels.wanted[s] = moments ? WantedSums::all : set.solid[s] && spec_.pose ? WantedSums::mean : WantedSums::none;
    const int end = map + net.blocks[s] * kernels_.lanes, all = end - map;
    int steep = 0;
    for (; map < end && net.masked[s]; ++map) steep += high[map] - low[map] >= kSteep;
    levels.steep[s] = 2 * steep > all;
    map = end;
  }
  auto pass = [&](int64_t task, int slot) {
    const int row = static_cast<int>(task) * kRowsPerTask;
    kernels_.landmark_moments(net, row, row + kRowsPerTask, levels, arena.scratch(slot),
                              arena.sums.data() + task * kSumRows * maps, arena.mask());
  };
  parallel_for(tasks, threads, pass);
  join_sums(arena.sums.data(), tasks, maps, moments ? kSums : 3);
  const double* total = arena.sums.data();
  for (size_t i = 0; i < set.map.size(); ++i) {
    const int l = set.lane[i], m = set.map[i];
    if (!moments && m < spec_.chain_maps) continue;
    const double e = total[l], x = total[maps + l] / e, y = total[2 * maps + l] / e;
    const double area = static_cast<double>(side) * side;
    mean[2 * m] = static_cast<float>((x + 0.5) / side);
    mean[2 * m + 1] = static_cast<float>((y + 0.5) / side);
    if (!moments) continue;
    covariance[3 * m] = static_cast<float>(std::max(0., total[3 * maps + l] / e - x * x) / area);
    covariance[3 * m + 1] = static_cast<float>((total[4 * maps + l] / e - x * y) / area);
    covariance[3 * m + 2] = static_cast<float>(std::max(0., total[5 * maps + l] / e - y * y) / area);
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
