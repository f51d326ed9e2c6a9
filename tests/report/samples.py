"""Reports to look at: a deep tanh network on raw wine-like columns, and the same repaired; real arithmetic in NumPy."""

from dataclasses import replace

import numpy as np

from onesigma.model.edits import Edit, Edits
from onesigma.model.trace import (
    Activity,
    Column,
    InputRecord,
    LossRecord,
    ParameterRecord,
    Record,
    Signal,
    Trace,
)
from onesigma.report import Meta, Report
from onesigma.rules import Finding

__all__ = ["COLUMNS", "broken", "finding", "repaired", "signal"]

COLUMNS = {
    "alcohol": (13.0, 0.81),
    "malic_acid": (2.34, 1.12),
    "ash": (2.37, 0.27),
    "alcalinity_of_ash": (19.5, 3.34),
    "magnesium": (99.7, 14.3),
    "total_phenols": (2.3, 0.63),
    "flavanoids": (2.03, 1.0),
    "nonflavanoid_phenols": (0.36, 0.12),
    "proanthocyanins": (1.59, 0.57),
    "color_intensity": (5.06, 2.32),
    "hue": (0.96, 0.23),
    "od280": (2.61, 0.71),
    "proline": (747.0, 315.0),
}
CLASSES = 3
META = Meta(
    model="examples/wine.py:build",
    data="wine.csv",
    command="onesigma check examples/wine.py:build --data wine.csv --target quality --fix",
    date="2026-01-01T12:00:00",
    seed=0,
    versions={"onesigma": "0.1.0", "torch": "2.13.0", "python": "3.11.2"},
    limits={"preactivation_std": 2.0, "saturated": 0.2, "dead_units": 0.1, "loss_excess": 0.5},
)


def signal(values: np.ndarray, *, bins: int = 64) -> Signal:
    """What a measurement would say of an array (samples, features)."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    gram = values @ values.T if values.ndim == 2 else np.zeros((1, 1))
    diagonal = float(np.trace(gram)) / max(len(gram), 1)
    pairs = (gram.sum() - np.trace(gram)) / max(len(gram) * (len(gram) - 1), 1)
    return Signal(
        count=values.size,
        mean=float(finite.mean()),
        std=float(finite.std()),
        rms=float(np.sqrt((finite**2).mean())),
        minimum=float(finite.min()),
        maximum=float(finite.max()),
        nonfinite=int(values.size - finite.size),
        num_samples=len(values),
        sample_std=float(np.sqrt(values.var(axis=0).mean())),
        correlation=float(pairs / diagonal) if diagonal else 1.0,
        edges=(low, high),
        histogram=tuple(map(int, np.histogram(finite, bins=bins, range=(low, high))[0])),
    )


def activity(preactivations: np.ndarray) -> Activity:
    """How the units of a tanh work: saturated where its slope is below 0.06."""
    flat = 1 - np.tanh(preactivations) ** 2 < 0.06
    return Activity(
        num_units=preactivations.shape[1],
        num_observations=len(preactivations),
        saturated=float(flat.mean()),
        saturated_units=float((flat.mean(axis=0) > 0.99).mean()),
        dead_units=float((preactivations.std(axis=0) < 1e-6).mean()),
        firing=tuple(map(float, 1 - flat.mean(axis=0))),
    )


def network(*, depth: int, width: int, fixed: bool, samples: int = 178) -> Trace:
    """Forward and backward through `depth` tanh layers and a head, as torch draws them or at unit scale."""
    rng = np.random.default_rng(1)
    scale = np.array(list(COLUMNS.values()))
    raw = rng.normal(size=(samples, len(scale))) * scale[:, 1] + scale[:, 0]
    labels = np.argmax(rng.normal(size=(samples, CLASSES)) + 0.3 * raw[:, :CLASSES], axis=1)
    inputs = (raw - raw.mean(axis=0)) / raw.std(axis=0) if fixed else raw
    weights, biases, signals = [], [], [inputs]
    for layer in range(depth + 1):
        fan_in, fan_out = signals[-1].shape[1], CLASSES if layer == depth else width
        bound = 1 / np.sqrt(fan_in)
        weight = rng.normal(size=(fan_in, fan_out)) if fixed else rng.uniform(-bound, bound, size=(fan_in, fan_out))
        bias = np.zeros(fan_out) if fixed else rng.uniform(-bound, bound, size=fan_out)
        if fixed:
            weight /= (signals[-1] @ weight).std() * (5 if layer == depth else 1)
        weights.append(weight)
        biases.append(bias)
        preactivation = signals[-1] @ weight + bias
        signals += [preactivation] if layer == depth else [preactivation, np.tanh(preactivation)]
    return trace_of(inputs, signals=signals, weights=weights, labels=labels)


def trace_of(inputs: np.ndarray, *, signals: list[np.ndarray], weights: list[np.ndarray], labels: np.ndarray) -> Trace:
    logits = signals[-1]
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    odds /= odds.sum(axis=1, keepdims=True)
    loss = float(-np.log(odds[np.arange(len(labels)), labels]).mean())
    gradient = (odds - np.eye(CLASSES)[labels]) / len(labels)
    records, parameters = [], []
    for layer in reversed(range(len(weights))):
        before = signals[2 * layer]
        name, index = f"net.{2 * layer}", 2 * layer
        roles = {"weight": f"{name}.weight", "bias": f"{name}.bias"}
        records.append(
            Record(
                index=index,
                op="linear",
                kind="linear",
                layer=name,
                module="Linear",
                inputs=(index - 1,),
                parameters=roles,
                shape=signals[index + 1].shape,
                fan_in=float(weights[layer].shape[0]),
                fan_out=float(weights[layer].shape[1]),
                input=signal(before),
                output=signal(signals[index + 1]),
                gradient=signal(gradient),
            )
        )
        parameters.append(
            ParameterRecord(
                name=roles["weight"],
                shape=weights[layer].T.shape,
                value=signal(weights[layer]),
                gradient=signal(before.T @ gradient),
            )
        )
        if layer:
            outward = gradient @ weights[layer].T
            records.append(
                Record(
                    index=index - 1,
                    op="tanh",
                    kind="activation",
                    layer=f"net.{index - 1}",
                    module="Tanh",
                    inputs=(index - 2,),
                    shape=before.shape,
                    input=signal(signals[index - 1]),
                    output=signal(before),
                    gradient=signal(outward),
                    activity=activity(signals[index - 1]),
                )
            )
            gradient = outward * (1 - before**2)
    columns = tuple(
        Column(name=name, mean=float(x.mean()), std=float(x.std()), minimum=float(x.min()), maximum=float(x.max()))
        for name, x in zip(COLUMNS, inputs.T, strict=True)
    )
    return Trace(
        model="WineNet",
        records=tuple(reversed(records)),
        parameters=tuple(reversed(parameters)),
        inputs=(
            InputRecord(name="0", kind="features", shape=inputs.shape, signal=replace(signal(inputs)), columns=columns),
        ),
        targets=InputRecord(name="targets", kind="labels", shape=labels.shape, dtype="int64", num_classes=CLASSES),
        loss=LossRecord(name="cross_entropy", value=loss, chance=float(np.log(CLASSES)), chance_name="log 3"),
        outputs=(2 * (len(weights) - 1),),
        num_samples=len(labels),
    )


def finding(**changes: object) -> Finding:
    """A finding with every field set."""
    fields: dict[str, object] = {
        "code": "ACT301",
        "name": "saturated-activation",
        "severity": "warning",
        "layer": "net.1",
        "call": 0,
        "message": "61 % of the values of tanh lie where its slope is below 6 % of its largest",
        "value": 0.61,
        "limit": 0.2,
        "fix": "onesigma.initialize_(model, batches)",
    }
    return Finding(**{**fields, **changes})  # type: ignore[arg-type]


def broken(*, depth: int = 20, width: int = 64) -> Report:
    """As torch leaves it, on raw columns."""
    trace = network(depth=depth, width=width, fixed=False)
    linears = [record for record in trace.records if record.op == "linear"]
    findings = [
        finding(
            code="INP101",
            name="input-off-scale",
            severity="error",
            layer="inputs.0",
            message='column "proline" has mean 747 and std 315; 9 of 13 columns are off scale',
            value=747.0,
            limit=10.0,
            fix='scaler = onesigma.standardize("wine.csv")',
            expected="|mean| below 0.5 std, std within 0.1 to 10",
            confidence="178 samples",
        ),
        finding(
            code="INP102",
            name="feature-scale-spread",
            severity="error",
            layer="inputs.0",
            message='stds reach from 0.12 ("nonflavanoid_phenols") to 315 ("proline"), a factor of 2600',
            value=2625.0,
            limit=1000.0,
            fix='scaler = onesigma.standardize("wine.csv")',
            cause="INP101",
        ),
        finding(severity="error", value=0.97, limit=0.5, cause="INP101", index=1),
        *(
            finding(
                code="INI202",
                name="preactivation-too-small",
                layer=record.layer,
                index=record.index,
                message=f"pre-activation std {record.output.std:.3f} where 1 is wanted",
                value=record.output.std,
                limit=0.3,
                expected="0.5 to 2",
                confidence="64 units, 178 samples",
            )
            for record in linears[3:]
            if record.output and record.output.std < 0.3
        ),
        finding(
            code="GRA401",
            name="vanishing-gradient",
            severity="error",
            layer="net.0",
            index=0,
            message="the gradient's std falls to a 1e-6th from the last hidden layer to the first",
            value=1e-6,
            limit=1e-3,
            cause="INI202",
        ),
    ]
    return Report(trace=trace, findings=tuple(findings), meta=META)


def repaired(*, depth: int = 20, width: int = 64) -> Report:
    """The same after the fix, with the state before beside it."""
    before = broken(depth=depth, width=width)
    trace = network(depth=depth, width=width, fixed=True)
    pairs = [
        (old, new) for old, new in zip(before.trace.records, trace.records, strict=True) if old.output and new.output
    ]
    edits = [Edit(layer="inputs", action="standardize 13 columns", before=315.0, after=1.0)]
    edits += [
        Edit(layer=f"{new.layer}.weight", action="draw weight", before=old.output.std, after=new.output.std)
        for old, new in pairs
        if new.op == "linear" and old.output and new.output
    ]
    edits.append(Edit(layer="net.40.bias", action="zero bias", applied=False, reason="already zero"))
    steps = np.arange(60)
    curves = {
        "as it was": tuple(map(float, 1.09 + 0.03 * np.cos(steps))),
        "repaired": tuple(map(float, 0.05 + 1.1 * np.exp(-steps / 12))),
    }
    note = finding(
        code="GRA402",
        name="exploding-gradient",
        severity="info",
        layer="net.0",
        index=0,
        message="the gradient's std grows 5-fold from the last hidden layer to the first",
        value=5.0,
        limit=3.0,
        fix="",
    )
    predicted = {record.name: 1.0 for record in trace.records if record.op == "linear"}
    gradients = {record.name: 0.9 * record.gradient.rms for record in trace.records if record.gradient}
    return Report(
        trace=trace,
        findings=(note,),
        edits=Edits(tuple(edits)),
        before=before,
        meta=META,
        curves=curves,
        predicted=predicted,
        predicted_gradients=gradients,
    )
