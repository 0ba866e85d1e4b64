// Fibers, barriers and exchanges between lanes. See emulator.h.
#include <sys/mman.h>

#include <algorithm>
#include <memory>
#include <random>
#include <stdexcept>
#include <vector>

#include "fiber.h"
#include "machine.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#elif defined(EMULATOR_TSAN)  // this file is built without instrumentation, because its own exchanges are no races
#include <sanitizer/tsan_interface.h>
#endif

namespace emulator {
Place place;
bool last_slice_alone = false;
const float* const half_values = [] {
  static float values[1 << 16];
  for (int i = 0; i < 1 << 16; ++i) {
    const u16 bits = u16(i);
    _Float16 x;
    std::memcpy(&x, &bits, 2);
    values[i] = float(x);
  }
  return values;
}();

namespace {
enum class State { ready, barrier, exchange, done };
struct Copy {
  void* to;
  const void* from;
};
struct Fiber {
  Context context;
  State state;
  Dim3 thread;
  const char* file;
  int line;
  std::uint32_t mask;
  Message sent, seen;  // this lane's part of an exchange; `seen` is kept until the next one
  std::vector<Copy> copies;
  void *stack, *tsan = nullptr, *fake = nullptr;
};
constexpr std::size_t kStack = 256 << 10;
constexpr std::size_t kGap = 64;  // between two parts of shared memory; AddressSanitizer has it poisoned
constexpr std::size_t kParts = 32;

std::vector<std::unique_ptr<Fiber>> fibers;
Context scheduler;
Fiber* self;
const std::function<void()>* entry;
unsigned char* shared_base;
std::size_t shared_size, shared_taken;
std::string problem;
#if defined(__SANITIZE_ADDRESS__)
void* scheduler_fake;
const void* scheduler_stack;
std::size_t scheduler_stack_size;
#elif defined(EMULATOR_TSAN)
void* scheduler_tsan;
char barrier_sync, start_sync, end_sync;  // ThreadSanitizer orders the fibers by their addresses
#endif

std::string where(const char* file, int line) { return std::string(file) + ":" + std::to_string(line); }

void enter_fiber(Fiber* f) {
  self = f;
  place.thread = f->thread;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&scheduler_fake, f->stack, kStack);
#elif defined(EMULATOR_TSAN)
  __tsan_switch_to_fiber(f->tsan, __tsan_switch_to_fiber_no_sync);
#endif
  switch_context(scheduler, f->context);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(scheduler_fake, nullptr, nullptr);
#endif
}

void leave_fiber(bool last) {
  Fiber* f = self;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(last ? nullptr : &f->fake, scheduler_stack, scheduler_stack_size);
#elif defined(EMULATOR_TSAN)
  __tsan_switch_to_fiber(scheduler_tsan, __tsan_switch_to_fiber_no_sync);
#endif
  (void)last;
  switch_context(f->context, scheduler);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(f->fake, nullptr, nullptr);
#endif
}

void trampoline() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_stack_size);
#endif
#if defined(EMULATOR_TSAN)
  __tsan_acquire(&start_sync);
#endif
  (*entry)();
#if defined(EMULATOR_TSAN)
  __tsan_release(&end_sync);
#endif
  self->state = State::done;
  leave_fiber(true);
}

void wait(State state, const char* file, int line) {
  self->file = file;
  self->line = line;
  self->state = state;
  leave_fiber(false);
}

// Releases the exchanges of the warp that starts at `first`, for each mask all of whose lanes have arrived.
bool release_warp(std::size_t first, std::size_t count) {
  bool any = false;
  for (std::size_t i = first; i < first + count; ++i) {
    Fiber& f = *fibers[i];
    if (f.state != State::exchange) continue;
    bool complete = true;
    for (std::size_t j = 0; j < 32; ++j)
      if (f.mask >> j & 1)
        complete &= j < count && fibers[first + j]->state == State::exchange && fibers[first + j]->line == f.line &&
                    fibers[first + j]->mask == f.mask;
    if (!complete) continue;
    std::uint32_t mask = f.mask;
    for (std::size_t j = 0; j < count; ++j)
      if (mask >> j & 1) {
        fibers[first + j]->seen = fibers[first + j]->sent;
        fibers[first + j]->state = State::ready;
      }
    any = true;
  }
  return any;
}

bool release_barrier(std::size_t count) {
  const Fiber& first = *fibers[0];
  for (std::size_t i = 0; i < count; ++i) {
    const Fiber& f = *fibers[i];
    if (f.state != State::barrier || f.line != first.line || f.file != first.file) return false;
  }
  for (std::size_t i = 0; i < count; ++i) fibers[i]->state = State::ready;
  return true;
}

void explain_deadlock(std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    const Fiber& f = *fibers[i];
    if (f.state == State::exchange) {
      problem = where(f.file, f.line) + ": lanes that the mask names never arrive";
      return;
    }
    if (f.state == State::barrier) problem = where(f.file, f.line) + ": divergent barrier, not all threads reach it";
  }
}

void run_block(std::size_t count) {
  shared_taken = 0;
  for (std::size_t i = 0; i < count; ++i) {
    Fiber& f = *fibers[i];
    f.state = State::ready;
    f.copies.clear();
    f.thread = {unsigned(i % place.block_size.x), unsigned(i / place.block_size.x % place.block_size.y),
                unsigned(i / place.block_size.x / place.block_size.y)};
    begin_context(f.context, f.stack, kStack, trampoline);
#if defined(EMULATOR_TSAN)
    if (!f.tsan) f.tsan = __tsan_create_fiber(0);  // kept from block to block, because a new one needs the kernel
#endif
  }
  std::size_t done = 0;
  while (done < count && problem.empty()) {
    for (std::size_t first = 0; first < count; first += 32) {  // a warp runs until it must wait for others
      std::size_t lanes = std::min<std::size_t>(32, count - first);
      do {
        for (std::size_t i = first; i < first + lanes; ++i)
          while (fibers[i]->state == State::ready && problem.empty()) {
            enter_fiber(fibers[i].get());
            done += fibers[i]->state == State::done;
          }
      } while (problem.empty() && release_warp(first, lanes));
    }
    if (done < count && problem.empty() && !release_barrier(count)) explain_deadlock(count);
  }
}
}  // namespace

void launch(const char* name, Dim3 grid, Dim3 block, std::size_t shared, std::uint64_t seed,
            const std::function<void()>& body) {
  entry = &body;
  problem.clear();
  ledger_reset();
  std::size_t threads = std::size_t(block.x) * block.y * block.z, blocks = std::size_t(grid.x) * grid.y * grid.z;
  while (fibers.size() < threads) {
    fibers.push_back(std::make_unique<Fiber>());
    fibers.back()->stack =
        mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (fibers.back()->stack == MAP_FAILED) throw std::runtime_error("no memory for a fiber's stack");
  }
#if defined(EMULATOR_TSAN)
  scheduler_tsan = __tsan_get_current_fiber();
#endif
  place.block_size = block;
  place.grid = grid;
  std::vector<std::size_t> order;
  unsigned last = grid.z > 1 ? 2 : grid.y > 1 ? 1 : 0;
  std::size_t slice = last == 2 ? std::size_t(grid.x) * grid.y : last == 1 ? grid.x : 1;
  for (std::size_t i = last_slice_alone ? blocks - slice : 0; i < blocks; ++i) order.push_back(i);
  std::shuffle(order.begin(), order.end(), std::mt19937_64(seed));
  std::vector<unsigned char> memory;
  for (std::size_t i : order) {
    shared_size = shared;
    memory.assign(shared + kParts * kGap + 16, 0xff);  // NaN in every float type
    shared_base = memory.data() + (16 - reinterpret_cast<std::uintptr_t>(memory.data()) % 16) % 16;
    place.block = {unsigned(i % grid.x), unsigned(i / grid.x % grid.y), unsigned(i / grid.x / grid.y)};
#if defined(EMULATOR_TSAN)
    __tsan_release(&start_sync);
#endif
    run_block(threads);
#if defined(EMULATOR_TSAN)
    __tsan_acquire(&end_sync);
#endif
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(memory.data(), memory.size());
#endif
    if (problem.empty() && shared_taken != shared)
      problem =
          "takes " + std::to_string(shared_taken) + " bytes of shared memory, was given " + std::to_string(shared);
    if (!problem.empty()) throw std::runtime_error(std::string(name) + ": " + problem);
  }
}

void barrier(const char* file, int line) {
#if defined(EMULATOR_TSAN)
  __tsan_release(&barrier_sync);
#endif
  wait(State::barrier, file, line);
#if defined(EMULATOR_TSAN)
  __tsan_acquire(&barrier_sync);
#endif
}

int lane() { return int(place.thread.x % 32); }

void exchange(const Message& mine, std::uint32_t mask, const char* file, int line) {
  self->sent = mine;
  self->mask = mask;
  if (!(mask >> lane() & 1))
    problem = where(file, line) + ": lane " + std::to_string(lane()) + " is not in its own mask";
  wait(State::exchange, file, line);
}

Message peek(int source) {
  std::size_t index =
      place.thread.x + place.block_size.x * (place.thread.y + std::size_t(place.block_size.y) * place.thread.z);
  if (!(self->mask >> source & 1)) problem = where(self->file, self->line) + ": reads a lane that its mask leaves out";
  return fibers[index / 32 * 32 + std::size_t(source)]->seen;
}

void fail(const std::string& what) {
  if (problem.empty()) problem = what;
}

// Every thread takes the same parts in the same order. Each part lies one more gap away than on the GPU.
void* take_shared(std::size_t bytes, std::size_t& offset, std::size_t& parts) {
  unsigned char* p = shared_base + offset + parts++ * kGap;
#if defined(__SANITIZE_ADDRESS__)
  __asan_poison_memory_region(p + bytes, kGap);
#endif
  offset += (bytes + 15) / 16 * 16;
  shared_taken = std::max(shared_taken, offset);
  if ((offset > shared_size || parts >= kParts) && problem.empty()) {
    problem = "takes " + std::to_string(offset) + " bytes of shared memory, was given " + std::to_string(shared_size);
    wait(State::barrier, "", 0);  // never returns, because the launch ends
  }
  return p;
}

void defer_copy(void* shared, const void* global) { self->copies.push_back({shared, global}); }
bool next_copy(void** shared, const void** global) {
  if (self->copies.empty()) return false;
  *shared = self->copies.back().to;
  *global = self->copies.back().from;
  self->copies.pop_back();
  return true;
}
}  // namespace emulator
