"""Which finding explains which: an input never scaled is the cause, forty saturated layers are its consequences."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from onesigma.model.trace import Record, Trace
from onesigma.rules._finding import SEVERITIES, Finding
from onesigma.rules._flow import Flow, spread

__all__ = ["with_causes"]

_CAUSES: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "INP102": ("INP101",),
        "INI201": ("NUM901", "INP101", "INP106", "INI204", "INI201"),
        "INI202": ("NUM901", "STR802", "ACT301", "ACT302", "INP101", "INP106", "INI202"),
        "INI203": ("STR802", "INI201", "INI202"),
        "ACT301": ("INI204", "INI201", "INP101", "INP106"),
        "ACT302": ("INI204", "INI201", "INI202", "INP101", "INP106"),
        "ACT303": ("INI204", "INI201", "INP101", "INP106"),
        "ACT304": ("NUM901", "STR802", "INI204", "INI202", "ACT301", "ACT302", "INI201", "INI203", "INP101", "INP106"),
        "GRA401": ("NUM901", "LOS704", "STR802", "ACT301", "ACT302", "INI202", "INI203", "ACT304", "INP101"),
        "GRA402": ("NUM901", "INI201", "INI203", "INI205"),
        "UPD502": ("GRA401", "LOS704"),
        "NRM603": ("NRM602", "NRM604", "NRM606"),
        "LOS701": ("INP105", "INI201", "INP101", "INP106", "LOS704", "LOS705"),
        "LOS702": ("INP105", "LOS705"),
        "LOS704": ("NUM901", "ACT302", "ACT301", "INI201", "INP101"),
        "NUM901": ("INP104",),
    }
)
"""Per code, the codes that can explain it, the likeliest first. A cause lies upstream of what it explains."""

_FAINT = 0.01
"""What varies by less than this share of its rms is one and the same to the layers behind it."""

_OWN_GAIN = 3.0
"""A layer that multiplies what it reads by more than this, or by less than its inverse, is itself to blame."""


def with_causes(trace: Trace, findings: Iterable[Finding]) -> list[Finding]:
    """The same findings, each with the code of its first cause, or with none."""
    flow, found = Flow(trace), list(findings)
    direct = {id(finding): _direct(finding, found, flow) for finding in found}
    return [replace(finding, cause=_root(finding, direct)) for finding in found]


def _direct(finding: Finding, found: Sequence[Finding], flow: Flow) -> Finding | None:
    """The finding next upstream that explains this one."""
    record = flow.by_index.get(finding.index)
    twin = next((other for other in found if other.code == "INI204" and other.index == finding.index >= 0), None)
    if twin is not None and finding.code in ("INI201", "INI202"):
        return twin
    if record is not None and finding.code in ("INI201", "INI202") and _is_to_blame(record, finding.code):
        return None
    upstream = flow.ancestors(finding.index) if record is not None else set(flow.by_index)
    for code in _CAUSES.get(finding.code, ()):
        for other in found:
            if other.code == code and other is not finding and _explains(other, finding, upstream=upstream, flow=flow):
                return other
    return None


def _explains(other: Finding, finding: Finding, *, upstream: set[int], flow: Flow) -> bool:
    """Data lies before every call; a gradient comes from behind, so its causes may be anywhere."""
    if SEVERITIES.index(other.severity) < min(SEVERITIES.index(finding.severity), 1):
        return False
    if other.code in ("INP101", "INP106") and finding.code in ("INI202", "ACT304"):
        return _is_small(other, flow, may_be_offset=finding.code == "ACT304")
    if other.code == "INI201" and finding.code == "ACT304":
        return other.index in upstream and flow.by_index[other.index].kind == "recurrent"
    if other.index < 0 or not finding.code.startswith(("INI", "ACT", "NUM")):
        return True
    return other.index in upstream and other.index != finding.index


def _is_small(data: Finding, flow: Flow, *, may_be_offset: bool = False) -> bool:
    """This input varies too little (or too little beside its offset): only then does it explain what is too small."""
    record = flow.by_index.get(data.index)
    inputs = (each.signal for each in flow.trace.inputs if f"inputs.{each.name}" == data.layer)
    signal = record.output if record is not None else next(inputs, None)
    return signal is not None and (spread(signal) < 1 or (may_be_offset and spread(signal) < _FAINT * signal.rms))


def _is_to_blame(record: Record, code: str) -> bool:
    """The layer's own gain is off, whatever it reads."""
    if record.input is None or record.output is None or not record.input.rms:
        return False
    gain = record.output.std / record.input.rms
    return gain > _OWN_GAIN if code == "INI201" else gain < 1 / _OWN_GAIN


def _root(finding: Finding, direct: Mapping[int, Finding | None]) -> str:
    """Follow the causes to the first one; a circle has none."""
    seen, cause = {id(finding)}, direct[id(finding)]
    code = ""
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        code, cause = cause.code, direct[id(cause)]
    return code if code != finding.code else ""
