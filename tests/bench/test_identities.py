"""What bench/identities.py counts, and how the rules that it compares decide."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.scripted import still
from identities import RULES, Counting, count
from scripted_scenes import Scene, scenes
from tracking_rules import MediaPipe, OpenSeeFace


def test_planted_mistakes_are_counted() -> None:
    """A swap is two switches, a stranger with an old number is one, a lost number is one; a ghost, a double, a miss."""
    counting = Counting()
    frames = [
        ([(0, 0), (1, 1)], 0),
        ([(1, 0), (0, 1)], 2),  # they swap
        ([(1, 0), (0, 1), (7, -1)], 0),  # a ghost
        ([(1, 0), (2, 0)], 0),  # a double; the other is missed
        ([(1, 0), (5, 1)], 1),  # a new number
        ([(5, 2), (1, 0), (6, 1)], 2),  # a stranger has it, and 1 another one again
    ]
    for given, switches in frames:
        before = counting.counts["switches"]
        counting.step(given, {person for _, person in given if person >= 0} | {0, 1}, 0)
        assert counting.counts["switches"] - before == switches, given
    assert [counting.counts[c] for c in ("ghosts", "doubles", "missed", "faces")] == [1, 1, 1, 13]


def test_a_cut_allows_new_numbers_and_no_exchange() -> None:
    counting = Counting()
    for given, shot in (([(0, 0), (1, 1)], 0), ([(2, 0), (3, 1)], 5), ([(3, 0), (9, 1)], 9)):
        counting.step(given, {0, 1}, shot)
    assert counting.counts["switches"] == 1, "3 went from one person to another"


class Faulty(MediaPipe):
    """Exchanges two numbers in frame 20 and sees somebody in frames 30 to 33."""

    def __init__(self, scene: Scene, wanted: int) -> None:
        super().__init__(scene, wanted, "solutions", False)

    def step(self) -> list:  # type: ignore[type-arg]
        given = super().step()
        if self.frame >= 20:
            given = [({0: 1, 1: 0}.get(name, name), seen) for name, seen in given]
        if 30 <= self.frame < 34:
            given.append((99, given[0][1]._replace(person=-1)))
        return given


@pytest.mark.parametrize("name", [name for name in RULES if not name.endswith("place")])
def test_nothing_to_count_where_nothing_happens(name: str) -> None:
    scene = scenes(3, misses=0, false=0)["stay"]
    counts = count(RULES[name], scene)
    assert counts["faces"] == 300 and counts.total() == 300


def test_a_faulty_rule_is_found_out() -> None:
    counts = count(Faulty, scenes(3, misses=0, false=0)["stay"])
    assert (counts["switches"], counts["ghosts"], counts["doubles"], counts["missed"]) == (2, 4, 0, 0)


def test_ours_keeps_numbers_that_the_others_lose() -> None:
    for kind, scene in scenes(1, misses=0, false=0).items():
        counts = {name: count(RULES[name], scene) for name in ("ours", "MediaPipe solutions, place", "OpenSeeFace")}
        assert counts["ours"]["switches"] == 0, kind
        if kind == "change places at a cut":
            assert counts["MediaPipe solutions, place"]["switches"] == counts["OpenSeeFace"]["switches"] == 3


def test_the_rule_of_mediapipe() -> None:
    """The detector looks while faces are wanted. A new face comes first in the list of one graph, last in the other."""
    scene = Scene([still(80), lambda f: (240, 120) if f >= 3 else None], 9)
    looks: list[int] = []
    detect = scene.detect
    scene.detect = lambda f: looks.append(f) or detect(f)  # type: ignore[method-assign,func-returns-value]
    for graph, order in (("solutions", [1, 0]), ("tasks", [0, 1])):
        rule, told = MediaPipe(scene, 2, graph, True), []
        looks.clear()
        for _ in range(6):
            told.append([seen.person for _, seen in rule.step()])
        assert told == [[0]] * 3 + [order] * 3 and looks == [0, 1, 2, 3]


def test_the_rule_of_openseeface() -> None:
    """A face goes to the slot of the one who left, however far; lost faces are tried for ten frames."""
    scene = Scene([still(40, until=5), lambda f: (300, 120) if f >= 8 else None, still(160)], 30)
    rule = OpenSeeFace(scene, 3)
    told = [{seen.person: slot for slot, seen in rule.step()} for _ in range(30)]
    assert told[4] == {0: told[4][0], 2: told[4][2]} and told[-1] == {1: told[4][0], 2: told[4][2]}
    alone = Scene([still(100, until=5, again=12)], 30)
    looks: list[int] = []
    detect = alone.detect
    alone.detect = lambda f: looks.append(f) or detect(f)  # type: ignore[method-assign,func-returns-value]
    rule = OpenSeeFace(alone, 1)
    assert [len(rule.step()) for _ in range(14)] == [1] * 5 + [0] * 7 + [1] * 2 and looks == [0]


def test_a_person_in_front_hides_the_other() -> None:
    scene = Scene([still(100), still(110), still(200)], 2)
    assert set(scene.visible(0)) == {0, 2}
    assert scene.look(0, scene.box(np.array([112.0, 120.0]))).person == 0
    assert scene.look(0, scene.box(np.array([150.0, 120.0]))).person == -1
