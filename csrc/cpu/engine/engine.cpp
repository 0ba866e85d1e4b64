// A run: stem, U-Net, geometry transfer and fusion, stage by stage and crop by crop.
#include "engine.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "arena.h"
#include "profile.h"
#include "thread_pool.h"

namespace acdc {

// Mean over the maps of the root of the covariance's trace, crop units.
static double mean_spread(const float* covariance, int64_t maps) {
  double sum = 0;
  for (int64_t l = 0; l < maps; ++l) sum += std::sqrt(static_cast<double>(covariance[3 * l]) + covariance[3 * l + 2]);
  return sum / static_cast<double>(maps);
}

void Engine::fused_stem(Arena& arena, const Stage& stage, const float* image, const float* pose, int threads) const {
  const int w = spec_.width, inputs = 2 + 2 * w, lanes = kernels_.lanes;
  std::vector<double>& excitation = arena.excitation;
  for (int c = 0; c < inputs && spec_.excitation; ++c) {
    double sum = stage.excite_bias[c];
    for (int i = 0; i < 3; ++i) sum += stage.excite_weight[c * 3 + i] * pose[i];
    excitation[c] = 1 / (1 + std::exp(-sum));
  }
  // Columns of the stem's weight: I, I⊙Φ, H, H⊙Φ.
  for (int o = 0; o < w; ++o) {
    const double* row = &stage.stem[static_cast<int64_t>(o) * inputs];
    float* packed = arena.stem() + static_cast<int64_t>(o / lanes) * (1 + w) * 2 * lanes + o % lanes;
    packed[0] = static_cast<float>(row[0] * excitation[0]);
    packed[lanes] = static_cast<float>(row[1] * excitation[1]);
    for (int c = 0; c < w; ++c) {
      packed[(1 + c) * 2 * lanes] = static_cast<float>(row[2 + c] * excitation[2 + c]);
      packed[(1 + c) * 2 * lanes + lanes] = static_cast<float>(row[2 + w + c] * excitation[2 + w + c]);
    }
  }
  const Stem stem = {arena[Arena::kEmbedding], image,           arena.mask(), w, arena.stem(),
                     stage.stem_bias.data(),   arena[Arena::kX]};
  auto body = [&](int64_t task, int) {
    const int row = static_cast<int>(task) * kRowsPerTask;
    kernels_.stem_fused(stem, row, row + kRowsPerTask);
  };
  parallel_for(arena.side / kRowsPerTask, threads, body);
}

// The crop as later stages see it: its mean over each patch.
const float* Engine::averaged(const Arena& arena, const float* crop) const {
  const int side = arena.side, p = spec_.patch;
  if (p == 1) return crop;
  const float share = 1.f / static_cast<float>(p * p);
  for (int y = 0; y < side; ++y) {
    for (int x = 0; x < side; ++x) {
      float sum = 0;
      for (int i = 0; i < p; ++i) {
        const float* row = crop + (static_cast<int64_t>(y * p + i) * side + x) * p;
        for (int j = 0; j < p; ++j) sum += row[j];
      }
      arena.small()[y * side + x] = sum * share;
    }
  }
  return arena.small();
}

// Stem and encode1 of the first stage, on the crop.
void Engine::first_layer(Arena& arena, const float* crop, int threads) const {
  const int side = arena.side * spec_.patch;
  for (int y = 0; y < side; ++y) {
    std::memcpy(arena.image() + y * arena.image_pitch(), crop + static_cast<int64_t>(y) * side, side * sizeof(float));
  }
  const FirstLayer layer = {arena.image(),         arena.image_pitch(), spec_.patch,
                            first_weights_.data(), first_bias_.data(),  arena[Arena::kSkip1]};
  auto body = [&](int64_t task, int) {
    const int row = static_cast<int>(task) * kRowsPerTask;
    kernels_.stem_encode1(layer, row, row + kRowsPerTask);
  };
  parallel_for(arena.side / kRowsPerTask, threads, body);
}

Engine::StageMaps Engine::stage_maps(const EngineOutput& out) {
  const size_t count = spec_.masked.size();
  std::vector<unsigned char> asked = out.asked, inner(count);
  if (asked.empty() || out.enough > 0) asked.assign(count, 1);
  for (size_t l = 0; l < count; ++l) {
    const bool posed = spec_.pose && l >= static_cast<size_t>(spec_.chain_maps);
    inner[l] = spec_.masked[l] || posed;
    asked[l] |= posed;
  }
  std::vector<unsigned char> kept = asked;
  for (size_t l = 0; l < count; ++l) kept[l] |= spec_.masked[l];
  return {map_set(inner), map_set(kept), map_set(out.mask ? kept : asked)};
}

void Engine::run_crop(Arena& arena, const float* crop, const StageMaps& sets, int stages, int threads, int64_t index,
                      int64_t batch, const EngineOutput& out) const {
  const int64_t maps = spec_.chain_maps + spec_.solid_maps, area = static_cast<int64_t>(arena.side) * arena.side;
  first_layer(arena, crop, threads);
  const float* image = stages > 1 ? averaged(arena, crop) : nullptr;
  for (int s = 0; s < stages; ++s) {
    bool last = s + 1 == stages;
    const int64_t at =
        (out.all_stages ? s * batch : 0) + index;  // if not all are kept, a stage overwrites the one before
    float *mean = out.mean + at * maps * 2, *pose = out.pose ? out.pose + at * 3 : nullptr;
    unet(arena, s, threads);
    float* covariance = out.covariance + at * maps * 3;
    const bool may_end = !last && out.enough > 0;
    const bool kept = !last && (may_end || out.all_stages);
    const MapSet& set = last ? *sets.last : kept ? *sets.kept : *sets.inner;
    landmarks(arena, set, threads, last || kept, !last || out.mask, mean, covariance);
    last = last || (may_end && mean_spread(covariance, maps) <= out.enough);
    const bool keep_mask = out.mask && (last || out.all_stages);
    if (spec_.pose) head_pose(mean, pose);
    if (keep_mask) std::memcpy(out.mask + at * area, arena.mask(), area * sizeof(float));
    if (arena.clock) arena.clock->step("stem");
    if (out.depth) out.depth[index] = s + 1;
    if (last) return;
    fused_stem(arena, stages_[s + 1], image, pose, threads);
  }
}

Profile Engine::profile(const float* crop, int side, const EngineOutput& out) {
  const StageMaps sets = stage_maps(out);
  ArenaHandle arena = take_arena(side, threads_);
  Clock clock(threads_);
  arena->clock = &clock;
  clock.step("stem");
  run_crop(*arena, crop, sets, spec_.stages, threads_, 0, 1, out);
  clock.step("");
  arena->clock = nullptr;
  give_back(std::move(arena));
  return clock.profile;
}

void Engine::run(const float* crops, int batch, int side, int stages, const EngineOutput& out) {
  const int64_t area = static_cast<int64_t>(side) * side * spec_.patch * spec_.patch;
  const StageMaps sets = stage_maps(out);
  // Each thread takes whole crops while there are enough. All threads share each of the crops that remain.
  const int shared = threads_ > 1 ? batch % threads_ : batch, alone = batch - shared;
  if (alone) {
    ArenaHandle first;
    for (int i = 0; i < threads_; ++i) {
      ArenaHandle arena = take_arena(side, 1);
      arena->next = std::move(first);
      first = std::move(arena);
    }
    auto body = [&](int64_t i, int slot) {
      Arena* own = first.get();
      for (int s = 0; s < slot; ++s) own = own->next.get();
      run_crop(*own, crops + i * area, sets, stages, 1, i, batch, out);
    };
    parallel_for(alone, threads_, body);
    while (first) {
      ArenaHandle rest = std::move(first->next);
      give_back(std::move(first));
      first = std::move(rest);
    }
  }
  if (!shared) return;
  ArenaHandle arena = take_arena(side, threads_);
  for (int i = alone; i < batch; ++i) run_crop(*arena, crops + i * area, sets, stages, threads_, i, batch, out);
  give_back(std::move(arena));
}

}  // namespace acdc
