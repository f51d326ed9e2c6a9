"""A handful of draws instead of moments: for routers, whose softmax and order no formula gives."""

import torch

from onesigma.model.prediction.signal import Signal
from onesigma.model.prediction.unpredictable import Unpredictable

__all__ = ["MOST_DRAWN", "drawn"]

_DRAWS = 64
MOST_DRAWN = 2**18  # elements


def drawn(x: Signal) -> Signal:
    """The signal with draws, made here if it has none; they are fixed, so that the prediction is."""
    if x.draws is not None:
        return x
    if x.base_mean.numel() > MOST_DRAWN:
        raise Unpredictable(f"draws of {x.base_mean.numel()} elements would be too many")
    generator = torch.Generator().manual_seed(x.base_mean.numel())
    noise = torch.randn(_DRAWS // 2, *x.shape, generator=generator)
    draws = x.base_mean + torch.cat([noise, -noise]) * x.base_var.clamp(min=0).sqrt()
    return x.with_draws(draws if x.function is None else x.function(draws))
