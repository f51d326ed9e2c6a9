"""Findings as SARIF 2.1.0, the form that code-scanning services read.

Reference: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

import hashlib
import json
from typing import Any
from urllib.parse import quote

from onesigma.report.diagnosis import Diagnosis
from onesigma.report.groups import place
from onesigma.rules import RULES, Finding

__all__ = ["render"]

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
LEVELS = {"error": "error", "warning": "warning", "info": "note"}


def render(report: Diagnosis) -> str:
    """The SARIF text: a layer is a logical location; the file of the model, where it is known, a physical one."""
    rules = {finding.code: finding.name for finding in report.findings}
    driver: dict[str, Any] = {
        "name": "onesigma",
        "rules": [_rule(code, name) for code, name in rules.items()],
    }
    if version := report.meta.versions.get("onesigma"):
        driver["version"] = version
    indices = {code: index for index, code in enumerate(rules)}
    results = [_result(finding, rule=indices[finding.code], report=report) for finding in report.findings]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _rule(code: str, name: str) -> dict[str, Any]:
    rule = RULES.get(code)
    page = rule.page.strip() if rule else name
    title = page.split("\n", 1)[0]
    return {
        "id": code,
        "name": _pascal(name),
        "shortDescription": {"text": title},
        "help": {"text": page, "markdown": page},
    }


def _result(finding: Finding, *, rule: int, report: Diagnosis) -> dict[str, Any]:
    fix = f"\n\nFix:\n{finding.fix}" if finding.fix else ""
    location: dict[str, Any] = {
        "logicalLocations": [{"fullyQualifiedName": place(finding) or report.trace.model or "model", "kind": "member"}]
    }
    if file := _file(report.meta.model):
        location["physicalLocation"] = {"artifactLocation": {"uri": file}, "region": {"startLine": 1}}
    return {
        "ruleId": finding.code,
        "ruleIndex": rule,
        "level": LEVELS[finding.severity],
        "message": {"text": (finding.message or finding.name) + fix},
        "locations": [location],
        # Without the numbers: the same finding of the next run is the same alert.
        "partialFingerprints": {"onesigma/1": _fingerprint(finding)},
    }


def _file(model: str) -> str:
    """The path of `file.py:factory` as a relative URI; "" for a module, or what is not inside the working tree."""
    path = model.rpartition(":")[0].replace("\\", "/").removeprefix("./")
    inside = path.endswith(".py") and not path.startswith("/") and ":" not in path and ".." not in path.split("/")
    return quote(path, errors="replace") if inside else ""


def _fingerprint(finding: Finding) -> str:
    return hashlib.sha256(f"{finding.code}\0{place(finding)}".encode("utf-8", "backslashreplace")).hexdigest()[:32]


def _pascal(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("-"))
