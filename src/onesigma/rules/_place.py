"""Where in the trace a parameter is at work."""

from onesigma.model.trace import Record, Trace

__all__ = ["maker_of"]


def maker_of(trace: Trace, parameter: str) -> Record | str:
    """The first record that reads this parameter; where none does, the path of the layer that owns it."""
    records = (record for record in trace.records if parameter in record.parameters.values())
    return next(records, parameter.rpartition(".")[0])
