// The detector: packs its weights for the instruction set; gives the boxes or the raw outputs.
#include "detector.h"

#include <cmath>

#include "detector_run.h"

namespace acdc {

const float* Detector::keep(std::vector<float> values) {
  kept_.push_back(std::move(values));
  return kept_.back().data();
}

DetectorPointwise Detector::pointwise(const DetectorWeights& weights, const std::string& name, int inputs, int outputs,
                                      bool relu) {
  const std::vector<float>&w = weights.at(name + ".weight"), &b = weights.at(name + ".bias");
  const int lanes = kernels_.lanes, ins = blocks(inputs) * lanes, outs = blocks(outputs) * lanes;
  std::vector<float> packed(static_cast<size_t>(ins) * outs), bias(outs);
  std::copy(b.begin(), b.end(), bias.begin());
  float* to = packed.data();
  for (int first = 0; first < blocks(outputs);) {
    const int wide = blocks(outputs) - first >= kernels_.panel ? kernels_.panel : 1;
    for (int k = 0; k < ins; ++k) {
      for (int j = first * lanes; j < (first + wide) * lanes; ++j) {
        *to++ = k < inputs && j < outputs ? w[static_cast<size_t>(k) * outputs + j] : 0.f;
      }
    }
    first += wide;
  }
  return {blocks(inputs), blocks(outputs), keep(std::move(packed)), keep(std::move(bias)), relu};
}

DetectorBlock Detector::block(const DetectorWeights& weights, const std::string& name, const DetectorBlockSpec& spec) {
  const std::vector<float>&w = weights.at(name + ".depthwise.weight"), &b = weights.at(name + ".depthwise.bias");
  const int lanes = kernels_.lanes, count = blocks(spec.inputs);
  std::vector<float> packed(static_cast<size_t>(count) * 9 * lanes), bias(static_cast<size_t>(count) * lanes);
  for (int c = 0; c < spec.inputs; ++c) {
    for (int i = 0; i < 9; ++i) packed[(c / lanes * 9 + i) * lanes + c % lanes] = w[i * spec.inputs + c];
    bias[c] = b[c];
  }
  return {spec.stride, keep(std::move(packed)), keep(std::move(bias)),
          pointwise(weights, name + ".pointwise", spec.inputs, spec.outputs, true)};
}

Detector::Detector(const DetectorSpec& spec, const DetectorWeights& weights, const std::string& isa)
    : spec_(spec), kernels_(kernels(isa)) {
  const int lanes = kernels_.lanes, stem = blocks(spec.stem) * lanes;
  std::vector<float> w(static_cast<size_t>(9) * stem), b(stem);
  for (int c = 0; c < spec.stem; ++c) {
    for (int i = 0; i < 9; ++i) w[i * stem + c] = weights.at("stem.weight")[i * spec.stem + c];
    b[c] = weights.at("stem.bias")[c];
  }
  stem_ = {blocks(spec.stem), keep(std::move(w)), keep(std::move(b))};
  for (size_t i = 0; i < spec.blocks.size(); ++i) {
    backbone_.push_back(block(weights, "backbone." + std::to_string(i), spec.blocks[i]));
  }
  for (size_t i = 0; i < spec.levels.size(); ++i) {
    const int count = spec.blocks[spec.levels[i].first].outputs;
    const std::string number = std::to_string(i);
    heads_.push_back(pointwise(weights, "head." + number, count, kDetectorOutputs, false));
    if (i + 1 == spec.levels.size()) break;
    const int coarse = spec.blocks[spec.levels[i + 1].first].outputs;
    down_.push_back(pointwise(weights, "down." + number, coarse, count, false));
    neck_.push_back(block(weights, "neck." + number, {count, count, 1}));
  }
}

std::vector<FoundFace> Detector::find(const DetectorPicture& picture, float least, const DetectorPart& part) const {
  const int lanes = kernels_.lanes;
  // σ(x) ≥ least needs x ≥ bound. Most cells are below it and need no exponential.
  const float bound = least > 0.f ? std::log(least / (1.f - std::fmin(least, 0.999999f))) - 1e-3f : -INFINITY;
  std::vector<std::vector<FoundFace>> found(spec_.levels.size());
  Run(*this, picture, part).go([&](int level, int y, int count, const DetectorRow& row) {
    const float stride = static_cast<float>(spec_.levels[level].second);
    for (int x = 0; x < count; ++x) {
      const auto value = [&](int k) { return row.data[k / lanes * row.pitch + (x + 1) * lanes + k % lanes]; };
      if (!(value(0) >= bound)) continue;
      const float score = 1.f / (1.f + std::exp(-value(0)));
      if (score < least) continue;
      const float cx = (static_cast<float>(x) + value(1)) * stride, cy = (static_cast<float>(y) + value(2)) * stride;
      const float w = 0.5f * stride * std::exp(std::fmin(value(3), 5.f));
      const float h = 0.5f * stride * std::exp(std::fmin(value(4), 5.f));
      found[level].push_back({cx - w, cy - h, cx + w, cy + h, score});
    }
  });
  std::vector<FoundFace> all;
  for (const auto& level : found) all.insert(all.end(), level.begin(), level.end());
  return all;
}

std::vector<std::vector<float>> Detector::outputs(const DetectorPicture& picture) const {
  const int lanes = kernels_.lanes;
  std::vector<std::vector<float>> out;
  for (const auto& [block, stride] : spec_.levels) {
    const auto cells = [s = stride](int n) { return static_cast<size_t>((n + s - 1) / s); };
    out.emplace_back(kDetectorOutputs * cells(picture.height) * cells(picture.width));
  }
  Run(*this, picture, {}).go([&](int level, int y, int count, const DetectorRow& row) {
    const size_t area = out[level].size() / kDetectorOutputs;
    for (int k = 0; k < kDetectorOutputs; ++k) {
      for (int x = 0; x < count; ++x) {
        out[level][k * area + static_cast<size_t>(y) * count + x] =
            row.data[k / lanes * row.pitch + (x + 1) * lanes + k % lanes];
      }
    }
  });
  return out;
}

}  // namespace acdc
