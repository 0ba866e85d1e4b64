// The base of every kernel: number types, counted global access, reductions. It includes no header of the toolkit, so
// that nvcc, NVRTC and the emulator's plain C++ compiler read the same text.
#pragma once

using i64 = long long;
using u16 = unsigned short;
using u32 = unsigned int;

struct half_t {
  u16 bits;
};
struct bf16_t {
  u16 bits;
};

template <class T>
struct alignas(16) Pack {  // the values of one 16-byte load
  static constexpr int size = 16 / int(sizeof(T));
  T v[size];
};

#ifdef ACDC_EMULATOR
#include "emulator/emulator.h"
#else

template <class T>
using In = const T* __restrict__;  // global memory that a kernel only reads
template <class T>
using Out = T* __restrict__;  // global memory that a kernel only writes

template <class T>
__device__ __forceinline__ T load(const T* p) {
  return *p;
}
template <class T>
__device__ __forceinline__ Pack<T> load16(const T* p) {
  return *reinterpret_cast<const Pack<T>*>(p);
}
template <class T>
__device__ __forceinline__ void store(T* p, T value) {
  *p = value;
}
template <class T>
__device__ __forceinline__ void store16(T* p, Pack<T> value) {
  *reinterpret_cast<Pack<T>*>(p) = value;
}

// Copies 16 bytes from global to shared memory. They have arrived only after `copies_done` and a barrier.
template <class T>
__device__ __forceinline__ void copy16(T* shared, const T* global) {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"((u32)__cvta_generic_to_shared(shared)), "l"(global));
#else
  *reinterpret_cast<Pack<T>*>(shared) = load16(global);
#endif
}
__device__ __forceinline__ void copies_done() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}

__device__ __forceinline__ float to_float(half_t x) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
}
__device__ __forceinline__ half_t to_half(float x) {
  half_t y;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}
__device__ __forceinline__ u32 float_bits(float x) { return __float_as_uint(x); }
__device__ __forceinline__ float bits_float(u32 x) { return __uint_as_float(x); }
__device__ __forceinline__ float fast_exp(float x) { return __expf(x); }

// Parts of the block's dynamic shared memory, taken in order, each on a 16-byte boundary.
extern __shared__ __align__(16) unsigned char shared_memory[];
struct Shared {
  unsigned offset = 0;
  template <class T>
  __device__ __forceinline__ T* take(int count) {
    T* p = reinterpret_cast<T*>(shared_memory + offset);
    offset += (unsigned(count) * unsigned(sizeof(T)) + 15u) & ~15u;
    return p;
  }
};
#endif

__device__ __forceinline__ float infinity() { return bits_float(0x7f800000u); }
constexpr u32 kAllLanes = 0xffffffffu;

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bf16_t x) { return bits_float(u32(x.bits) << 16); }
__device__ __forceinline__ bf16_t to_bf16(float x) {  // rounds to nearest even; NaN stays NaN
  u32 bits = float_bits(x);
  u32 rounded = x != x ? bits | 0x400000u : bits + 0x7fffu + ((bits >> 16) & 1u);
  return {u16(rounded >> 16)};
}
template <class T>
struct Number;
template <>
struct Number<float> {
  static __device__ __forceinline__ float from(float x) { return x; }
};
template <>
struct Number<half_t> {
  static __device__ __forceinline__ half_t from(float x) { return to_half(x); }
};
template <>
struct Number<bf16_t> {
  static __device__ __forceinline__ bf16_t from(float x) { return to_bf16(x); }
};
template <class T>
__device__ __forceinline__ T from_float(float x) {
  return Number<T>::from(x);
}

// `count` values from p, at most Pack::size in one load: 16 bytes at once if `wide` (p is aligned) and all exist.
template <class T>
__device__ __forceinline__ Pack<T> load_pack(In<T> p, i64 count, bool wide) {
  if (wide && count >= Pack<T>::size) return load16(p);
  Pack<T> out;
#pragma unroll
  for (int i = 0; i < Pack<T>::size; ++i) out.v[i] = i < count ? load(p + i) : from_float<T>(0.f);
  return out;
}
template <class T>
__device__ __forceinline__ void store_pack(Out<T> p, Pack<T> value, i64 count, bool wide) {
  if (wide && count >= Pack<T>::size) return store16(p, value);
#pragma unroll
  for (int i = 0; i < Pack<T>::size; ++i)
    if (i < count) store(p + i, value.v[i]);
}

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int step = 16; step; step /= 2) x += __shfl_xor_sync(kAllLanes, x, step);
  return x;
}
// Sum over the block, in every thread. scratch holds 32 floats, free for other use after the next barrier.
__device__ __forceinline__ float block_sum(float x, float* scratch) {
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  x = warp_sum(x);
  if (lane == 0) scratch[warp] = x;
  __syncthreads();
  x = warp_sum(lane < warps ? scratch[lane] : 0.f);
  __syncthreads();
  return x;
}
