"""A rule: a code, a name, levels, a page, and a pure function from a trace to findings."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from onesigma.model.trace import Record, Trace
from onesigma.rules._finding import SEVERITIES, Finding, Severity, lowered
from onesigma.rules._limits import Levels, Limits

__all__ = ["Rule"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. Its module's docstring is its page.

    Attributes:
        code: "INI201".
        name: "preactivation-too-large".
        check: Reads a trace and yields findings.
        page: What `onesigma explain` prints.
        levels: Default limits, documented in the page.
    """

    code: str
    name: str
    check: Callable[[Trace, Limits], Iterator[Finding]]
    page: str
    levels: Levels

    @property
    def summary(self) -> str:
        """The first line of the page: when the rule fires, in one sentence."""
        return self.page.strip().partition("\n")[0]

    def found(
        self,
        where: Record | str,
        value: float,
        *,
        limits: Limits,
        message: str,
        fix: str,
        expected: str = "",
        confidence: str = "",
        slack: float = 1.0,
        milder: int = 0,
        at_most: Severity = "error",
        at_least: Severity | None = None,
    ) -> Iterator[Finding]:
        """The finding that `value` at `where` makes, if it lies beyond a limit.

        `slack` widens the limits where the number is uncertain; `milder` steps and `at_most` temper the severity
        where the circumstances excuse it, `at_least` raises it where they leave no doubt.
        """
        layer, call, index = (where, 0, -1) if isinstance(where, str) else (where.layer, where.call, where.index)
        levels = limits.of(self.code, layer=layer, default=self.levels)
        judged = levels.severity(value, slack=slack) or at_least
        if judged is None:
            return
        reached = max(judged, at_least or judged, key=SEVERITIES.index)
        yield Finding(
            code=self.code,
            name=self.name,
            severity=min(lowered(reached, milder), at_most, key=SEVERITIES.index),
            message=message,
            layer=layer,
            call=call,
            value=value,
            limit=levels.limit(reached, slack=slack),
            fix=fix,
            expected=expected,
            confidence=confidence,
            index=index,
        )
