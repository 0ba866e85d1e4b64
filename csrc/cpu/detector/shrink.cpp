// Makes a picture grey and smaller: the rounded mean of factor × factor pixels, in whole numbers.
#include "kernels.h"
#include "vec.h"

namespace acdc::ACDC_ISA_NS {
namespace {

// C channels; F is the factor, or 0 where only `factor` tells it. For the usual factors the compiler gets a number.
template <int C, int F, class Columns>
ACDC_INLINE void means(const Columns* columns, int factor, int width, uint8_t* grey) {
  const int side = F ? F : factor;
  const uint32_t area = static_cast<uint32_t>(side * side), half = C == 3 ? 128 * area : area / 2;
  // A sum is less than 256·area. So sum·inverse >> 36 is its exact quotient by area: the inverse is too large by less
  // than area/2³⁶ of itself, and 256·area² < 2³⁶ for area < 2¹⁴, and area = 2¹⁴ divides 2³⁶.
  const uint64_t inverse = ((uint64_t{1} << 36) + area - 1) / area;
  for (int x = 0; x < width; ++x) {
    const Columns* column = columns + static_cast<int64_t>(x) * side * C;
    uint32_t sum = half;
    for (int i = 0; i < side; ++i, column += C) {
      sum += C == 3 ? 77u * column[0] + 150u * column[1] + 29u * column[2] : column[0];
    }
    if (C == 3) sum >>= 8;
    // Only a factor known to be a power of two is divided by: that is a shift.
    grey[x] = static_cast<uint8_t>(F && !(F & (F - 1)) ? sum / (F ? F * F : 1) : sum * inverse >> 36);
  }
}

}  // namespace

void shrink_row(const uint8_t* rows, int64_t pitch, int channels, int factor, int width, uint16_t* columns,
                uint8_t* grey) {
  if (channels == 3 && factor == 1) return means<3, 1>(rows, 1, width, grey);
  const int count = width * factor * channels;
  for (int r = 0; r < factor; ++r) {  // at most 128 · 255 in each
    const uint8_t* row = rows + r * pitch;
    for (int x = 0; x < count; ++x) columns[x] = static_cast<uint16_t>(r ? columns[x] + row[x] : row[x]);
  }
  if (channels == 3) {
    if (factor == 2) return means<3, 2>(columns, 2, width, grey);
    if (factor == 3) return means<3, 3>(columns, 3, width, grey);
    return means<3, 0>(columns, factor, width, grey);
  }
  if (factor == 1) return means<1, 1>(columns, 1, width, grey);
  if (factor == 4) return means<1, 4>(columns, 4, width, grey);
  means<1, 0>(columns, factor, width, grey);
}

}  // namespace acdc::ACDC_ISA_NS
