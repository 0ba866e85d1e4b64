#include "engine.h"

#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <numeric>

#include "thread_pool.h"

namespace acdc {
namespace {

constexpr int kRowsPerTask = 4;             // of the passes over H: fixed, so that sums do not depend on the threads
constexpr int64_t kHeavyWeights = 4 << 20;  // bytes of weights that must not be read once per small block of tiles
constexpr int kHeavyTiles = 64;             // of a block of such a layer
constexpr int kSums = 6;
constexpr float kSteep = 8;  // powers of two between the least and the greatest value of a map: see Levels
constexpr int kIdleArenas =
    8;  // kept beside two for each thread, so that calls at ever other resolutions hold no more and more

// Guards all engines' lists of idle arenas; held across fork, so that a child finds them whole.
std::mutex& arena_lock() {
  static std::mutex* lock = [] {
    static std::mutex m;
    pthread_atfork([] { arena_lock().lock(); }, [] { arena_lock().unlock(); }, [] { arena_lock().unlock(); });
    return &m;
  }();
  return *lock;
}

// A step that visits all of n tasks, near ones far apart in time: prime to n, about 0.38 n.
int spread_step(int n) {
  int step = std::max(1, n * 3 / 8);
  while (std::gcd(step, n) != 1) ++step;
  return step;
}

int points_of(ConvKind kind) { return kind == ConvKind::down ? 81 : 36; }

int tiles_along(int size) { return (size + 3) / 4; }

// Floats of V (of two bfloat16 values each, it may be) and M for a block of `count` tiles.
int64_t v_floats(const Conv& conv, int count, int lanes) {
  const int64_t floats =
      points_of(conv.kind) * (static_cast<int64_t>(conv.in_blocks) * count * lanes * conv.value_bytes / 4 + lanes);
  return (floats + 15) / 16 * 16;
}
int64_t m_floats(const Conv& conv, int count, int lanes) {
  return points_of(conv.kind) * (static_cast<int64_t>(conv.out_blocks) * count + 1) * lanes;
}

// How the tiles of a layer are cut. Results do not depend on it.
struct Blocking {
  bool by_points;  // one block at a time, its products shared out over threads by groups of points
  int count;       // tiles of a block
};

Blocking blocking(const Conv& conv, int tiles, int threads, int lanes) {
  const int64_t weight_bytes = 36ll * conv.inputs * conv.out_blocks * lanes * conv.value_bytes;
  if (weight_bytes >= kHeavyWeights) return {true, std::min(tiles, kHeavyTiles)};
  const int64_t tile_bytes = points_of(conv.kind) * (conv.in_blocks * conv.value_bytes + conv.out_blocks * 4ll) * lanes;
  // V and M of a block share L2 with the weights: small blocks while those are small, else enough tiles to pay for
  // reading them.
  const int64_t block_bytes = std::min<int64_t>(1 << 20, std::max<int64_t>(1 << 18, weight_bytes / 2));
  int count = static_cast<int>(std::max<int64_t>(8, block_bytes / tile_bytes));
  int blocks = (tiles + count - 1) / count;
  blocks = (blocks + threads - 1) / threads * threads;
  count = std::max(1, (tiles + blocks - 1) / blocks);
  return {false, count};
}

}  // namespace

Buffer::Buffer(int64_t floats) : floats_(floats) {
  // Large ones in large pages where the system gives them: fewer walks through page tables while weights stream by.
  constexpr size_t kLargePage = 2 << 20;
  const size_t wanted = std::max<size_t>(static_cast<size_t>(floats) * sizeof(float), 64);
  const size_t unit = wanted >= kLargePage ? kLargePage : 64, bytes = (wanted + unit - 1) / unit * unit;
  void* p = std::aligned_alloc(unit, bytes);
  if (!p) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
  if (unit == kLargePage) madvise(p, bytes, MADV_HUGEPAGE);
#endif
  std::memset(p, 0, bytes);
  data_.reset(static_cast<float*>(p));
}

void Buffer::Free::operator()(float* p) const { std::free(p); }

namespace {

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Takes the times of a profile.
struct Clock {
  explicit Clock(int threads) : parts(threads) {}

  void step(const std::string& name) {
    const double now = seconds_now();
    if (!last_name.empty()) profile.emplace_back(last_name, now - last);
    static const char* const names[3] = {"/input", "/product", "/output"};
    for (int i = 0; i < 3 && !last_name.empty(); ++i) {
      double sum = 0;
      for (auto& slot : parts) sum += slot[i], slot[i] = 0;
      if (sum > 0) profile.emplace_back(last_name + names[i], sum);
    }
    last_name = name;
    last = seconds_now();
  }

  Profile profile;
  std::vector<std::array<double, 3>> parts;  // of a convolution, by thread
  std::string last_name;
  double last = 0;
};

// Adds the time since the last call to a part of the current step; does nothing unless a profile is taken.
class Lap {
 public:
  Lap(Clock* clock, int slot) : clock_(clock), slot_(slot), last_(clock ? seconds_now() : 0) {}
  void end(int part) const {
    if (!clock_) return;
    const double now = seconds_now();
    clock_->parts[slot_][part] += now - last_;
    last_ = now;
  }

 private:
  Clock* clock_;
  int slot_;
  mutable double last_;
};

}  // namespace

// All memory of one run at one resolution: every activation in its own place (their frames of zeros stay zero for
// ever), scratch for each thread, sums of the passes over H.
class Arena {
 public:
  // Activations: x is the stem's output, h the embedding; an up layer adds to its skip in place.
  enum Name { kX, kSkip1, kDown1, kSkip2, kDown2, kSkip3, kDown3, kDecode3, kDecode2, kEmbedding, kNames };

  // Those at full resolution are of float32, the others of the kernels' values.
  Arena(int side, int threads, int lanes, int value_bytes, const EngineSpec& spec, int maps, int64_t scratch_floats)
      : side(side), threads(threads), scratch_floats(scratch_floats) {
    const int w = spec.width;
    const struct {
      int shrink, channels;
    } plan[kNames] = {{1, w},     {1, w},     {2, w},     {2, 2 * w}, {4, 2 * w},
                      {4, 4 * w}, {8, 4 * w}, {4, 2 * w}, {2, w},     {1, w}};
    int64_t start[kNames], total = 0;
    for (int i = 0; i < kNames; ++i) {
      const int size = side / plan[i].shrink, channels = (plan[i].channels + lanes - 1) / lanes * lanes;
      // One pixel of frame before; behind it as far as the last tile's patch reaches: 8·tiles + 1 for a stride of 2.
      const int reach = (size + 7) / 8 * 8 + 2;
      const int64_t pitch = static_cast<int64_t>(reach + 1) * channels;
      const bool half = value_bytes == 2 && plan[i].shrink > 1;
      const int per_float = half ? 2 : 1;  // channels are even
      start[i] = total + (pitch + channels) / per_float;
      total += pitch * (reach + 1) / per_float + lanes;  // vectors of a stream may begin within the last pixel
      tensors[i] = {nullptr, size, size, channels, pitch, half};
    }
    const int64_t tasks = side / kRowsPerTask;
    parts[0] = total, total += 2ll * threads * maps;                                  // extremes
    parts[1] = total, total += 4ll * maps;                                         // low, high, scale, shift
    parts[2] = total, total += static_cast<int64_t>(side) * side;                  // mask
    parts[3] = total, total += (2 + 2ll * w) * ((w + lanes - 1) / lanes * lanes);  // stem weights
    total = (total + 15) / 16 * 16;
    parts[4] = total, total += scratch_floats * threads;
    memory = Buffer(total);
    for (int i = 0; i < kNames; ++i) tensors[i].data = memory.data() + start[i];
    sums.resize(tasks * kSums * maps);
  }

  const Tensor& operator[](Name name) const { return tensors[name]; }
  float* extremes() const { return memory.data() + parts[0]; }
  float* levels() const { return memory.data() + parts[1]; }
  float* mask() const { return memory.data() + parts[2]; }
  float* stem() const { return memory.data() + parts[3]; }
  float* scratch(int slot) const { return memory.data() + parts[4] + slot * scratch_floats; }
  int64_t bytes() const { return memory.bytes() + static_cast<int64_t>(sums.size() * sizeof(double)); }

  const int side, threads;
  std::vector<double> sums;  // [task][kSums][maps]
  Clock* clock = nullptr;    // set while a profile is taken

 private:
  const int64_t scratch_floats;
  Tensor tensors[kNames];
  int64_t parts[5];
  Buffer memory;
};

void DeleteArena::operator()(Arena* arena) const { delete arena; }

ArenaHandle Engine::take_arena(int side, int threads) {
  {
    std::lock_guard<std::mutex> lock(arena_lock());
    for (auto it = arenas_.begin(); it != arenas_.end(); ++it) {
      if ((*it)->side == side && (*it)->threads == threads) {
        ArenaHandle found = std::move(*it);
        arenas_.erase(it);
        return found;
      }
    }
  }
  const int lanes = kernels_.lanes, sizes[12] = {1, 2, 2, 4, 4, 8, 4, 4, 2, 2, 1, 1};
  int64_t scratch = landmark_strip_floats(landmarks_.inputs, lanes) + kSums * lanes_of_maps_;
  for (int i = 0; i < 12; ++i) {
    const Conv& conv = stages_[0].layers[i].conv;
    const int across = tiles_along(side / sizes[i]);
    const Blocking cut = blocking(conv, across * across, threads, lanes);
    const int64_t needed = v_floats(conv, cut.count, lanes) + m_floats(conv, cut.count, lanes);
    scratch = std::max(scratch, cut.by_points ? (needed + threads - 1) / threads : needed);
  }
  scratch = (scratch + 15) / 16 * 16;
  return ArenaHandle(new Arena(side, threads, lanes, conv_kernels_.value_bytes, spec_, lanes_of_maps_, scratch));
}

void Engine::give_back(ArenaHandle arena) {
  ArenaHandle oldest;  // freed after the lock is let go
  std::lock_guard<std::mutex> lock(arena_lock());
  arenas_.push_back(std::move(arena));
  if (arenas_.size() > static_cast<size_t>(kIdleArenas + 2 * threads_)) {
    oldest = std::move(arenas_.front());
    arenas_.erase(arenas_.begin());
  }
}

int64_t Engine::arena_bytes() const {
  std::lock_guard<std::mutex> lock(arena_lock());
  int64_t total = 0;
  for (const auto& arena : arenas_) total += arena->bytes();
  return total;
}

void Engine::convolve(Arena& arena, const Layer& layer, const Tensor& in, const Tensor& out, int threads) const {
  const Conv& conv = layer.conv;
  const Kernels& k = conv.value_bytes == 4 ? kernels_ : conv_kernels_;
  const int columns = tiles_along(out.width), tiles = columns * tiles_along(out.height);
  const Blocking cut = blocking(conv, tiles, threads, k.lanes);
  if (!cut.by_points) {
    auto body = [&](int64_t task, int slot) {
      const int first = static_cast<int>(task) * cut.count, count = std::min(cut.count, tiles - first);
      float* v = arena.scratch(slot);
      const TileBlock block = {first, count, v, v + v_floats(conv, count, k.lanes)};
      const Lap lap(arena.clock, slot);
      k.conv_input(conv, in, columns, block, 0, count);
      lap.end(0);
      k.conv_product(conv, 0, 36, block);
      lap.end(1);
      k.conv_output(conv, out, columns, block, 0, count);
      lap.end(2);
    };
    return parallel_for((tiles + cut.count - 1) / cut.count, threads, body);
  }
  for (int first = 0; first < tiles; first += cut.count) {
    const int count = std::min(cut.count, tiles - first);
    const TileBlock whole = {first, count, arena.scratch(0), arena.scratch(0) + v_floats(conv, count, k.lanes)};
    auto inputs = [&](int64_t tile, int slot) {
      const Lap lap(arena.clock, slot);
      k.conv_input(conv, in, columns, whole, static_cast<int>(tile), static_cast<int>(tile) + 1);
      lap.end(0);
    };
    auto products = [&](int64_t task, int slot) {
      const Lap lap(arena.clock, slot);
      const int group = 35 - static_cast<int>(task);  // the largest groups of `down` first
      k.conv_product(conv, group, group + 1, whole);
      lap.end(1);
    };
    auto outputs = [&](int64_t tile, int slot) {
      const Lap lap(arena.clock, slot);
      k.conv_output(conv, out, columns, whole, static_cast<int>(tile), static_cast<int>(tile) + 1);
      lap.end(2);
    };
    parallel_for(count, threads, inputs);
    parallel_for(36, threads, products);
    parallel_for(count, threads, outputs);
  }
}

constexpr const char* kLayerNames[12] = {"encode1", "down1",   "encode2", "down2",   "encode3", "down3",
                                         "up3",     "decode3", "up2",     "decode2", "up1",     "decode1"};

void Engine::unet(Arena& a, const Stage& stage, int threads) const {
  static const struct {
    Arena::Name in, out;
  } plan[12] = {{Arena::kX, Arena::kSkip1},       {Arena::kSkip1, Arena::kDown1},   {Arena::kDown1, Arena::kSkip2},
                {Arena::kSkip2, Arena::kDown2},   {Arena::kDown2, Arena::kSkip3},   {Arena::kSkip3, Arena::kDown3},
                {Arena::kDown3, Arena::kSkip3},   {Arena::kSkip3, Arena::kDecode3}, {Arena::kDecode3, Arena::kSkip2},
                {Arena::kSkip2, Arena::kDecode2}, {Arena::kDecode2, Arena::kSkip1}, {Arena::kSkip1, Arena::kEmbedding}};
  for (int i = 0; i < 12; ++i) {
    if (a.clock) a.clock->step(std::to_string(&stage - stages_.data()) + "." + kLayerNames[i]);
    convolve(a, stage.layers[i], a[plan[i].in], a[plan[i].out], threads);
  }
}

// A stage that is not `whole` is followed by another and told to nobody: of its moments it gives what the pose needs.
void Engine::landmarks(Arena& arena, int threads, bool whole, float* mean, float* covariance) const {
  const int side = arena.side, maps = lanes_of_maps_, tasks = side / kRowsPerTask;
  Landmarks net = landmarks_;
  net.embedding = arena[Arena::kEmbedding];
  float *low = arena.levels(), *high = low + maps, *scale = high + maps, *shift = scale + maps;
  for (int slot = 0; slot < threads; ++slot) {
    float* own = arena.extremes() + static_cast<int64_t>(slot) * 2 * maps;
    std::fill_n(own, maps, INFINITY);
    std::fill_n(own + maps, maps, -INFINITY);
  }
  // What a thread has seen spares it tiles, and is exact whatever it was; rows all over H first.
  const int step = spread_step(tasks);
  auto extremes = [&](int64_t task, int slot) {
    float* own = arena.extremes() + static_cast<int64_t>(slot) * 2 * maps;
    const int row = static_cast<int>(task * step % tasks) * kRowsPerTask;
    kernels_.landmark_extremes(net, row, row + kRowsPerTask, arena.scratch(slot), own, own + maps);
  };
  parallel_for(tasks, threads, extremes);
  if (arena.clock) arena.clock->step("moments");
  std::memcpy(low, arena.extremes(), sizeof(float) * 2 * maps);
  for (int slot = 1; slot < threads; ++slot) {
    const float* own = arena.extremes() + static_cast<int64_t>(slot) * 2 * maps;
    for (int l = 0; l < maps; ++l) {
      low[l] = std::min(low[l], own[l]);
      high[l] = std::max(high[l], own[maps + l]);
    }
  }
  kernels_.landmark_levels(low, high, lane_masked_.data(), maps, scale, shift);
  Levels levels = {high, scale, shift, {}, {}};
  for (int s = 0, map = 0; s < net.streams; ++s) {
    const bool solid = spec_.solid_maps && s + 1 == net.streams;
    levels.wanted[s] = whole ? Moments::all : solid && spec_.pose ? Moments::mean : Moments::none;
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

// Mean over the maps of the root of the covariance's trace, crop units.
static double mean_spread(const float* covariance, int64_t maps) {
  double sum = 0;
  for (int64_t l = 0; l < maps; ++l) sum += std::sqrt(static_cast<double>(covariance[3 * l]) + covariance[3 * l + 2]);
  return sum / static_cast<double>(maps);
}

void Engine::head_pose(const float* mean, float* pose) const {
  const float* points = mean + 2 * spec_.chain_maps;
  for (int i = 0; i < 3; ++i) {
    double sum = pose_bias_[i];
    for (int j = 0; j < 2 * spec_.solid_maps; ++j) sum += pose_weight_[i * 2 * spec_.solid_maps + j] * points[j];
    pose[i] = static_cast<float>(sum);
  }
}

void Engine::fused_stem(Arena& arena, const Stage& stage, const float* crop, const float* pose, int threads) const {
  const int w = spec_.width, inputs = 2 + 2 * w, lanes = kernels_.lanes;
  std::vector<double> excitation(inputs, 1.0);
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
  const Stem stem = {arena[Arena::kEmbedding], crop, arena.mask(), w, arena.stem(), stage.stem_bias.data(),
                     arena[Arena::kX]};
  auto body = [&](int64_t task, int) {
    const int row = static_cast<int>(task) * kRowsPerTask;
    kernels_.stem_fused(stem, row, row + kRowsPerTask);
  };
  parallel_for(arena.side / kRowsPerTask, threads, body);
}

void Engine::run_crop(Arena& arena, const float* crop, int stages, int threads, int64_t index, int64_t batch,
                      const EngineOutput& out) const {
  const int64_t maps = spec_.chain_maps + spec_.solid_maps, area = static_cast<int64_t>(arena.side) * arena.side;
  auto first_stem = [&](int64_t task, int) {
    const int row = static_cast<int>(task) * kRowsPerTask;
    kernels_.stem_image(crop, stages_[0].stem_weight.data(), stages_[0].stem_bias.data(), row, row + kRowsPerTask,
                        arena[Arena::kX]);
  };
  parallel_for(arena.side / kRowsPerTask, threads, first_stem);
  for (int s = 0; s < stages; ++s) {
    bool last = s + 1 == stages;
    const int64_t at =
        (out.all_stages ? s * batch : 0) + index;  // unless all are kept, later stages write over earlier ones
    float *mean = out.mean + at * maps * 2, *pose = out.pose ? out.pose + at * 3 : nullptr;
    unet(arena, stages_[s], threads);
    if (arena.clock) arena.clock->step("extremes");
    float* covariance = out.covariance + at * maps * 3;
    const bool may_end = !last && out.enough > 0;
    landmarks(arena, threads, last || may_end || out.all_stages, mean, covariance);
    last = last || (may_end && mean_spread(covariance, maps) <= out.enough);
    const bool keep_mask = out.mask && (last || out.all_stages);
    if (spec_.pose) head_pose(mean, pose);
    if (keep_mask) std::memcpy(out.mask + at * area, arena.mask(), area * sizeof(float));
    if (arena.clock) arena.clock->step("stem");
    if (out.depth) out.depth[index] = s + 1;
    if (last) return;
    fused_stem(arena, stages_[s + 1], crop, pose, threads);
  }
}

Profile Engine::profile(const float* crop, int side, const EngineOutput& out) {
  ArenaHandle arena = take_arena(side, threads_);
  Clock clock(threads_);
  arena->clock = &clock;
  clock.step("stem");
  run_crop(*arena, crop, spec_.stages, threads_, 0, 1, out);
  clock.step("");
  arena->clock = nullptr;
  give_back(std::move(arena));
  return clock.profile;
}

void Engine::run(const float* crops, int batch, int side, int stages, const EngineOutput& out) {
  const int64_t area = static_cast<int64_t>(side) * side;
  // Whole crops go round the threads while there are enough of them; all threads share each crop that is left over.
  const int shared = threads_ > 1 ? batch % threads_ : batch, alone = batch - shared;
  if (alone) {
    std::vector<ArenaHandle> arenas(threads_);
    for (auto& arena : arenas) arena = take_arena(side, 1);
    auto body = [&](int64_t i, int slot) { run_crop(*arenas[slot], crops + i * area, stages, 1, i, batch, out); };
    parallel_for(alone, threads_, body);
    for (auto& arena : arenas) give_back(std::move(arena));
  }
  if (!shared) return;
  ArenaHandle arena = take_arena(side, threads_);
  for (int i = alone; i < batch; ++i) run_crop(*arena, crops + i * area, stages, threads_, i, batch, out);
  give_back(std::move(arena));
}

}  // namespace acdc
