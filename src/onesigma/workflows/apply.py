"""`apply` on any engine: the fitted map, laid over a dataset that nobody holds in memory."""

from typing import Any

from onesigma._errors import ConfigError
from onesigma.engines import engine_named, engine_of
from onesigma.inputs.apply import scaling_of
from onesigma.inputs.scalers import ColumnScaler
from onesigma.workflows.standardize import look

__all__ = ["apply"]


def apply(scaler: ColumnScaler, dataset: Any, *, dtype: str | None = None, only: bool = False) -> Any:
    """Scale a Dask data frame, Ray Dataset or Spark DataFrame, lazily: nothing is computed before its engine runs.

    Columns are found by name; those that the scaler does not know pass through unchanged. Each row is mapped by itself,
    in Arrow, with the bits of `onesigma apply` and of the layer `scaler.to_module()`, however the engine cuts the data.

    Args:
        scaler: Fitted.
        dataset: A dataset of an engine. Files go through `onesigma apply`, arrays and frames through
            `scaler.transform`.
        dtype: "float32" or "float64"; None: float32 where all columns to scale are, else float64.
        only: Leave the other columns out.

    Returns:
        A dataset of the same engine. A missing value stays missing.

    Raises:
        SourceError: A column is missing or holds no numbers.
        ConfigError: It is no dataset of an engine, or an unknown dtype.

    Example:
        >>> from onesigma import standardize
        >>> scaler = standardize({"miles": [100.0, 100_000.0]})
        >>> apply(scaler, {"miles": [1.0]})
        Traceback (most recent call last):
        onesigma._errors.ConfigError: apply: wanted a dataset of Dask, Ray or Spark, got dict; use scaler.transform.
    """
    name = engine_of(dataset)
    if name is None:
        raise ConfigError(
            f"apply: wanted a dataset of Dask, Ray or Spark, got {type(dataset).__name__}; use scaler.transform."
        )
    with engine_named(name) as engine:
        table = look(engine, dataset, text=True)
        scaling = scaling_of(scaler, table, dtype=dtype, only=only)
        return engine.map_tables(dataset, scaling, schema=scaling.schema, changed=scaling.names)
