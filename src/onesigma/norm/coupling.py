"""`coupling`: how much the output for one sample depends on the other samples of its batch."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from onesigma._errors import BatchError, CaptureError, ModelError
from onesigma._typing import Batches
from onesigma.model.batches import Batch, first_batch, tensors_in
from onesigma.model.capture import Listener, Site, recording
from onesigma.model.names import unwrapped
from onesigma.model.state import preserved
from onesigma.norm.probes import Rows, coupling_ratio
from onesigma.norm.proof import Twin

__all__ = ["Coupling", "LayerCoupling", "coupling"]

_SEED = 0
# Samples whose derivatives are taken where they are many, of a layer by itself.
_MAX_SAMPLES_OF_LAYER = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCoupling:
    """One normalizing layer by itself: its output against its own input. Several calls count as their largest."""

    layer: str
    train: float
    eval: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Coupling:
    """What `coupling` found: the largest |∂out_i/∂in_j|, i ≠ j, over the largest |∂out_i/∂in_i|.

    Attributes:
        train: In training mode.
        eval: In eval mode; exactly 0.0 where samples are independent, as they should be.
        layers: One per normalizing layer, in order of execution.
    """

    train: float
    eval: float
    layers: tuple[LayerCoupling, ...]


def coupling(model: nn.Module, batch: Batches) -> Coupling:
    """Measure how much sample i of a batch depends on sample j, in training and in eval mode.

    Derivatives are taken by automatic differentiation on a copy in float64, so that independence shows as an exact
    zero: `assert coupling(model, x).eval == 0` is a test worth having. BatchNorm in training mode couples, by about
    1/N in large batches; attention over time does not, since it stays within a sample. Inputs without derivatives,
    as tokens, are replaced by the first real numbers that are made of them. Where outputs are many (above 512, or above
    2²⁰ derivatives), the ratio is that of one random sum per sample (signs ±1), over 16 samples; that it is zero is
    still checked for every pair, by 2·log₂ N sums over groups.

    Args:
        model: Any module that can be run and copied; one that arrives in eval mode is looked at as it is for `eval`
            (a BatchNorm left in training mode shows), and in training mode for `train`; the other way round likewise.
        batch: One batch of at least two samples, or an iterable whose first is used.

    Raises:
        BatchError: Fewer than two samples.
        CaptureError: The model raised.
        ModelError: The model cannot be copied, or no output that depends on its input has an axis of samples.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU())
        >>> found = coupling(model, torch.randn(16, 4, generator=torch.Generator().manual_seed(0)))
        >>> found.train > 0, found.eval, [layer.layer for layer in found.layers]
        (True, 0.0, ['1'])
    """
    module = unwrapped(model)
    given = first_batch(batch).owned_by(module)
    if given.num_samples < 2:
        raise BatchError(f"coupling: two samples are needed at least, the batch has {given.num_samples}.")
    train, in_training = _measured(module, given, training=True)
    evaluated, in_eval = _measured(module, given, training=False)
    names = dict.fromkeys((*in_training, *in_eval))
    layers = (LayerCoupling(layer=n, train=in_training.get(n, 0.0), eval=in_eval.get(n, 0.0)) for n in names)
    return Coupling(train=train, eval=evaluated, layers=tuple(layers))


class _Probe(Listener):
    """Makes leaves of the first real signals, and looks at each normalizing layer by itself."""

    def __init__(self, *, num_samples: int) -> None:
        self.num_samples = num_samples
        self.leaves: list[Rows] = []
        self.layers: dict[str, float] = {}

    def leaf(self, tensor: torch.Tensor) -> torch.Tensor:
        """A copy of the tensor from which derivatives are known, and which may be written to."""
        rows = Rows.of(tensor.detach().clone().requires_grad_(), num_samples=self.num_samples)
        if rows is None:
            return tensor
        self.leaves.append(rows)
        return rows.tensor.clone()

    def before(self, site: Site) -> None:
        """A normalizing layer is about to run: run it on its own."""
        signal = site.arguments.get("input")
        if site.call.kind != "norm" or not isinstance(signal, torch.Tensor):
            return
        given = Rows.of(signal.detach().clone().requires_grad_(), num_samples=self.num_samples)
        if given is None:
            return
        output = site.function(**{**site.arguments, "input": given.tensor})
        rows = [Rows(output, given.axis)]
        found = coupling_ratio(rows, [given], num_samples=self.num_samples, max_samples=_MAX_SAMPLES_OF_LAYER)
        self.layers[site.call.layer] = max(found, self.layers.get(site.call.layer, 0.0))

    def after(self, site: Site, output: Any) -> Any:
        """Tokens have become real numbers: start here."""
        if isinstance(output, torch.Tensor) and output.is_floating_point() and site.call.inputs:
            return output if output.requires_grad else self.leaf(output)
        return output


def _measured(model: nn.Module, batch: Batch, *, training: bool) -> tuple[float, Mapping[str, float]]:
    try:
        twin = Twin(model, batch)
        return _run(twin.module, twin.batch, model, training=training)
    except CaptureError:
        # A model that insists on its own dtype; where that is not it, it raises again.
        return _run(copy.deepcopy(model), batch, model, training=training)


def _run(module: nn.Module, batch: Batch, model: nn.Module, *, training: bool) -> tuple[float, Mapping[str, float]]:
    """Both numbers of a copy of the model."""
    num_samples = batch.num_samples
    _set_modes(module, model, training=training)
    probe = _Probe(num_samples=num_samples)
    with preserved(module), torch.enable_grad():
        for parameter in module.parameters():
            parameter.requires_grad_(False)
        torch.manual_seed(_SEED)
        with recording(module, listeners=[probe]) as recorder:
            output = recorder.run(_with_leaves(batch, probe))
        outputs = [rows for tensor in tensors_in(output) if (rows := Rows.of(tensor, num_samples=num_samples))]
        outputs = outputs or list(_flattened(output, num_samples=num_samples))
        outputs = [rows for rows in outputs if rows.tensor.requires_grad]
        if not outputs or not probe.leaves:
            raise ModelError(
                f"coupling: no output of {type(model).__name__} with an axis of {num_samples} samples has a derivative "
                "with respect to its input; let the model return such a tensor."
            )
        return coupling_ratio(outputs, probe.leaves, num_samples=num_samples), probe.layers


def _set_modes(twin: nn.Module, model: nn.Module, *, training: bool) -> None:
    """The modes that the model arrived in, if they are of the kind asked for; else all of that kind."""
    if model.training == training:
        for copied, original in zip(twin.modules(), model.modules(), strict=True):
            copied.training = original.training
    else:
        twin.train(training)


def _with_leaves(batch: Batch, probe: _Probe) -> Batch:
    args = tuple(_leaves(value, probe) for value in batch.args)
    return replace(batch, args=args, kwargs={name: _leaves(value, probe) for name, value in batch.kwargs.items()})


def _leaves(value: Any, probe: _Probe) -> Any:
    if isinstance(value, torch.Tensor):
        return probe.leaf(value) if value.is_floating_point() else value
    if isinstance(value, Mapping):
        return {name: _leaves(part, probe) for name, part in value.items()}
    if isinstance(value, (tuple, list)) and not hasattr(value, "_fields"):
        return type(value)(_leaves(part, probe) for part in value)
    return value


def _flattened(output: Any, *, num_samples: int) -> Iterator[Rows]:
    """Outputs with samples and positions flattened into one axis, samples first."""
    for tensor in tensors_in(output):
        if tensor.is_floating_point() and tensor.dim() and tensor.shape[0] % num_samples == 0 and tensor.shape[0]:
            yield Rows(tensor.reshape(num_samples, -1), 0)
