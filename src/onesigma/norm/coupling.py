"""`coupling`: how much the output for one sample depends on the other samples of its batch."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import nn

from onesigma._errors import BatchError, CaptureError, ModelError
from onesigma._typing import Batches
from onesigma.model.batches import Batch, first_batch, tensors_in
from onesigma.model.capture import Listener, Site, recording
from onesigma.model.names import unwrapped
from onesigma.model.state import preserved, random_state_preserved
from onesigma.norm.effects import effect_ratio, first_samples, with_replaced
from onesigma.norm.layerwise import LayerProbe
from onesigma.norm.probes import Rows, coupling_ratio
from onesigma.norm.proof import Twin

__all__ = ["Coupling", "LayerCoupling", "coupling", "coupling_by_size"]

_SEED = 0
# Samples that are replaced.
_MAX_REPLACED = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCoupling:
    """One normalizing layer by itself: its output against its own input. Several calls count as their largest.

    The fields are those of `Coupling`.
    """

    layer: str
    train: float
    eval: float
    train_effect: float = 0.0
    eval_effect: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Coupling:
    """What `coupling` found, as derivatives and as finite effects.

    Attributes:
        train: In training mode, the largest |∂out_i/∂in_j|, i ≠ j, over the largest |∂out_i/∂in_i|.
        eval: In eval mode; exactly 0.0 where samples are independent, as they should be.
        train_effect: In training mode, sample j is replaced by another one of the batch: the largest change of out_i,
            i ≠ j, over the largest of out_j.
        eval_effect: In eval mode; exactly 0.0 likewise.
        layers: One per normalizing layer, in order of execution.
    """

    train: float
    eval: float
    train_effect: float
    eval_effect: float
    layers: tuple[LayerCoupling, ...]

    def assert_none(self, *, training: bool = False) -> None:
        """Raise an AssertionError that names the layers, if samples are coupled in eval mode (or in training).

        Example:
            >>> model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8))
            >>> coupling(model, torch.randn(16, 4)).assert_none()
            >>> coupling(model, torch.randn(16, 4)).assert_none(training=True)
            Traceback (most recent call last):
                ...
            AssertionError: in training mode samples of a batch are coupled: derivative ..., effect ...; by layer '1'
        """
        mode = "train" if training else "eval"
        numbers = [getattr(self, name) for name in (mode, f"{mode}_effect")]
        if not any(numbers):
            return
        guilty = [each.layer for each in self.layers if getattr(each, mode) or getattr(each, f"{mode}_effect")]
        by = f"layer {', '.join(map(repr, guilty))}" if guilty else "something that is no normalizing layer"
        where = "training" if training else "eval"
        raise AssertionError(
            f"in {where} mode samples of a batch are coupled: derivative {numbers[0]:.2g}, "
            f"effect {numbers[1]:.2g} of a sample's own; by {by}"
        )


def coupling(model: nn.Module, batch: Batches) -> Coupling:
    """Measure how much sample i of a batch depends on sample j, in training and in eval mode.

    Derivatives are taken by automatic differentiation on a copy in float64, so that independence shows as an exact
    zero: `assert coupling(model, x).eval == 0` is a test worth having. BatchNorm in training mode couples, by about
    1/N in large batches; attention over time does not, since it stays within a sample. Inputs without derivatives,
    as tokens, are replaced by the first real numbers that are made of them. Where outputs are many (above 512, or above
    2²⁰ derivatives), the ratio is that of one random sum per sample (signs ±1), over 16 samples; that it is zero is
    still checked for every pair, by 2·log₂ N sums over groups. The effect is the difference itself, of up to 8 samples
    that are replaced by their neighbor, one at a time; tokens are replaced as they are.

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
    given = _drawn(batch, module)
    if given.num_samples < 2:
        raise BatchError(f"coupling: two samples are needed at least, the batch has {given.num_samples}.")
    return _coupling(module, given)


def coupling_by_size(model: nn.Module, batch: Batches, *, sizes: Sequence[int] = ()) -> dict[int, Coupling]:
    """`coupling` of the first n samples of a batch, for several n: 2, 4, 8, … up to the batch if none are given.

    Raises:
        BatchError: A size below 2 or above that of the batch.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
        >>> found = coupling_by_size(model, torch.randn(16, 4, generator=torch.Generator().manual_seed(0)))
        >>> list(found), found[4].train > found[16].train
        ([2, 4, 8, 16], True)
    """
    module = unwrapped(model)
    given = _drawn(batch, module)
    chosen = list(sizes) or [2**power for power in range(1, given.num_samples.bit_length())]
    if not all(2 <= size <= given.num_samples for size in chosen):
        raise BatchError(f"coupling_by_size: sizes must be from 2 to {given.num_samples}, the batch; got {chosen}.")
    return {size: _coupling(module, first_samples(given, size)) for size in chosen}


def _drawn(batches: Batches, model: nn.Module) -> Batch:
    with random_state_preserved():
        return first_batch(batches).owned_by(model)


def _coupling(module: nn.Module, given: Batch) -> Coupling:
    train, evaluated = (_measured(module, given, training=training) for training in (True, False))
    names, none = dict.fromkeys((*train.layers, *evaluated.layers)), (0.0, 0.0)
    layers = []
    for name in names:
        (in_train, train_effect), (in_eval, eval_effect) = (
            found.layers.get(name, none) for found in (train, evaluated)
        )
        layers.append(
            LayerCoupling(layer=name, train=in_train, eval=in_eval, train_effect=train_effect, eval_effect=eval_effect)
        )
    return Coupling(
        train=train.gradient,
        eval=evaluated.gradient,
        train_effect=train.effect,
        eval_effect=evaluated.effect,
        layers=tuple(layers),
    )


class _Found(NamedTuple):
    """Both numbers of a model in one mode, and of each layer."""

    gradient: float
    effect: float
    layers: Mapping[str, tuple[float, float]]


class _Leaves(Listener):
    """Makes leaves of the first real signals."""

    def __init__(self, *, num_samples: int) -> None:
        self.num_samples = num_samples
        self.found: list[Rows] = []

    def leaf(self, tensor: torch.Tensor) -> torch.Tensor:
        """A copy of the tensor from which derivatives are known, and which may be written to."""
        rows = Rows.of(tensor.detach().clone().requires_grad_(), num_samples=self.num_samples)
        if rows is None:
            return tensor
        self.found.append(rows)
        return rows.tensor.clone()

    def after(self, site: Site, output: Any) -> Any:
        """Tokens have become real numbers: start here."""
        if isinstance(output, torch.Tensor) and output.is_floating_point() and site.call.inputs:
            return output if output.requires_grad else self.leaf(output)
        return output


def _measured(model: nn.Module, batch: Batch, *, training: bool) -> _Found:
    try:
        twin = Twin(model, batch)
        return _run(twin.module, twin.batch, model, training=training)
    except CaptureError:
        # A model that insists on its own dtype; where that is not it, it raises again.
        return _run(copy.deepcopy(model), batch, model, training=training)


def _run(module: nn.Module, batch: Batch, model: nn.Module, *, training: bool) -> _Found:
    """Both numbers of a copy of the model."""
    num_samples = batch.num_samples
    if not all(parameter.is_leaf for parameter in module.parameters()):
        raise ModelError("coupling: a scripted part cannot be copied away from its graph; script the model afterwards.")
    _set_modes(module, model, training=training)
    leaves, layers = _Leaves(num_samples=num_samples), LayerProbe(num_samples=num_samples)
    with preserved(module), torch.enable_grad():
        for parameter in module.parameters():
            parameter.requires_grad_(False)
        torch.manual_seed(_SEED)
        with recording(module, listeners=[leaves, layers]) as recorder, layers.watching(module):
            output = recorder.run(_with_leaves(batch, leaves))
        outputs = [rows for rows in _rows(output, num_samples=num_samples) if rows.tensor.requires_grad]
        if not outputs or not leaves.found:
            raise ModelError(
                f"coupling: no output of {type(model).__name__} with an axis of {num_samples} samples has a derivative "
                "with respect to its input; let the model return such a tensor."
            )
        gradient = coupling_ratio(outputs, leaves.found, num_samples=num_samples)
        return _Found(gradient, _effect(module, batch), layers.found)


def _effect(module: nn.Module, batch: Batch) -> float:
    """Of replacing one sample, on the same random numbers."""

    def run(j: int | None) -> list[Rows]:
        torch.manual_seed(_SEED)
        changed = with_replaced(batch, j)
        try:
            output = module(*changed.args, **changed.kwargs)
        except Exception as error:
            raise CaptureError(f"coupling: {type(module).__name__} raised {type(error).__name__}: {error}") from error
        return _rows(output, num_samples=batch.num_samples)

    with torch.no_grad():
        return effect_ratio(run, num_samples=batch.num_samples, max_samples=_MAX_REPLACED)


def _rows(output: Any, *, num_samples: int) -> list[Rows]:
    """What of an output has samples."""
    found = [rows for tensor in tensors_in(output) if (rows := Rows.of(tensor, num_samples=num_samples))]
    return found or list(_flattened(output, num_samples=num_samples))


def _set_modes(twin: nn.Module, model: nn.Module, *, training: bool) -> None:
    """The modes that the model arrived in, if they are of the kind asked for; else all of that kind."""
    if model.training == training:
        for copied, original in zip(twin.modules(), model.modules(), strict=True):
            copied.training = original.training
    else:
        twin.train(training)


def _with_leaves(batch: Batch, leaves: _Leaves) -> Batch:
    args = tuple(_leaves(value, leaves) for value in batch.args)
    return replace(batch, args=args, kwargs={name: _leaves(value, leaves) for name, value in batch.kwargs.items()})


def _leaves(value: Any, leaves: _Leaves) -> Any:
    if isinstance(value, torch.Tensor):
        return leaves.leaf(value) if value.is_floating_point() else value
    if isinstance(value, Mapping):
        return {name: _leaves(part, leaves) for name, part in value.items()}
    if isinstance(value, (tuple, list)) and not hasattr(value, "_fields"):
        return type(value)(_leaves(part, leaves) for part in value)
    return value


def _flattened(output: Any, *, num_samples: int) -> Iterator[Rows]:
    """Outputs with samples and positions flattened into one axis, samples first."""
    for tensor in tensors_in(output):
        if tensor.is_floating_point() and tensor.dim() and tensor.shape[0] % num_samples == 0 and tensor.shape[0]:
            yield Rows(tensor.reshape(num_samples, -1), 0)
