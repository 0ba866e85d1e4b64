"""The z-buffer rasteriser against a plain loop over pixels in float64."""

from __future__ import annotations

import numpy as np
import pytest

from acdc_fast import _native

H, W = 23, 31


def plain(vertices: np.ndarray, triangles: np.ndarray, attributes: np.ndarray, cull: bool) -> tuple[np.ndarray, ...]:
    """Owner, depth, attributes, and how near the closest edge or depth tie is (where rounding may decide)."""
    owner, depth = np.full((H, W), -1), np.full((H, W), -np.inf)
    values, margin = np.zeros((H, W, attributes.shape[1])), np.full((H, W), np.inf)
    y, x = np.mgrid[:H, :W].astype(float)
    for t, corners in enumerate(triangles):
        a, b, c = vertices[corners].astype(float)
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if area == 0 or (cull and area > 0):
            continue
        u = ((b[0] - x) * (c[1] - y) - (b[1] - y) * (c[0] - x)) / area
        v = ((c[0] - x) * (a[1] - y) - (c[1] - y) * (a[0] - x)) / area
        least = np.minimum(np.minimum(u, v), 1 - u - v)
        z = u * a[2] + v * b[2] + (1 - u - v) * c[2]
        margin = np.minimum(margin, np.abs(least))
        margin = np.where(least >= 0, np.minimum(margin, np.abs(z - depth)), margin)
        won = (least >= 0) & (z > depth)
        owner[won], depth[won] = t, z[won]
        mixed = (
            u[..., None] * attributes[corners[0]]
            + v[..., None] * attributes[corners[1]]
            + (1 - u - v)[..., None] * attributes[corners[2]]
        )
        values[won] = mixed[won]
    return owner, depth, values, margin


@pytest.mark.parametrize("cull", [True, False])
def test_agrees_with_plain_loop(cull: bool) -> None:
    rng = np.random.default_rng(3)
    vertices = np.column_stack([rng.uniform(-8, W + 8, 40), rng.uniform(-8, H + 8, 40), rng.uniform(-5, 5, 40)]).astype(
        np.float32
    )
    triangles = rng.integers(0, 40, (60, 3)).astype(np.int32)
    attributes = rng.normal(size=(40, 3)).astype(np.float32)
    owner, depth, values = _native.rasterize(vertices, triangles, attributes, H, W, cull)
    want_owner, want_depth, want_values, margin = plain(vertices, triangles, attributes, cull)
    sure = margin > 1e-3  # weights are float32 and edges are widened by 1e-4
    assert sure.mean() > 0.9 and (want_owner >= 0).mean() > 0.5
    np.testing.assert_array_equal(owner[sure], want_owner[sure])
    hit = sure & (want_owner >= 0)
    # Slivers: weights carry float32 errors of coordinates times the inverse of a small area.
    np.testing.assert_allclose(depth[hit], want_depth[hit], atol=2e-2)
    np.testing.assert_allclose(values[hit], want_values[hit], atol=2e-2)
    assert (values[owner < 0] == 0).all() and np.isneginf(depth[owner < 0]).all()


def test_neighbours_leave_no_pinholes() -> None:
    grid = np.stack(np.meshgrid(np.linspace(2.3, 28.1, 14), np.linspace(1.7, 20.2, 11)), -1).reshape(-1, 2)
    at = np.arange(len(grid)).reshape(11, 14)
    a, b, c, d = at[:-1, :-1].ravel(), at[:-1, 1:].ravel(), at[1:, :-1].ravel(), at[1:, 1:].ravel()
    triangles = np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)])
    vertices = np.column_stack([grid, np.zeros(len(grid))])
    owner, _, values = _native.rasterize(vertices, triangles, grid, H, W, True)
    assert (owner[2:21, 3:29] >= 0).all()
    y, x = np.mgrid[2:21, 3:29]
    np.testing.assert_allclose(values[2:21, 3:29], np.stack([x, y], -1), atol=1e-4)


def test_rejects_what_it_cannot_draw() -> None:
    vertices, none = np.zeros((3, 3), np.float32), np.zeros((3, 0), np.float32)
    for triangles, attributes, size, message in [
        ([[0, 1, 3]], none, 4, "names vertex 3"),
        ([[0, -1, 2]], none, 4, "names vertex -1"),
        ([[0, 1, 2]], np.zeros((2, 1), np.float32), 4, "one row a vertex"),
        ([[0, 1, 2]], none, 0, "height and width"),
    ]:
        with pytest.raises(ValueError, match=message):
            _native.rasterize(vertices, np.array(triangles, np.int32), attributes, size, size, True)
    with pytest.raises(ValueError, match=r"\(V, 3\)"):
        _native.vertex_normals(np.zeros((3, 2), np.float32), np.zeros((0, 3), np.int32))


def test_strange_coordinates_draw_nothing() -> None:
    triangles = np.array([[0, 1, 2]], np.int32)
    for bad in (np.nan, np.inf, 1e30):
        vertices = np.array([[0, 0, 0], [5, 0, 0], [0, bad, 0]], np.float32)
        owner, _, _ = _native.rasterize(vertices, triangles, np.zeros((3, 0), np.float32), 4, 4, False)
        assert owner.shape == (4, 4) and (owner[:, 1:] <= 0).all()


def test_normals_of_a_sphere_point_outward() -> None:
    turn, height = np.meshgrid(np.linspace(0, 2 * np.pi, 40, endpoint=False), np.linspace(-0.95, 0.95, 30))
    r = np.sqrt(1 - height**2)
    ball = np.stack([r * np.cos(turn), r * np.sin(turn), height], -1)
    at = np.arange(1200).reshape(30, 40)
    at = np.concatenate([at, at[:, :1]], 1)
    a, b, c, d = at[:-1, :-1].ravel(), at[:-1, 1:].ravel(), at[1:, :-1].ravel(), at[1:, 1:].ravel()
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)]).astype(np.int32)
    normals = _native.vertex_normals(ball.reshape(-1, 3), triangles).reshape(30, 40, 3)
    assert ((normals * ball).sum(-1)[1:-1] > 0.995).all()
