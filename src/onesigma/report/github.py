"""Findings as annotations of a GitHub Actions log: `::warning title=…::…`, one per line.

Reference: Workflow commands, https://docs.github.com/actions/reference/workflow-commands-for-github-actions
"""

from onesigma.report.diagnosis import Diagnosis
from onesigma.report.groups import place
from onesigma.rules import Finding

__all__ = ["render"]

COMMANDS = {"error": "error", "warning": "warning", "info": "notice"}


def render(report: Diagnosis) -> str:
    """One line per finding; the empty string for none."""
    return "".join(f"{_annotation(finding)}\n" for finding in report.findings)


def _annotation(finding: Finding) -> str:
    title = _property(" ".join(filter(None, (finding.code, finding.name, place(finding)))))
    fix = f"\nfix: {finding.fix}" if finding.fix else ""
    return f"::{COMMANDS[finding.severity]} title={title}::{_data(finding.message + fix)}"


def _data(text: str) -> str:
    # The runner reads a line up to its end; these three are what it decodes again.
    return "".join({"%": "%25", "\r": "%0D", "\n": "%0A"}.get(char, char) for char in text)


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
