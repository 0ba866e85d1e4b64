#include "arena.h"

#include <pthread.h>
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>

#include "blocking.h"
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace acdc {
namespace {

// Under AddressSanitizer an arena's regions lie apart, and what is between them is forbidden.
#if defined(__SANITIZE_ADDRESS__)
constexpr int64_t kFence = 64;  // floats
void forbid(float* p) { __asan_poison_memory_region(p, kFence * sizeof(float)); }
#else
constexpr int64_t kFence = 0;
void forbid(float*) {}
#endif

// Idle arenas are kept for the next call: at most kIdleArenas and two more for each thread. Beyond kIdleBytes only
// those of the last call's side are kept, so calls at ever new resolutions do not hold more and more memory.
constexpr int kIdleArenas = 8;
constexpr int64_t kIdleBytes = 256ll << 20;

// Guards the lists of idle arenas of all engines. It is held across fork, so that a child finds the lists whole.
std::mutex& arena_lock() {
  static std::mutex* lock = [] {
    static std::mutex m;
    pthread_atfork([] { arena_lock().lock(); }, [] { arena_lock().unlock(); }, [] { arena_lock().unlock(); });
    return &m;
  }();
  return *lock;
}

}  // namespace

Buffer::Buffer(int64_t floats) : floats_(floats) {
  // Large buffers use large pages if the system has them: fewer page table walks while weights stream by.
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

Arena::Arena(int side, int threads, int lanes, int value_bytes, const EngineSpec& spec, int maps,
             int64_t scratch_floats)
    : side(side), threads(threads), patch(spec.patch), scratch_floats(scratch_floats) {
  const int w = spec.width;
  const struct {
    int shrink, channels;
  } plan[kNames] = {{1, w}, {1, w}, {2, w}, {2, 2 * w}, {4, 2 * w}, {4, 4 * w}, {8, 4 * w}, {4, 2 * w}, {2, w}, {1, w}};
  int64_t start[kNames], total = 0;
  std::vector<int64_t> fences;
  const auto fence = [&] { fences.push_back(total), total += kFence; };
  for (int i = 0; i < kNames; ++i) {
    const int size = side / plan[i].shrink, channels = (plan[i].channels + lanes - 1) / lanes * lanes;
    // One pixel of frame before, and behind as far as the last tile's patch reaches: 8·tiles + 1 for stride 2.
    const int reach = (size + 7) / 8 * 8 + 2;
    const int64_t pitch = static_cast<int64_t>(reach + 1) * channels;
    const bool half = value_bytes == 2 && plan[i].shrink > 1;
    const int per_float = half ? 2 : 1;  // channels are even
    start[i] = total + (pitch + channels) / per_float;
    total += pitch * (reach + 1) / per_float + lanes;  // a stream's vectors may begin within the last pixel
    fence();
    tensors[i] = {nullptr, size, size, channels, pitch, half};
  }
  const int64_t tasks = side / kRowsPerTask;
  parts[0] = total, total += static_cast<int64_t>(kExtremes) * threads * maps, fence();
  parts[1] = total, total += (kExtremes + 2ll) * maps, fence();                           // extremes, scale, shift
  parts[2] = total, total += static_cast<int64_t>(side) * side, fence();                  // mask
  parts[5] = total, total += image_pitch() * image_pitch(), fence();                      // crop
  parts[6] = total, total += patch > 1 ? static_cast<int64_t>(side) * side : 0, fence();  // crop averaged
  parts[3] = total, total += (2 + 2ll * w) * ((w + lanes - 1) / lanes * lanes), fence();  // stem weights
  total = (total + 15) / 16 * 16;
  parts[4] = total, total += scratch_floats * threads, fence();  // of all threads: a convolution may share it
  memory = Buffer(total);
  for (const int64_t at : fences) forbid(memory.data() + at);
  for (int i = 0; i < kNames; ++i) tensors[i].data = memory.data() + start[i];
  sums.resize(tasks * kSumRows * maps);
  peaks.assign(spec.chain_maps + spec.solid_maps, 0.f);
  excitation.assign(2 + 2 * w, 1.0);
}

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
  int64_t scratch = landmark_strip_floats(spec_.stream_inputs, lanes) + (kSums + 2) * lanes_of_maps_;
  for (int i = stages_.size() > 1 ? 0 : 1; i < 12; ++i) {  // encode1 of the first stage needs no scratch
    const Conv& conv = stages_.back().layers[i].conv;
    const int across = tiles_along(side / sizes[i]);
    const Blocking cut = blocking(conv, across * across, threads, lanes);
    const int64_t needed = block_floats(conv, cut, threads, lanes);
    scratch = std::max(scratch, cut.by_points ? (needed + threads - 1) / threads : needed);
  }
  scratch = (scratch + 15) / 16 * 16;
  return ArenaHandle(new Arena(side, threads, lanes, conv_kernels_.value_bytes, spec_, lanes_of_maps_, scratch));
}

void Engine::give_back(ArenaHandle arena) {
  std::vector<ArenaHandle> freed;  // destroyed after the lock is released
  std::lock_guard<std::mutex> lock(arena_lock());
  const int side = arena->side;
  arenas_.push_back(std::move(arena));
  int64_t total = 0;
  for (const auto& idle : arenas_) total += idle->bytes();
  // The oldest go first. Those of this side stay while they are few, because the next call most likely needs them.
  const auto many = static_cast<size_t>(kIdleArenas + 2 * threads_);
  for (auto it = arenas_.begin(); it != arenas_.end();) {
    if (arenas_.size() <= many && (total <= kIdleBytes || (*it)->side == side)) {
      ++it;
      continue;
    }
    total -= (*it)->bytes();
    freed.push_back(std::move(*it));
    it = arenas_.erase(it);
  }
}

// Packing takes microseconds. A set is kept for the next call; callers ask for few different ones.
std::shared_ptr<const MapSet> Engine::map_set(const std::vector<unsigned char>& wanted) {
  constexpr size_t kSets = 16;
  std::lock_guard<std::mutex> lock(arena_lock());
  if (const auto it = map_sets_.find(wanted); it != map_sets_.end()) return it->second;
  if (map_sets_.size() >= kSets) map_sets_.clear();
  return map_sets_[wanted] = std::make_shared<const MapSet>(pack_maps(wanted));
}

int64_t Engine::arena_bytes() const {
  std::lock_guard<std::mutex> lock(arena_lock());
  int64_t total = 0;
  for (const auto& arena : arenas_) total += arena->bytes();
  return total;
}

}  // namespace acdc
