"""Where a pass over data runs: here, or on Dask, Ray or Spark. An engine never hears what is computed."""

from onesigma.engines.choice import NAMES, engine_named, engine_of
from onesigma.engines.local import Processes, Threads
from onesigma.engines.protocol import Engine, tree_merged

__all__ = ["NAMES", "Engine", "Processes", "Threads", "engine_named", "engine_of", "tree_merged"]
