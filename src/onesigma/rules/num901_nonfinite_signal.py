"""A NaN or an infinity, with the first call that made it.

## What it measures

The first call whose result has non-finite values although what it read was finite, if that reaches an output, the loss
or a gradient; parameters that hold such values; and, if the forward pass is clean, the last call whose gradient is not
finite. Minus infinity in an attention mask, which the softmax turns into zeros, reaches nothing and is not reported.
Any value is an error; the value is their number.

## Why it matters

One NaN in a loss makes every parameter NaN at the next step, and the place where it shows is rarely the place where it
is made. In a batch norm it stays in the running statistics, so that evaluation fails long after training has
recovered.

## When it is fine

Never, where it reaches an output.

## What to do

NaN in the data (INP104): drop or fill these rows. log(0), 0/0 and √0 in the backward pass: add an eps inside. Overflow
of float16: bfloat16, or float32 for this call. Else the scale upstream: see the other findings.

## Example

    torch.log(p.clamp_min(torch.finfo(p.dtype).tiny))     # instead of torch.log(p)

## References

pytorch issue 160016 (anomaly mode sees neither infinities nor the forward pass); Hugging Face DebugUnderflowOverflow.
"""

import math
from collections.abc import Iterator

from onesigma.model.trace import Record, Signal, Trace
from onesigma.rules._finding import Finding
from onesigma.rules._flow import Flow
from onesigma.rules._limits import Levels, Limits
from onesigma.rules._rule import Rule

__all__ = ["RULE"]


def check(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Name bad parameters, then the call that made the first value that is not finite."""
    for parameter in trace.parameters:
        yield from RULE.found(
            parameter.name.rpartition(".")[0],
            parameter.value.nonfinite,
            limits=limits,
            message=f"{parameter.name} holds {_values(parameter.value)}.",
            fix="model.load_state_dict(checkpoint)  # an earlier one; or draw the parameter again",
        )
    flow = Flow(trace)
    forward = _first_forward(flow)
    record = forward or _first_backward(trace)
    signal = None if record is None else record.output if forward else record.gradient
    if record is None or signal is None:
        return
    what = "result" if forward else "gradient"
    yield from RULE.found(
        record,
        signal.nonfinite,
        limits=limits,
        message=f"{record.name} ({record.op}) is the first call whose {what} holds {_values(signal)}.",
        expected="finite values",
        confidence=f"{signal.nonfinite} of {signal.count} values",
        fix="torch.autograd.set_detect_anomaly(True)  # and look at this call first",
    )


def _first_forward(flow: Flow) -> Record | None:
    """The first maker of values that are not finite and that reach an output or the loss."""
    loss = flow.trace.loss
    spoiled = [record for record in flow.returned if _is_spoiled(record)]
    if not spoiled and loss is not None and not math.isfinite(loss.value):
        spoiled = [record for record in flow.trace.records if _is_spoiled(record)]
    chain, pending = set[int](), [record.index for record in spoiled]
    while pending:
        index = pending.pop()
        source = flow.by_index.get(index)
        if index not in chain and source is not None and _is_spoiled(source):
            chain.add(index)
            pending.extend(source.inputs)
    return flow.by_index[min(chain)] if chain else None


def _first_backward(trace: Trace) -> Record | None:
    """The first, on the way back, whose gradient is not finite."""
    spoiled = (
        record for record in reversed(trace.records) if record.gradient is not None and record.gradient.nonfinite
    )
    return next(spoiled, None)


def _is_spoiled(record: Record) -> bool:
    return record.output is not None and record.output.nonfinite > 0


def _values(signal: Signal) -> str:
    return f"{signal.nonfinite} NaN or infinite value{'s' * (signal.nonfinite > 1)}"


RULE = Rule(code="NUM901", name="nonfinite-signal", check=check, page=__doc__, levels=Levels(error=0.0))
