"""A deep tanh network for a table, as torch leaves it: `onesigma check examples/wine.py:build --data … --target …`."""

from torch import nn


def build(num_features: int, num_classes: int) -> nn.Module:
    """20 tanh layers of width 64; onesigma fills in the two sizes from the data file."""
    widths = [num_features] + [64] * 20
    layers = [module for i in range(20) for module in (nn.Linear(widths[i], widths[i + 1]), nn.Tanh())]
    return nn.Sequential(*layers, nn.Linear(64, num_classes))
