"""`predict`: the scale of every call's result, from the graph, the weights and the inputs' statistics alone."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import nn

from onesigma._errors import CaptureError
from onesigma._typing import Batches
from onesigma.model.batches import Batch, first_batch
from onesigma.model.capture import recording
from onesigma.model.graph import Call, Graph
from onesigma.model.names import unwrapped
from onesigma.model.prediction.backward import gradients as backward
from onesigma.model.prediction.feed import Feed, feed_of
from onesigma.model.prediction.propagation import Propagation, Unknown
from onesigma.model.prediction.signal import Signal, spread
from onesigma.model.state import preserved

__all__ = ["PredictedRecord", "Prediction", "predict"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedRecord:
    """What is predicted of one call's result. Numbers are None where `unknown` says why.

    Attributes:
        index: Position in the graph, as `Record.index`.
        op: Canonical name of the operation.
        kind: Its group, as `Record.kind`.
        layer: Dotted path of the module that made the call.
        call: How often `layer` had made this op before.
        name: `layer` as a person would say it, as `Record.name`.
        shape: Of the result, for the samples that the graph was captured with.
        mean: E[x] over samples, positions and features.
        second_moment: E[x²].
        correlation: Mean product of two samples over the second moment; 1 means that all samples are alike.
        band: Relative uncertainty of the std, one standard error: weights of finite width sum up to it with depth.
        unknown: Why nothing is predicted; empty where it is.
        gradient_second_moment: E[(∂L/∂x)²], where that of each output of the model is 1. None where it was not
            asked for, where no gradient comes, or where no rule tells how it came: see `gradient_unknown`.
        gradient_unknown: Why the gradient is not predicted.
    """

    index: int
    op: str
    kind: str
    layer: str = ""
    call: int = 0
    name: str = ""
    shape: tuple[int, ...] = ()
    mean: float | None = None
    second_moment: float | None = None
    correlation: float | None = None
    band: float | None = None
    unknown: str = ""
    gradient_second_moment: float | None = None
    gradient_unknown: str = ""

    @property
    def std(self) -> float | None:
        """√(E[x²] − E[x]²)."""
        if self.mean is None or self.second_moment is None:
            return None
        return math.sqrt(max(self.second_moment - self.mean**2, 0.0))

    @property
    def rms(self) -> float | None:
        """√E[x²]."""
        return None if self.second_moment is None else math.sqrt(self.second_moment)


@dataclass(frozen=True, slots=True)
class Prediction:
    """One record per call, in execution order.

    Attributes:
        records: The records.
    """

    records: tuple[PredictedRecord, ...] = ()

    def of_kind(self, *kinds: str) -> Iterator[PredictedRecord]:
        """The records of these kinds or ops, in order."""
        return (record for record in self.records if record.kind in kinds or record.op in kinds)

    @property
    def unknown(self) -> tuple[PredictedRecord, ...]:
        """The records of which nothing is known; the first of them says what stopped the prediction."""
        return tuple(record for record in self.records if record.unknown)

    @property
    def stds(self) -> dict[str, float]:
        """Name → std, where it is known; of several calls with one name, the first."""
        found: dict[str, float] = {}
        for record in self.records:
            if record.std is not None:
                found.setdefault(record.name, record.std)
        return found


def predict(model: nn.Module, batches: Batches | Batch, *, gradients: bool = False) -> Prediction:
    """Mean, second moment and across-sample correlation of every call's result, before any layer has seen data.

    The model is run once to see its graph (on two samples, or on zeros where the batch holds meta or fake tensors),
    and no floating-point value of that run is read. From the inputs come moments; from the weights, their actual
    values: y = Wx + b has mean W·E[x] + b and variance W²·Var[x] per unit, activations are integrated over a normal
    of that mean and variance, and pools, norms and attention use how the positions of a sample go together.

    Args:
        model: Any module, in the mode in which it is to be looked at; it is left bit for bit as it was.
        batches: One batch, or an iterable whose first batch is used.
        gradients: Predict gradients too: random signs at the outputs go back through the vector-Jacobian product of
            every call, taken at draws of its predicted inputs.

    Returns:
        A record per call. What no rule is known for is `unknown`, and so is all that reads it.

    Raises:
        CaptureError: The model raised.
        BatchError: There is no batch that the model can be fed with.

    Example:
        >>> model = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 512))
        >>> for layer in (model[0], model[2]):
        ...     _ = nn.init.kaiming_normal_(layer.weight), nn.init.zeros_(layer.bias)
        >>> prediction = predict(model, torch.randn(64, 256))
        >>> [(record.name, round(record.std, 1)) for record in prediction.of_kind("linear")]
        [('0', 1.4), ('2', 1.4)]

    Reference: the moments of wide random networks follow Poole et al. 2016 (https://arxiv.org/abs/1606.05340), here
    with the actual weights of each unit as in the fast dropout of Wang & Manning 2013.
    """
    module = unwrapped(model)
    batch = first_batch(batches)
    propagation, graph = propagated(module, batch, keep=gradients)
    records = _records(graph, propagation)
    if gradients:
        found = backward(propagation.trail, graph.outputs)
        records = (_with_gradient(record, found.get(record.index)) for record in records)
    return Prediction(tuple(records))


def _with_gradient(record: PredictedRecord, found: float | str | None) -> PredictedRecord:
    if isinstance(found, str):
        return replace(record, gradient_unknown=found)
    return record if found is None else replace(record, gradient_second_moment=found)


def propagated(module: nn.Module, batch: Batch, *, keep: bool = False) -> tuple[Propagation, Graph]:
    """Run the model on a few samples, or on all where a few do not do, with the prediction beside it."""
    on_meta = any(parameter.is_meta for parameter in module.parameters())
    try:
        propagation, graph = _run(module, feed_of(batch, on_meta=on_meta), keep=keep)
        if batch.num_samples <= 2 or all(math.prod(call.shape) for call in graph.calls):
            return propagation, graph
        # Experts that no token of a few samples was sent to may see some of all.
        return _run(module, feed_of(batch, few=False, on_meta=on_meta), keep=keep)
    except CaptureError:
        if batch.num_samples <= 2:
            raise
        return _run(module, feed_of(batch, few=False, on_meta=on_meta), keep=keep)


def _run(module: nn.Module, feed: Feed, *, keep: bool) -> tuple[Propagation, Graph]:
    propagation = Propagation(feed.data, keep=keep)
    with preserved(module), torch.no_grad(), recording(module, listeners=[propagation]) as recorder:
        propagation.recorder = recorder
        recorder.run(feed.batch)
    return propagation, recorder.graph


def _records(graph: Graph, propagation: Propagation) -> Iterator[PredictedRecord]:
    depths: dict[int, float] = {}
    for call in graph.calls:
        before = max((depths.get(index, 0.0) for index in call.inputs if index >= 0), default=0.0)
        # The mean square of n outputs of normal weights is off by √(2/n), so by 1/(2n) of the std's square a layer.
        width = call.shape[1] if call.op.startswith("conv") and len(call.shape) > 1 else (call.shape or (1,))[-1]
        depths[call.index] = before + (1 / (2 * max(width, 1)) if call.kind in ("linear", "embedding") else 0.0)
        yield _record(call, propagation.found.get(call.index, Unknown("it was not seen")), depths[call.index] ** 0.5)


def _record(call: Call, state: Signal | Unknown, band: float) -> PredictedRecord:
    facts = {"index": call.index, "op": call.op, "kind": call.kind, "layer": call.layer, "call": call.call}
    if isinstance(state, Unknown):
        return PredictedRecord(**facts, name=call.name, shape=call.shape, unknown=str(state))  # type: ignore[arg-type]
    if not state.mean.numel():
        unknown = "no row of the samples that were run came here"
        return PredictedRecord(**facts, name=call.name, shape=call.shape, unknown=unknown)  # type: ignore[arg-type]
    mean, second, shared = spread(state)
    return PredictedRecord(
        **facts,  # type: ignore[arg-type]
        name=call.name,
        shape=call.shape,
        mean=mean,
        second_moment=second,
        correlation=shared / second if second > 0 else None,
        band=band,
    )
