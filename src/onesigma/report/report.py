"""The record that a diagnosis ends in, and the forms it can be shown and kept in."""

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

from rich.console import Console, ConsoleOptions, RenderResult

from onesigma._errors import ConfigError
from onesigma.model.edits import Edits
from onesigma.model.trace import Trace
from onesigma.report import github, json, junit, sarif, text
from onesigma.report.html import page
from onesigma.report.summary import FailOn, Meta, Summary
from onesigma.rules import Finding

__all__ = ["Report"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was measured, what was found, what was changed. Equal reports make equal bytes, in every form.

    Attributes:
        trace: What was seen of the model.
        findings: What the rules found.
        edits: What was changed; a refusal says why.
        before: The report of the state before the edits.
        meta: Where all this came from.
        curves: Losses of trainings, by name.
        predicted: Predicted std of a call's result, by the name of the call.
        predicted_gradients: Predicted rms of the gradient at a call's result, likewise.
        fail_on: The least severity that makes the exit code 1.

    Example:
        >>> report = Report(trace=Trace(model="Net"))
        >>> report.summary.verdict, report.exit_code
        ('no findings', 0)
        >>> Report.from_json(report.to_json()) == report
        True
    """

    trace: Trace
    findings: tuple[Finding, ...] = ()
    edits: Edits = field(default_factory=Edits)
    before: "Report | None" = None
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

    def to_json(self) -> str:
        """The report as JSON text, complete: `from_json` reads an equal report."""
        return json.write(self)

    def to_text(self, *, width: int = 100, color: bool = False) -> str:
        """The report as a terminal of `width` columns shows it."""
        return text.render(self, width=width, color=color)

    def to_html(self) -> str:
        """The report as one page that needs nothing but itself."""
        return page.render(self)

    def to_sarif(self) -> str:
        """The findings as SARIF 2.1.0."""
        return sarif.render(self)

    def to_github(self) -> str:
        """The findings as annotations of GitHub Actions, one per line."""
        return github.render(self)

    def to_junit(self) -> str:
        """The findings as JUnit XML: one test case per layer."""
        return junit.render(self)

    @classmethod
    def from_json(cls, data: str | bytes, *, source: str = "report") -> "Report":
        """The report that `to_json` wrote, equal to the one that was written.

        Args:
            data: The text.
            source: How errors call it: the name of the file.

        Raises:
            ReportFileError: Not JSON, not a report, of a newer schema, or with a value of the wrong kind.
        """
        return json.read(data, cls=cls, source=source)

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the report in the form that the suffix names: .json, .html, .txt, .sarif or .xml (JUnit).

        Raises:
            ConfigError: Another suffix.
        """
        forms: dict[str, Callable[[], str]] = {
            ".json": self.to_json,
            ".html": self.to_html,
            ".txt": self.to_text,
            ".sarif": self.to_sarif,
            ".xml": self.to_junit,
        }
        target = Path(path)
        form = forms.get(target.suffix.lower())
        if form is None:
            raise ConfigError(f"{target}: expected a suffix of {', '.join(forms)}, got {target.suffix or 'none'!r}.")
        # Lone surrogates (a name read from a broken file) cannot be written; a question mark can.
        target.write_bytes(form().encode("utf-8", "replace"))
        return target

    def _repr_html_(self) -> str:
        """The page in a frame of its own, so that its style and a notebook's do not meet."""
        source = html.escape(self.to_html(), quote=True)
        return (
            f'<iframe srcdoc="{source}" title="onesigma report" sandbox="allow-scripts allow-downloads" '
            'style="width:100%;height:48rem;border:1px solid #8884;border-radius:8px"></iframe>'
        )

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """What `rich` prints: `Console().print(report)`."""
        yield from text.parts(self, width=options.max_width)
