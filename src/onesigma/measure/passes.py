"""`measure`: run the model as it is, once per batch, and write down what was seen."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from onesigma._errors import CaptureError, ConfigError
from onesigma._typing import Batches, Loss
from onesigma.measure.assembly import Pass, trace_of
from onesigma.measure.inputs import tables_of
from onesigma.measure.losses import chance_at
from onesigma.measure.parameters import parameter_slots, with_gradients
from onesigma.measure.watcher import Watcher
from onesigma.model.batches import Batch, iterate_batches
from onesigma.model.capture import recording
from onesigma.model.criterion import Criterion, criterion_of
from onesigma.model.names import unwrapped
from onesigma.model.signals import Ledger
from onesigma.model.state import preserved
from onesigma.model.trace import Trace

__all__ = ["measure", "measured"]


def measure(model: nn.Module, batches: Batches | Batch, *, loss: Loss | str | None = None) -> Trace:
    """What a forward and, with a loss, a backward pass over the batches looks like, layer by layer.

    The model runs in the mode it arrives in; afterwards it is what it was, bit for bit, also if it raises: parameters,
    buffers, gradients, modes, hooks, random state. Several batches are joined: moments exactly, statistics across the
    samples from the pairs within each batch, histograms from the first.

    Args:
        model: Any module, on any device; wrappers of `torch.compile`, DataParallel and DDP are looked through.
        batches: A tensor, `(inputs, targets)`, `((a, b), targets)`, keyword inputs, or an iterable of those.
        loss: A callable `loss(output, targets)`, a loss module of torch, or a name such as "cross_entropy" or "mse".
            None takes the `.loss` that a Hugging Face model puts into its output; without one no gradient is measured.

    Raises:
        BatchError: There is no batch that a model can be fed with.
        CaptureError: The model or the loss raised; the message names the last call that ran.
        ConfigError: The loss is unknown, or no scalar.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.Tanh())
        >>> trace = measure(model, (torch.randn(64, 4), torch.randn(64, 3)), loss="mse")
        >>> [record.op for record in trace.records]
        ['linear', 'tanh', 'mse_loss']
        >>> trace.records[0].output.count, trace.loss.chance_name
        (192, 'variance of the targets')
    """
    return measured(model, batches, loss=loss, look=lambda output: None)


def measured(
    model: nn.Module, batches: Batches | Batch, *, loss: Loss | str | None, look: Callable[[Any], None]
) -> Trace:
    """`measure`, with a look at what the model returned for each batch."""
    target = unwrapped(model)
    criterion = criterion_of(loss)
    passes: list[Pass] = []
    with preserved(target), torch.enable_grad():
        for batch in iterate_batches(batches):
            passes.append(_measured(target, batch.owned_by(target), criterion=criterion, look=look))
            target.zero_grad(set_to_none=True)
    return trace_of(passes, model=type(target).__name__, training=target.training)


def _measured(model: nn.Module, batch: Batch, *, criterion: Criterion, look: Callable[[Any], None]) -> Pass:
    """One forward and one backward pass."""
    ledger = Ledger()
    tables, parameters = tables_of(batch, ledger), parameter_slots(model, ledger)
    watcher = Watcher(ledger, num_samples=batch.num_samples)
    with recording(model, listeners=[watcher]) as recorder:
        output = recorder.run(batch)
        with torch.no_grad(), torch._C.DisableTorchFunction():
            look(output)
        value = recorder.evaluate(criterion.value, output, batch.targets) if criterion.applies(output) else None
    del output  # What no gradient needs, as the logits of a language model, is not kept through the backward pass.
    if value is not None:
        _backward(value)
    watcher.release()
    graph, index = recorder.graph, None if value is None else recorder.index_of(value)
    with torch._C.DisableTorchFunction():
        parameters = with_gradients(parameters, model, ledger)
    loss_slot = None if value is None else ledger.note(value)
    del value
    ledger.collect()
    return Pass(
        graph=graph,
        ledger=ledger,
        watcher=watcher,
        tables=tuple(tables),
        parameters=parameters,
        loss=None if loss_slot is None else float(ledger.row(loss_slot)[0]),
        loss_name=criterion.name_of(graph.calls[index] if index is not None and index >= 0 else None),
        num_samples=batch.num_samples,
        chance=None if index is None else chance_at(index, graph, ledger=ledger, known=watcher.chances),
    )


def _backward(value: Any) -> None:
    if not isinstance(value, torch.Tensor) or value.numel() != 1:
        came = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__
        raise ConfigError(f"loss: a scalar tensor is needed, got {came}; take its mean, as with reduction='mean'.")
    if not value.requires_grad:
        return
    try:
        value.backward()  # type: ignore[no-untyped-call]
    except Exception as error:
        raise CaptureError(f"The backward pass raised {type(error).__name__}. It said: {error}") from error
