"""Drop-in for `torch.nn.init`, and more: fillers whose values no thread, shard, order or device can change."""

# Private in torch, but called by so many layers' `reset_parameters` that a drop-in needs them too.
from torch.nn.init import _calculate_correct_fan as _calculate_correct_fan
from torch.nn.init import _calculate_fan_in_and_fan_out as _calculate_fan_in_and_fan_out

from onesigma.init import recipes
from onesigma.init.constants import constant_, dirac_, eye_, ones_, sparse_, zeros_
from onesigma.init.deprecated import (
    constant,
    dirac,
    eye,
    kaiming_normal,
    kaiming_uniform,
    normal,
    orthogonal,
    sparse,
    uniform,
    xavier_normal,
    xavier_uniform,
)
from onesigma.init.fillers import normal_, trunc_normal_, truncated_normal_, uniform_
from onesigma.init.gains import calculate_gain
from onesigma.init.orthogonal import delta_orthogonal_, mirrored_, orthogonal_
from onesigma.init.variance import (
    kaiming_normal_,
    kaiming_uniform_,
    lecun_normal_,
    lecun_uniform_,
    variance_scaling_,
    xavier_normal_,
    xavier_uniform_,
)

__all__ = [
    "calculate_gain",
    "constant",
    "constant_",
    "delta_orthogonal_",
    "dirac",
    "dirac_",
    "eye",
    "eye_",
    "kaiming_normal",
    "kaiming_normal_",
    "kaiming_uniform",
    "kaiming_uniform_",
    "lecun_normal_",
    "lecun_uniform_",
    "mirrored_",
    "normal",
    "normal_",
    "ones_",
    "orthogonal",
    "orthogonal_",
    "recipes",
    "sparse",
    "sparse_",
    "trunc_normal_",
    "truncated_normal_",
    "uniform",
    "uniform_",
    "variance_scaling_",
    "xavier_normal",
    "xavier_normal_",
    "xavier_uniform",
    "xavier_uniform_",
    "zeros_",
]
