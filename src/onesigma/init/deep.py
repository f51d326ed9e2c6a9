"""The scheme `deep`: stacks without norms and skips that stay isometries, or nearly so, at any depth."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch

from onesigma._errors import FanError, GainError
from onesigma.init.orthogonal import delta_orthogonal_, mirrored_, orthogonal_
from onesigma.init.scale import blank_like
from onesigma.init.targets import Target
from onesigma.init.unit import Draw, UnitScale
from onesigma.model.graph import Call, Graph
from onesigma.numbers.meanfield import variance_for_depth

__all__ = ["DeepScale"]

# χ^depth may reach this: an odd f is held tighter, since nothing but χ limits its depth.
_BOUND_ODD, _BOUND_MIRRORED = 2.0, 30.0


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a layer stands in its chain: whose nonlinearity counts, and which sides of the weight are mirrored."""

    activation: Call
    position: Literal["first", "hidden", "last"]


class DeepScale(UnitScale):
    """As `UnitScale`, but with orthogonal weights, mirrored where the nonlinearity f is not odd.

    With W = [[M, −M], [−M, M]] a chain propagates h(x) = f(x) − f(−x), which has no mean; for ReLU, GELU, SiLU and
    softplus h(x) = x, an isometry at any depth. Other f get the largest pre-activation variance q ≤ 1 whose χ^depth
    stays bounded. Convolutions have the matrix at the center of their kernel and zeros around it. Layers that neither
    feed nor follow a nonlinearity, grouped and transposed convolutions, and odd numbers of units are drawn as `unit`.
    """

    def plan_for(self, graph: Graph) -> None:
        """Tell the scheme the whole graph, which it needs before the pass: how deep the chain is, what follows what."""
        self.plan = graph

    def _planned(self, call: Call, target: Target) -> Draw:
        place = self._place(self.plan.calls[call.index])
        if place is None or target.value.dim() < 2:
            return super()._planned(call, target)
        function = place.activation.function
        assert function is not None
        odd = _is_odd(function)
        q = 1.0 if place.position == "last" else self._variance(place.activation, odd=odd)
        if reason := _reason_against(call):
            draw = super()._planned(call, target)
            return Draw(draw.value, f"{draw.how}; not orthogonal: {reason}")
        weight, key = blank_like(target), (self.seed, target.name)
        try:
            if not odd:
                mirrored_(weight, position=place.position, key=key)
            elif weight.dim() > 2:
                delta_orthogonal_(weight, keep_variance=True, key=key)
            else:
                orthogonal_(weight, keep_variance=True, key=key)
        except FanError:
            draw = super()._planned(call, target)
            return Draw(draw.value, f"{draw.how}; not mirrored: shape {tuple(weight.shape)} has an odd side")
        form = (
            "delta-orthogonal" if odd and weight.dim() > 2 else "orthogonal" if odd else f"mirrored ({place.position})"
        )
        return Draw(weight, f"{form} for {place.activation.op} at depth {self._depth}, variance {q:.3g}", goal=q**0.5)

    def _place(self, call: Call) -> _Place | None:
        if not call.inputs or (call.op != "linear" and not call.op.startswith("conv")):
            return None
        source, sink = self.plan.source(call).end, self.plan.sink(call).end
        feeds, follows = _pointwise(sink), _pointwise(source)
        if feeds is not None:
            return _Place(feeds, "hidden" if follows is not None else "first")
        return None if follows is None else _Place(follows, "last")

    @cached_property
    def _depth(self) -> int:
        return max(1, sum(_pointwise(self.plan.sink(call).end) is not None for call in self.plan.of_kind("linear")))

    def _variance(self, activation: Call, *, odd: bool) -> float:
        if activation.op not in self._variances:
            function = activation.function
            assert function is not None
            try:
                bound = _BOUND_ODD if odd else _BOUND_MIRRORED
                self._variances[activation.op] = variance_for_depth(function, self._depth, bound=bound)
            except GainError:
                self._variances[activation.op] = 1.0
        return self._variances[activation.op]

    @cached_property
    def _variances(self) -> dict[str, float]:
        return {}


def _reason_against(call: Call) -> str:
    """Why no isometry has this form; empty if one has."""
    if "transpose" in call.op:
        return "a transposed convolution spreads each input over several outputs"
    if call.attributes.get("groups", 1) != 1:
        return "its groups do not mix, so no matrix acts on all channels"
    return ""


def _pointwise(call: Call | None) -> Call | None:
    return call if call is not None and call.kind == "activation" and call.function is not None else None


def _is_odd(f: Callable[[torch.Tensor], torch.Tensor]) -> bool:
    z = torch.linspace(0.05, 4, 80)
    return bool(torch.allclose(f(-z), -f(z), rtol=1e-4, atol=1e-6))
