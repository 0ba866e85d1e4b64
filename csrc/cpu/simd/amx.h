// Products of bfloat16 by AMX: a tile holds 16 rows of 64 bytes, and one instruction multiplies two tiles.
//
// In namespace avx512amx these are the instructions. Namespace avx512amx_emulated is for tests only. It computes the
// same bits in AVX-512 float32, as Intel's manual (volume 2, TDPBF16PS) defines them: the even and the odd products of
// an instruction are summed apart, each from zero and in order, by multiply-adds; then both sums are added, and the
// tile. Round to nearest even, denormals are zero (FlushDenormals does that here; the instruction does it by itself).
#pragma once

#include <cstdint>

#include "bf16.h"

namespace acdc::ACDC_ISA_NS {

constexpr int kTileRows = 16;

// Two left and two right operands, and the sums of their four products, on this thread. A left operand has `rows` rows
// of `inner` values; a right one has `inner / 2` rows of 16 pairs; sums have `rows` rows of 16. `pitch`: values from
// row to row. Only one object may live at a time: the tiles are the processor's.
#if defined(ACDC_ISA_AVX512AMX_EMULATED)
class Tiles {
 public:
  Tiles(int rows, int inner) : rows_(rows), pairs_(inner / 2) {}

  template <int r, int c>
  void clear() {
    for (Vec& sum : sums_[r][c]) sum = Vec::zero();
  }
  template <int r>
  void left(const bf16* at, int64_t pitch) {
    left_[r] = at, left_pitch_ = pitch;
  }
  template <int c>
  void right(const bf16* at, int64_t pitch) {
    right_[c] = at, right_pitch_ = pitch;
  }
  template <int r, int c>
  void multiply() {
    constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    const __m512i high = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
    for (int i = 0; i < rows_; ++i) {
      __m512 even = _mm512_setzero_ps(), odd = even;
      for (int k = 0; k < pairs_; ++k) {
        const Pairs a = Pairs::broadcast(left_[r] + i * left_pitch_ + 2 * k);
        const Pairs b = Pairs::load(right_[c] + k * right_pitch_);
        even = _mm512_fmadd_round_ps(_mm512_castsi512_ps(_mm512_slli_epi32(a.v, 16)),
                                     _mm512_castsi512_ps(_mm512_slli_epi32(b.v, 16)), even, kNearest);
        odd = _mm512_fmadd_round_ps(_mm512_castsi512_ps(_mm512_and_si512(a.v, high)),
                                    _mm512_castsi512_ps(_mm512_and_si512(b.v, high)), odd, kNearest);
      }
      sums_[r][c][i] = sums_[r][c][i] + (Vec{even} + Vec{odd});
    }
  }
  template <int r, int c>
  void store(float* to) const {
    for (int i = 0; i < rows_; ++i) sums_[r][c][i].store(to + i * Vec::lanes);
  }

 private:
  int rows_, pairs_;
  const bf16 *left_[2], *right_[2];
  int64_t left_pitch_, right_pitch_;
  Vec sums_[2][2][kTileRows];
};
#else
// GCC wants the tiles' numbers written out: sums 0 to 3, left 4 and 5, right 6 and 7.
class Tiles {
 public:
  Tiles(int rows, int inner) {
    const auto set = [this](int tile, int tile_rows, int bytes) {
      shape_.rows[tile] = static_cast<uint8_t>(tile_rows), shape_.bytes[tile] = static_cast<uint16_t>(bytes);
    };
    for (int tile = 0; tile < 4; ++tile) set(tile, rows, 64);
    for (int tile = 4; tile < 6; ++tile) set(tile, rows, inner * static_cast<int>(sizeof(bf16)));
    for (int tile = 6; tile < 8; ++tile) set(tile, inner / 2, 64);
    _tile_loadconfig(&shape_);
  }
  ~Tiles() { _tile_release(); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;

  template <int r, int c>
  ACDC_INLINE void clear() {
    if constexpr (r == 0 && c == 0) _tile_zero(0);
    if constexpr (r == 0 && c == 1) _tile_zero(1);
    if constexpr (r == 1 && c == 0) _tile_zero(2);
    if constexpr (r == 1 && c == 1) _tile_zero(3);
  }
  template <int r>
  ACDC_INLINE void left(const bf16* at, int64_t pitch) {
    if constexpr (r == 0) _tile_loadd(4, at, pitch * static_cast<int64_t>(sizeof(bf16)));
    if constexpr (r == 1) _tile_loadd(5, at, pitch * static_cast<int64_t>(sizeof(bf16)));
  }
  template <int c>
  ACDC_INLINE void right(const bf16* at, int64_t pitch) {
    if constexpr (c == 0) _tile_loadd(6, at, pitch * static_cast<int64_t>(sizeof(bf16)));
    if constexpr (c == 1) _tile_loadd(7, at, pitch * static_cast<int64_t>(sizeof(bf16)));
  }
  template <int r, int c>
  ACDC_INLINE void multiply() {
    if constexpr (r == 0 && c == 0) _tile_dpbf16ps(0, 4, 6);
    if constexpr (r == 0 && c == 1) _tile_dpbf16ps(1, 4, 7);
    if constexpr (r == 1 && c == 0) _tile_dpbf16ps(2, 5, 6);
    if constexpr (r == 1 && c == 1) _tile_dpbf16ps(3, 5, 7);
  }
  template <int r, int c>
  ACDC_INLINE void store(float* to) const {
    if constexpr (r == 0 && c == 0) _tile_stored(0, to, 64);
    if constexpr (r == 0 && c == 1) _tile_stored(1, to, 64);
    if constexpr (r == 1 && c == 0) _tile_stored(2, to, 64);
    if constexpr (r == 1 && c == 1) _tile_stored(3, to, 64);
  }

 private:
  struct alignas(64) {
    uint8_t palette = 1, first_row = 0, unused[14] = {};
    uint16_t bytes[16] = {};
    uint8_t rows[16] = {};
  } shape_;
};
#endif

}  // namespace acdc::ACDC_ISA_NS
