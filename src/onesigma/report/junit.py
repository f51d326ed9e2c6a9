"""Findings as JUnit XML, which every CI server shows: one test case per layer, one failure per finding."""

from xml.etree import ElementTree

from onesigma.report._words import clean
from onesigma.report.diagnosis import Diagnosis
from onesigma.report.groups import place
from onesigma.report.summary import fails
from onesigma.rules import Finding

__all__ = ["render"]


def render(report: Diagnosis) -> str:
    """The XML text. Findings below `report.fail_on` stand in `system-out`: they fail nothing."""
    places = list(dict.fromkeys([record.name for record in report.trace.records] + list(map(place, report.findings))))
    failing = [finding for finding in report.findings if fails(finding.severity, fail_on=report.fail_on)]
    suite = ElementTree.Element(
        "testsuite",
        name=f"onesigma {clean(report.meta.model or report.trace.model)}".strip(),
        tests=str(len(places)),
        failures=str(len({place(finding) for finding in failing})),
        errors="0",
        skipped="0",
    )
    by_place: dict[str, list[Finding]] = {}
    for finding in report.findings:
        by_place.setdefault(place(finding), []).append(finding)
    for name in places:
        _case(suite, name=name, findings=by_place.get(name, []), failing=failing)
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _case(suite: ElementTree.Element, *, name: str, findings: list[Finding], failing: list[Finding]) -> None:
    label = clean(name) or "model"
    case = ElementTree.SubElement(suite, "testcase", classname="onesigma", name=label)
    quiet = [_told(finding) for finding in findings if finding not in failing]
    # The schema allows one failure per case: the first says it in its message, all are in its text.
    loud = [finding for finding in findings if finding in failing]
    if loud:
        message = clean(f"{loud[0].code} {loud[0].message}")
        failure = ElementTree.SubElement(case, "failure", message=message, type=loud[0].code)
        failure.text = "\n\n".join(map(_told, loud))
    if quiet:
        ElementTree.SubElement(case, "system-out").text = "\n\n".join(quiet)


def _told(finding: Finding) -> str:
    fix = "".join(f"\n    {clean(line)}" for line in finding.fix.splitlines())
    return f"{finding.code} {finding.name} ({finding.severity}): {clean(finding.message)}" + (
        f"\nfix:{fix}" if fix else ""
    )
