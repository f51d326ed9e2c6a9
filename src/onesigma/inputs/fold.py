"""What it costs to fold input statistics into the first layer: a bound, and a measurement.

W·((x − m)/s) + b = (W/s)·x + (b − (W/s)·m) holds for real numbers. In floats the right side adds terms of the size of
|w|·|m|/s that cancel, and each rounds.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from onesigma.inputs.affine import Affine

__all__ = ["FoldBound", "FoldError", "fold_bound", "fold_error", "fold_weights", "slope_and_offset"]

Doubles: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldBound:
    """The error that folding adds to that of the layer, per column and in sum.

    With u the unit roundoff, n inputs per output, γ = (n + 2)·u / (1 − (n + 2)·u): whatever the order of summation, the
    folded layer is within γ·(Σ|w_j·z_j| + |b|) + added of the exact one, where z is the standardized input and

        added_i = 2γ · Σ_j |w_ij|·|shift_j|/scale_j.

    Attributes:
        columns: (F,) what each column adds, for the output where it adds most.
        total: The largest added_i.
        relative: `total` over the largest √(Σ_j w_ij²): the std of that output for standardized, uncorrelated inputs.
        ratios: (F,) |shift|/scale: how many stds the mean is away from zero.
    """

    columns: Doubles
    total: float
    relative: float
    ratios: Doubles


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldError:
    """Largest absolute errors of an output on given data, against the same in float64.

    Attributes:
        folded: Of the folded weights.
        layer: Of the standardizing layer, in the same dtype, in front of the weights.
        double: Of standardizing in float64 and only then going on in the dtype: what no fold can beat.
    """

    folded: float
    layer: float
    double: float


def slope_and_offset(affine: Affine) -> tuple[Doubles, Doubles]:
    """The map as slope·x + offset, two arrays (F,), ignoring a clip."""
    low, high = affine.output_range or (0.0, 1.0)
    slope = (high - low) / affine.scale
    return slope, low - slope * affine.shift - slope * affine.shift_low


def fold_weights(weight: Doubles, bias: Doubles, *, affine: Affine) -> tuple[Doubles, Doubles]:
    """Weight (out, F, K) and bias (out,) that do to raw input what the given ones do to standardized input.

    K is the number of kernel positions, 1 for a Linear.

    Example:
        >>> halves = Affine(shift=np.array([4.0]), shift_low=np.zeros(1), scale=np.array([2.0]),
        ...                 minimum=np.zeros(1), maximum=np.ones(1))
        >>> fold_weights(np.ones((1, 1, 1)), np.zeros(1), affine=halves)
        (array([[[0.5]]]), array([-2.]))
    """
    slope, offset = slope_and_offset(affine)
    return weight * slope[:, None], bias + weight.sum(axis=2) @ offset


def fold_bound(weight: Doubles, *, affine: Affine, roundoff: float = 2.0**-24) -> FoldBound:
    """Bound the error that folding `affine` into a weight (out, F, K) adds.

    Args:
        weight: The weight; K is 1 for a Linear.
        affine: The map to be folded.
        roundoff: Unit roundoff of the dtype that the layer computes in; float32's is 2⁻²⁴.

    Example:
        >>> unix_time = Affine(shift=np.array([1.64e9]), shift_low=np.zeros(1), scale=np.array([8e5]),
        ...                    minimum=np.zeros(1), maximum=np.ones(1))
        >>> bound = fold_bound(np.ones((1, 1, 1)), affine=unix_time)
        >>> float(bound.ratios[0]), f"{bound.total:.1e}"
        (2050.0, '7.3e-04')

    Reference: Higham 2002, Accuracy and Stability of Numerical Algorithms, section 3.1.
    """
    slope, _ = slope_and_offset(affine)
    ratios = np.abs(slope * affine.shift)
    depth = (weight.shape[1] * weight.shape[2] + 2) * roundoff
    gamma = depth / (1 - depth) if depth < 1 else np.inf
    added = 2 * gamma * np.abs(weight).sum(axis=2) * ratios
    total = float(added.sum(axis=1).max(initial=0.0))
    spread = float(np.sqrt((weight**2).sum(axis=(1, 2)).max(initial=0.0)))
    relative = total / spread if spread else 0.0
    return FoldBound(columns=added.max(axis=0, initial=0.0), total=total, relative=relative, ratios=ratios)


def fold_error(
    weight: Doubles, bias: Doubles, *, affine: Affine, x: Doubles, dtype: npt.DTypeLike = np.float32
) -> FoldError:
    """Measure, on rows x (N, F), the error of a Linear, weight (out, F), that is folded, behind the layer, or float64.

    The largest values of the data count, so this may lie above the bound for outliers, as that of the layer does.
    """
    exact = affine.transform(x.astype(np.float64))
    reference = exact @ weight.T + bias
    folded_weight, folded_bias = fold_weights(weight[:, :, None], bias, affine=affine)
    narrow = x.astype(dtype)
    standardized = affine.transform(narrow)
    own_weight, own_bias = weight.astype(dtype), bias.astype(dtype)
    outputs = {
        "folded": narrow @ folded_weight[:, :, 0].T.astype(dtype) + folded_bias.astype(dtype),
        "layer": standardized @ own_weight.T + own_bias,
        "double": exact.astype(dtype) @ own_weight.T + own_bias,
    }
    errors = {name: float(np.abs(output - reference).max(initial=0.0)) for name, output in outputs.items()}
    return FoldError(**errors)
