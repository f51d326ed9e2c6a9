"""SageMaker Debugger's built-in rules with their documented defaults (developer guide, built-in rules).

Left out, since they need steps: LossNotDecreasing, Overfit, UnchangedTensor, WeightUpdateRatio, StalledTraining.
"""

from collections.abc import Iterator

from onesigma.model.trace import Trace

from ._shared import activations, made_by, mean_abs, share_beyond, weights


def sagemaker(trace: Trace) -> Iterator[str]:
    for record in activations(trace, "relu"):
        # DeadRelu: units active on less than 1 % of values, in more than half of the units.
        firing = record.activity.firing if record.activity else ()
        if firing and sum(share < 0.01 for share in firing) > 0.5 * len(firing):
            yield "ACT302"
    for op, low, high in (("tanh", -9.4999, 9.4999), ("sigmoid", -23.0, 16.99999)):
        for record in activations(trace, op):
            signal = made_by(trace, record)
            if signal is not None and share_beyond(signal, low, high) > 0.5:
                yield "ACT301"
    # PoorWeightInitialization: variances of activation inputs of layers more than a factor 10 apart.
    variances = [record.input.std**2 for record in activations(trace, "relu") if record.input is not None]
    if len(variances) > 1 and min(variances) >= 0 and max(variances) > 10 * min(variances):
        yield from ("INI201", "INI202", "INI203")
    for weight in weights(trace):
        gradient = weight.gradient
        assert gradient is not None
        if gradient.nonfinite:
            yield "NUM901"  # ExplodingTensor
        elif mean_abs(gradient) < 1e-7:
            yield "GRA401"  # VanishingGradient
    if any(record.output and record.output.count and record.output.rms == 0 for record in trace.records):
        yield "ACT302"  # AllZero
    for data in trace.inputs:
        # CheckInputImages: |mean| of a channel beyond 0.2.
        if data.kind == "image" and any(abs(column.mean) > 0.2 for column in data.columns):
            yield "INP101"
