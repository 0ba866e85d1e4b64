// 3×3 convolution with bias, ReLU and skip by Winograd's algorithms: V = Bᵀx, M = Σ (G w) ⊙ V, y = Aᵀ M.
#include "conv_panel.h"
#include "engine_types.h"
#include "kernels.h"
#include "winograd.h"

namespace acdc::ACDC_ISA_NS {

namespace {

// Row i of the points, from the columns' transforms.
template <class Algorithm, int i, int pair = 0>
ACDC_INLINE void transform_row(const Vec* half, Value* v, int64_t stride) {
  constexpr int j = 2 * pair, points = Algorithm::points;
  Vec t[2];
  Algorithm::template input<pair>(half, t);
  store(t[0], v + Algorithm::place(i, Algorithm::order[j]) * stride);
  if constexpr (j + 1 < points) store(t[1], v + Algorithm::place(i, Algorithm::order[j + 1]) * stride);
  if constexpr (j + 2 < points) transform_row<Algorithm, i, pair + 1>(half, v, stride);
}

// One tile's channels of one block. `source` is its first pixel. Columns first, then rows, two rows of points at a
// time: so all that lies between stays in registers. Reading the pixels again for each pair costs less than storing it.
template <class Algorithm, class T, int pair = 0>
ACDC_INLINE void transform_input(const T* source, int64_t pitch, int64_t channels, Value* v, int64_t stride) {
  constexpr int reach = Algorithm::reach, i = 2 * pair, points = Algorithm::points;
  Vec first[reach], second[reach];
#pragma GCC unroll 9
  for (int x = 0; x < reach; ++x) {
    Vec d[reach], t[2];
#pragma GCC unroll 9
    for (int y = 0; y < reach; ++y) d[y] = load(source + y * pitch + x * channels);
    Algorithm::template input<pair>(d, t);
    first[x] = t[0], second[x] = t[1];
  }
  transform_row<Algorithm, Algorithm::order[i]>(first, v, stride);
  if constexpr (i + 1 < points) transform_row<Algorithm, Algorithm::order[i + 1]>(second, v, stride);
  if constexpr (i + 2 < points) transform_input<Algorithm, T, pair + 1>(source, pitch, channels, v, stride);
}

// Four pixels along one axis → six of twice the resolution, times 4. `first` is the first one's place in an axis of
// `size` pixels; those outside are 0. `fused`: 3·near is not rounded.
template <bool fused>
ACDC_INLINE void upsample(const Vec x[4], int first, int size, Vec u[6]) {
#pragma GCC unroll 6
  for (int i = 0; i < 6; ++i) {
    const Vec near = x[(i + 1) / 2], far = x[i % 2 ? (i + 1) / 2 - 1 : i / 2 + 1];
    const bool outside = first + i < 0 || first + i >= size;
    u[i] = outside ? Vec::zero() : fused ? plus(3.f, near, far) : times(3.f, near) + far;
  }
}

// A tile of `up` at the border. The upsampling clamps there and the convolution pads with zeros, so the patch of 6×6
// upsampled pixels (times 16, as in Up::input) is computed explicitly. (y, x) is the first low-resolution pixel.
template <class T>
void upsampled_patch(const Tensor& in, int y, int x, int64_t channel, float* patch) {
  const auto within = [](int i, int size) { return i < 0 ? 0 : i < size ? i : size - 1; };
  Vec rows[4][6];
  for (int i = 0; i < 4; ++i) {
    Vec pixels[4];
    for (int j = 0; j < 4; ++j) pixels[j] = load(in.as<T>(within(y + i, in.height), within(x + j, in.width)) + channel);
    upsample<true>(pixels, 2 * x + 1, 2 * in.width, rows[i]);
  }
  for (int j = 0; j < 6; ++j) {
    const Vec column[4] = {rows[0][j], rows[1][j], rows[2][j], rows[3][j]};
    Vec u[6];
    upsample<false>(column, 2 * y + 1, 2 * in.height, u);
#pragma GCC unroll 6
    for (int i = 0; i < 6; ++i) u[i].store(patch + (i * 6 + j) * kLanes);
  }
}

template <class Algorithm, class T>
void input_tiles(const Conv& conv, const Tensor& in, int columns, const TileBlock& block, int from, int to) {
  const int64_t stride = block.point * kPack<Value>;
  for (int tile = from; tile < to; ++tile) {
    const int ty = (block.first + tile) / columns, tx = (block.first + tile) % columns;
    const int y = ty * Algorithm::step + Algorithm::offset, x = tx * Algorithm::step + Algorithm::offset;
    for (int c = 0; c < conv.in_blocks; ++c) {
      Value* v = reinterpret_cast<Value*>(block.v) + Panels::place(conv, c, tile, block.count);
      if constexpr (Algorithm::reach == Up::reach) {
        if (y < 0 || x < 0 || y + Up::reach > in.height || x + Up::reach > in.width) {
          float patch[36 * kLanes];
          upsampled_patch<T>(in, y, x, c * kLanes, patch);
          transform_input<Same, float>(patch, 6 * kLanes, kLanes, v, stride);
          continue;
        }
      }
      transform_input<Algorithm>(in.as<const T>(y, x) + c * kLanes, in.pitch, in.channels, v, stride);
    }
  }
}

template <class Algorithm, class T>
void output_tiles(const Conv& conv, const Tensor& out, int columns, const TileBlock& block, int from, int to) {
  constexpr int points = Algorithm::points;
  for (int tile = from; tile < to; ++tile) {
    const int y0 = (block.first + tile) / columns * 4, x0 = (block.first + tile) % columns * 4;
    const int rows = out.height - y0 < 4 ? out.height - y0 : 4, cols = out.width - x0 < 4 ? out.width - x0 : 4;
    for (int c = 0; c < conv.out_blocks; ++c) {
      const float* m = block.m + (static_cast<int64_t>(c) * block.count + tile) * kLanes;
      const Vec bias = Vec::load(conv.bias + c * kLanes);
      Vec half[4][points];
      for (int j = 0; j < points; ++j) {
        Vec column[points], y[4];
#pragma GCC unroll 9
        for (int i = 0; i < points; ++i) column[i] = Vec::load(m + Algorithm::place(i, j) * block.point);
        Algorithm::output(column, y);
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) half[i][j] = y[i];
      }
      for (int i = 0; i < rows; ++i) {
        Vec y[4];
        Algorithm::output(half[i], y);
        T* target = out.as<T>(y0 + i, x0) + c * kLanes;
        for (int j = 0; j < cols; ++j, target += out.channels) {
          Vec value = max(y[j] + bias, Vec::zero());
          if (conv.add) value = value + load(target);
          store(value, target);
        }
      }
    }
  }
}

// The points that share one group's weights, [first, last). With `down` the points of the even phase do.
struct Group {
  int first, last;
};
Group group_points(ConvKind kind, int group) {
  if (kind != ConvKind::down) return {group, group + 1};
  const int y = group / 6, x = group % 6, first = Down::place(y, x);
  return {first, first + (y == 5 ? 4 : 1) * (x == 5 ? 4 : 1)};
}

template <class T>
void input_of(const Conv& conv, const Tensor& in, int columns, const TileBlock& block, int from, int to) {
  switch (conv.kind) {
    case ConvKind::same:
      return input_tiles<Same, T>(conv, in, columns, block, from, to);
    case ConvKind::up:
      return input_tiles<Up, T>(conv, in, columns, block, from, to);
    case ConvKind::down:
      return input_tiles<Down, T>(conv, in, columns, block, from, to);
  }
}

template <class T>
void output_of(const Conv& conv, const Tensor& out, int columns, const TileBlock& block, int from, int to) {
  if (conv.kind == ConvKind::down) return output_tiles<Down, T>(conv, out, columns, block, from, to);
  output_tiles<Same, T>(conv, out, columns, block, from, to);
}

}  // namespace

void conv_input(const Conv& conv, const Tensor& in, int columns, const TileBlock& block, int from, int to) {
  const FlushDenormals guard;
  if (in.half) return input_of<Value>(conv, in, columns, block, from, to);
  input_of<float>(conv, in, columns, block, from, to);
}

void conv_output(const Conv& conv, const Tensor& out, int columns, const TileBlock& block, int from, int to) {
  const FlushDenormals guard;
  if (out.half) return output_of<Value>(conv, out, columns, block, from, to);
  output_of<float>(conv, out, columns, block, from, to);
}

void conv_product(const Conv& conv, int first_group, int last_group, const TileBlock& block) {
  const FlushDenormals guard;
  Panels panels(conv, block.count);
  for (int group = first_group; group < last_group; ++group) {
    const Group points = group_points(conv.kind, group);
    const Value* right =
        static_cast<const Value*>(conv.weights) + static_cast<int64_t>(group) * conv.inputs * conv.out_blocks * kLanes;
    for (int n = 0; n < conv.out_blocks; n += kPanel) {
      const bool whole = conv.out_blocks - n >= kPanel;
      for (int point = points.first; point < points.last; ++point) {
        const Value* v = reinterpret_cast<const Value*>(block.v + point * block.point);
        float* m = block.m + point * block.point + static_cast<int64_t>(n) * block.count * kLanes;
        if (whole) {
          panels.multiply<kPanel>(v, right, m);
        } else {
          panels.multiply<1>(v, right, m);
        }
      }
      right += static_cast<int64_t>(whole ? kPanel : 1) * conv.inputs * kLanes;
    }
  }
}

}  // namespace acdc::ACDC_ISA_NS
