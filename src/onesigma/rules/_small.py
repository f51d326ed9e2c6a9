"""Who makes a signal too small: a norm of weight zero, or a linear that only another linear reads."""

from collections.abc import Iterator

from onesigma.model.trace import Record
from onesigma.rules._flow import NONLINEARITIES, Flow, spread

__all__ = ["maker_of_small", "silent_norms"]

_OWN_GAIN = 0.1


def silent_norms(flow: Flow, *, beyond: float) -> Iterator[tuple[Record, Record]]:
    """Norms that hand a nonlinearity nothing, though they read something: their weight is zero, or eps too large."""
    for norm in flow.trace.of_kind("norm"):
        activation = next((reader for reader in flow.readers(norm.index) if reader.op in NONLINEARITIES), None)
        if activation is None or norm.output is None or norm.input is None:
            continue
        if spread(norm.output) < beyond < spread(norm.input):
            yield norm, activation


def maker_of_small(flow: Flow, linear: Record) -> Record:
    """The layer itself; the linear before it (no nonlinearity between) where nothing but that one's result is small."""
    before = flow.by_index.get(next(flow.sources(linear), -1))
    if before is None or before.kind != "linear" or before.output is None or before.input is None:
        return linear
    reads, gives = spread(before.input), spread(before.output)
    is_own = linear.output is not None and spread(linear.output) < _OWN_GAIN * gives
    return before if not is_own and gives < _OWN_GAIN * reads else linear
