"""Drop-in for `torch.nn.init`, and more: fillers whose values no layout can change."""

from onesigma.init.fillers import normal_, trunc_normal_, truncated_normal_, uniform_
from onesigma.init.orthogonal import delta_orthogonal_, mirrored_, orthogonal_

__all__ = [
    "delta_orthogonal_",
    "mirrored_",
    "normal_",
    "orthogonal_",
    "trunc_normal_",
    "truncated_normal_",
    "uniform_",
]
