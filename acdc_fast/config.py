"""Every architecture choice of AC-DC in one frozen object.

Each field says whether the value is the paper's (with its section) or ours. Nothing else in the package holds an
architecture constant.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from .errors import shown
from .markup_tables import own_markups, registered
from .markups import MARKUPS, Markup

Variant = Literal["ac", "ac+pose", "ac-dc"]

#: Bounds on what a file may ask for: sixteen and eight times the paper's network.
MOST_WIDTH, MOST_STAGES = 1024, 32
#: Pixels along a patch, at most.
MOST_PATCH = 4


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
    #: Side of the square of the crop's pixels that one place of the maps stands for. Stage 1's stem is a convolution
    #: over each such square, and later stages see the crop averaged over it. Ours, for phones; the paper has 1.
    patch: int = 1

    def __post_init__(self) -> None:
        for name in ("markups", "mask_markups"):
            value = getattr(self, name)
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(value))
        for name, most in (("width", MOST_WIDTH), ("stages", MOST_STAGES), ("patch", MOST_PATCH)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
                raise ValueError(f"{name} must be a whole number from 1 to {most}, not {shown(value)}")
        if self.width % 4:
            raise ValueError(f"width must be a positive multiple of 4, not {self.width}")
        if self.variant not in get_args(Variant):
            raise ValueError(f"variant must be one of {', '.join(get_args(Variant))}, not {shown(self.variant)}")
        if not isinstance(self.markups, tuple):
            raise ValueError(f"markups must be a list of names, not {shown(self.markups)}")
        if self.mask_markups is not None and not isinstance(self.mask_markups, tuple):
            raise ValueError(f"mask_markups must be a list of names, not {shown(self.mask_markups)}")
        unknown = [m for m in self.markups if not isinstance(m, str) or m not in MARKUPS]
        if unknown:
            raise ValueError(f"unknown markup {shown(unknown[0])}; known: {', '.join(MARKUPS)}")
        if not self.markups or len(set(self.markups)) != len(self.markups):
            raise ValueError(f"markups must name at least one markup and each only once, not {shown(self.markups)}")
        counts = [MARKUPS[m].points for m in self.chain]
        if counts != sorted(counts, reverse=True):
            raise ValueError(f"2D markups must be listed from the most points to the fewest (eq. 1), not {self.chain}")
        if len(self.solid) > 1:
            raise ValueError(f"at most one 3D markup, not {self.solid}")
        if self.has_pose and not self.solid:
            raise ValueError(f"variant {self.variant!r} reads pose off the 3D stream: add '3d68' to markups")
        fraction = self.stream_fraction
        if isinstance(fraction, bool) or not isinstance(fraction, (int, float)) or not 0.0 < fraction <= 1.0:
            raise ValueError(f"stream_fraction must lie in (0, 1], not {shown(fraction)}")
        stray = [m for m in self.mask_markups or () if m not in self.markups]
        if stray or self.mask_markups == ():
            raise ValueError(f"mask_markups must be a non-empty part of markups, not {shown(self.mask_markups)}")

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
    def crop_unit(self) -> int:
        """The side of a crop is a multiple of this, from four times on: the U-Net halves its maps three times."""
        return 8 * self.patch

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

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled with the markups that the package lacks, so that another process knows them."""
        return _unpickled, (own_markups(self.markups), asdict(self))

    def to_json(self) -> str:
        values = asdict(self)
        if self.patch == 1:
            del values["patch"]  # so that versions before it read the file
        return json.dumps(values)

    @classmethod
    def from_json(cls, text: str) -> ACDCConfig:
        """Read what `to_json` wrote. Raises ``ValueError`` naming fields that this version does not know."""
        return cls.from_values(json.loads(text))

    @classmethod
    def from_values(cls, values: Any) -> ACDCConfig:
        """The same of what the JSON holds. ``TypeError`` where it is no mapping."""
        if not isinstance(values, dict):
            raise TypeError(f"fields by name are needed, not {shown(values)}")
        stray = set(values) - {f.name for f in fields(cls)}
        if stray:
            raise ValueError(f"unknown config field {shown(sorted(stray)[0])}: written by a newer acdc_fast?")
        return cls(**values)


def _unpickled(markups: list[Markup], values: dict[str, Any]) -> ACDCConfig:
    with registered(markups, "pickled network"):
        return ACDCConfig(**values)
