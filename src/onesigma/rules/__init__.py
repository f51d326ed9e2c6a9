"""The linter of signals: rules with codes, pages, limits, and a judgment of what was measured."""

from onesigma.rules._config import Config, configure
from onesigma.rules._finding import SEVERITIES, Finding, Severity
from onesigma.rules._limits import Levels, Limits
from onesigma.rules._registry import AUDITED, RULES, judge, kept, selected
from onesigma.rules._rule import Rule
from onesigma.rules._values import values

__all__ = [
    "AUDITED",
    "RULES",
    "SEVERITIES",
    "Config",
    "Finding",
    "Levels",
    "Limits",
    "Rule",
    "Severity",
    "configure",
    "judge",
    "kept",
    "selected",
    "values",
]
