"""Depth recipes as data: how published deep networks scale each kind of weight with the number of layers.

A recipe names weights by their role in a block, never by what a code base calls them. `Recipe.std` tells the std of a
weight; `Recipe.residual` is the factor on the skip connection.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from onesigma._errors import ConfigError
from onesigma.model.fan import Fan

__all__ = [
    "Part",
    "Recipe",
    "Role",
    "deepnorm",
    "deepnorm_decoder",
    "deepnorm_encoder",
    "fixup",
    "gpt2",
    "sub_ln",
    "sub_ln_decoder",
    "sub_ln_encoder",
    "t_fixup_decoder",
    "t_fixup_encoder",
]

Role: TypeAlias = Literal["embedding", "query", "key", "value", "output", "expand", "contract", "head"]
"""What a weight is for: attention's four projections, the MLP's two, and both ends of the network.

"output" and "contract" write into the residual stream. In a branch of convolutions "expand" is any but the last one.
"""

_WRITERS: tuple[Role, ...] = ("output", "contract")
_BRANCH: tuple[Role, ...] = ("value", "output", "expand", "contract")


@dataclass(frozen=True, slots=True)
class Part:
    """The std of one role: `factor` times that of the base.

    Attributes:
        base: "normal" is std 1, "xavier" √(2/(fan_in + fan_out)), "kaiming_out" √(2/fan_out), "width" 1/√fan_out.
        factor: 0 means the weight is zero.
    """

    base: Literal["normal", "xavier", "kaiming_out", "width"]
    factor: float

    def std(self, fan: Fan) -> float:
        """The std of a weight with these fans."""
        variance = {
            "normal": 1.0,
            "xavier": 2 / (fan.fan_in + fan.fan_out),
            "kaiming_out": 2 / fan.fan_out,
            "width": 1 / fan.fan_out,
        }
        return self.factor * math.sqrt(variance[self.base])


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one kind of deep network is initialized.

    Attributes:
        name: As its authors call it.
        parts: By role; roles that are missing are not touched by the recipe.
        residual: Factor on the skip connection: x ↦ residual · x + f(x).
        reference: Where it is published.

    Example:
        >>> recipe = gpt2(12)
        >>> round(recipe.std("contract", Fan(3072, 768)), 6), recipe.std("query", Fan(768, 768))
        (0.004082, 0.02)
    """

    name: str
    parts: Mapping[Role, Part]
    residual: float = 1.0
    reference: str = ""

    def std(self, role: Role, fan: Fan) -> float:
        """The std of a weight of this role.

        Raises:
            ConfigError: The recipe says nothing of this role.
        """
        if role not in self.parts:
            raise ConfigError(f"{self.name} says nothing of {role!r}; it has {', '.join(self.parts)}.")
        return self.parts[role].std(fan)


def gpt2(num_layers: int, *, std: float = 0.02) -> Recipe:
    """N(0, std²) everywhere; the two residual projections of each layer divided by √(2·num_layers).

    Example:
        >>> round(gpt2(48).parts["output"].factor, 6)
        0.002041
    """
    _positive(num_layers=num_layers)
    roles: tuple[Role, ...] = ("embedding", "query", "key", "value", "expand", "head")
    writer = Part("normal", std / math.sqrt(2 * num_layers))
    parts = dict.fromkeys(roles, Part("normal", std)) | dict.fromkeys(_WRITERS, writer)
    return Recipe(name="GPT-2", parts=parts, reference="Radford et al. 2019, section 2.3")


def deepnorm(num_layers: int) -> Recipe:
    """DeepNorm of an encoder or a decoder alone: residual (2N)^¼, branch weights Xavier × (8N)^−¼.

    Example:
        >>> recipe = deepnorm(24)
        >>> round(recipe.residual, 4), round(recipe.parts["value"].factor, 4)
        (2.6321, 0.2686)
    """
    _positive(num_layers=num_layers)
    return _deepnorm((2 * num_layers) ** 0.25, (8 * num_layers) ** -0.25)


def deepnorm_encoder(num_layers: int, num_decoder_layers: int) -> Recipe:
    """DeepNorm of the encoder beside a decoder: residual 0.81·(N⁴M)^(1/16), branch weights Xavier × 1.15·(N⁴M)^(−1/16).

    The factor 1.15 is that of the authors' code.

    Example:
        >>> round(deepnorm_encoder(6, 6).residual, 4)
        1.4179
    """
    _positive(num_layers=num_layers, num_decoder_layers=num_decoder_layers)
    depth = (num_layers**4 * num_decoder_layers) ** (1 / 16)
    return _deepnorm(0.81 * depth, 1.15 / depth)


def deepnorm_decoder(num_layers: int) -> Recipe:
    """DeepNorm of the decoder beside an encoder: residual (3M)^¼, branch weights Xavier × (12M)^−¼.

    Example:
        >>> round(deepnorm_decoder(6).residual, 4)
        2.0598
    """
    _positive(num_layers=num_layers)
    return _deepnorm((3 * num_layers) ** 0.25, (12 * num_layers) ** -0.25)


def sub_ln(num_layers: int) -> Recipe:
    """Sub-LN of an encoder or a decoder alone: branch weights Xavier × √ln(2N).

    Example:
        >>> round(sub_ln(24).parts["expand"].factor, 4)
        1.9675
    """
    _positive(num_layers=num_layers)
    return _sub_ln(math.log(2 * num_layers))


def sub_ln_encoder(num_layers: int, num_decoder_layers: int) -> Recipe:
    """Sub-LN of the encoder beside a decoder: branch weights Xavier × √(ln(3M)·ln(2N)/3).

    Example:
        >>> round(sub_ln_encoder(6, 6).parts["expand"].factor, 4)
        1.5473
    """
    _positive(num_layers=num_layers, num_decoder_layers=num_decoder_layers)
    return _sub_ln(math.log(3 * num_decoder_layers) * math.log(2 * num_layers) / 3)


def sub_ln_decoder(num_layers: int) -> Recipe:
    """Sub-LN of the decoder beside an encoder: branch weights Xavier × √ln(3M).

    Example:
        >>> round(sub_ln_decoder(6).parts["expand"].factor, 4)
        1.7001
    """
    _positive(num_layers=num_layers)
    return _sub_ln(math.log(3 * num_layers))


def t_fixup_encoder(num_layers: int) -> Recipe:
    """T-Fixup, no layer norm, no warmup: branch weights Xavier × 0.67·N^−¼, value also × √2, embedding (9N)^−¼/√d.

    Example:
        >>> round(t_fixup_encoder(6).parts["expand"].factor, 4)
        0.4281
    """
    _positive(num_layers=num_layers)
    return _t_fixup(0.67 * num_layers**-0.25, embedding=(9 * num_layers) ** -0.25)


def t_fixup_decoder(num_layers: int) -> Recipe:
    """T-Fixup of the decoder: branch weights Xavier × (9N)^−¼, value also × √2, embedding (9N)^−¼/√d.

    Example:
        >>> round(t_fixup_decoder(6).parts["expand"].factor, 4)
        0.3689
    """
    _positive(num_layers=num_layers)
    return _t_fixup((9 * num_layers) ** -0.25, embedding=(9 * num_layers) ** -0.25)


def fixup(num_branches: int, *, branch_layers: int = 2) -> Recipe:
    """Fixup for residual networks without normalization: He × L^(−1/(2m−2)) in a branch, its last layer and the head 0.

    Example:
        >>> fixup(16).parts["expand"].factor, fixup(16).parts["contract"].factor
        (0.25, 0.0)
    """
    _positive(num_branches=num_branches, branch_layers=branch_layers - 1)
    inner = Part("kaiming_out", num_branches ** (-1 / (2 * branch_layers - 2)))
    zero = Part("normal", 0.0)
    parts: dict[Role, Part] = {"expand": inner, "contract": zero, "output": zero, "head": zero}
    return Recipe(name="Fixup", parts=parts, reference="Zhang et al. 2019, https://arxiv.org/abs/1901.09321")


def _deepnorm(residual: float, factor: float) -> Recipe:
    reference = "Wang et al. 2022, https://arxiv.org/abs/2203.00555"
    return Recipe(name="DeepNorm", parts=_scaled_branch(factor), residual=residual, reference=reference)


def _sub_ln(variance: float) -> Recipe:
    reference = "Wang et al. 2022, https://arxiv.org/abs/2210.06423"
    return Recipe(name="Sub-LN", parts=_scaled_branch(math.sqrt(variance)), reference=reference)


def _t_fixup(factor: float, *, embedding: float) -> Recipe:
    parts = _scaled_branch(factor)
    parts |= {"value": Part("xavier", factor * math.sqrt(2)), "embedding": Part("width", embedding)}
    return Recipe(name="T-Fixup", parts=parts, reference="Huang et al. 2020, section 3.2")


def _scaled_branch(factor: float) -> dict[Role, Part]:
    """Xavier, with this factor on what a branch writes: the value and output projections and the MLP."""
    plain: dict[Role, Part] = {"query": Part("xavier", 1.0), "key": Part("xavier", 1.0)}
    return plain | dict.fromkeys(_BRANCH, Part("xavier", factor))


def _positive(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ConfigError(f"{name} must be at least 1, got {count}.")
