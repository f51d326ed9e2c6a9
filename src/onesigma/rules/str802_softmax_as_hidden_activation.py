"""A softmax between two linears: it makes the units share one unit of signal.

## What it measures

A softmax, not of an attention, that a weighted layer reads. The value is the number of units that share the sum of 1:
the rms of the result is about 1/units. Limits: info beyond 1, warning beyond 2, error beyond 16, where the signal is
below a tenth of what a sigmoid hands on. Source: computed for a 784-128-64-10 network, whose logits vary by 0.0004
over samples with it and by 0.26 without.

## Why it matters

Values that add up to 1 over 128 units are near 0.008, and their differences smaller still: the next layer gets a
constant. The loss starts at exactly log C.

## When it is fine

Attention weights (also where heads talk: a linear over the heads), mixtures of experts, gates: a product reads them.

## What to do

Keep the softmax for the end, and use a nonlinearity that acts on each unit.

## Example

    nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

## References

TheDeepChecker's "wrong activation" faults, https://arxiv.org/abs/2204.00694.
"""

from collections.abc import Iterator

from onesigma.model.trace import Record, Trace
from onesigma.rules._finding import Finding
from onesigma.rules._flow import Flow, units
from onesigma.rules._limits import Levels, Limits
from onesigma.rules._rule import Rule

__all__ = ["RULE"]

_ALONG = ("shape", "dropout", "pool", "concat")


def check(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Find softmaxes that a weighted layer reads."""
    flow = Flow(trace)
    for record in trace.of_kind("softmax", "log_softmax"):
        readers = flow.readers(record.index, through=_ALONG)
        linear = next((reader for reader in readers if reader.kind == "linear" and reader.parameters), None)
        if record.kind != "activation" or linear is None or not _mixes(linear, record):
            continue
        yield from RULE.found(
            record,
            units(record),
            limits=limits,
            message=f"{record.name}: {linear.name} reads a {record.op} over {units(record)} units as its hidden layer.",
            expected="a nonlinearity that acts on each unit",
            confidence="by the graph",
            fix="nn.ReLU()  # instead of this softmax",
        )


def _mixes(linear: Record, softmax: Record) -> bool:
    """It sums over the axis that the softmax has normalized; talking heads sum over another one, that of the heads."""
    axis = int(softmax.attributes.get("dim", -1)) % max(len(softmax.shape), 1)
    others = [size for place, size in enumerate(softmax.shape) if place not in (0, axis)]
    return linear.fan_in not in others or linear.fan_in % softmax.shape[axis] == 0


RULE = Rule(
    code="STR802",
    name="softmax-as-hidden-activation",
    check=check,
    page=__doc__,
    levels=Levels(info=1.0, warning=2.0, error=16.0),
)
