"""A fitted scaler applied to a table of any size, from any format to any other, a block at a time."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from onesigma.inputs.arrow import Scaling, scaling_like
from onesigma.inputs.layer import Standardize
from onesigma.inputs.scalers import ColumnScaler
from onesigma.inputs.scan import Progress
from onesigma.inputs.sinks import open_sink, refuse_bad_output
from onesigma.inputs.sources import Source, open_source

__all__ = ["apply", "scaling_of"]


def apply(
    scaler: ColumnScaler,
    source: Any,
    *,
    to: str | Path,
    dtype: str | None = None,
    only: bool = False,
    progress: Callable[[Progress], None] | None = None,
    **reading: Any,
) -> int:
    """Scale a table into a file; columns that the scaler does not know pass through unchanged.

    Args:
        scaler: Fitted; its columns are found by name.
        source: Anything that `open_source` takes.
        to: Where to write: .parquet, .csv, .tsv, .feather, .arrow, or .npy, which holds the scaled columns alone.
        dtype: "float32" or "float64"; None: float32 where all columns to scale are, else float64.
        only: Leave the other columns out.
        progress: Called after every block.
        reading: `axis`, `field`: see `open_source`.

    Returns:
        The number of rows written. A missing value stays missing.

    Raises:
        SourceError: A column is missing or holds no numbers.
        OutputError: The file cannot be written; nothing is left of it.
        ConfigError: An unknown dtype or suffix.
    """
    target = Path(to)
    refuse_bad_output(target)
    table = open_source(source, text=True, **reading)
    scaling = scaling_of(scaler, table, dtype=dtype, only=only or target.suffix.lower() == ".npy")
    began, rows = time.monotonic(), 0
    with open_sink(target, scaling.schema) as sink:
        for block in table.blocks():
            batch = scaling.block(block, table.names)
            sink.write(batch)
            rows += batch.num_rows
            if progress is not None:
                seconds = time.monotonic() - began
                progress(Progress(num_rows=rows, total_rows=table.about_rows, seconds=seconds))
    return rows


def scaling_of(scaler: ColumnScaler, table: Source, *, dtype: str | None = None, only: bool = False) -> Scaling:
    """Return the map of a table like this one; see `apply`.

    Raises:
        SourceError: A column is missing or holds no numbers.
        ConfigError: An unknown dtype.
    """
    layer = scaler.to_module()
    schema = pa.schema(list(zip(table.names, table.types, strict=True)))
    through = partial(_through, layer)
    return scaling_like(schema, through, names=layer.names, where=table.description, dtype=dtype, only=only)


def _through(layer: Standardize, matrix: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    if matrix.dtype.kind in "iu":  # Of integers the layer would make torch's default, a float32.
        return layer.affine.transform(matrix)
    with torch.no_grad():
        return np.asarray(layer(torch.from_numpy(matrix)).numpy())
