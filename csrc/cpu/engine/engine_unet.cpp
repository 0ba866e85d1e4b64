// A U-Net: twelve convolutions. Their tiles are divided among the threads.
#include <string>

#include "arena.h"
#include "blocking.h"
#include "engine.h"
#include "profile.h"
#include "thread_pool.h"

namespace acdc {

void Engine::convolve(Arena& arena, const Layer& layer, const Tensor& in, const Tensor& out, int threads) const {
  const Conv& conv = layer.conv;
  const Kernels& k = conv.value_bytes == 4 ? kernels_ : conv_kernels_;
  const int columns = tiles_along(out.width), tiles = columns * tiles_along(out.height);
  const Blocking cut = blocking(conv, tiles, threads, k.lanes);
  if (!cut.by_points) {
    auto body = [&](int64_t task, int slot) {
      const int first = static_cast<int>(task) * cut.count, count = std::min(cut.count, tiles - first);
      const TileBlock block = tile_block(conv, cut, threads, k.lanes, first, count, arena.scratch(slot));
      const Lap lap(arena.clock, slot);
      k.conv_input(conv, in, columns, block, 0, count);
      lap.end(0);
      k.conv_product(conv, 0, 36, block);
      lap.end(1);
      k.conv_output(conv, out, columns, block, 0, count);
      lap.end(2);
    };
    return parallel_for((tiles + cut.count - 1) / cut.count, threads, body);
  }
  // Groups run in the order of their weights, which are prefetched; with `down` the largest group runs first.
  const int run = threads == 1 ? 36 : conv.kind == ConvKind::down ? 1 : 3;
  for (int first = 0; first < tiles; first += cut.count) {
    const int count = std::min(cut.count, tiles - first);
    const TileBlock whole = tile_block(conv, cut, threads, k.lanes, first, count, arena.scratch(0));
    auto inputs = [&](int64_t tile, int slot) {
      const Lap lap(arena.clock, slot);
      k.conv_input(conv, in, columns, whole, static_cast<int>(tile), static_cast<int>(tile) + 1);
      lap.end(0);
    };
    auto products = [&](int64_t task, int slot) {
      const Lap lap(arena.clock, slot);
      const int group = 36 - run * (static_cast<int>(task) + 1);
      k.conv_product(conv, group, group + run, whole);
      lap.end(1);
    };
    auto outputs = [&](int64_t tile, int slot) {
      const Lap lap(arena.clock, slot);
      k.conv_output(conv, out, columns, whole, static_cast<int>(tile), static_cast<int>(tile) + 1);
      lap.end(2);
    };
    parallel_for(count, threads, inputs);
    parallel_for(36 / run, threads, products);
    parallel_for(count, threads, outputs);
  }
}

constexpr const char* kLayerNames[12] = {"encode1", "down1",   "encode2", "down2",   "encode3", "down3",
                                         "up3",     "decode3", "up2",     "decode2", "up1",     "decode1"};

void Engine::unet(Arena& a, int stage, int threads) const {
  static const struct {
    Arena::Name in, out;
  } plan[12] = {{Arena::kX, Arena::kSkip1},       {Arena::kSkip1, Arena::kDown1},   {Arena::kDown1, Arena::kSkip2},
                {Arena::kSkip2, Arena::kDown2},   {Arena::kDown2, Arena::kSkip3},   {Arena::kSkip3, Arena::kDown3},
                {Arena::kDown3, Arena::kSkip3},   {Arena::kSkip3, Arena::kDecode3}, {Arena::kDecode3, Arena::kSkip2},
                {Arena::kSkip2, Arena::kDecode2}, {Arena::kDecode2, Arena::kSkip1}, {Arena::kSkip1, Arena::kEmbedding}};
  for (int i = stage == 0 ? 1 : 0; i < 12; ++i) {  // first_layer has computed encode1 of the first stage
    if (a.clock) a.clock->step(std::to_string(stage) + "." + kLayerNames[i]);
    convolve(a, stages_[stage].layers[i], a[plan[i].in], a[plan[i].out], threads);
  }
}

}  // namespace acdc
