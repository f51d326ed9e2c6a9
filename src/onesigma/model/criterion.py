"""Losses by name, by module and by function."""

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
from onesigma.model.graph import Call

__all__ = ["Criterion", "criterion_of"]

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
