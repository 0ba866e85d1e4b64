#include "detector_run.h"

namespace acdc {
namespace {

int halved(int n) { return (n + 1) / 2; }

}  // namespace

Detector::Run::Run(const Detector& net, const DetectorPicture& picture, const DetectorPart& part)
    : net(net), picture(picture), pixels(4 * static_cast<size_t>(picture.width + 3)) {
  const int lanes = net.kernels_.lanes, blocks = static_cast<int>(net.backbone_.size());
  const auto& levels = net.spec_.levels;
  std::vector<int> heights{halved(picture.height)}, widths{halved(picture.width)};  // of the stem and each block
  for (const DetectorBlock& block : net.backbone_) {
    heights.push_back(block.stride == 2 ? halved(heights.back()) : heights.back());
    widths.push_back(block.stride == 2 ? halved(widths.back()) : widths.back());
  }

  // The part is a share of the coarsest level's rows, and those rows of the finer levels that lie over them.
  const int coarsest = heights.back();
  for (int level = 0, finer = static_cast<int>(levels.size()) - 1; finer >= 0; ++level, --finer) {
    const auto row = [&](int number) {
      return static_cast<int>(static_cast<int64_t>(coarsest) * number / part.count) << finer;
    };
    outputs.push_back({std::min(row(part.number), heights[levels[level].first + 1]),
                       std::min(row(part.number + 1), heights[levels[level].first + 1])});
  }
  // From the outputs back: the rows that each layer computes.
  std::vector<RowRange> summed, necked, needed(blocks + 1, {heights[0], 0});
  RowRange wanted = outputs[0];
  for (size_t i = 0; i < net.neck_.size(); ++i) {
    necked.push_back(wanted);
    RowRange sum = wanted.read(1, heights[levels[i].first + 1]);
    sum.first -= sum.first % 2;  // two rows share one of the coarser level
    summed.push_back(sum);
    needed[levels[i].first + 1] = sum;
    wanted = outputs[i + 1].with({sum.first / 2, (sum.end + 1) / 2});
  }
  needed[blocks] = wanted;
  for (int i = blocks; i > 0; --i) {
    const RowRange read = needed[i].read(net.backbone_[i - 1].stride, heights[i - 1]);
    needed[i - 1] = needed[i - 1].with(read);
  }

  pictured = std::max(0, 2 * needed[0].first - 1);
  int64_t widest = 0;
  layers.emplace_back(net.stem_.out_blocks, heights[0], widths[0], needed[0], 3, lanes);
  for (int i = 1; i <= blocks; ++i) {
    const DetectorBlock& block = net.backbone_[i - 1];
    const auto taken = [&](const std::pair<int, int>& level) { return level.first == i - 1; };
    const int kept = std::any_of(levels.begin(), levels.end(), taken) ? needed[i].count() : 3;
    layers.emplace_back(block.pointwise.out_blocks, heights[i], widths[i], needed[i], kept, lanes);
    widest = std::max(widest, static_cast<int64_t>(block.pointwise.in_blocks) * (widths[i] + kSpare) * lanes);
  }
  for (size_t i = 0; i < net.neck_.size(); ++i) {
    const DetectorRows &fine = layers[levels[i].first + 1], &coarse = layers[levels[i + 1].first + 1];
    sums.emplace_back(fine.blocks, fine.height, fine.width, summed[i], 3, lanes);
    downs.emplace_back(fine.blocks, 1, coarse.width, RowRange{0, 1}, 1, lanes);
    necks.emplace_back(fine.blocks, fine.height, fine.width, necked[i], i ? necked[i].count() : 1, lanes);
    widest = std::max(widest, static_cast<int64_t>(fine.blocks) * (fine.width + kSpare) * lanes);
  }
  head = DetectorRows(net.heads_[0].out_blocks, 1, layers[levels[0].first + 1].width, {0, 1}, 1, lanes);
  scratch.resize(static_cast<size_t>(widest));
}

void Detector::Run::stem(int y) {
  const int64_t row = picture.width + 3;
  const float* rows[3];
  for (int i = 0; i < 3; ++i) {
    const int from = 2 * y - 1 + i;
    for (; pictured <= from && pictured < picture.height; ++pictured) {
      net.kernels_.detector_picture(picture.grey + pictured * picture.pitch, picture.width,
                                    pixels.data() + (1 + pictured % 3) * row);
    }
    rows[i] = pixels.data() + (from < 0 || from >= picture.height ? 0 : 1 + from % 3) * row;
  }
  net.kernels_.detector_stem(net.stem_, rows, layers[0].width, layers[0].row(y));
}

void Detector::Run::need(int layer, int y) {
  DetectorRows& out = layers[layer];
  for (; out.done <= y; ++out.done) {
    if (layer == 0) {
      stem(out.done);
      continue;
    }
    const DetectorBlock& block = net.backbone_[layer - 1];
    const DetectorRows& in = layers[layer - 1];
    const int middle = block.stride * out.done;
    need(layer - 1, std::min(middle + 1, in.height - 1));
    const DetectorRow rows[3] = {in.row(middle - 1), in.row(middle), in.row(middle + 1)};
    net.kernels_.detector_block(block, rows, out.width, scratch.data(),
                                static_cast<int64_t>(out.width + kSpare) * net.kernels_.lanes, out.row(out.done));
  }
}

void Detector::Run::need_sum(int level, int y) {
  const DetectorRows& fine = layers[net.spec_.levels[level].first + 1];
  const bool top = level + 1 == static_cast<int>(necks.size());
  const DetectorRows& coarse = top ? layers.back() : necks[level + 1];
  for (DetectorRows& sum = sums[level]; sum.done <= y; ++sum.done) {
    top ? need(static_cast<int>(net.backbone_.size()), sum.done / 2) : need_neck(level + 1, sum.done / 2);
    need(net.spec_.levels[level].first + 1, sum.done);
    DetectorRows& down = downs[level];
    if (sum.done % 2 == 0) {
      const DetectorRow from = coarse.row(sum.done / 2);
      net.kernels_.detector_pointwise(net.down_[level], from.data + net.kernels_.lanes, from.pitch, coarse.width,
                                      down.row(0));
    }
    net.kernels_.detector_add(fine.row(sum.done), down.row(0), fine.blocks, fine.width, sum.row(sum.done));
  }
}

void Detector::Run::need_neck(int level, int y) {
  const DetectorRows& sum = sums[level];
  for (DetectorRows& out = necks[level]; out.done <= y; ++out.done) {
    need_sum(level, std::min(out.done + 1, sum.height - 1));
    const DetectorRow rows[3] = {sum.row(out.done - 1), sum.row(out.done), sum.row(out.done + 1)};
    net.kernels_.detector_block(net.neck_[level], rows, out.width, scratch.data(),
                                static_cast<int64_t>(out.width + kSpare) * net.kernels_.lanes, out.row(out.done));
  }
}

}  // namespace acdc
