"""Every architecture choice of AC-DC in one frozen object.

Each field says whether the value is the paper's (with its section) or ours. Nothing else in the package holds an
architecture constant.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from .markups import MARKUPS

Variant = Literal["ac", "ac+pose", "ac-dc"]


@dataclass(frozen=True)
class ACDCConfig:
    """Architecture of one AC-DC network.

    Raises ``ValueError`` on construction when the fields do not describe a network that can exist; the message names
    the field.
    """

    #: Channels w of the embedding H; the U-Net uses w, 2w and 4w. 64: paper §III-B and §III-D; the paper makes
    #: two statements (docs/concepts/network.md). 16 and 32 are ours, for CPUs.
    width: int = 64
    #: U-Nets in the cascade, paper §III-A: 4.
    stages: int = 4
    #: Ablation of paper §IV-B. "ac": no pose; "ac+pose": pose head and loss; "ac-dc": pose excites the fusion too.
    variant: Variant = "ac-dc"
    #: Markups by name. The 2D ones form the chain of eq. 1, finest first; "3d68" is the 3D stream. Paper §III-B.
    markups: tuple[str, ...] = ("2d98", "2d68", "2d5", "3d68")
    #: Share of H's channels that each stream of the geometry transfer network reads; the 2D stream the first, the 3D
    #: stream the last. Ours: the paper only says that the two overlap.
    stream_fraction: float = 0.75
    #: Markups whose maps enter the mask of eq. 4. Ours: None = all of them.
    mask_markups: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "markups", tuple(self.markups))
        if self.mask_markups is not None:
            object.__setattr__(self, "mask_markups", tuple(self.mask_markups))
        if self.width < 4 or self.width % 4:
            raise ValueError(f"width must be a positive multiple of 4, not {self.width}")
        if self.stages < 1:
            raise ValueError(f"stages must be at least 1, not {self.stages}")
        if self.variant not in get_args(Variant):
            raise ValueError(f"variant must be one of {', '.join(get_args(Variant))}, not {self.variant!r}")
        unknown = [m for m in self.markups if m not in MARKUPS]
        if unknown:
            raise ValueError(f"unknown markup {unknown[0]!r}; known: {', '.join(MARKUPS)}")
        if not self.markups or len(set(self.markups)) != len(self.markups):
            raise ValueError(f"markups must name at least one markup and each only once, not {self.markups}")
        counts = [MARKUPS[m].points for m in self.chain]
        if counts != sorted(counts, reverse=True):
            raise ValueError(f"2D markups must be listed finest first (eq. 1), not {self.chain}")
        if len(self.solid) > 1:
            raise ValueError(f"at most one 3D markup, not {self.solid}")
        if self.has_pose and not self.solid:
            raise ValueError(f"variant {self.variant!r} reads pose off the 3D stream: add '3d68' to markups")
        if not 0.0 < self.stream_fraction <= 1.0:
            raise ValueError(f"stream_fraction must lie in (0, 1], not {self.stream_fraction}")
        stray = [m for m in self.mask_markups or () if m not in self.markups]
        if stray or self.mask_markups == ():
            raise ValueError(f"mask_markups must be a non-empty part of markups, not {self.mask_markups}")

    @property
    def chain(self) -> tuple[str, ...]:
        """2D markups in the order of the transfer chain, finest first."""
        return tuple(m for m in self.markups if m.startswith("2d"))

    @property
    def solid(self) -> tuple[str, ...]:
        """3D markups: one or none."""
        return tuple(m for m in self.markups if m.startswith("3d"))

    @property
    def order(self) -> tuple[str, ...]:
        """Markups in the order of the maps: the 2D chain, then the 3D one."""
        return self.chain + self.solid

    @property
    def stream_channels(self) -> int:
        """Channels K that one stream of the geometry transfer network reads."""
        return max(1, round(self.width * self.stream_fraction))

    @property
    def fusion_channels(self) -> int:
        """Channels of F in eq. 5: image, masked image, embedding, masked embedding."""
        return 2 + 2 * self.width

    @property
    def has_pose(self) -> bool:
        return self.variant != "ac"

    @property
    def has_excitation(self) -> bool:
        return self.variant == "ac-dc"

    @property
    def points(self) -> dict[str, int]:
        """Number of landmarks of each markup, in the order of the maps."""
        return {m: MARKUPS[m].points for m in self.order}

    @property
    def slices(self) -> dict[str, slice]:
        """Where each markup's maps lie among all L maps."""
        out, start = {}, 0
        for name, count in self.points.items():
            out[name] = slice(start, start + count)
            start += count
        return out

    @property
    def maps(self) -> int:
        """Number L of attention maps of one stage."""
        return sum(self.points.values())

    @property
    def masked_maps(self) -> tuple[bool, ...]:
        """For each of the L maps, whether it enters the mask of eq. 4."""
        chosen = self.order if self.mask_markups is None else self.mask_markups
        return tuple(name in chosen for name, count in self.points.items() for _ in range(count))

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ACDCConfig:
        """Read what `to_json` wrote. Raises ``ValueError`` naming fields that this version does not know."""
        values: dict[str, Any] = json.loads(text)
        stray = set(values) - {f.name for f in fields(cls)}
        if stray:
            raise ValueError(f"unknown config field {sorted(stray)[0]!r}: written by a newer acdc_fast?")
        return cls(**values)
