import json
import re
from typing import Any
from xml.etree import ElementTree

import pytest

from onesigma.model.trace import Trace
from onesigma.report import Meta, Report

from .samples import broken, finding, repaired
from .schemas import SARIF, violations
from .tiny import tiny


def of(*findings: Any, **changes: Any) -> Report:
    return Report(trace=Trace(model="Net"), findings=findings, **changes)


def test_formats_are_golden(golden: Any) -> None:
    golden("tiny.sarif", tiny().to_sarif())
    golden("tiny.github", tiny().to_github())
    golden("tiny.xml", tiny().to_junit())


def test_github_keeps_one_finding_on_one_line_and_escapes_its_own_marks() -> None:
    text = of(finding(layer="a:b,c%", message="50 %\n::error::no")).to_github()
    assert text == (
        "::warning title=ACT301 saturated-activation a%3Ab%2Cc%25::"
        "50 %25%0A::error::no%0Afix: onesigma.initialize_(model, batches)\n"
    )


def test_github_severities_are_its_own() -> None:
    lines = of(*(finding(severity=severity) for severity in ("info", "warning", "error"))).to_github().splitlines()
    assert [line.split(" ")[0] for line in lines] == ["::notice", "::warning", "::error"]


def test_sarif_says_what_the_standard_asks_for() -> None:
    log = json.loads(of(finding(severity="error"), finding(code="LOS701"), meta=Meta(model="a b/net.py:f")).to_sarif())
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] in {"none", "note", "warning", "error"}
        assert result["message"]["text"]
        assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "a%20b/net.py"


def test_sarif_names_no_file_outside_the_working_tree() -> None:
    for model in ("", "package.net:build", "/home/me/net.py:f", "../net.py:f", "C:\\net.py:f"):
        (result,) = json.loads(of(finding(), meta=Meta(model=model)).to_sarif())["runs"][0]["results"]
        assert "physicalLocation" not in result["locations"][0]


def test_sarif_fingerprint_is_the_place_and_not_the_number() -> None:
    def fingerprint(**changes: Any) -> Any:
        return json.loads(of(finding(**changes)).to_sarif())["runs"][0]["results"][0]["partialFingerprints"]

    assert fingerprint(value=0.3) == fingerprint(value=0.4, message="else")
    assert fingerprint() != fingerprint(layer="net.9")
    assert fingerprint() != fingerprint(call=1)


def test_junit_counts_what_it_shows() -> None:
    report = of(finding(), finding(layer="net.9", severity="info"), finding(layer="net.9", call=1, severity="error"))
    (suite,) = ElementTree.fromstring(report.to_junit())
    assert int(suite.attrib["tests"]) == len(suite.findall("testcase")) == 3
    assert int(suite.attrib["failures"]) == len(suite.findall("testcase/failure")) == 2


def test_junit_fails_from_the_severity_asked_for() -> None:
    for fail_on, failures in (("info", 1), ("warning", 1), ("error", 0), ("never", 0)):
        (suite,) = ElementTree.fromstring(of(finding(), fail_on=fail_on).to_junit())
        assert int(suite.attrib["failures"]) == failures


def test_junit_is_xml_whatever_the_names_are() -> None:
    name = "]]>\x00\x1b<script>&\ufffe\udc80"
    (suite,) = ElementTree.fromstring(of(finding(layer=name, message=name, fix=name)).to_junit())
    assert "<script>&" in suite[0].attrib["name"]


HARD = "100 %, a:b\r\n::error::no\u2028]]>&<é"
REPORTS = [
    Report(trace=Trace()),
    tiny(),
    broken(depth=4),
    repaired(depth=4),
    of(finding(layer=HARD, message=HARD, fix=HARD), finding(layer="", severity="info"), meta=Meta(model="net.py:f")),
]


@pytest.mark.parametrize("report", REPORTS)
def test_sarif_has_what_the_schema_asks_for_and_nothing_that_it_does_not_know(report: Report) -> None:
    log = json.loads(report.to_sarif())
    assert list(violations(log, SARIF, root=SARIF)) == []
    rules = [rule["id"] for rule in log["runs"][0]["tool"]["driver"]["rules"]]
    assert len(set(rules)) == len(rules)
    assert len(log["runs"][0]["results"]) == len(report.findings)


def test_a_sarif_that_breaks_the_schema_is_seen() -> None:
    log = json.loads(tiny().to_sarif())
    log["runs"][0]["results"][0]["colour"] = "red"
    del log["runs"][0]["tool"]["driver"]["name"]
    assert len(list(violations(log, SARIF, root=SARIF))) == 2


# Of the schema that Jenkins publishes (junit-10.xsd): element → children, required and other attributes.
JUNIT = {
    "testsuites": ({"testsuite"}, set(), {"name", "time", "tests", "failures", "errors", "disabled"}),
    "testsuite": ({"testcase"}, {"name", "tests"}, {"failures", "errors", "skipped", "time", "timestamp", "hostname"}),
    "testcase": ({"failure", "system-out"}, {"name", "classname"}, {"time"}),
    "failure": (set(), set(), {"type", "message"}),
    "system-out": (set(), set(), set()),
}


@pytest.mark.parametrize("report", REPORTS)
def test_junit_has_the_elements_and_attributes_that_servers_know(report: Report) -> None:
    root = ElementTree.fromstring(report.to_junit())
    assert root.tag == "testsuites"
    for element in root.iter():
        children, needed, allowed = JUNIT[element.tag]
        assert {child.tag for child in element} <= children
        assert needed <= set(element.attrib) <= needed | allowed
    for case in root.iter("testcase"):
        assert [child.tag for child in case] in ([], ["failure"], ["system-out"], ["failure", "system-out"])
    names = [case.attrib["name"] for case in root.iter("testcase")]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("report", REPORTS)
def test_github_reads_back_what_was_annotated(report: Report) -> None:
    lines = report.to_github().split("\n")
    assert lines.pop() == ""
    assert len(lines) == len(report.findings)
    for line, each in zip(lines, report.findings, strict=True):
        title, message = re.fullmatch(r"::(?:error|warning|notice) title=([^:,]*)::(.*)", line).groups()
        for escape, char in (("%3A", ":"), ("%2C", ","), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
            title, message = title.replace(escape, char), message.replace(escape, char)
        assert title == f"{each.code} {each.name} {each.layer}".strip() + (f"#{each.call}" if each.call else "")
        assert message.startswith(each.message)
