// A warp's matrix product c += a·b of 16×16 and 16×8 values, accumulated in float, in the layout of mma.sync.m16n8k16.
//
// With g = lane / 4 and t = lane % 4, a lane holds
//
//   of a (row, k):       a[2·(2·k8 + r8) + i] at row g + 8·r8, k = 8·k8 + 2t + i
//
//   of b (k, column):    b[2·k8 + i] at k = 8·k8 + 2t + i, column g
//
//   of c (row, column):  c[2·r8 + i] at row g + 8·r8, column 2t + i
//
// half and bfloat16 run on Tensor Cores. A float is split into three bfloat16 parts; the six products that matter keep
// 2⁻²³ of the result. GPUs before sm_80 have no bfloat16 unit: shuffles and FMAs compute the same there.
#pragma once
#include "device.cuh"

__device__ __forceinline__ u32 pair(u16 low, u16 high) { return u32(low) | (u32(high) << 16); }

#ifdef ACDC_EMULATOR
template <class T>
void multiply_registers(float (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) {
  emulator::Message other[4 + 8];  // a, then b
  emulator::exchange({{a[0], a[1], a[2], a[3], b[0], b[1]}}, kAllLanes, __FILE__, __LINE__);
  int g = emulator::lane() / 4, t = emulator::lane() % 4;
  for (int i = 0; i < 4; ++i) other[i] = emulator::peek(4 * g + i);
  for (int i = 0; i < 8; ++i) other[4 + i] = emulator::peek(4 * (2 * t + i / 4) + i % 4);
  for (int k = 0; k < 16; ++k)
    for (int i = 0; i < 4; ++i) {
      u32 x = other[k % 8 / 2].words[2 * (k / 8) + i / 2], y = other[4 + 4 * (i % 2) + k % 8 / 2].words[4 + k / 8];
      c[i] += to_float(T{u16(x >> 16 * (k % 2))}) * to_float(T{u16(y >> 16 * (k % 2))});
    }
}
#else
template <class T>
__device__ __forceinline__ void multiply_by_shuffles(float (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) {
  int lane = threadIdx.x % 32;
#pragma unroll 1
  for (int step = 0; step < 8; ++step) {
    int k8 = step / 4, quad = step % 4;
    u32 column = k8 ? b[1] : b[0];
    u32 x[2] = {__shfl_sync(kAllLanes, k8 ? a[2] : a[0], lane / 4 * 4 + quad),
                __shfl_sync(kAllLanes, k8 ? a[3] : a[1], lane / 4 * 4 + quad)};
    u32 y[2] = {__shfl_sync(kAllLanes, column, lane % 4 * 8 + quad),
                __shfl_sync(kAllLanes, column, lane % 4 * 8 + 4 + quad)};
    for (int i = 0; i < 4; ++i)
      for (int j = 0; j < 2; ++j) c[i] += to_float(T{u16(x[i / 2] >> 16 * j)}) * to_float(T{u16(y[i % 2] >> 16 * j)});
  }
}
template <class T>
__device__ __forceinline__ void multiply_registers(float (&c)[4], const u32 (&a)[4], const u32 (&b)[2]);
template <>
__device__ __forceinline__ void multiply_registers<half_t>(float (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  for (int k8 = 0; k8 < 2; ++k8)
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[2 * k8]), "r"(a[2 * k8 + 1]), "r"(b[k8]));
#endif
}
template <>
__device__ __forceinline__ void multiply_registers<bf16_t>(float (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  multiply_by_shuffles<bf16_t>(c, a, b);
#endif
}
#endif

template <class T>
__device__ __forceinline__ void multiply(float (&c)[4], const T (&a)[8], const T (&b)[4]) {
  u32 x[4], y[2];
#pragma unroll
  for (int i = 0; i < 4; ++i) x[i] = pair(a[2 * i].bits, a[2 * i + 1].bits);
#pragma unroll
  for (int i = 0; i < 2; ++i) y[i] = pair(b[2 * i].bits, b[2 * i + 1].bits);
  multiply_registers<T>(c, x, y);
}

// x = part[0] + part[1] + part[2] up to 2⁻²⁴ of x. A register holds two values.
template <int N>
__device__ __forceinline__ void split(u32 (&part)[3][N], const float (&x)[2 * N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) {
    float low = x[2 * i], high = x[2 * i + 1];
#pragma unroll
    for (int j = 0; j < 3; ++j) {
      bf16_t p = to_bf16(low), q = to_bf16(high);
      part[j][i] = pair(p.bits, q.bits);
      low -= to_float(p);
      high -= to_float(q);
    }
  }
}
template <>
__device__ __forceinline__ void multiply<float>(float (&c)[4], const float (&a)[8], const float (&b)[4]) {
  u32 x[3][4], y[3][2];
  split<4>(x, a);
  split<2>(y, b);
  multiply_registers<bf16_t>(c, x[2], y[0]);  // smallest first
  multiply_registers<bf16_t>(c, x[0], y[2]);
  multiply_registers<bf16_t>(c, x[1], y[1]);
  multiply_registers<bf16_t>(c, x[1], y[0]);
  multiply_registers<bf16_t>(c, x[0], y[1]);
  multiply_registers<bf16_t>(c, x[0], y[0]);
}

// a, from a matrix packed by the host's `pack_fragments`: [row tile][k tile][lane][8 values], in 16-byte reads.
template <class T>
__device__ __forceinline__ void read_a(T (&a)[8], const T* fragment) {
  const Pack<T>* p = reinterpret_cast<const Pack<T>*>(fragment + 8 * (threadIdx.x % 32));
#pragma unroll
  for (int i = 0; i < 8; ++i) a[i] = p[i / Pack<T>::size].v[i % Pack<T>::size];
}
// b, from shared memory with columns `stride` values apart; k runs along a column.
template <class T>
__device__ __forceinline__ void read_b(T (&b)[4], const T* columns, int stride) {
  const T* p = columns + threadIdx.x % 32 / 4 * stride + threadIdx.x % 4 * 2;
  b[0] = p[0];
  b[1] = p[1];
  b[2] = p[8];
  b[3] = p[9];
}
