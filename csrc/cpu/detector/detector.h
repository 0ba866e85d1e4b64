// The detector: a small network that finds faces in a grey picture, row by row. Layers: acdc_fast/detector/plan.py.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "kernels.h"

namespace acdc {

struct DetectorBlockSpec {
  int inputs, outputs, stride;
};

// The layers, as in acdc_fast/detector/plan.py.
struct DetectorSpec {
  int stem;                                 // channels
  std::vector<DetectorBlockSpec> blocks;    // the backbone
  std::vector<std::pair<int, int>> levels;  // (number of the block, stride) of each level, the finest first
};

using DetectorWeights = std::map<std::string, std::vector<float>>;

struct FoundFace {
  float x0, y0, x1, y1, score;
};

using Face = std::array<double, 5>;  // x0, y0, x1, y1, score

// Boxes of single cells → one box a face. Cells of intersection over union `same` or more with the best are one face.
// Its score is the best, its box the mean, weighted by this power of the scores.
std::vector<Face> join_cells(std::vector<Face> cells, double same, double power);

constexpr int kDetectorOutputs = 5;  // score, dx, dy, log width, log height
constexpr int kDetectorLargest = 16384;

// Grey rows lie `pitch` bytes apart.
struct DetectorPicture {
  const uint8_t* grey;
  int height, width;
  int64_t pitch;
};

// Part `number` of `count` about equal parts of a picture's rows.
struct DetectorPart {
  int number = 0, count = 1;
};

class Detector {
 public:
  Detector(const DetectorSpec& spec, const DetectorWeights& weights, const std::string& isa);

  // Boxes of all cells (places of a level's outputs) that score at least `least`, the finest level first, row by row.
  // All parts together give those of the whole picture, bit for bit. Every call has memory of its own; any number of
  // threads may call at once.
  std::vector<FoundFace> find(const DetectorPicture& picture, float least, const DetectorPart& part = {}) const;
  // The raw outputs of each level: [level][5][height][width].
  std::vector<std::vector<float>> outputs(const DetectorPicture& picture) const;

  const DetectorSpec& spec() const { return spec_; }
  const char* isa() const { return kernels_.isa; }

 private:
  struct Run;
  DetectorPointwise pointwise(const DetectorWeights& weights, const std::string& name, int inputs, int outputs,
                              bool relu);
  DetectorBlock block(const DetectorWeights& weights, const std::string& name, const DetectorBlockSpec& spec);
  const float* keep(std::vector<float> values);
  int blocks(int channels) const { return (channels + kernels_.lanes - 1) / kernels_.lanes; }

  const DetectorSpec spec_;
  const Kernels& kernels_;
  std::vector<std::vector<float>> kept_;
  DetectorStem stem_;
  std::vector<DetectorBlock> backbone_, neck_;
  std::vector<DetectorPointwise> down_, heads_;
};

}  // namespace acdc
