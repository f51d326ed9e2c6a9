"""The record that a diagnosis ends in, and the forms it can be shown and kept in."""

import html
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from rich.console import Console, ConsoleOptions, RenderResult

from onesigma._errors import ConfigError
from onesigma.report import github, json, junit, sarif, text
from onesigma.report.diagnosis import Diagnosis
from onesigma.report.html import page

__all__ = ["Report"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report(Diagnosis):
    """A diagnosis with its written forms. Equal reports make equal bytes, in every form.

    The fields are those of `onesigma.report.diagnosis.Diagnosis`; what stands in `before` is a report too.

    Example:
        >>> from onesigma.model.trace import Trace
        >>> report = Report(trace=Trace(model="Net"))
        >>> report.summary.verdict, report.exit_code
        ('no findings', 0)
        >>> Report.from_json(report.to_json()) == report
        True
    """

    before: "Report | None" = None

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
