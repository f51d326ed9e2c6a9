"""One call as a rule sees it: what its arguments are predicted to be, and how to call it again with other numbers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from onesigma.model.graph import Call
from onesigma.model.ops import Op
from onesigma.model.prediction.signal import Known, Signal, axis_role
from onesigma.model.prediction.unpredictable import Unpredictable

__all__ = ["Rule", "Step"]


@dataclass(frozen=True, slots=True)
class Step:
    """One call.

    Attributes:
        call: What is known of it.
        op: Its operation, for the order of its arguments.
        function: What was called.
        arguments: By name, as the user passed them.
        known: What each tensor argument is, by name; those in a list as "tensors.0".
        shapes: Of the results.
    """

    call: Call
    op: Op
    function: Callable[..., Any]
    arguments: Mapping[str, Any]
    known: Mapping[str, Signal | Known]
    shapes: Sequence[torch.Size]

    @property
    def signals(self) -> dict[str, Signal]:
        """The arguments that carry data."""
        return {name: value for name, value in self.known.items() if isinstance(value, Signal)}

    def signal(self, name: str = "input") -> Signal:
        """An argument that carries data."""
        found = self.known.get(name)
        if not isinstance(found, Signal):
            raise Unpredictable(f"{self.call.op}: argument {name!r} carries no signal")
        return found

    def value(self, name: str) -> torch.Tensor:
        """A tensor that no data went into, in float32."""
        found = self.optional(name)
        if found is None:
            raise Unpredictable(f"{self.call.op}: argument {name!r} is no known tensor")
        return found

    def optional(self, name: str) -> torch.Tensor | None:
        """The same, or None where it was not given."""
        found = self.known.get(name)
        if isinstance(found, Signal):
            raise Unpredictable(f"{self.call.op}: argument {name!r} depends on the data")
        if found is None:
            return None
        if found.value.is_meta:
            raise Unpredictable(
                f"{self.call.op}: argument {name!r} is on the meta device and has no values yet; predict the model "
                "built on the CPU, or after to_empty(device='cpu') and its initialization"
            )
        return found.value.detach().float() if found.value.is_floating_point() else found.value

    def again(self, **replaced: Any) -> Any:
        """Call the function again, with some arguments replaced; None drops one that has a default."""
        arguments = dict(self.arguments)
        for name, value in replaced.items():
            outer, _, number = name.partition(".")
            if number:
                items = list(arguments[outer])
                items[int(number)] = value
                arguments[outer] = items
            else:
                arguments[name] = value
        arguments.pop("inplace", None)
        positional: list[Any] = []
        by_name = "p" in arguments or "ord" in arguments  # of a norm: the axes are second here and third there
        for name in (*self.op.arguments, *map(str, range(len(self.op.arguments), 64))):
            if name not in arguments or (by_name and positional):
                break
            positional.append(arguments.pop(name))
        return self.function(*positional, **arguments)

    def rearranged(
        self, signal: Signal, *, function: Callable[[torch.Tensor], torch.Tensor] | None = None
    ) -> list[Signal]:
        """What becomes of a signal whose elements are only moved: the call is made on each of its tensors."""
        move = function or (lambda tensor: self.again(input=tensor))
        means, variances, sites = (
            _listed(move(tensor)) for tensor in (signal.base_mean, signal.base_var, signal.sites)
        )
        return [
            Signal(
                base_mean=mean,
                base_var=var,
                sites=site,
                kernel=signal.kernel,
                function=signal.function,
                law_from=signal.law_from,
                # A sample is as large in a part of its features as in all of them; positions put together even out.
                unevenness=signal.unevenness if _stays_rows(signal, mean, site) else 0.0,
                leveled=signal.leveled and mean.shape[-1:] == signal.shape[-1:],
                shares=signal.shares if mean.numel() == signal.base_mean.numel() else None,
            )
            for mean, var, site in zip(means, variances, sites, strict=True)
        ]


Rule = Callable[[Step], Signal | list[Signal]]


def _stays_rows(signal: Signal, mean: torch.Tensor, sites: torch.Tensor) -> bool:
    """Whether the last axis runs over what it ran over before: features of one position, all or some of them."""
    if mean.shape[-1:] == signal.shape[-1:]:
        return True
    if not mean.dim() or not signal.base_mean.dim():
        return False
    count = signal.kernel.num_positions
    return all(axis_role(each, -1, num_positions=count) == "feature" for each in (signal.sites, sites))


def _listed(value: Any) -> list[torch.Tensor]:
    return list(value) if isinstance(value, (tuple, list)) else [value]
