"""Packages of the extra [parquet], imported only when a batch runs."""

from __future__ import annotations

from typing import Any

from ..errors import BackendUnavailable


def pyarrow(extra: str = "parquet") -> tuple[Any, Any]:
    """pyarrow and pyarrow.parquet, or `BackendUnavailable` with the extra that brings all that is needed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise BackendUnavailable(f"batch needs pyarrow ({error}): pip install 'acdc-fast[{extra}]'") from error
    return pyarrow, pyarrow.parquet


def tqdm() -> Any:
    """tqdm's progress bar."""
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise BackendUnavailable(f"batch needs tqdm ({error}): pip install 'acdc-fast[parquet]'") from error
    return tqdm
