"""What rules are asked, where from: `[tool.onesigma]` of the pyproject.toml above, then the command line."""

import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from onesigma._errors import ConfigError, ReportFileError
from onesigma.cli._out import write_atomically
from onesigma.report.baseline import Baseline
from onesigma.report.report import Report
from onesigma.report.summary import FailOn, plural
from onesigma.rules import Config, Limits, configure

__all__ = ["settings", "with_baseline"]


def settings(
    *,
    config: Path | None,
    select: str,
    ignore: str,
    limits: Sequence[str],
    fail_on: FailOn | None,
    baseline: Path | None,
) -> Config:
    """The project's table, with what the command line says on top.

    `--select` takes the place of the table's, `--ignore` adds to it, a `--limit` overrules the table's for that code.

    Raises:
        ConfigError: A file that cannot be read, or a key, code or limit that is none; the message names the file.
    """
    path = _pyproject(config)
    found = _read(path) if path is not None else Config()
    if path is not None and found.baseline:
        found = replace(found, baseline=str(path.parent / found.baseline))
    return replace(
        found,
        select=_listed(select) or found.select,
        ignore=(*found.ignore, *_listed(ignore)),
        limits=Limits({**(found.limits.settings or {}), **_limits(limits)}),
        fail_on=fail_on or found.fail_on,
        baseline=str(baseline) if baseline is not None else found.baseline,
    )


def with_baseline(report: Report, *, path: str, write: bool) -> tuple[Report, str]:
    """The report without the findings that the file accepts, and a line that says how many those are.

    With `write` the file is made from the report, and so accepts all of it.

    Raises:
        ConfigError: No file is named.
        ReportFileError: The file cannot be read.
        OutputError: The file cannot be written.
    """
    if not path:
        if write:
            raise ConfigError("--write-baseline needs the file to write: --baseline onesigma-baseline.json.")
        return report, ""
    if write:
        text = Baseline.of(report.findings).to_json()
        write_atomically(Path(path), lambda beside: beside.write_text(text, encoding="utf-8"))
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ReportFileError(
            f"{path}: cannot read the baseline ({error.strerror or error}); write it with --write-baseline."
        ) from error
    parted = Baseline.from_json(data, source=path).parted(report.findings)
    said = f"{plural(len(parted.known), 'finding')} accepted by {path}"
    if parted.stale:
        said += f"; not found any more: {', '.join(map(str, parted.stale[:5]))}"
        said += f" and {len(parted.stale) - 5} more" if len(parted.stale) > 5 else ""
        said += " (--write-baseline drops them)"
    return replace(report, findings=parted.fresh, meta=replace(report.meta, baseline=said)), said


def _pyproject(given: Path | None) -> Path | None:
    """The file that was named, or the nearest pyproject.toml upward that has a `[tool.onesigma]`."""
    if given is not None:
        if not given.is_file():
            raise ConfigError(f"--config: there is no file {given}; name a TOML file with a table [tool.onesigma].")
        return given
    here = Path.cwd()
    files = (folder / "pyproject.toml" for folder in (here, *here.parents))
    return next((path for path in files if path.is_file() and "onesigma" in _tools(_document(path))), None)


def _document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(
            f"{path}: cannot be read as TOML ({error}); mend it, or name another with --config."
        ) from error


def _tools(document: dict[str, Any]) -> dict[str, Any]:
    tools = document.get("tool")
    return tools if isinstance(tools, dict) else {}


def _read(path: Path) -> Config:
    document = _document(path)
    # An empty file asks for nothing, and keeps that of the project away.
    table = _tools(document).get("onesigma") if document else {}
    if not isinstance(table, dict):
        came = "none" if table is None else f"{table!r:.60}"
        raise ConfigError(
            f"{path}: wanted a table [tool.onesigma], got {came}; write it with a line fail-on = 'error'."
        )
    try:
        return configure(table)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _limits(given: Sequence[str]) -> dict[str | tuple[str, str], float]:
    """`INI201=3` for every layer, `INI201:head.*=3` for these."""
    limits: dict[str | tuple[str, str], float] = {}
    for entry in given:
        place, _, value = entry.rpartition("=")
        code, _, layer = (part.strip() for part in place.partition(":"))
        try:
            limits[(code, layer) if layer else code] = float(value)
        except ValueError:
            raise ConfigError(f"--limit {entry!r}: wanted CODE=NUMBER, such as INI201=3 or INI201:head.*=3.") from None
    return limits
