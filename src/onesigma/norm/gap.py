"""`gap`: how far a model in eval mode is from the same model in training mode, layer by layer, and why."""

import math
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from onesigma._typing import Batches, Loss
from onesigma.model.criterion import Criterion, criterion_of
from onesigma.model.names import unwrapped
from onesigma.model.state import preserved, random_state_preserved
from onesigma.norm.causes import Evidence, cause_of
from onesigma.norm.statistics import BatchNorm, BatchNormMode, Forward, batch_norms, eager, passes, run_all
from onesigma.norm.trained import as_trained

__all__ = ["Gap", "LayerGap", "gap"]

_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerGap:
    """One BatchNorm: its running statistics against those of the data.

    Attributes:
        layer: Its name.
        mean_gap: √ mean over channels of (running_mean − mean)² / (var + eps): in stds of the data.
        var_ratio: Geometric mean over channels of (running_var + eps) / (var + eps).
        standard_error: Of `mean_gap`: what it is on average where nothing is wrong.
        loss_change: How much the training loss changes when this layer alone normalizes by its running statistics;
            None without a loss.
        cause: "non-finite", "wrong mode", "never updated", "ema lag", "domain shift", "batch noise", "bessel", "eps"
            or "none"; see `gap`.
    """

    layer: str
    mean_gap: float
    var_ratio: float
    standard_error: float
    loss_change: float | None
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """What `gap` found.

    Attributes:
        loss_train: Mean loss in training mode; None without a loss.
        loss_eval: In eval mode, on the same batches.
        layers: One per BatchNorm that ran, in order of execution.
    """

    loss_train: float | None
    loss_eval: float | None
    layers: tuple[LayerGap, ...]


def gap(model: nn.Module, batches: Batches, *, loss: Loss | str | None = None, forward: Forward | None = None) -> Gap:
    """Measure the gap between training and eval mode, and tell which layer makes it, and why.

    The data's statistics are those that training sees: everything in training mode, each BatchNorm fed by others that
    normalize as they train: by the batch, by ghost batches, by Batch Renormalization within its limits of the moment.
    Random numbers are the same in every pass.
    What differs is significant where the largest of C channels is more than √(2 ln 2C) + 3 standard errors away, those
    of the data over samples. The first cause that fits is named:

    * "non-finite": NaN or infinity in the data or in the running statistics;
    * "wrong mode": in an eval model the layer normalizes by the batch (`train()`, or no running statistics);
    * "never updated": running statistics are 0 and 1 still, and the data's are not;
    * "ema lag": the average still holds (1 − momentum)^updates of its start, and without it fits the data;
    * "batch noise": what differs is what an average of batches of this size scatters by; or batches are so small that
      their own means scatter by more than a quarter of a std, ghost batches too;
    * "domain shift": the data, or the weights before the layer, are not those that were averaged; or batches differ
      from one another by more than chance, so that training normalizes each on its own;
    * "bessel": running_var was stored without n / (n − 1), as Keras and ONNX have it;
    * "eps": the variance is so small that eps takes more than a tenth of it;
    * "none".

    Args:
        model: Any module that can be run; nothing of it changes. In one in training mode, BatchNorms in eval mode are
            frozen on purpose and stay so.
        batches: See `iterate_batches`; kept in memory, since they are gone over once for each layer.
        loss: A name as in `check`, or `loss(output, targets)`; without, an output's own `.loss` is used if it has one.
        forward: `forward(model, item)` for models that are not called as `model(inputs)`.

    Raises:
        CaptureError: The model raised.
        BatchError: There is no batch.
        ConfigError: There is no loss of this name.

    Example:
        >>> model = nn.Sequential(nn.BatchNorm1d(2))
        >>> found = gap(model, 3 * torch.ones(8, 2) + torch.randn(8, 2, generator=torch.Generator().manual_seed(0)))
        >>> found.layers[0].cause
        'never updated'

    Reference: Wu & Johnson 2021, https://arxiv.org/abs/2105.07576
    """
    module, criterion = unwrapped(model), criterion_of(loss)
    with random_state_preserved():
        items = list(passes(batches, again=True))
    norms = batch_norms(module)
    measured = {name: norm for name, norm in norms.items() if norm.running_mean is not None}
    wrong = {name for name, norm in norms.items() if norm.running_mean is None or _trains_alone(norm, model=module)}
    with preserved(module), torch.no_grad(), eager():
        loss_eval = _mean_loss(
            module.eval() if module.training else module, items, criterion=criterion, forward=forward
        )
    with preserved(module), torch.no_grad(), eager():
        free = _in_training(module, measured)
        watch = _Watch(measured, free=free)
        loss_train = _mean_loss(module, items, criterion=criterion, forward=forward, mode=watch)
        changes: dict[str, float] = {}
        if loss_train is not None:
            for name in watch.order:
                others = {other: norm for other, norm in measured.items() if other in free - {name}}
                mode = _Trained(others)
                changed = (
                    _mean_loss(module, items, criterion=criterion, forward=forward, mode=mode) if name in free else None
                )
                changes[name] = 0.0 if changed is None else changed - loss_train
        evidence = {name: watch.evidence(name) for name in watch.order}
    layers = [_layer_gap(name, seen, wrong, changes.get(name)) for name, seen in evidence.items()]
    layers += [_coupled(name) for name, norm in norms.items() if norm.running_mean is None]
    return Gap(loss_train=loss_train, loss_eval=loss_eval, layers=tuple(layers))


class _Trained(BatchNormMode):
    """Lets the layers normalize as they do in training."""

    def __init__(self, norms: Mapping[str, BatchNorm]) -> None:
        super().__init__(norms)
        self.norms = norms

    def normalize(self, name: str, given: dict[str, Any]) -> torch.Tensor:
        """By the batch, or by what the layer's kind makes of it."""
        return as_trained(self.norms[name], given)


class _Watch(_Trained):
    """Keeps the moments of every sample that the layers see; the free ones normalize as in training."""

    def __init__(self, norms: Mapping[str, BatchNorm], *, free: set[str]) -> None:
        super().__init__(norms)
        self.free = free
        self.order: dict[str, list[tuple[int, torch.Tensor, torch.Tensor]]] = {}

    def normalize(self, name: str, given: dict[str, Any]) -> torch.Tensor:
        """Look at the input, and go on as training does."""
        values = (
            given["input"].detach().movedim(1, -1).flatten(1, -2)
            if given["input"].dim() > 2
            else given["input"][:, None]
        )
        values = values.double()
        mean = values.mean(1)
        self.order.setdefault(name, []).append(
            (values.shape[1], mean.cpu(), (values - mean[:, None]).square().mean(1).cpu())
        )
        return as_trained(self.norms[name], given) if name in self.free else F.batch_norm(**given)

    def evidence(self, name: str) -> Evidence:
        """All that was seen of one layer."""
        norm, seen = self.norms[name], self.order[name]
        assert norm.running_mean is not None
        assert norm.running_var is not None
        means, within = torch.cat([mean for _, mean, _ in seen]), torch.cat([spread for _, _, spread in seen])
        return Evidence(
            running_mean=norm.running_mean.detach().cpu().double(),
            running_var=norm.running_var.detach().cpu().double(),
            eps=norm.eps,
            momentum=norm.momentum,
            updates=None if norm.num_batches_tracked is None else int(norm.num_batches_tracked),
            sample_means=means,
            sample_squares=within + (means - means.mean(0)).square(),
            sizes=tuple(len(mean) for _, mean, _ in seen),
            values=sum(positions * len(mean) for positions, mean, _ in seen),
            ghost_size=getattr(norm, "ghost_size", None),
        )


def _trains_alone(norm: BatchNorm, *, model: nn.Module) -> bool:
    return norm.training and not model.training


def _in_training(model: nn.Module, norms: Mapping[str, BatchNorm]) -> set[str]:
    """Put the model into training mode, but for norms, which a mode takes over; return those that are not frozen."""
    if not model.training:
        model.train()
    free = {name for name, norm in norms.items() if norm.training}
    for norm in norms.values():
        norm.training = False
    return free


def _mean_loss(
    model: nn.Module,
    items: Iterable[Any],
    *,
    criterion: Criterion,
    forward: Forward | None,
    mode: BatchNormMode | None = None,
) -> float | None:
    """The loss over all items, each weighted by its rows; None where there is none. The pass is made in any case."""
    torch.manual_seed(_SEED)
    total, rows = 0.0, 0
    with mode or nullcontext():
        for output, batch in run_all(model, items, forward=forward):
            value = criterion.value(output, batch.targets)
            if not isinstance(value, torch.Tensor):
                continue
            total += float(value) * max(batch.num_samples, 1)
            rows += max(batch.num_samples, 1)
    return total / rows if rows else None


def _layer_gap(name: str, seen: Evidence, wrong: set[str], change: float | None) -> LayerGap:
    cause = cause_of(seen)
    return LayerGap(
        layer=name,
        mean_gap=seen.mean_gap(),
        var_ratio=float(seen.log_ratios().mean().exp()),
        standard_error=float((seen.mean_error / seen.std).square().mean().sqrt()),
        loss_change=change,
        cause="wrong mode" if name in wrong and cause != "non-finite" else cause,
    )


def _coupled(name: str) -> LayerGap:
    """A layer without running statistics: there is nothing to compare, and eval normalizes by the batch."""
    nan = math.nan
    return LayerGap(layer=name, mean_gap=nan, var_ratio=nan, standard_error=nan, loss_change=None, cause="wrong mode")
