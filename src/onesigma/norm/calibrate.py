"""`calibrate_`: running statistics set to those of the data, exactly."""

import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from onesigma._errors import BatchError, ConfigError, NoEffectWarning
from onesigma._typing import Batches, Loss
from onesigma.model.criterion import Criterion, criterion_of
from onesigma.model.edits import Edit, Edits
from onesigma.model.names import unwrapped
from onesigma.model.state import preserved, random_state_preserved
from onesigma.norm.estimates import Estimate, Readout, estimated
from onesigma.norm.frozen import Frozen
from onesigma.norm.statistics import BatchNorm, Forward, batch_norms, eager, passes, run_all

__all__ = ["calibrate_"]

_ACTION = "calibrate"
_CHOICES = {"variance": ("population", "mean_of_batches"), "order": ("one_pass", "layer_by_layer")}


def calibrate_(
    model: nn.Module,
    batches: Batches,
    *,
    forward: Forward | None = None,
    variance: Literal["population", "mean_of_batches"] = "population",
    order: Literal["one_pass", "layer_by_layer"] = "one_pass",
    tolerance: float | None = None,
    loss: Loss | str | None = None,
    group: Any = None,
) -> Edits:
    """Set `running_mean` and `running_var` of every BatchNorm to the statistics of the data that reaches it.

    mean = Σx / n and var = Σ(x − mean)² / (n − 1) over all n values of a channel in all batches: every value counts
    the same, however the data are cut into batches. Sums are exact and rounded once, so a mean of 10⁴ costs no digit.
    The model is in eval mode meanwhile (dropout off). In a model in training mode, BatchNorms in eval mode are frozen
    on purpose and stay as they are; in a model in eval mode all are calibrated, but those of `freeze_`. If anything
    raises, nothing has changed.

    Args:
        model: Any module that can be run; only buffers of BatchNorms change.
        batches: See `iterate_batches`. `order="layer_by_layer"` and `loss` go over them several times.
        forward: `forward(model, item)` for models that are not called as `model(inputs)`.
        variance: "population", or "mean_of_batches": Σ over batches of Σ(x − batch mean)² / Σ(n_batch − 1), without
            the variance between batches, as Ioffe & Szegedy have it.
        order: "one_pass": each layer is fed by layers that normalize by the batch, as in training. "layer_by_layer":
            by layers that are calibrated already, as at inference; one pass for each layer. In one pass, a batch of a
            single value per channel is normalized by all values seen until then.
        tolerance: Stop as soon as the standard error of a mean, 1/√samples in stds, is this small: 0.03 takes a
            thousand samples, 0.01 ten thousand. Without, all batches are used.
        loss: A name as in `check`, or `loss(output, targets)`; each edit's `reason` tells its mean in eval mode, before
            and after.
        group: A process group (`torch.distributed.group.WORLD`) whose ranks each hold a part of the data; all must
            call. Each then has the statistics of the whole; ranks may differ in their data and may have none.

    Returns:
        One edit per BatchNorm, in order of execution: `before` is the largest distance of a running mean from the
        data's, in stds of its channel; `after` the same now. A layer that did not run is refused, with a reason.
        `num_batches_tracked` becomes the number of calls that were counted.

    Raises:
        CaptureError: The model raised.
        BatchError: There is no batch.
        ModelError: The model has lazy layers that have not seen a batch.
        ConfigError: Another `variance` or `order`, a tolerance that is not positive, or no loss of this name.

    Example:
        >>> model = nn.Sequential(nn.BatchNorm1d(1))
        >>> edits = calibrate_(model, [torch.zeros(64, 1), torch.full((2, 1), 66.0)])
        >>> model[0].running_mean.item(), round(edits[0].before, 2), edits[0].after
        (2.0, 0.18, 0.0)

    Reference: Wu & Johnson 2021, section 3, https://arxiv.org/abs/2105.07576
    """
    for name, value in (("variance", variance), ("order", order)):
        if value not in _CHOICES[name]:
            raise ConfigError(f"calibrate_: {name} must be one of {', '.join(_CHOICES[name])}, got {value!r}.")
    if tolerance is not None and not tolerance > 0:
        raise ConfigError(f"calibrate_: tolerance is a standard error in stds and must be above 0, got {tolerance!r}.")
    module = unwrapped(model)
    norms, refused = _chosen(module)
    with random_state_preserved():
        items = passes(batches, again=order == "layer_by_layer" or loss is not None)
    within = variance == "mean_of_batches"
    measure = partial(estimated, module, items, within=within, forward=forward, group=group, tolerance=tolerance or 0.0)
    criterion = None if loss is None else criterion_of(loss)
    in_eval = partial(_mean_loss, module, items, forward=forward, criterion=criterion)
    with preserved(module), torch.no_grad(), eager():
        saved = {name: _Buffers.of(norm) for name, norm in norms.items()}
        module.eval()
        loss_before = in_eval()
        found = _in_one_pass(norms, measure) if order == "one_pass" else _layer_by_layer(norms, measure)
        reasons = {name: readout.reason_against(norms[name]) for name, readout in found.items()}
        written = {name: readout for name, readout in found.items() if not reasons[name]}
        _write(norms, written)
        verdict = _verdict(loss_before, in_eval())
    _write(norms, written)
    edits = [_edit(name, norms[name], found[name], saved[name], reasons[name], verdict) for name in found]
    idle = [_refusal(name, "it never ran on these batches in eval mode") for name in norms if name not in found]
    edits += [*idle, *refused]
    if not written:
        why = "; ".join(f"{edit.layer}: {edit.reason}" for edit in edits[:3]) or "the model has no BatchNorm."
        warnings.warn(f"calibrate_ changed no layer: {why}", NoEffectWarning, stacklevel=2)
    return Edits(tuple(edits), tuple(partial(saved[name].restore, norms[name]) for name in written))


@dataclass(frozen=True, slots=True)
class _Buffers:
    """Copies of what a BatchNorm keeps."""

    mean: torch.Tensor
    variance: torch.Tensor
    counter: torch.Tensor | None

    @classmethod
    def of(cls, norm: BatchNorm) -> "_Buffers":
        assert norm.running_mean is not None
        assert norm.running_var is not None
        counter = norm.num_batches_tracked
        return cls(norm.running_mean.clone(), norm.running_var.clone(), None if counter is None else counter.clone())

    def restore(self, norm: BatchNorm) -> None:
        copies = (self.mean, self.variance, self.counter)
        with torch.no_grad():
            for buffer, copy in zip(
                (norm.running_mean, norm.running_var, norm.num_batches_tracked), copies, strict=True
            ):
                if buffer is not None and copy is not None:
                    buffer.copy_(copy)


def _chosen(model: nn.Module) -> tuple[dict[str, BatchNorm], list[Edit]]:
    """The layers to calibrate, and why others stay as they are."""
    chosen: dict[str, BatchNorm] = {}
    refused: list[Edit] = []
    for name, norm in batch_norms(model).items():
        if isinstance(norm, Frozen) or (model.training and not norm.training):
            refused.append(_refusal(name, "it is frozen: in eval mode while the model trains, or by freeze_"))
        elif norm.running_mean is None or norm.running_var is None:
            refused.append(_refusal(name, "it keeps no running statistics and normalizes by the batch in eval too"))
        else:
            chosen[name] = norm
    return chosen, refused


def _refusal(name: str, reason: str) -> Edit:
    return Edit(layer=name, action=_ACTION, applied=False, reason=reason)


_Measure = Callable[..., dict[str, Estimate]]


def _in_one_pass(norms: Mapping[str, BatchNorm], measure: _Measure) -> dict[str, Readout]:
    return {name: estimate.read() for name, estimate in measure(norms).items()}


def _layer_by_layer(norms: Mapping[str, BatchNorm], measure: _Measure) -> dict[str, Readout]:
    """Each layer fed by those before it as they will be at inference; the first pass tells the order."""
    found: dict[str, Readout] = {}
    first_pass = measure(norms, by="running")
    for name in first_pass:
        estimate = measure({name: norms[name]})[name] if found else first_pass[name]
        found[name] = estimate.read()
        if not found[name].reason_against(norms[name]):
            found[name].write(norms[name])
    return found


def _write(norms: Mapping[str, BatchNorm], readouts: Mapping[str, Readout]) -> None:
    for name, readout in readouts.items():
        readout.write(norms[name])


def _edit(name: str, norm: BatchNorm, found: Readout, saved: _Buffers, reason: str, verdict: str) -> Edit:
    if reason:
        return _refusal(name, reason)
    assert norm.running_mean is not None
    before = found.distance(saved.mean, eps=norm.eps)
    after = found.distance(norm.running_mean, eps=norm.eps)
    ratio = found.variance_ratio(saved.variance, eps=norm.eps)
    return Edit(layer=name, action=_ACTION, before=before, after=after, reason=_told(found, before, ratio) + verdict)


def _told(found: Readout, before: float, ratio: float) -> str:
    """What the numbers rest on, and whether the old ones were as good."""
    error = found.standard_error
    # The largest of C Gaussian errors is about √(2 ln 2C) of them; two more make a doubt unlikely.
    slack = math.sqrt(2 * math.log(2 * len(found.mean))) + 2
    was_right = before <= slack * error and abs(math.log(max(ratio, 1e-300))) <= slack * math.sqrt(2) * error
    return (
        f"{found.batches} batches, {found.count} values per channel, standard error of a mean {error:.2g} std; "
        f"running_var was {ratio:.3g} of the variance"
        + ("; within sampling error it was right before" if was_right else "")
    )


def _mean_loss(
    model: nn.Module, items: Iterable[Any], *, forward: Forward | None, criterion: Criterion | None
) -> float | None:
    """The loss in eval mode, each batch weighted by its rows; None without a loss."""
    if criterion is None:
        return None
    try:
        found = [
            (float(criterion.value(output, batch.targets)), max(batch.num_samples, 1))
            for output, batch in run_all(model, items, forward=forward)
        ]
    except BatchError:  # of a rank without batches; of a model alone the pass that follows says it again
        return None
    return sum(value * rows for value, rows in found) / sum(rows for _, rows in found)


def _verdict(before: float | None, after: float | None) -> str:
    if before is None or after is None:
        return ""
    helped = "" if after < before else "; it did not help, and undo() takes it back"
    return f"; loss in eval {before:.4g} before, {after:.4g} after{helped}"
