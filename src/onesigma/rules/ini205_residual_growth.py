"""The branches of a residual network add more and more to its stream.

## What it measures

Along the longest chain of residual joins, at least four: the rms of what the branches add, over the last quarter of
the joins against the first quarter. Branches of equal scale give 1 and a stream that grows like √depth, which is
healthy. Limits: info beyond 3, warning beyond 10, error beyond 100. Source: a branch of unit gain that reads the raw
stream doubles its variance: after 10 blocks the factor is 32.

Where half of the linears that write into the stream, or more, are scaled down for depth (rms of the weight·√fan_in
below joins^(−1/4) of that of other linears), one that is not is a warning (an info once trained). Source: GPT-2 scales
by 1/√(2·blocks).

## Why it matters

If a branch reads the stream as it is, without a norm, x + f(x) has twice the variance of x, and 2^depth times in the
end. The last blocks then decide everything and the first ones are noise.

## When it is fine

Streams that grow like √depth; late branches below a tenth of its variance; branches, gates, LayerScale that start at 0.

## What to do

Normalize what the branch reads (pre-norm), or scale the last linear of every branch by 1/√depth, or start it at zero.

## Example

    onesigma.initialize_(model, batches)          # finds the writers of the stream and scales them

## References

Zhang et al. 2019 (Fixup), https://arxiv.org/abs/1901.09321; De & Smith 2020, https://arxiv.org/abs/2002.10444.
"""

import math
from collections.abc import Iterator

from onesigma.model.trace import Record, Trace
from onesigma.rules._finding import Finding, figure
from onesigma.rules._flow import Flow, units
from onesigma.rules._limits import Levels, Limits
from onesigma.rules._rule import Rule
from onesigma.rules._trained import looks_trained
from onesigma.rules._writers import unscaled_writers

__all__ = ["RULE"]

_JOINS = 4
_SHARE = 0.1
_ALONG = ("shape", "dropout", "activation", "pool")


def check(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Compare what the last branches add with what the first ones add."""
    stream = _stream(flow := Flow(trace))
    for writer, factor in unscaled_writers(flow, stream):
        yield from RULE.found(
            writer,
            factor,
            limits=limits,
            message=f"{writer.name} writes into the stream at {figure(factor)} times the scale of its fellows.",
            expected="every writer scaled by 1/√depth, as most of them are here",
            confidence=f"weights of {units(writer)} units",
            fix="onesigma.initialize_(model, batches)",
            at_least="warning",
            at_most="info" if looks_trained(trace) else "error",
        )
    added = [rms for rms in (_branch_rms(flow, join) for join in stream) if rms > 0]
    if len(added) < _JOINS:
        return
    quarter = max(2, len(added) // 4)
    if stream[-1].output is not None and sum(rms**2 for rms in added[-quarter:]) < _SHARE * stream[-1].output.rms ** 2:
        return  # What adds so little drowns nobody.
    early, late = (math.hypot(*part) / math.sqrt(quarter) for part in (added[:quarter], added[-quarter:]))
    yield from RULE.found(
        stream[-1],
        late / early,
        limits=limits,
        message=(
            f"The first {quarter} branches of the stream add an rms of {figure(early)}, the last {quarter}, up to "
            f"{stream[-1].name}, one of {figure(late)}."
        ),
        expected="branches of equal scale",
        confidence=f"{len(added)} branches",
        fix="onesigma.initialize_(model, batches)",
    )


def _stream(flow: Flow) -> tuple[Record, ...]:
    """The longest chain of joins in which each reads the one before."""
    chains: dict[int, tuple[Record, ...]] = {}
    for join in flow.trace.of_kind("join"):
        before = [chains[index] for index in flow.sources(join, through=_ALONG) if index in chains]
        chains[join.index] = (*max(before, key=len, default=()), join)
    return max(chains.values(), key=len, default=())


def _branch_rms(flow: Flow, join: Record) -> float:
    """The rms of the argument that was computed from the other one; 0 where there is no such argument."""
    arguments = [flow.by_index[index] for index in dict.fromkeys(join.inputs) if index in flow.by_index]
    for branch in arguments:
        others = {other.index for other in arguments if other is not branch}
        if branch.output is not None and others & flow.ancestors(branch.index):
            return branch.output.rms
    return 0.0


_LEVELS = Levels(info=3.0, warning=10.0, error=100.0)
RULE = Rule(code="INI205", name="residual-growth", check=check, page=__doc__, levels=_LEVELS)
