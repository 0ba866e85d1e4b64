"""Identity switches, ghosts and missed faces of three ways to follow faces, on scripted scenes where all is known.

    python bench/identities.py [--seeds 20]

The package's tracker beside MediaPipe's and OpenSeeFace's rules (see tracking_rules.py: the rules as read in their
sources, not their programs), on scenes of scripted_scenes.py: each seed with a careful detector and with a poor one.
Each rule is told how many people there are at most. Printed for each kind of scene, summed over its films:

- switches: a person whose identity is not the last one that the person had, or an identity whose last face was another
  person's. At a cut a person may get a new identity, but no identity may go to another person.
- ghosts: faces given where nobody can be seen. Doubles: faces given of a person of whom another was given.
- missed: people who can be seen and of whom no face is given.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from typing import Any

from scripted_scenes import Scene, scenes
from tracking_rules import MediaPipe, OpenSeeFace, Ours

RULES: dict[str, Callable[[Scene, int], Any]] = {
    "ours": Ours,
    "MediaPipe solutions, place": lambda scene, n: MediaPipe(scene, n, "solutions", True),
    "MediaPipe solutions, rectangle": lambda scene, n: MediaPipe(scene, n, "solutions", False),
    "MediaPipe tasks, place": lambda scene, n: MediaPipe(scene, n, "tasks", True),
    "MediaPipe tasks, rectangle": lambda scene, n: MediaPipe(scene, n, "tasks", False),
    "OpenSeeFace": OpenSeeFace,
}
#: The detector's chance to miss a face, and to find each false place, in a frame.
DETECTORS = {"careful": (0.02, 0.02), "poor": (0.2, 0.2)}
COUNTS = ("switches", "ghosts", "doubles", "missed")


class Counting:
    """Told of frame after frame of one film."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._identity: dict[int, int] = {}  # by person, the last one
        self._person: dict[int, int] = {}  # by identity, the last one
        self._shot = 0

    def step(self, given: list[tuple[int, int]], visible: set[int], shot: int) -> None:
        """(identity, person; -1 is nobody) of each face given; who can be seen; the first frame of this shot."""
        if shot != self._shot:
            self._shot, self._identity = shot, {}
        seen: set[int] = set()
        for identity, person in given:
            if person < 0:
                self.counts["ghosts"] += 1
                continue
            if person in seen:
                self.counts["doubles"] += 1
                continue
            seen.add(person)
            other = self._identity.get(person, identity) != identity
            self.counts["switches"] += other or self._person.get(identity, person) != person
            self._identity[person], self._person[identity] = identity, person
        self.counts["missed"] += len(visible - seen)
        self.counts["faces"] += len(visible)


def count(rule: Callable[[Scene, int], Any], scene: Scene) -> Counter[str]:
    """What `Counting` counts on this scene, and the faces that can be seen."""
    follower, counting = rule(scene, len(scene.paths)), Counting()
    for frame in range(scene.frames):
        given = [(identity, seen.person) for identity, seen in follower.step()]
        counting.step(given, set(scene.visible(frame)), scene.shot(frame))
    return counting.counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    options = parser.parse_args()
    for detector, (misses, false) in DETECTORS.items():
        sums: dict[tuple[str, str], Counter[str]] = {}
        for seed in range(options.seeds):
            for kind, scene in scenes(seed, misses, false).items():
                for name, rule in RULES.items():
                    sums.setdefault((kind, name), Counter()).update(count(rule, scene))
        kinds = list(dict.fromkeys(kind for kind, _ in sums))
        print(f"\n{detector} detector; {options.seeds} films of each kind; {', '.join(COUNTS)}\n")
        print("| people … | faces | " + " | ".join(RULES) + " |\n| --- |" + " ---: |" * (len(RULES) + 1))
        for kind in kinds:
            cells = ["; ".join(str(sums[kind, name][c]) for c in COUNTS) for name in RULES]
            print(f"| {kind} | {sums[kind, 'ours']['faces']} | " + " | ".join(cells) + " |")
        total = {name: sum((sums[kind, name] for kind in kinds), Counter()) for name in RULES}
        cells = ["; ".join(str(total[name][c]) for c in COUNTS) for name in RULES]
        print(f"| all | {total['ours']['faces']} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
