"""What stands above a report: where it came from and what it says in one line."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from onesigma.model.trace import Trace
from onesigma.rules import SEVERITIES, Finding, Severity

__all__ = ["FailOn", "Meta", "Scalar", "Summary", "fails", "plural"]

Scalar: TypeAlias = float | int | str | bool
"""A setting as it stands in a configuration file."""

FailOn: TypeAlias = Literal["info", "warning", "error", "never"]
"""The least severity that makes the exit code 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """Where a report came from; the caller says all of it, so that equal reports make equal bytes.

    Attributes:
        model: How the model was named: "examples/wine.py:build".
        data: How the data was named: "wine.csv".
        command: The command that made the report.
        date: As the caller writes it, best ISO 8601.
        seed: The seed of everything random; None where nothing was.
        versions: Name → version: {"onesigma": "0.1.0", "torch": "2.13.0"}.
        limits: The limits that the rules used.
        baseline: How many findings a baseline has accepted, in words; "" without one.
    """

    model: str = ""
    data: str = ""
    command: str = ""
    date: str = ""
    seed: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, Scalar | None] = field(default_factory=dict)
    baseline: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The verdict and its counts.

    Attributes:
        verdict: In words: "2 errors, 1 warning".
        exit_code: 0 clean, 1 findings of the severity asked for, or worse.
        errors: Findings of this severity.
        warnings: Findings of this severity.
        infos: Findings of this severity.
        layers: Layers that were called.
        calls: Calls that were recorded.
        num_samples: Rows of all measured batches.
        parameters: Number of values of all parameters.
    """

    verdict: str = "no findings"
    exit_code: int = 0
    errors: int = 0
    warnings: int = 0
    infos: int = 0
    layers: int = 0
    calls: int = 0
    num_samples: int = 0
    parameters: int = 0

    @classmethod
    def of(cls, trace: Trace, findings: Iterable[Finding], *, fail_on: FailOn = "warning") -> "Summary":
        """Count the findings, and judge them by `fail_on`."""
        found = [finding.severity for finding in findings]
        errors, warnings, infos = found.count("error"), found.count("warning"), found.count("info")
        return cls(
            verdict=_verdict(errors, warnings, infos=infos),
            exit_code=int(any(fails(severity, fail_on=fail_on) for severity in found)),
            errors=errors,
            warnings=warnings,
            infos=infos,
            layers=len({record.layer for record in trace.records if record.layer}),
            calls=len(trace.records),
            num_samples=trace.num_samples,
            parameters=sum(parameter.value.count for parameter in trace.parameters),
        )


def fails(severity: Severity, *, fail_on: FailOn) -> bool:
    """Whether a finding of this severity makes the exit code 1."""
    return fail_on != "never" and SEVERITIES.index(severity) >= SEVERITIES.index(fail_on)


def _verdict(errors: int, warnings: int, *, infos: int) -> str:
    counts = ((errors, "error"), (warnings, "warning"), (infos, "note"))
    return ", ".join(plural(count, noun) for count, noun in counts if count) or "no findings"


def plural(count: int, noun: str) -> str:
    """`count` and the noun in its number: "1 error", "2 errors"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
