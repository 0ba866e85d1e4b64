// Z-buffer rasteriser for training/synthesis: the triangle that covers each pixel's centre, and the vertex attributes
// interpolated there, linearly on the screen. Triangles of a face mesh are a few pixels large, so perspective
// correction would change nothing; warps of the background need plain affine maps.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "bindings.h"

namespace acdc {
namespace {

using Triangles = py::array_t<std::int32_t, py::array::c_style | py::array::forcecast>;

struct Hit {
  float u, v;  // weights of the triangle's first two vertices
};

// Adds one triangle to the z-buffer. Positions x right, y down, pixel centres at integers; larger depth is nearer.
void draw(const float* a, const float* b, const float* c, std::int32_t id, bool cull, int height, int width,
          std::int32_t* owner, float* depth, Hit* hits) {
  const float area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);
  if (!std::isfinite(area) || area == 0.f || (cull && area > 0.f)) return;  // y down: front faces turn negative
  const float low_x = std::min({a[0], b[0], c[0]}), high_x = std::max({a[0], b[0], c[0]});
  const float low_y = std::min({a[1], b[1], c[1]}), high_y = std::max({a[1], b[1], c[1]});
  if (!(low_x < width && low_y < height && high_x >= 0.f && high_y >= 0.f)) return;
  const int x0 = static_cast<int>(std::ceil(std::max(low_x, 0.f)));
  const int x1 = static_cast<int>(std::min(high_x, width - 1.f));
  const int y0 = static_cast<int>(std::ceil(std::max(low_y, 0.f)));
  const int y1 = static_cast<int>(std::min(high_y, height - 1.f));
  const float scale = 1.f / area;
  // Slightly wider than the triangle, so that rounding leaves no gaps between neighbours.
  const float edge = -1e-4f;
  const float ux = (b[1] - c[1]) * scale, uy = (c[0] - b[0]) * scale;
  const float vx = (c[1] - a[1]) * scale, vy = (a[0] - c[0]) * scale;
  for (int y = y0; y <= y1; ++y) {
    for (int x = x0; x <= x1; ++x) {
      const float u = (x - c[0]) * ux + (y - c[1]) * uy;
      const float v = (x - c[0]) * vx + (y - c[1]) * vy;
      if (u < edge || v < edge || 1.f - u - v < edge) continue;
      const float z = u * a[2] + v * b[2] + (1.f - u - v) * c[2];
      const std::ptrdiff_t pixel = static_cast<std::ptrdiff_t>(y) * width + x;
      if (z <= depth[pixel]) continue;
      depth[pixel] = z;
      owner[pixel] = id;
      hits[pixel] = {u, v};
    }
  }
}

void check_triangles(const std::int32_t* triangles, py::ssize_t count, py::ssize_t vertices) {
  for (py::ssize_t i = 0; i < 3 * count; ++i)
    if (triangles[i] < 0 || triangles[i] >= vertices)
      throw InputError("rasterize: triangle " + std::to_string(i / 3) + " names vertex " +
                       std::to_string(triangles[i]) + ", but there are " + std::to_string(vertices));
}

py::tuple rasterize(const Floats& vertices, const Triangles& triangles, const Floats& attributes, int height, int width,
                    bool cull) {
  if (vertices.ndim() != 2 || vertices.shape(1) != 3)
    throw InputError("rasterize: vertices must be (V, 3): x, y in pixels and depth");
  if (triangles.ndim() != 2 || triangles.shape(1) != 3)
    throw InputError("rasterize: triangles must be (T, 3) vertex numbers");
  if (attributes.ndim() != 2 || attributes.shape(0) != vertices.shape(0))
    throw InputError("rasterize: attributes must be (V, K) with one row a vertex");
  if (height < 1 || width < 1 || height > 16384 || width > 16384)
    throw InputError("rasterize: height and width must lie in 1..16384");
  const py::ssize_t count = triangles.shape(0), channels = attributes.shape(1);
  py::array_t<std::int32_t> owner({height, width});
  py::array_t<float> depth({height, width});
  py::array_t<float> values({static_cast<py::ssize_t>(height), static_cast<py::ssize_t>(width), channels});
  const float* position = vertices.data();
  const std::int32_t* corner = triangles.data();
  const float* attribute = attributes.data();
  std::int32_t* owner_out = owner.mutable_data();
  float* depth_out = depth.mutable_data();
  float* value_out = values.mutable_data();
  {
    py::gil_scoped_release unlock;
    check_triangles(corner, count, vertices.shape(0));
    const std::ptrdiff_t pixels = static_cast<std::ptrdiff_t>(height) * width;
    std::fill_n(owner_out, pixels, -1);
    std::fill_n(depth_out, pixels, -std::numeric_limits<float>::infinity());
    std::fill_n(value_out, pixels * channels, 0.f);
    std::vector<Hit> hits(static_cast<std::size_t>(pixels));
    for (py::ssize_t t = 0; t < count; ++t)
      draw(position + 3 * corner[3 * t], position + 3 * corner[3 * t + 1], position + 3 * corner[3 * t + 2],
           static_cast<std::int32_t>(t), cull, height, width, owner_out, depth_out, hits.data());
    for (std::ptrdiff_t pixel = 0; pixel < pixels; ++pixel) {
      if (owner_out[pixel] < 0) continue;
      const std::int32_t* triangle = corner + 3 * owner_out[pixel];
      const float u = hits[pixel].u, v = hits[pixel].v, w = 1.f - u - v;
      const float *p = attribute + triangle[0] * channels, *q = attribute + triangle[1] * channels,
                  *r = attribute + triangle[2] * channels;
      for (py::ssize_t k = 0; k < channels; ++k) value_out[pixel * channels + k] = u * p[k] + v * q[k] + w * r[k];
    }
  }
  return py::make_tuple(owner, depth, values);
}

// Unit normals of vertices, the area-weighted mean of their triangles' normals.
py::array_t<float> vertex_normals(const Floats& vertices, const Triangles& triangles) {
  if (vertices.ndim() != 2 || vertices.shape(1) != 3) throw InputError("vertex_normals: vertices must be (V, 3)");
  if (triangles.ndim() != 2 || triangles.shape(1) != 3)
    throw InputError("vertex_normals: triangles must be (T, 3) vertex numbers");
  py::array_t<float> normals({vertices.shape(0), static_cast<py::ssize_t>(3)});
  const float* position = vertices.data();
  const std::int32_t* corner = triangles.data();
  float* out = normals.mutable_data();
  const py::ssize_t count = triangles.shape(0), points = vertices.shape(0);
  py::gil_scoped_release unlock;
  check_triangles(corner, count, points);
  std::fill_n(out, 3 * points, 0.f);
  for (py::ssize_t t = 0; t < count; ++t) {
    const float *a = position + 3 * corner[3 * t], *b = position + 3 * corner[3 * t + 1],
                *c = position + 3 * corner[3 * t + 2];
    const float e[3] = {b[0] - a[0], b[1] - a[1], b[2] - a[2]}, f[3] = {c[0] - a[0], c[1] - a[1], c[2] - a[2]};
    const float n[3] = {e[1] * f[2] - e[2] * f[1], e[2] * f[0] - e[0] * f[2], e[0] * f[1] - e[1] * f[0]};
    for (int k = 0; k < 3; ++k)
      for (int i = 0; i < 3; ++i) out[3 * corner[3 * t + k] + i] += n[i];
  }
  for (py::ssize_t i = 0; i < points; ++i) {
    float* n = out + 3 * i;
    const float length = std::sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]);
    const float scale = length > 0.f ? 1.f / length : 0.f;
    for (int k = 0; k < 3; ++k) n[k] *= scale;
  }
  return normals;
}

}  // namespace

void bind_rasterize(py::module_& m) {
  m.def("rasterize", &rasterize, py::arg("vertices"), py::arg("triangles"), py::arg("attributes"), py::arg("height"),
        py::arg("width"), py::arg("cull") = true,
        "Z-buffer: (owner (H, W) int32, -1 where empty; depth (H, W); attributes (H, W, K)). Larger depth is nearer.");
  m.def("vertex_normals", &vertex_normals, py::arg("vertices"), py::arg("triangles"), "Unit normals (V, 3).");
}

}  // namespace acdc
