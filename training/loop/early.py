"""Early stopping: a run ends when the validation error no longer falls, and its weights are those of the best time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from acdc_fast.errors import InputError

from ..settings import Settings


@dataclass
class Best:
    """The best validation so far. Checkpoints keep it."""

    error: float = math.inf  # mean NME of the last stage over all labelled markups of all databases, %
    step: int = 0  # updates before it
    worse: int = 0  # validations since then

    def judge(self, step: int, values: Mapping[str, float], settings: Settings) -> bool:
        """Takes the values of a validation (database/markup/stageN). Returns whether it is the best."""
        last = f"/stage{settings.network.stages}"
        errors = [v for k, v in values.items() if k.endswith(last) and k.split("/")[-2] in settings.network.markups]
        if not errors:
            markups = ", ".join(settings.network.markups)
            raise InputError(f"patience: no face of the validation has labels of every point of one of {markups}")
        error = sum(errors) / len(errors)
        if error < self.error:
            self.error, self.step, self.worse = error, step, 0
            return True
        self.worse += 1
        return False

    def enough(self, patience: int | None) -> bool:
        """Whether the run should end."""
        return patience is not None and self.worse >= patience

    def state(self) -> dict[str, Any]:
        return asdict(self)
