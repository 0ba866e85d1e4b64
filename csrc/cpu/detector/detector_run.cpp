#include "detector_run.h"

namespace acdc {
namespace {

int halved(int n) { return (n + 1) / 2; }

}  // namespace

Detector::Run::Run(const Detector& net, const uint8_t* grey, int height, int width, int64_t pitch)
    : net(net), grey(grey), height(height), width(width), pitch(pitch), picture(4 * static_cast<size_t>(width + 3)) {
  const int lanes = net.kernels_.lanes;
  const auto& levels = net.spec_.levels;
  int h = halved(height), w = halved(width);
  int64_t widest = 0;
  layers.emplace_back(net.stem_.out_blocks, h, w, 3, lanes);
  for (size_t i = 0; i < net.backbone_.size(); ++i) {
    const DetectorBlock& block = net.backbone_[i];
    if (block.stride == 2) h = halved(h), w = halved(w);
    const auto taken = [&](const std::pair<int, int>& level) { return level.first == static_cast<int>(i); };
    const bool all = std::any_of(levels.begin(), levels.end(), taken);
    layers.emplace_back(block.pointwise.out_blocks, h, w, all ? h : 3, lanes);
    widest = std::max(widest, static_cast<int64_t>(block.pointwise.in_blocks) * (w + kSpare) * lanes);
  }
  for (size_t i = 0; i < net.neck_.size(); ++i) {
    const DetectorRows &fine = layers[levels[i].first + 1], &coarse = layers[levels[i + 1].first + 1];
    sums.emplace_back(fine.blocks, fine.height, fine.width, 3, lanes);
    downs.emplace_back(fine.blocks, coarse.height, coarse.width, 1, lanes);
    necks.emplace_back(fine.blocks, fine.height, fine.width, i ? fine.height : 1, lanes);
    widest = std::max(widest, static_cast<int64_t>(fine.blocks) * (fine.width + kSpare) * lanes);
  }
  head = DetectorRows(net.heads_[0].out_blocks, 1, layers[levels[0].first + 1].width, 1, lanes);
  scratch.resize(static_cast<size_t>(widest));
}

void Detector::Run::stem(int y) {
  const int64_t row = width + 3;
  const float* rows[3];
  for (int i = 0; i < 3; ++i) {
    const int from = 2 * y - 1 + i;
    for (; pictured <= from && pictured < height; ++pictured) {
      net.kernels_.detector_picture(grey + pictured * pitch, width, picture.data() + (1 + pictured % 3) * row);
    }
    rows[i] = picture.data() + (from < 0 || from >= height ? 0 : 1 + from % 3) * row;
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
