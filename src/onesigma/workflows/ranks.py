"""`on_ranks` by the name that the public door knows; `initialize_`, a floor below, needs it too."""

from onesigma.model.together import on_ranks

__all__ = ["on_ranks"]
