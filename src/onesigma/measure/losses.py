"""Losses by name, by module and by function, and what a model would pay that knows nothing of its input."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from onesigma._errors import ConfigError
from onesigma._typing import Loss
from onesigma.model.batches import tensors_in
from onesigma.model.capture import Site
from onesigma.model.graph import Call, Graph
from onesigma.model.signals import Ledger

__all__ = ["Criterion", "chance_at", "chance_of", "criterion_of"]

_NAMED: Mapping[str, Callable[..., torch.Tensor]] = {
    "cross_entropy": F.cross_entropy,
    "mse": F.mse_loss,
    "l1": F.l1_loss,
    "smooth_l1": F.smooth_l1_loss,
    "huber": F.huber_loss,
    "nll": F.nll_loss,
    "binary_cross_entropy": F.binary_cross_entropy,
    "binary_cross_entropy_with_logits": F.binary_cross_entropy_with_logits,
    "kl_div": F.kl_div,
    "poisson_nll": F.poisson_nll_loss,
    "soft_margin": F.soft_margin_loss,
    "multi_margin": F.multi_margin_loss,
}


@dataclass(frozen=True, slots=True)
class Criterion:
    """A loss as it was asked for.

    Attributes:
        loss: `loss(output, targets)`; None takes the loss that the output carries.
        name: As a person calls it; "" until the pass has shown which it is.
        is_named: It takes one tensor, not whatever structure the model returns.
    """

    loss: Callable[..., torch.Tensor] | None
    name: str = ""
    is_named: bool = False

    def applies(self, output: Any) -> bool:
        """Whether there is a loss at all."""
        return self.loss is not None or _carried_loss(output) is not None

    def value(self, output: Any, targets: Any) -> Any:
        """The loss of this output."""
        if self.loss is None:
            return _carried_loss(output)
        if not self.is_named:
            return self.loss(output, targets)
        return self.loss(*_aligned(_main_output(output), targets, loss=self.loss))

    def name_of(self, call: Call | None) -> str:
        """The name of the torch function that made the value, if it is a loss; else what the user's is called."""
        if call is not None and call.kind == "loss":
            return call.op.removesuffix("_loss")
        return self.name


def criterion_of(loss: Loss | str | None) -> Criterion:
    """Read the `loss` argument of the public functions.

    Raises:
        ConfigError: The name is unknown, or it is no callable.

    Example:
        >>> criterion_of(nn.CrossEntropyLoss()).name
        'cross_entropy'
    """
    if loss is None:
        return Criterion(None)
    if isinstance(loss, str):
        name = loss.removesuffix("_loss")
        if name not in _NAMED:
            raise ConfigError(f"loss={loss!r} is unknown; take one of {', '.join(_NAMED)}, or pass a callable.")
        return Criterion(_NAMED[name], name, is_named=True)
    if not callable(loss):
        raise ConfigError(f"loss must be a name, a loss module or a callable, got {type(loss).__name__}.")
    if type(loss).__module__ == "torch.nn.modules.loss":
        return Criterion(loss, _snake(type(loss).__name__), is_named=True)
    function = loss.func if isinstance(loss, partial) else loss
    name = getattr(function, "__name__", type(function).__name__)
    return Criterion(loss, name.removesuffix("_loss"), is_named=any(function is known for known in _NAMED.values()))


def _snake(name: str) -> str:
    known = {"BCELoss": "binary_cross_entropy", "BCEWithLogitsLoss": "binary_cross_entropy_with_logits"}
    return (
        known.get(name)
        or re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name.removesuffix("Loss")).lower()
    )


def _carried_loss(output: Any) -> torch.Tensor | None:
    found = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    return found if isinstance(found, torch.Tensor) else None


def _main_output(output: Any) -> Any:
    """The tensor that a loss of torch is meant for: logits where there are some, else the first."""
    logits = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if isinstance(logits, torch.Tensor):
        return logits
    return next((tensor for tensor in tensors_in(output) if tensor.is_floating_point()), output)


def _aligned(output: Any, targets: Any, *, loss: Callable[..., torch.Tensor]) -> tuple[Any, Any]:
    """Class scores of a sequence have their classes last; torch's cross-entropy wants them in axis 1."""
    takes_classes = loss in (F.cross_entropy, F.nll_loss) or isinstance(loss, (nn.CrossEntropyLoss, nn.NLLLoss))
    if not takes_classes or not isinstance(output, torch.Tensor) or not isinstance(targets, torch.Tensor):
        return output, targets
    if output.dim() > 2 and not targets.is_floating_point() and targets.numel() * output.shape[-1] == output.numel():
        return output.reshape(-1, output.shape[-1]), targets.reshape(-1)
    return output, targets


def chance_of(site: Site) -> tuple[torch.Tensor, str, int] | None:
    """Chance level of a recorded loss call, in words, and its number of classes (0 for none); None if unknown."""
    output, target = site.tensors.get("input"), site.tensors.get("target")
    if output is None or target is None:
        return None
    op = site.call.op.removesuffix("_loss")
    with torch.no_grad():
        if op in ("cross_entropy", "nll"):
            classes = output.shape[1] if output.dim() > 1 else output.shape[0]
            entries = target.numel() if not target.is_floating_point() else target.numel() // classes
            value = output.new_full((), math.log(classes), dtype=torch.float32)
            return _reduced(value, site, count=entries), f"log {classes}", classes
        if op.startswith("binary_cross_entropy"):
            value = output.new_full((), math.log(2), dtype=torch.float32)
            return _reduced(value, site, count=target.numel()), "log 2", 0
        if op in ("mse", "l1", "smooth_l1", "huber"):
            value, name = _constant_guess(op, target.detach())
            return _reduced(value, site, count=target.numel()), name, 0
    return None


def chance_at(
    index: int, graph: Graph, *, ledger: Ledger, known: Mapping[int, tuple[int, str]]
) -> tuple[float, str] | None:
    """Chance level of the value that call `index` made, from those of the losses in it; None where one is unknown.

    Sums, multiples by constants, means and views of losses are seen through: a model that knows nothing pays the sum.
    """
    if index in known:
        slot, name = known[index]
        return float(ledger.row(slot)[0]), name
    call = graph.calls[index] if index >= 0 else None
    if call is None or not call.inputs:
        return None
    found = []
    for source in call.inputs:
        part = chance_at(source, graph, ledger=ledger, known=known)
        if part is None:
            return None  # at once: the ways through joined experts and residual sums are without number
        found.append(part)
    if call.kind == "shape" or call.op == "mean":
        return found[0]
    factor = call.attributes.get("other")
    if call.kind == "scale" and isinstance(factor, int | float) and factor > 0 and call.op in ("mul", "div"):
        return found[0][0] * (factor if call.op == "mul" else 1 / factor), f"{found[0][1]}, scaled"
    if call.kind == "join" and call.op == "add":
        return sum(value for value, _ in found), " and ".join(name for _, name in found)
    return None


def _constant_guess(op: str, target: torch.Tensor) -> tuple[torch.Tensor, str]:
    """What the best constant per output would pay."""
    target = target.to(torch.float32 if target.device.type == "mps" else torch.float64)
    columns = target.reshape(target.shape[0], -1) if target.dim() else target.reshape(1, 1)
    if op == "mse":
        return columns.var(0, correction=0).mean(), "variance of the targets"
    median = columns.median(0).values.expand_as(columns)
    if op == "l1":
        return F.l1_loss(median, columns), "mean distance of the targets from their median"
    return (F.huber_loss if op == "huber" else F.smooth_l1_loss)(median, columns), f"{op} of the targets' median"


def _reduced(value: torch.Tensor, site: Site, *, count: int) -> torch.Tensor:
    return value * count if site.arguments.get("reduction") == "sum" else value
