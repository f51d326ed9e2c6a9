"""Findings as a person wants to hear them: causes first, each with what follows from it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from onesigma.report.diagnosis import Diagnosis
from onesigma.rules import SEVERITIES, Finding, Severity

__all__ = ["Group", "group", "groups_of", "of_code", "place"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """All findings of one code that share a cause.

    Attributes:
        findings: The findings, worst first, then in execution order; at least one.
        consequences: Groups of findings that name this code as their cause.
    """

    findings: tuple[Finding, ...]
    consequences: tuple["Group", ...] = ()

    @property
    def code(self) -> str:
        """The code of the rule."""
        return self.findings[0].code

    @property
    def name(self) -> str:
        """The name of the rule."""
        return self.findings[0].name

    @property
    def severity(self) -> Severity:
        """The worst severity."""
        return self.findings[0].severity

    @property
    def message(self) -> str:
        """The message of the worst finding."""
        return self.findings[0].message

    @property
    def basis(self) -> str:
        """What is healthy, and what the number rests on: "expected 0.5 to 2 · 178 samples"."""
        first = self.findings[0]
        return " · ".join(filter(None, (first.expected and f"expected {first.expected}", first.confidence)))

    @property
    def fix(self) -> str:
        """The fixes as code, each once."""
        return "\n".join(dict.fromkeys(finding.fix for finding in self.findings if finding.fix))

    @property
    def size(self) -> int:
        """How many findings, with all that follows from them."""
        return len(self.findings) + sum(group.size for group in self.consequences)

    @property
    def rank(self) -> int:
        """The worst severity, its own or of what follows from it, as a number."""
        return max(_rank(self.severity), *(group.rank for group in self.consequences), 0)

    def where(self, *, limit: int) -> str:
        """The places, in words: "net.1, net.3 and 18 more"."""
        places = list(dict.fromkeys(filter(None, map(place, self.findings))))
        if len(places) <= limit + 1:
            return ", ".join(places)
        return f"{', '.join(places[:limit])} and {len(places) - limit} more"


def place(finding: Finding) -> str:
    """Where a finding was made: the layer, with the call where it is not the first."""
    return f"{finding.layer}#{finding.call}" if finding.call else finding.layer


def groups_of(report: Diagnosis) -> tuple[Group, ...]:
    """The findings of a report by cause, worst first; where equally bad, what explains more comes first."""
    return group(report.findings)


def group(findings: Sequence[Finding]) -> tuple[Group, ...]:
    """Findings by cause. A finding whose cause is the code of another finding stands under that one."""
    codes = dict.fromkeys(finding.code for finding in findings)
    roots = {finding.code: finding.cause for finding in findings if finding.cause in codes}
    tops = [code for code in codes if _top(code, roots=roots) == code]
    made = [_group(code, findings=findings, roots=roots) for code in tops]
    return tuple(sorted(made, key=lambda each: (-each.rank, -_rank(each.severity), -each.size)))


def _group(code: str, *, findings: Sequence[Finding], roots: dict[str, str]) -> Group:
    under = [other for other in roots if other != code and _top(other, roots=roots) == code]
    return Group(
        findings=of_code(findings, code),
        consequences=tuple(Group(findings=of_code(findings, other)) for other in under),
    )


def of_code(findings: Iterable[Finding], code: str) -> tuple[Finding, ...]:
    """The findings of one code, worst first."""
    return tuple(sorted((f for f in findings if f.code == code), key=lambda finding: -_rank(finding.severity)))


def _top(code: str, *, roots: dict[str, str]) -> str:
    """The first cause; codes that blame one another in a circle are each their own."""
    seen = {code}
    top = code
    while top in roots:
        top = roots[top]
        if top in seen:
            return code
        seen.add(top)
    return top


def _rank(severity: Severity) -> int:
    return SEVERITIES.index(severity)
