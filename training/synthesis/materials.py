"""The light that each kind of surface sends back: skin, eyes, hair, cloth, teeth."""

from __future__ import annotations

import cv2
import numpy as np

from . import scene
from .assembly import MATERIALS, M
from .skin import Looks
from .texture import SIZE


def colour_of(
    looks: Looks, texture: np.ndarray, material: np.ndarray, values: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """(H, W) linear light from each pixel's surface. ``material`` (H, W): -1 for none.

    ``values`` (H, W, 6): texture position, coordinates of `assembly`, diffuse and glossy light.
    """
    uv, coordinates, diffuse, glossy = values[..., :2], values[..., 2:4], values[..., 4], values[..., 5]
    skin = cv2.remap(
        texture,
        uv[..., 0] * SIZE - 0.5,
        uv[..., 1] * SIZE - 0.5,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    table = np.zeros(len(MATERIALS) + 1, np.float32)
    shine = np.zeros(len(MATERIALS) + 1, np.float32)
    for name, reflectance, gloss in [
        ("mouth", 0.16, 0.5), ("socket", 0.6 * looks.tone, 0.2), ("gums", 0.22, 0.6), ("teeth", 0.62, 0.6),
        ("eyes", 0.5, 1.0),
        ("clothes", rng.uniform(0.02, 0.8), 0.05), ("cloth", rng.uniform(0.02, 0.8), 0.05),
        ("frame", float(np.exp(rng.uniform(np.log(0.01), np.log(0.5)))), 1.5),
        ("hair", looks.hair, 0.6), ("skin", 1, 1), ("skull", 1, 1),
    ]:  # fmt: skip
        table[M[name]], shine[M[name]] = reflectance, gloss
    albedo = table[material]
    on_skin = (material == M["skin"]) | (material == M["skull"])
    albedo = np.where(on_skin, skin, albedo)
    eye = material == M["eyes"]
    if eye.any():
        albedo[eye] = _iris(looks, coordinates[eye])
    fibre = (material == M["hair"]) | (material == M["cloth"]) | (material == M["clothes"])
    if fibre.any():
        albedo[fibre] *= _fibre(rng, coordinates[fibre], material[fibre])
    return np.asarray(albedo * diffuse + glossy * shine[material])


def _iris(looks: Looks, at: np.ndarray) -> np.ndarray:
    r = np.hypot(at[:, 0], at[:, 1])
    radius = 0.47
    sclera = 0.62 - 0.25 * np.clip(r - 0.6, 0, 1)
    spokes = 1 + 0.25 * np.sin(23 * np.arctan2(at[:, 1], at[:, 0]))
    iris = looks.iris * spokes * np.where(r > 0.85 * radius, 0.6, 1.0)
    inside = np.clip((radius - r) / 0.03 + 0.5, 0, 1)
    pupil = np.clip((looks.pupil * radius - r) / 0.03 + 0.5, 0, 1)
    return np.asarray((sclera * (1 - inside) + iris * inside) * (1 - pupil) + 0.01 * pupil)


def _fibre(rng: np.random.Generator, coordinates: np.ndarray, material: np.ndarray) -> np.ndarray:
    """Strands of hair and threads of cloth: factors (n,) for the reflectance."""
    strands = scene.strands(rng)
    cell = (coordinates * len(strands)).astype(np.int32) % len(strands)
    strength = np.where(material == M["hair"], rng.uniform(0.15, 0.5), rng.uniform(0, 0.25))
    return np.asarray(np.exp(strength * strands[cell[:, 1], cell[:, 0]]))
