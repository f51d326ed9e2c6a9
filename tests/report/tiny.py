"""One small report, written by hand."""

from dataclasses import replace

from onesigma.model.edits import Edit, Edits
from onesigma.model.trace import Activity, Column, InputRecord, LossRecord, Record, Signal, Trace
from onesigma.report import Report

from .samples import META, finding

__all__ = ["tiny"]


def tiny(*, std: float = 0.05, name: str = "net.0", everywhere: bool = False) -> Report:
    """Two layers, written by hand in round numbers; with `everywhere`, `name` stands in every text there is."""
    before, after = _tiny_trace(std=40.0, name=name), _tiny_trace(std=std, name=name)
    small = finding(
        code="INI202",
        name="preactivation-too-small",
        layer=name,
        index=0,
        message=f"pre-activation std {std} where 1 is wanted",
        value=std,
        limit=0.3,
        expected="0.5 to 2",
        confidence="8 units, 32 samples",
    )
    flat = finding(severity="info", layer="net.1", index=1, cause="INI202", value=0.06, limit=0.05, fix="")
    edits = Edits(
        (
            Edit(layer=f"{name}.weight", action="draw weight", before=40.0, after=std),
            Edit(layer="net.2.bias", action="zero bias", applied=False, reason="already zero"),
        )
    )
    report = Report(
        trace=after,
        findings=(small, flat),
        edits=edits,
        before=Report(trace=before, findings=(finding(severity="error", index=1),), meta=META),
        meta=META,
        curves={"before": (2.0, 1.5), "after": (1.1, 0.25)},
        predicted={name: 1.0},
        predicted_gradients={name: 0.02},
    )
    return _renamed(report, name=name) if everywhere else report


def _renamed(report: Report, *, name: str) -> Report:
    findings = tuple(
        replace(each, name=name, message=name, fix=each.fix and name, expected=name, confidence=name)
        for each in report.findings
    )
    trace = replace(
        report.trace,
        model=name,
        inputs=tuple(
            replace(each, name=name, columns=tuple(replace(column, name=name) for column in each.columns))
            for each in report.trace.inputs
        ),
        loss=LossRecord(name=name, value=1.25, chance=1.1, chance_name=name),
    )
    edits = Edits(tuple(replace(edit, layer=name, action=name, reason=name) for edit in report.edits))
    meta = replace(META, model=name, data=name, command=name, date=name, versions={name: name, "b": name, "c": name})
    before, after = report.curves.values()
    curves = {name: before, f"{name} ": after}
    return replace(report, trace=trace, findings=findings, edits=edits, meta=meta, curves=curves)


def _tiny_trace(*, std: float, name: str) -> Trace:
    def seen(std: float, *, alike: float = 0.25) -> Signal:
        counts = (1, 2, 4, 8, 8, 4, 2, 1)
        facts = {"sample_std": std, "correlation": alike, "edges": (-2 * std, 2 * std), "histogram": counts}
        return Signal(count=256, mean=0.0, std=std, rms=std, minimum=-2 * std, maximum=2 * std, num_samples=32, **facts)

    works = Activity(
        num_units=8, num_observations=32, saturated=0.0625, firing=(0.0, 0.5, 1.0, 1.0, 0.75, 0.5, 0.25, 1.0)
    )
    records = (
        Record(index=0, op="linear", kind="linear", layer=name, module="Linear", inputs=(-1,), shape=(32, 8), fan_in=4,
               fan_out=8, parameters={"weight": f"{name}.weight"}, input=seen(1.0), output=seen(std),
               gradient=seen(1e-6)),
        Record(index=1, op="tanh", kind="activation", layer="net.1", module="Tanh", inputs=(0,), shape=(32, 8),
               input=seen(std), output=seen(min(std, 0.9)), gradient=seen(2e-5), activity=works),
        Record(index=2, op="linear", kind="linear", layer="net.2", module="Linear", inputs=(1,), shape=(32, 3),
               fan_in=8, fan_out=3, parameters={"weight": "net.2.weight"}, input=seen(0.05),
               output=seen(0.02, alike=0.995), gradient=seen(0.125)),
    )  # fmt: skip
    column = Column(name="flavor, salt", mean=100.0, std=7.0, minimum=80.0, maximum=120.0)
    entry = InputRecord(name="0", kind="features", shape=(32, 4), signal=seen(1.0), columns=(column,) * 4)
    loss = LossRecord(name="cross_entropy", value=1.25, chance=1.0986122886681098, chance_name="log 3")
    return Trace(model="Net", records=records, inputs=(entry,), loss=loss, outputs=(2,), num_samples=32)
