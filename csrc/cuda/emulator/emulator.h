// Runs GPU kernels on the CPU, with one fiber for each thread, block after block in shuffled order.
//
// Checked while they run: barriers that not all threads reach; shuffle masks that name absent lanes or leave out the
// caller; an address that two blocks store to, or that one block stores to and another reads; too much shared memory.
// Shared memory starts as NaN. Bytes of global memory loaded and stored are counted. AddressSanitizer and
// ThreadSanitizer know the fibers, so their findings name the kernel's own line.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __syncthreads() emulator::barrier(__FILE__, __LINE__)
#define __syncwarp() emulator::exchange({}, 0xffffffffu, __FILE__, __LINE__)
#define __shfl_xor_sync(mask, value, step) emulator::shuffle(mask, value, emulator::lane() ^ (step), __FILE__, __LINE__)
#define __shfl_sync(mask, value, source) emulator::shuffle(mask, value, (source) & 31, __FILE__, __LINE__)

struct Dim3 {
  unsigned x, y, z;
};

namespace emulator {
struct Place {
  Dim3 thread, block, block_size, grid;
};
extern Place place;  // of the fiber that runs now

// A lane's part of an exchange: at most its operands of a matrix product. It is copied whole, without memcpy, because
// ThreadSanitizer would take a call of memcpy for the kernel's own access.
struct Message {
  std::uint32_t words[6];
};

struct Counts {
  std::int64_t loaded, stored;
};
extern Counts counts;  // bytes of global memory

// If true, only blocks with the last index of the grid's last dimension run: the last face of a batch that is too large
// to run whole, to see that its addresses are right.
extern bool last_slice_alone;

// Runs `body` once for each thread of each block. Throws std::runtime_error with what a check has found.
void launch(const char* name, Dim3 grid, Dim3 block, std::size_t shared, std::uint64_t seed,
            const std::function<void()>& body);

void barrier(const char* file, int line);
void exchange(const Message& mine, std::uint32_t mask, const char* file, int line);
Message peek(int lane);  // the part of `lane` in the exchange that has just ended
int lane();
void loaded(const void* p, std::size_t bytes);
void stored(const void* p, std::size_t bytes);
void* take_shared(std::size_t bytes, std::size_t& offset, std::size_t& parts);
void defer_copy(void* shared, const void* global);
bool next_copy(void** shared, const void** global);  // the caller does the copy, so that sanitizers see it

template <class T>
T shuffle(std::uint32_t mask, T value, int source, const char* file, int line) {
  Message message{};
  static_assert(sizeof(T) <= sizeof(message), "a shuffle takes no more than this");
  std::memcpy(&message, &value, sizeof(T));
  exchange(message, mask, file, line);
  message = peek(source);
  std::memcpy(&value, &message, sizeof(T));
  return value;
}
}  // namespace emulator

#define threadIdx (emulator::place.thread)
#define blockIdx (emulator::place.block)
#define blockDim (emulator::place.block_size)
#define gridDim (emulator::place.grid)

// Global memory can be reached only through load and store, so the counts and checks miss nothing.
template <class T>
class In {
 public:
  In operator+(i64 i) const { return In(p_ + i); }
  explicit operator bool() const { return p_; }
  explicit In(const T* p = nullptr) : p_(p) {}
  const T* address() const { return p_; }

 private:
  const T* p_;
};
template <class T>
class Out {
 public:
  Out operator+(i64 i) const { return Out(p_ + i); }
  explicit operator bool() const { return p_; }
  explicit Out(T* p = nullptr) : p_(p) {}
  T* address() const { return p_; }

 private:
  T* p_;
};
template <class T>
T load(In<T> p) {
  emulator::loaded(p.address(), sizeof(T));
  return *p.address();
}
template <class T>
Pack<T> load16(In<T> p) {
  emulator::loaded(p.address(), 16);
  return *reinterpret_cast<const Pack<T>*>(p.address());  // UBSan: a misaligned p is an error, as on the GPU
}
template <class T, class V>
void store(Out<T> p, V value) {
  emulator::stored(p.address(), sizeof(T));
  *p.address() = value;
}
template <class T>
void store16(Out<T> p, Pack<T> value) {
  emulator::stored(p.address(), 16);
  *reinterpret_cast<Pack<T>*>(p.address()) = value;
}
template <class T>
void copy16(T* shared, In<T> global) {
  emulator::loaded(global.address(), 16);
  emulator::defer_copy(shared, global.address());
}
inline void copies_done() {
  void* to;
  const void* from;
  while (emulator::next_copy(&to, &from)) std::memcpy(to, from, 16);
}

namespace emulator {
extern const float* const half_values;  // for each half's 16 bits; many CPUs cannot convert without a call
}
inline float to_float(half_t x) { return emulator::half_values[x.bits]; }
inline half_t to_half(float x) {
  _Float16 y = _Float16(x);
  half_t out;
  std::memcpy(&out, &y, 2);
  return out;
}
inline u32 float_bits(float x) {
  u32 y;
  std::memcpy(&y, &x, 4);
  return y;
}
inline float bits_float(u32 x) {
  float y;
  std::memcpy(&y, &x, 4);
  return y;
}
inline float fast_exp(float x) { return std::exp(x); }

struct Shared {
  std::size_t offset = 0, parts = 0;
  template <class T>
  T* take(int count) {
    return static_cast<T*>(emulator::take_shared(std::size_t(count) * sizeof(T), offset, parts));
  }
};
