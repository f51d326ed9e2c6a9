"""How far a softmax is from weighing, on its way to choosing one."""

import math
from collections.abc import Iterator

from onesigma.model.trace import Record
from onesigma.rules._flow import Flow

__all__ = ["logits", "one_hotness"]

_MASK = -1e3
"""No logit: an entry that is masked by a large number."""


def one_hotness(record: Record) -> float:
    """(Σp² − s)/(1 − s), where s is Σp² for K logits of std 1: E[e^2z]/(K·E[e^z]²) = e/K, and 1 for K = 1.

    One over Σp² counts the weights that matter. A mask of −1e9 hides how many it leaves: then nothing is said.

    Example:
        >>> from onesigma.model.trace import Signal
        >>> alike = Signal(count=40, mean=0.25, std=0.0, rms=0.25)
        >>> chosen = Signal(count=40, mean=0.25, std=0.433, rms=0.5)
        >>> weighs, chooses = (
        ...     Record(index=0, op="softmax", kind="attention", shape=(10, 4), input=chosen, output=output)
        ...     for output in (alike, chosen)
        ... )
        >>> one_hotness(weighs), one_hotness(chooses)
        (0.0, 1.0)
    """
    reads, gives, dim = record.input, record.output, record.attributes.get("dim", -1)
    if reads is None or gives is None or not isinstance(dim, int) or not record.shape or reads.minimum < _MASK:
        return 0.0
    size = record.shape[dim]
    kept = size * (1 - reads.nonfinite / reads.count)
    # Under a mask rows differ in length, down to one: a causal one has a mean of 1/i over its rows, (1 + log K)/K.
    rows = 1.0 if kept == size else 1 + math.log(max(kept, 1.0))
    alike = rows * math.e / (kept + math.e - 1)
    return 0.0 if alike >= 1 else max(0.0, (size * gives.rms**2 - alike) / (1 - alike))


def logits(flow: Flow) -> Iterator[tuple[Record, float]]:
    """The std of what every softmax that weighs (attention, a router) reads, and who made it: a linear, or its product.

    Inside a fused attention it is computed: q·k of independent q and k of width d has the std √d·std(q)·std(k), which
    is then scaled by 1/√d unless told otherwise.
    """
    for record in flow.trace.of_kind("softmax"):
        reads = record.input
        if (record.kind == "attention" or flow.is_gate(record)) and reads is not None and reads.minimum > _MASK:
            maker = flow.by_index.get(next(flow.sources(record), -1))
            yield (maker if maker is not None and maker.kind == "linear" else record), reads.std
    for record in flow.trace.of_kind("scaled_dot_product_attention"):
        made = [flow.by_index[index] for index in record.inputs[:2] if index in flow.by_index]
        query, key = (made[0].output, made[1].output) if len(made) == 2 else (None, None)
        if query is not None and key is not None and made[0].shape:
            width = math.sqrt(made[0].shape[-1])
            scale = record.attributes.get("scale")
            yield record, query.std * key.std * (width * scale if isinstance(scale, float) else 1.0)
