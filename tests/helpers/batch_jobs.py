"""Batch jobs of tests: told of nothing, or stopped after some rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from acdc_fast import Model
from acdc_fast.batch import job as batch


def quiet(text: str) -> None:
    pass


def stop_after(model: Model, sources: Path | list[str], out: Path, count: int) -> None:
    """Leaves the rows of this many images, one in each part."""
    real, seen = batch.row_of, []

    def counted(*arguments: Any) -> dict[str, Any]:
        if len(seen) == count:
            raise KeyboardInterrupt
        seen.append(1)
        return real(*arguments)

    given = sources if isinstance(sources, list) else str(sources)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "row_of", counted)
        with pytest.raises(KeyboardInterrupt):
            batch.run_batch(model, given, str(out), part=1, note=quiet)
