"""Where a pass over data runs: here, or on Ray, Dask or Spark. An engine never hears what is computed."""

__all__: list[str] = []
