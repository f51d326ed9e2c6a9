"""The graph, captured by running: every torch function that a model calls, in execution order."""

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from onesigma._typing import Batches
from onesigma.model.batches import Batch, first_batch
from onesigma.model.graph import Graph
from onesigma.model.names import unwrapped
from onesigma.model.recorder import Listener, Recorder, Site

__all__ = ["Listener", "Recorder", "Site", "capture", "recording"]


def capture(
    model: nn.Module,
    batches: Batches | Batch,
    *,
    listeners: Sequence[Listener] = (),
    loss: Callable[..., torch.Tensor] | None = None,
) -> Graph:
    """The graph of one forward pass over the first batch, in the mode and grad mode that the model arrives in.

    The pass is a plain forward: wrap it in `preserved(model)` where buffers and random state must stay as they are.
    Fake and meta tensors give the structure without computing a value.

    Args:
        model: Any module; wrappers of `torch.compile`, DataParallel and DDP are looked through.
        batches: See `iterate_batches`; only the first is drawn.
        listeners: Called around every call, in this order.
        loss: `loss(output, targets)`; its calls are recorded too.

    Raises:
        CaptureError: The model raised; the message names the last call that ran.
        BatchError: There is no batch that a model can be fed with.

    Example:
        >>> graph = capture(nn.Sequential(nn.Linear(4, 3), nn.Tanh()), torch.randn(8, 4))
        >>> [(call.op, call.layer, call.inputs) for call in graph.calls]
        [('linear', '0', (-1,)), ('tanh', '1', (0,))]
    """
    batch = first_batch(batches).owned_by(unwrapped(model))
    with recording(model, listeners=listeners) as recorder:
        output = recorder.run(batch)
        if loss is not None:
            recorder.evaluate(loss, output, batch.targets)
    return recorder.graph


@contextmanager
def recording(model: nn.Module, *, listeners: Sequence[Listener] = ()) -> Iterator["Recorder"]:
    """While open, `recorder.run(batch)` runs the model and records it; afterwards `recorder.graph` has it all."""
    recorder = Recorder(unwrapped(model), listeners=listeners)
    with ExitStack() as stack:
        if "torch._dynamo" in sys.modules:
            # A compiled submodule would run code in which no torch function is called.
            stack.enter_context(torch.compiler.set_stance("force_eager"))
            stack.enter_context(warnings.catch_warnings())
            # It says that global hooks such as ours fire twice for a compiled module, which does no harm here.
            warnings.filterwarnings("ignore", message="Using `torch.compile", category=UserWarning)
        stack.callback(register_module_forward_pre_hook(recorder.enter_module).remove)
        stack.callback(register_module_forward_hook(recorder.leave_module, always_call=True).remove)
        yield recorder
