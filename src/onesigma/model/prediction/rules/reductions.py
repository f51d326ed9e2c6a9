"""Largest, smallest, norms, spreads: what no formula gives for correlated values of unequal laws, from fixed draws."""

from collections.abc import Mapping

import torch

from onesigma.model.batches import tensors_in
from onesigma.model.prediction.fields import Fields
from onesigma.model.prediction.held import held_by_larger
from onesigma.model.prediction.inputs import population
from onesigma.model.prediction.kernel import blended
from onesigma.model.prediction.rules.pools import reduced_axes, reduced_sites
from onesigma.model.prediction.signal import Signal, axis_role
from onesigma.model.prediction.step import Rule, Step
from onesigma.model.prediction.unpredictable import Unpredictable

__all__ = ["REDUCTIONS"]

_DRAWS, _FEWEST = 128, 16
_MOST = 2**21  # elements
_WORK = 2**22  # elements in all draws together


def _reduced(step: Step) -> Signal:
    """A function of the values along some axes."""
    if isinstance(step.known.get("dim"), Signal):
        return _larger(step)  # torch.max(x, y)
    x = step.signal()
    axes, keepdim = _axes(step)
    if x.base_mean.dim() > 1 and 0 in axes and axis_role(x.sites, 0, num_positions=x.kernel.num_positions) == "sample":
        raise Unpredictable(f"{step.call.op} over the samples")
    mean, var = _simulated(step)
    lines = x.sites.movedim(axes, tuple(range(-len(axes), 0))).flatten(-len(axes))
    line = lines.reshape(-1, lines.shape[-1])[0]
    positions = bool((line != line[0]).any())
    sites, kernel = reduced_sites(x, lines, axes=axes, keepdim=keepdim, positions=positions)
    return Signal(base_mean=mean, base_var=var, sites=sites.expand(mean.shape), kernel=kernel)


def _axes(step: Step) -> tuple[tuple[int, ...], bool]:
    """Those that are gone, or of one element, in the result; norms have their order before the axes."""
    if "norm" not in step.call.op:
        return reduced_axes(step)
    named = step.arguments.get("dim") if "p" in step.arguments or "ord" in step.arguments else None
    chosen = step.arguments.get("axis", step.arguments.get("2", named))
    dims = step.signal().base_mean.dim()
    if chosen is None and step.shapes[0]:
        # norm(x, 2, -1) and norm(x, dim=-1): the length of the result tells the two meanings of `dim` apart.
        chosen = step.arguments.get("dim")
    axes = range(dims) if chosen is None else chosen if isinstance(chosen, (tuple, list)) else (chosen,)
    return tuple(sorted(int(axis) % dims for axis in axes)), len(step.shapes[0]) == dims


def _larger(step: Step) -> Signal:
    """The larger or smaller of two signals, or of a signal and numbers, element by element."""
    signals = [signal.plain for signal in step.signals.values()]
    mean, var = _simulated(step)
    wide = max(signals, key=lambda signal: signal.base_mean.numel())
    kernel = blended([(signal.kernel, float(signal.base_var.mean())) for signal in signals])
    if kernel.num_positions != wide.kernel.num_positions:
        kernel = wide.kernel
    held = held_by_larger(list(step.signals.values()))
    return Signal(base_mean=mean, base_var=var, sites=wide.sites.expand(mean.shape), kernel=kernel, held=held)


def _simulated(step: Step) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of the result over draws of the arguments; of many elements a few draws tell as much."""
    size = sum(signal.base_mean.numel() for signal in step.signals.values())
    if size > _MOST:
        raise Unpredictable(f"{step.call.op}: draws of {size} elements would be too many")
    fields = Fields(torch.Generator().manual_seed(size))
    num_draws = min(max(_WORK // max(size, 1), _FEWEST), _DRAWS)
    first, second = torch.zeros(step.shapes[0]), torch.zeros(step.shapes[0])
    for _ in range(num_draws):
        made = step.again(**{name: fields.of(signal) for name, signal in step.signals.items()})
        value = next(tensor for tensor in tensors_in(made) if tensor.is_floating_point()).float()
        first, second = first + value / num_draws, second + value.square() / num_draws
        fields.next()
    return population(first, second, num_samples=num_draws)


REDUCTIONS: Mapping[str, Rule] = {
    **dict.fromkeys(("amax", "amin", "max", "min", "logsumexp", "std", "var", "norm", "prod", "median"), _reduced),
    **dict.fromkeys(("linalg_vector_norm", "linalg_norm"), _reduced),
    **dict.fromkeys(("maximum", "minimum", "fmax", "fmin", "logaddexp", "logaddexp2"), _larger),
}
