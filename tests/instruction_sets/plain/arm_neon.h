// The NEON instructions that csrc/cpu uses, in plain C++, each lane as Arm's manual writes it: so that the NEON sources
// run on a CPU of another kind. What the sources come to use, and is not here, ends the build.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#define PLAIN static inline __attribute__((always_inline))

typedef float float32x4_t __attribute__((vector_size(16)));
typedef int32_t int32x4_t __attribute__((vector_size(16)));
typedef uint32_t uint32x4_t __attribute__((vector_size(16)));

#define EACH(T, value)                        \
  T out = {};                                 \
  for (int i = 0; i < 4; ++i) out[i] = value; \
  return out;

PLAIN float32x4_t vld1q_f32(const float* p){EACH(float32x4_t, p[i])} PLAIN void vst1q_f32(float* p, float32x4_t a) {
  std::memcpy(p, &a, sizeof a);
}
PLAIN float32x4_t vdupq_n_f32(float x){EACH(float32x4_t, x)} PLAIN int32x4_t
    vdupq_n_s32(int32_t x){EACH(int32x4_t, x)} PLAIN float32x4_t vaddq_f32(float32x4_t a, float32x4_t b) {
  return a + b;
}
PLAIN float32x4_t vsubq_f32(float32x4_t a, float32x4_t b) { return a - b; }
PLAIN float32x4_t vmulq_f32(float32x4_t a, float32x4_t b) { return a * b; }
PLAIN float32x4_t vdivq_f32(float32x4_t a, float32x4_t b) { return a / b; }
// c comes first: c + a·b and c − a·b, rounded once.
PLAIN float32x4_t vfmaq_f32(float32x4_t c, float32x4_t a,
                            float32x4_t b){EACH(float32x4_t, __builtin_fmaf(a[i], b[i], c[i]))} PLAIN float32x4_t
    vfmsq_f32(float32x4_t c, float32x4_t a,
              float32x4_t b){EACH(float32x4_t, __builtin_fmaf(-a[i], b[i], c[i]))} PLAIN uint32x4_t
    vcltq_f32(float32x4_t a, float32x4_t b){EACH(uint32x4_t, a[i] < b[i] ? ~0u : 0u)} PLAIN uint32x4_t
    vcgeq_f32(float32x4_t a, float32x4_t b){EACH(uint32x4_t, a[i] >= b[i] ? ~0u : 0u)} PLAIN uint32x4_t
    vceqq_f32(float32x4_t a, float32x4_t b){EACH(uint32x4_t, a[i] == b[i] ? ~0u : 0u)} PLAIN float32x4_t
    vbslq_f32(uint32x4_t m, float32x4_t a, float32x4_t b) {
  uint32x4_t x, y;
  std::memcpy(&x, &a, sizeof x);
  std::memcpy(&y, &b, sizeof y);
  const uint32x4_t bits = (m & x) | (~m & y);
  float32x4_t out;
  std::memcpy(&out, &bits, sizeof out);
  return out;
}
// To the nearest integer, halves to even; out of range, the nearest that int32 has; NaN gives 0.
PLAIN float32x4_t vrndnq_f32(float32x4_t a){EACH(float32x4_t, std::nearbyint(a[i]))} PLAIN int32x4_t
    vcvtnq_s32_f32(float32x4_t a){EACH(int32x4_t, a[i] != a[i]           ? 0
                                                  : a[i] >= 2147483648.f ? INT32_MAX
                                                  : a[i] <= -2147483648.f
                                                      ? INT32_MIN
                                                      : static_cast<int32_t>(std::nearbyint(a[i])))} PLAIN int32x4_t
    vaddq_s32(int32x4_t a, int32x4_t b){EACH(int32x4_t, static_cast<int32_t>(0u + a[i] + b[i]))} PLAIN int32x4_t
    vsubq_s32(int32x4_t a, int32x4_t b){EACH(int32x4_t, static_cast<int32_t>(0u + a[i] - b[i]))} PLAIN int32x4_t
    vshlq_n_s32(int32x4_t a,
                int n){EACH(int32x4_t, static_cast<int32_t>(static_cast<uint32_t>(a[i]) << n))} PLAIN int32x4_t
    vshrq_n_s32(int32x4_t a, int n){EACH(int32x4_t, a[i] >> n)} PLAIN float32x4_t vreinterpretq_f32_s32(int32x4_t a) {
  float32x4_t out;
  std::memcpy(&out, &a, sizeof out);
  return out;
}
PLAIN int32x4_t vreinterpretq_s32_f32(float32x4_t a) {
  int32x4_t out;
  std::memcpy(&out, &a, sizeof out);
  return out;
}
// Pairs are added, then their sums. The least and greatest are NaN where one lane is.
PLAIN float vaddvq_f32(float32x4_t a) { return (a[0] + a[1]) + (a[2] + a[3]); }
PLAIN float vminvq_f32(float32x4_t a) {
  float out = a[0];
  for (int i = 1; i < 4; ++i) out = out != out || a[i] != a[i] ? NAN : a[i] < out ? a[i] : out;
  return out;
}
PLAIN float vmaxvq_f32(float32x4_t a) {
  float out = a[0];
  for (int i = 1; i < 4; ++i) out = out != out || a[i] != a[i] ? NAN : a[i] > out ? a[i] : out;
  return out;
}
PLAIN uint32_t vminvq_u32(uint32x4_t a) {
  uint32_t out = a[0];
  for (int i = 1; i < 4; ++i) out = a[i] < out ? a[i] : out;
  return out;
}

#undef EACH
#undef PLAIN
