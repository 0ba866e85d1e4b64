// Makes one face of the boxes that neighbouring cells give for it.
#include <algorithm>
#include <cmath>
#include <tuple>

#include "detector.h"

namespace acdc {

std::vector<Face> join_cells(std::vector<Face> cells, double same, double power) {
  // The best score first; a tie is settled by the place, so that any order of the cells gives the same faces.
  const auto key = [](const Face& f) { return std::make_tuple(-f[4], f[1], f[0], f[3], f[2]); };
  std::sort(cells.begin(), cells.end(), [&](const Face& a, const Face& b) { return key(a) < key(b); });
  std::vector<Face> faces;
  while (!cells.empty()) {
    const Face best = cells.front();
    const double area = (best[2] - best[0]) * (best[3] - best[1]);
    Face sum{};
    size_t left = 0;
    for (size_t i = 0; i < cells.size(); ++i) {
      const Face cell = cells[i];
      const double w = std::min(best[2], cell[2]) - std::max(best[0], cell[0]);
      const double h = std::min(best[3], cell[3]) - std::max(best[1], cell[1]);
      const double shared = std::max(w, 0.0) * std::max(h, 0.0);
      if (i == 0 || shared >= same * (area + (cell[2] - cell[0]) * (cell[3] - cell[1]) - shared)) {
        const double weight = std::pow(cell[4], power);
        for (int k = 0; k < 4; ++k) sum[k] += weight * cell[k];
        sum[4] += weight;
      } else {
        cells[left++] = cell;
      }
    }
    cells.resize(left);
    faces.push_back({sum[0] / sum[4], sum[1] / sum[4], sum[2] / sum[4], sum[3] / sum[4], best[4]});
  }
  return faces;
}

}  // namespace acdc
