import json
from typing import Any
from xml.etree import ElementTree

from onesigma.model.trace import Trace
from onesigma.report import Meta, Report

from .samples import finding
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
