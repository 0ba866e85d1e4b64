// Plain descriptions that the engine passes to its kernels. Tensors are NHWC, float32 or (in a bfloat16 U-Net)
// bfloat16. Channels are padded with zeros to a multiple of Vec::lanes. Each tensor lies in a frame of zeros: the zero
// padding of the convolutions.
#pragma once

#include <cstdint>

namespace acdc {

struct Tensor {
  float* data;  // pixel (0, 0)
  int height, width, channels;
  int64_t pitch;      // number of values from a pixel to the one below
  bool half = false;  // data is bfloat16

  template <class T>
  T* as(int y, int x) const {
    return reinterpret_cast<T*>(data) + y * pitch + static_cast<int64_t>(x) * channels;
  }
  float* at(int y, int x) const { return as<float>(y, x); }
};

enum class ConvKind { same, up, down };  // stride 1; bilinear ×2 and then stride 1; stride 2

// One 3×3 convolution as a bilinear algorithm y = Aᵀ[(G w) ⊙ (Bᵀ x)] on output tiles of 4×4 (winograd.h).
struct Conv {
  ConvKind kind;
  int inputs;                 // channels to multiply, without padding but for kernels that take whole vectors
  int in_blocks, out_blocks;  // channels, counted in vectors
  const void* weights;  // [group][panel of vectors][inputs][panel width·lanes]: G w, transformed and packed (gemm.h)
  const float* bias;    // [out_blocks·lanes]
  bool add;             // out += relu(...) instead of out = relu(...), because out holds the skip
  int value_bytes;      // of one number of weights and V: 4, or 2 for bfloat16
};

// Memory of one block of tiles for V = Bᵀx and M = Σ (G w) ⊙ V: [point][channel block][tile][lanes], points in the
// order of winograd.h. V has the kernels' type, float32 or bfloat16. M is float32. M may lie over V, kLag points lower:
// a product then writes where V is no longer needed, which the cache still holds (blocking.h).
struct TileBlock {
  int first, count;  // tiles, row by row over the output
  float *v, *m;
  int64_t point;  // floats from a point to the next one, for both
};

// The geometry transfer network on H. Maps are counted in vectors; each stream's maps are padded separately.
struct Landmarks {
  Tensor embedding;
  int inputs;                 // K: channels that each stream reads
  int streams;                // of which some map is computed
  bool masked[2];             // whether maps of the stream enter the mask, so that their extremes are needed
  int first[2];               // first channel that the stream reads
  int blocks[2];              // its maps, in vectors
  const float* depthwise[2];  // [channel block][9][lanes]
  const float* transfer[2];   // [panel][inputs][panel width·lanes], times log₂ e: logits in powers of two
};

// For each map the sums over the pixels of e, ex, ey, exx, exy, eyy. A task adds a seventh row: e is 2^(logit − row).
constexpr int kSums = 6, kSumRows = kSums + 1;

// The wanted sums of a stream's maps: none, those of the mean, or all.
enum class WantedSums { none, mean, all };

// For the second pass: of each map of a masked stream the greatest logit and level = e·scale + shift with e =
// 2^(logit − high); of each stream the wanted sums.
struct Levels {
  const float *high, *scale, *shift;  // [maps]
  WantedSums wanted[2];
  bool steep[2];  // most of the stream's maps fall far below their greatest value, so bounding tiles pays
};

// Floats of scratch for the depthwise outputs of one strip (32 × 4 pixels) of a stream with `inputs` channels, and for
// the middles and reaches of its tiles: landmarks.h.
inline __attribute__((always_inline)) int64_t landmark_strip_floats(int inputs, int lanes) {
  return static_cast<int64_t>((inputs + lanes - 1) / lanes) * lanes * (32 * 4 + 2 * 8);
}

// Stem and encode1 of the first stage, as one convolution of the crop. encode1 pads the stem's output with zeros. So
// the stem's bias counts only for taps inside the picture, and border pixels have other biases.
struct FirstLayer {
  const float* image;  // pixel (0, 0) of the crop in a frame of zeros
  int64_t pitch;
  int patch;             // the stem takes patch × patch pixels, so both together take 3 · patch along a side
  const float* weights;  // [output block][9 · patch²][lanes], row by row
  const float* bias;     // [output block][first, inner, last row][first, inner, last column][lanes]
  Tensor out;
};

// The stem of a later stage: out = A·[I; H] + Φ·B·[I; H] + bias. The face's excitation is folded into A and B.
struct Stem {
  Tensor embedding;
  const float* image;    // [height·width]
  const float* mask;     // [height·width]
  int inputs;            // channels of the embedding, without padding
  const float* weights;  // [output block][1 + inputs][2][lanes]: A, then B; the image comes first
  const float* bias;     // [out.channels]
  Tensor out;
};

}  // namespace acdc
