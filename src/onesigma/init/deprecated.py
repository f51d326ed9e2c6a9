"""The names without an underscore that torch deprecated and still has."""

import functools
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from onesigma.init.constants import constant_, dirac_, eye_, sparse_
from onesigma.init.fillers import normal_, uniform_
from onesigma.init.orthogonal import orthogonal_
from onesigma.init.variance import kaiming_normal_, kaiming_uniform_, xavier_normal_, xavier_uniform_

__all__ = [
    "constant",
    "dirac",
    "eye",
    "kaiming_normal",
    "kaiming_uniform",
    "normal",
    "orthogonal",
    "sparse",
    "uniform",
    "xavier_normal",
    "xavier_uniform",
]

_P = ParamSpec("_P")
_R = TypeVar("_R")


def _deprecated(filler: Callable[_P, _R]) -> Callable[_P, _R]:
    new = filler.__name__
    old = new.removesuffix("_")

    @functools.wraps(filler)
    def aliased(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        warnings.warn(f"`nn.init.{old}` is now deprecated in favor of `nn.init.{new}`.", FutureWarning, stacklevel=2)
        return filler(*args, **kwargs)

    aliased.__name__ = old
    aliased.__doc__ = f"Deprecated in favor of `{new}`."
    return aliased


constant = _deprecated(constant_)
dirac = _deprecated(dirac_)
eye = _deprecated(eye_)
kaiming_normal = _deprecated(kaiming_normal_)
kaiming_uniform = _deprecated(kaiming_uniform_)
normal = _deprecated(normal_)
orthogonal = _deprecated(orthogonal_)
sparse = _deprecated(sparse_)
uniform = _deprecated(uniform_)
xavier_normal = _deprecated(xavier_normal_)
xavier_uniform = _deprecated(xavier_uniform_)
