"""`Misfit`: one tensor of a model that is not what its recipe says, and the kinds of it that there are."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["KINDS", "Misfit"]

KINDS: Mapping[str, str] = {
    "unset": "it has the default of torch, or memory that nobody wrote to",
    "doubly-set": "it was drawn more than once, and another draw than the recipe's was the last",
    "unscaled-residual-writer": "a residual writer is not scaled down with depth",
    "wrong-projection-scaled": "it has the scale of a residual writer and is none",
    "packed-projections": "query, key and value in one tensor were counted as one layer",
    "fan-of-a-shard": "the fan is that of a part of the weight",
    "fan-of-all-groups": "the fan of a grouped convolution counts all groups",
    "no-op-truncation": "the bounds of a truncated normal cut nothing",
    "identical-tensors": "it equals another one, value for value",
    "lost-under-weight-norm": "it was written to after weight norm, which computes it anew",
    "lost-under-parametrization": "it was written to under a parametrization, which computes it anew",
    "wiped-buffer": "a buffer lost its values, as `to_empty` makes it",
    "off-recipe": "none of these, but not the std that is due",
}
"""Every kind of misfit, and what it means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """One weight or buffer that is not what its recipe says.

    Attributes:
        weight: Canonical name.
        kind: One of `KINDS`.
        message: One sentence with both numbers.
        value: Std found, or share of values beyond the bound.
        expected: Std that the recipe asks for; NaN where the misfit is of another kind.
    """

    weight: str
    kind: str
    message: str
    value: float = math.nan
    expected: float = math.nan
