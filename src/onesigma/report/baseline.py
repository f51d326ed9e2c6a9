"""A baseline: findings that a project has accepted, so that only new ones fail it."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from onesigma._errors import ReportFileError
from onesigma.rules import AUDITED, RULES, SEVERITIES, Finding, Severity

__all__ = ["SCHEMA", "Accepted", "Baseline", "Entry"]

SCHEMA = "onesigma/baseline/1"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Entry:
    """Findings of one code at one layer that are accepted.

    Attributes:
        code: Code of the rule.
        layer: Path of the layer; "" for the model as a whole.
        severity: Accepted up to this severity: what became worse is new.
        count: How many: a layer may be called more than once.
    """

    code: str
    layer: str
    severity: Severity
    count: int = 1

    def __str__(self) -> str:
        return f"{self.code} at {self.layer or 'the model'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """Findings, parted by a baseline.

    Attributes:
        fresh: Findings that nobody has accepted.
        known: Findings that are in the baseline.
        stale: Entries that nothing was found for any more.
    """

    fresh: tuple[Finding, ...]
    known: tuple[Finding, ...]
    stale: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a project has accepted. A finding is known by its code and its layer, not by its number or its wording.

    Example:
        >>> old = Finding(code="INI201", name="preactivation-too-large", severity="warning", message="4.1", layer="fc")
        >>> new = Finding(code="INI201", name="preactivation-too-large", severity="warning", message="4.3", layer="fc")
        >>> Baseline.of([old]).parted([new]).fresh
        ()
    """

    entries: tuple[Entry, ...] = ()

    @classmethod
    def of(cls, findings: Iterable[Finding]) -> "Baseline":
        """Accept these findings."""
        found = list(findings)
        counts = Counter((finding.code, finding.layer) for finding in found)
        worst = {
            key: max((f.severity for f in found if (f.code, f.layer) == key), key=SEVERITIES.index) for key in counts
        }
        entries = (Entry(code=key[0], layer=key[1], severity=worst[key], count=counts[key]) for key in counts)
        return cls(tuple(sorted(entries)))

    def parted(self, findings: Iterable[Finding]) -> Accepted:
        """Tell the accepted findings from the others, the gravest first accepted, and name entries without any."""
        left = {(entry.code, entry.layer): entry.count for entry in self.entries}
        accepted = {(entry.code, entry.layer): SEVERITIES.index(entry.severity) for entry in self.entries}
        fresh, known = [], []
        for finding in findings:
            key = finding.code, finding.layer
            if left.get(key, 0) > 0 and SEVERITIES.index(finding.severity) <= accepted[key]:
                left[key] -= 1
                known.append(finding)
            else:
                fresh.append(finding)
        seen = {(finding.code, finding.layer) for finding in (*known, *fresh)}
        stale = (entry for entry in self.entries if (entry.code, entry.layer) not in seen)
        return Accepted(fresh=tuple(fresh), known=tuple(known), stale=tuple(stale))

    def to_json(self) -> str:
        """One line per entry, so that a change of it reads well in a review."""
        rows = [{"code": e.code, "layer": e.layer, "severity": e.severity, "count": e.count} for e in self.entries]
        lines = ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in rows)
        return f'{{"schema": "{SCHEMA}",\n"findings": [\n{lines}\n]}}\n' if rows else _EMPTY

    @classmethod
    def from_json(cls, data: str | bytes, *, source: str = "baseline") -> "Baseline":
        """The baseline that `to_json` wrote.

        Raises:
            ReportFileError: Not JSON, not a baseline, or an entry that is none; `source` is how the message calls it.
        """
        try:
            document = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ReportFileError(f"{source}: a baseline is JSON, this is not ({error}); {_WRITE}") from error
        schema = document.get("schema") if isinstance(document, dict) else None
        if schema != SCHEMA:
            raise ReportFileError(f"{source}: wanted the schema {SCHEMA!r}, got {schema!r:.60}; {_WRITE}")
        rows = document.get("findings")
        if not isinstance(rows, list):
            raise ReportFileError(f"{source}: 'findings' must be a list, got {type(rows).__name__}; {_WRITE}")
        return cls(tuple(_entry(row, where=f"{source}: findings[{number}]") for number, row in enumerate(rows)))


_EMPTY = f'{{"schema": "{SCHEMA}",\n"findings": []}}\n'
_WRITE = "write one with `onesigma check … --baseline FILE --write-baseline`."


def _entry(row: object, *, where: str) -> Entry:
    if not isinstance(row, dict):
        raise ReportFileError(f"{where} must be an object with code and layer, got {row!r:.60}.")
    code, layer = row.get("code"), row.get("layer", "")
    severity, count = row.get("severity", SEVERITIES[-1]), row.get("count", 1)
    if not isinstance(code, str) or code not in (*RULES, *AUDITED):
        raise ReportFileError(f"{where}: no rule has the code {code!r:.40}; `onesigma rules` lists them, remove it.")
    if not isinstance(layer, str) or severity not in SEVERITIES:
        raise ReportFileError(
            f"{where}: wanted a layer path and a severity of {', '.join(SEVERITIES)}, got {row!r:.80}."
        )
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ReportFileError(f"{where}: count must be a whole number from 1 on, got {count!r:.40}.")
    return Entry(code=code, layer=layer, severity=severity, count=count)
