// Weights in the kernels' layout, made once at load, in double precision up to the last step.
#include <cmath>
#include <cstring>

#include "engine.h"
#include "thread_pool.h"

namespace acdc {
namespace {

constexpr int kMaxGroups = 6;

// G of one dimension, (6, 3), for the points of winograd.h: rows [1, p, p²] / N'(p), the last for ∞. For `down`: five
// rows of F(4, 2) on taps 0 and 2, then tap 1 of the even phase.
void weight_transform(ConvKind kind, double g[kMaxGroups][3]) {
  for (int i = 0; i < kMaxGroups; ++i) g[i][0] = g[i][1] = g[i][2] = 0;
  if (kind == ConvKind::down) {
    const double points[4] = {0.5, -0.5, 1.25, -1.25}, sum = 0.25 + 1.5625;
    for (int i = 0; i < 4; ++i) {
      const double p = points[i], slope = 4 * p * p * p - 2 * sum * p;
      g[i][0] = 1 / slope;
      g[i][2] = p / slope;
    }
    g[4][2] = g[5][1] = 1;
    return;
  }
  const double points[5] = {0, 2. / 3, -2. / 3, 1.5, -1.5}, sum = 4. / 9 + 9. / 4;
  const double scale = kind == ConvKind::up ? 0.25 : 1;  // because Up::input takes its pixels times 4
  for (int i = 0; i < 5; ++i) {
    const double p = points[i], slope = 5 * p * p * p * p - 3 * sum * p * p + 1;
    for (int k = 0; k < 3; ++k) g[i][k] = scale * (k == 0 ? 1 : k == 1 ? p : p * p) / slope;
  }
  g[5][2] = scale;
}

// The place of element (k, column) in a right operand that is packed in panels of `panel` vectors.
int64_t packed_index(int k, int column, int inner, int vectors, int panel, int lanes) {
  const int first = column / lanes / panel * panel, width = std::min(panel, vectors - first);
  return (static_cast<int64_t>(first) * inner + static_cast<int64_t>(k) * width) * lanes + (column - first * lanes);
}

// The same if the values of rows k and k + 1 lie side by side: bfloat16 in pairs.
int64_t paired_index(int k, int column, int inner, int vectors, int panel, int lanes) {
  const int64_t even = packed_index(k - k % 2, column, inner, vectors, panel, lanes);
  return even + column % (panel * lanes) + k % 2;
}

// Rounds to nearest, ties to even. For finite values only.
uint16_t to_bf16(double value) {
  const float single = static_cast<float>(value);
  uint32_t bits;
  std::memcpy(&bits, &single, sizeof bits);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

}  // namespace

Buffer Engine::track(Buffer buffer) {
  weight_bytes_ += buffer.bytes();
  return buffer;
}

void Engine::pack_conv(Layer& layer, ConvKind kind, int value_bytes, int inputs, int outputs,
                       const std::vector<double>& weight, const std::vector<double>& bias) {
  const int lanes = kernels_.lanes, panel = kernels_.panel, vecs = vectors(outputs);
  const int inner = value_bytes == conv_kernels_.value_bytes && conv_kernels_.whole_blocks ? padded(inputs) : inputs;
  const int64_t group = static_cast<int64_t>(inner) * vecs * lanes;
  const bool half = value_bytes == sizeof(uint16_t);
  layer.weights = track(Buffer(36 * group * value_bytes / 4));
  auto* const halves = reinterpret_cast<uint16_t*>(layer.weights.data());
  layer.bias = track(Buffer(padded(outputs)));
  for (int o = 0; o < outputs; ++o) layer.bias.data()[o] = static_cast<float>(bias[o]);
  double g[kMaxGroups][3];
  weight_transform(kind, g);
  auto pack = [&](int64_t i, int) {
    for (int o = 0; o < outputs; ++o) {
      const double* w = &weight[(static_cast<int64_t>(o) * inputs + i) * 9];
      const int k = static_cast<int>(i);
      const int64_t at = (half ? paired_index : packed_index)(k, o, inner, vecs, panel, lanes);
      for (int y = 0; y < kMaxGroups; ++y) {
        double row[3];
        for (int b = 0; b < 3; ++b) row[b] = g[y][0] * w[b] + g[y][1] * w[3 + b] + g[y][2] * w[6 + b];
        for (int x = 0; x < kMaxGroups; ++x) {
          const double value = row[0] * g[x][0] + row[1] * g[x][1] + row[2] * g[x][2];
          const int64_t to = (y * kMaxGroups + x) * group + at;
          if (half) {
            halves[to] = to_bf16(value);
          } else {
            layer.weights.data()[to] = static_cast<float>(value);
          }
        }
      }
    }
  };
  parallel_for(inputs, threads_, pack);
  layer.conv = {kind,       inner, vectors(inputs), vecs, layer.weights.data(), layer.bias.data(), kind == ConvKind::up,
                value_bytes};
}

void Engine::pack_first_layer(const Weights& weights) {
  const int w = spec_.width, lanes = kernels_.lanes, p = spec_.patch, taps = 9 * p * p;
  const std::vector<double>&stem = weights.at("0.stem.weight"), &stem_bias = weights.at("0.stem.bias");
  const std::vector<double>&conv = weights.at("0.encode1.weight"), &conv_bias = weights.at("0.encode1.bias");
  first_weights_ = track(Buffer(static_cast<int64_t>(padded(w)) * taps));
  first_bias_ = track(Buffer(padded(w) * 9));
  for (int o = 0; o < w; ++o) {
    double through[9] = {};  // the stem's bias through each tap
    const int64_t block = o / lanes;
    for (int t = 0; t < taps; ++t) {  // pixel `inside` of the patch that tap i of encode1 sees
      const int row = t / (3 * p), column = t % (3 * p), i = row / p * 3 + column / p;
      const int inside = row % p * p + column % p;
      double sum = 0;
      for (int c = 0; c < w; ++c) {
        const double tap = conv[(static_cast<int64_t>(o) * w + c) * 9 + i];
        sum += tap * stem[static_cast<int64_t>(c) * p * p + inside];
        if (inside == 0) through[i] += tap * stem_bias[c];
      }
      first_weights_.data()[(block * taps + t) * lanes + o % lanes] = static_cast<float>(sum);
    }
    for (int place = 0; place < 9; ++place) {  // rows and columns: first, inner, last
      const int row = place / 3, column = place % 3;
      double sum = conv_bias[o];
      for (int i = 0; i < 9; ++i) {
        const bool outside = (row == 0 && i / 3 == 0) || (row == 2 && i / 3 == 2) || (column == 0 && i % 3 == 0) ||
                             (column == 2 && i % 3 == 2);
        if (!outside) sum += through[i];
      }
      first_bias_.data()[(block * 9 + place) * lanes + o % lanes] = static_cast<float>(sum);
    }
  }
}

void Engine::pack_landmarks(const Weights& weights) {
  const int lanes = kernels_.lanes, k = spec_.stream_inputs, maps[2] = {spec_.chain_maps, spec_.solid_maps};
  transfer_ = weights.at("transfer");
  for (int kind = 0, stream = 0; kind < 2; ++kind) {
    if (!maps[kind]) continue;
    lanes_of_maps_ += padded(maps[kind]);
    depthwise_[kind] = track(Buffer(static_cast<int64_t>(padded(k)) * 9));
    const std::vector<double>& depthwise = weights.at("depthwise." + std::to_string(stream++));
    for (int c = 0; c < k; ++c) {
      for (int i = 0; i < 9; ++i) {
        depthwise_[kind].data()[(c / lanes * 9 + i) * lanes + c % lanes] = static_cast<float>(depthwise[c * 9 + i]);
      }
    }
  }
}

MapSet Engine::pack_maps(const std::vector<unsigned char>& wanted) const {
  const int lanes = kernels_.lanes, k = spec_.stream_inputs, maps[2] = {spec_.chain_maps, spec_.solid_maps};
  MapSet set;
  set.net.inputs = k;
  for (int kind = 0, first = 0; kind < 2; first += maps[kind++]) {
    const int s = set.net.streams, begin = static_cast<int>(set.map.size());
    for (int l = first; l < first + maps[kind]; ++l) {
      if (!wanted[l]) continue;
      set.lane.push_back(set.lanes + static_cast<int>(set.map.size()) - begin);
      set.map.push_back(l);
      set.net.masked[s] |= spec_.masked[l] != 0;
    }
    const int count = static_cast<int>(set.map.size()) - begin, vecs = vectors(count);
    if (!count) continue;
    set.transfer[s] = Buffer(static_cast<int64_t>(k) * vecs * lanes);
    for (int i = 0; i < count; ++i) {
      for (int c = 0; c < k; ++c) {
        const double value =
            transfer_[static_cast<int64_t>(set.map[begin + i]) * k + c] * 1.4426950408889634;  // log₂ e
        set.transfer[s].data()[packed_index(c, i, k, vecs, kernels_.landmark_panel, lanes)] = static_cast<float>(value);
      }
    }
    set.solid[s] = kind == 1;
    set.net.first[s] = kind == 0 ? 0 : spec_.width - k;
    set.net.blocks[s] = vecs;
    set.net.depthwise[s] = depthwise_[kind].data();
    set.net.transfer[s] = set.transfer[s].data();
    set.lanes += vecs * lanes;
    ++set.net.streams;
  }
  set.lane_masked.assign(set.lanes, 0);
  for (size_t i = 0; i < set.map.size(); ++i) set.lane_masked[set.lane[i]] = spec_.masked[set.map[i]];
  return set;
}

Engine::Engine(const EngineSpec& spec, const Weights& weights, int threads, const std::string& isa, bool bf16)
    : spec_(spec),
      kernels_(bf16 ? kernels(bf16_kernels(isa).isa) : kernels(isa)),
      conv_kernels_(bf16 ? bf16_kernels(isa) : kernels_),
      threads_(threads),
      stages_(spec.stages) {
  using K = ConvKind;
  static const struct {
    const char* name;
    ConvKind kind;
    int inputs, outputs;  // times the width
  } plan[12] = {{"encode1", K::same, 1, 1}, {"down1", K::down, 1, 1},   {"encode2", K::same, 1, 2},
                {"down2", K::down, 2, 2},   {"encode3", K::same, 2, 4}, {"down3", K::down, 4, 4},
                {"up3", K::up, 4, 4},       {"decode3", K::same, 4, 2}, {"up2", K::up, 2, 2},
                {"decode2", K::same, 2, 1}, {"up1", K::up, 1, 1},       {"decode1", K::same, 1, 1}};
  const int w = spec_.width;
  for (int s = 0; s < spec_.stages; ++s) {
    Stage& stage = stages_[s];
    const std::string prefix = std::to_string(s) + ".";
    for (int i = s == 0 ? 1 : 0; i < 12; ++i) {
      const std::string name = prefix + plan[i].name;
      // decode1 stays in float32, because no layer after it averages its errors out. So does the first layer on the
      // crop: on smooth grey each rounded weight would err with the same sign everywhere.
      const int value_bytes = i == 11 ? 4 : conv_kernels_.value_bytes;
      pack_conv(stage.layers[i], plan[i].kind, value_bytes, plan[i].inputs * w, plan[i].outputs * w,
                weights.at(name + ".weight"), weights.at(name + ".bias"));
    }
    if (s == 0) continue;
    stage.stem = weights.at(prefix + "stem.weight");
    const std::vector<double>& bias = weights.at(prefix + "stem.bias");
    stage.stem_bias = track(Buffer(padded(w)));
    for (int c = 0; c < w; ++c) stage.stem_bias.data()[c] = static_cast<float>(bias[c]);
    if (spec_.excitation) {
      stage.excite_weight = weights.at(std::to_string(s - 1) + ".excite.weight");
      stage.excite_bias = weights.at(std::to_string(s - 1) + ".excite.bias");
    }
  }
  pack_first_layer(weights);
  pack_landmarks(weights);
  weight_bytes_ += static_cast<int64_t>(spec_.stream_inputs) * lanes_of_maps_ * static_cast<int64_t>(sizeof(float));
  if (spec_.pose) {
    pose_weight_ = weights.at("pose.weight");
    pose_bias_ = weights.at("pose.bias");
  }
}

}  // namespace acdc
