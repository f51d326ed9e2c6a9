"""What a diagnosis ends in, before any form of showing it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from onesigma.model.edits import Edits
from onesigma.model.trace import Trace
from onesigma.report.summary import FailOn, Meta, Summary
from onesigma.rules import Finding

__all__ = ["Diagnosis"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What was measured, what was found, what was changed. Every form in `report/` is a function of this record.

    Attributes:
        trace: What was seen of the model.
        findings: What the rules found.
        edits: What was changed; a refusal says why.
        before: The state before the edits.
        meta: Where all this came from.
        curves: Losses of trainings, by name.
        predicted: Predicted std of a call's result, by the name of the call.
        predicted_gradients: Predicted rms of the gradient at a call's result, likewise.
        fail_on: The least severity that makes the exit code 1.
    """

    trace: Trace
    findings: tuple[Finding, ...] = ()
    edits: Edits = field(default_factory=Edits)
    before: "Diagnosis | None" = None
    meta: Meta = field(default_factory=Meta)
    curves: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    predicted: Mapping[str, float] = field(default_factory=dict)
    predicted_gradients: Mapping[str, float] = field(default_factory=dict)
    fail_on: FailOn = "warning"

    @property
    def summary(self) -> Summary:
        """The verdict and its counts."""
        return Summary.of(self.trace, self.findings, fail_on=self.fail_on)

    @property
    def exit_code(self) -> int:
        """0 clean, 1 where a finding is at least as severe as `fail_on`."""
        return self.summary.exit_code
