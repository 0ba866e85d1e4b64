// One run of the detector over one picture, or over a part of its rows. Each layer asks the layer before it for the
// rows that it needs. A layer keeps only the three rows that the next one reads, or all rows where the neck reads them
// later.
//
// A part has some rows of every level's outputs. It computes the rows that they need by itself, so that several threads
// can take a part each. Rows near the border of two parts are computed twice, to the same bits.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>

#include "detector.h"

namespace acdc {

// Rows from the first to before the end.
struct RowRange {
  int first, end;

  int count() const { return end - first; }
  RowRange with(const RowRange& other) const { return {std::min(first, other.first), std::max(end, other.end)}; }
  // The rows of a layer of `height` that a 3×3 convolution of this stride reads for these.
  RowRange read(int stride, int height) const {
    return {std::max(0, stride * first - 1), std::min(height, stride * (end - 1) + 2)};
  }
};

// Rows of one layer's output: of those from `rows.first` on the last `kept` ones.
class DetectorRows {
 public:
  DetectorRows() = default;
  DetectorRows(int blocks, int height, int width, const RowRange& rows, int kept, int lanes)
      : height(height),
        width(width),
        blocks(blocks),
        done(rows.first),
        kept_(std::min(kept, rows.count())),
        pitch_(static_cast<int64_t>(width + 2 + kSpare) * lanes) {
    // The first row is zeros: the padding above and below the picture.
    const size_t floats = static_cast<size_t>(blocks * pitch_ * (kept_ + 1));
    data_.reset(static_cast<float*>(::operator new(floats * sizeof(float), std::align_val_t(64))));
    std::memset(data_.get(), 0, static_cast<size_t>(blocks * pitch_) * sizeof(float));
    for (int slot = 1; slot <= kept_; ++slot) {  // the pixel before the first
      for (int c = 0; c < blocks; ++c) {
        std::memset(data_.get() + (slot * blocks + c) * pitch_, 0, static_cast<size_t>(lanes) * sizeof(float));
      }
    }
  }

  DetectorRow row(int y) const {
    const int slot = y < 0 || y >= height ? 0 : 1 + y % kept_;
    return {data_.get() + slot * blocks * pitch_, pitch_};
  }

  int height = 0, width = 0, blocks = 0;
  int done = 0;  // the next row to be computed

 private:
  struct Free {
    void operator()(float* p) const { ::operator delete(p, std::align_val_t(64)); }
  };
  int kept_ = 0;
  int64_t pitch_ = 0;
  std::unique_ptr<float, Free> data_;
};

struct Detector::Run {
  Run(const Detector& net, const DetectorPicture& picture, const DetectorPart& part);

  // Calls row(level, y, cells, values) for each row of each level's outputs that belongs to the part.
  template <class Row>
  void go(Row row) {
    const int last = static_cast<int>(net.spec_.levels.size()) - 1;
    for (int level = last; level >= 0; --level) {
      const DetectorRows& out = level == last ? layers.back() : necks[level];
      for (int y = outputs[level].first; y < outputs[level].end; ++y) {
        level == last ? need(static_cast<int>(net.backbone_.size()), y) : need_neck(level, y);
        net.kernels_.detector_pointwise(net.heads_[level], out.row(y).data + net.kernels_.lanes, out.row(y).pitch,
                                        out.width, head.row(0));
        row(level, y, out.width, head.row(0));
      }
    }
  }

  void need(int layer, int y);      // of the backbone; layer 0 is the stem
  void need_sum(int level, int y);  // a level plus the next coarser one at twice its size
  void need_neck(int level, int y);
  void stem(int y);

  const Detector& net;
  const DetectorPicture picture;
  std::vector<float> pixels;  // a row of zeros, then three rows of the picture with zeros at both ends
  int pictured = 0;           // the next row of the picture to be read
  std::vector<RowRange> outputs;
  std::vector<DetectorRows> layers, sums, downs, necks;
  DetectorRows head;
  std::vector<float> scratch;
};

}  // namespace acdc
