"""`[tool.onesigma]` of a pyproject.toml: which rules, where, with which limits."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from onesigma._errors import ConfigError
from onesigma.rules._finding import SEVERITIES
from onesigma.rules._limits import Limits
from onesigma.rules._registry import checked_ignore, checked_limits, selected

__all__ = ["Config", "configure"]

_KEYS = ("select", "ignore", "fail-on", "limits", "per-layer-ignores", "per-layer-limits", "baseline")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What a project asks of the rules.

    Attributes:
        select: Prefixes of codes; none means all.
        ignore: Prefixes of codes, with ":" and a layer pattern where they are ignored there alone.
        limits: Limits other than the defaults.
        fail_on: The severity from which on a run fails: "info", "warning", "error" or "never".
        baseline: File of accepted findings, relative to the pyproject.toml; "" for none.
    """

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    fail_on: Literal["info", "warning", "error", "never"] = "warning"
    baseline: str = ""


def configure(table: Mapping[str, Any]) -> Config:
    """Read the table `[tool.onesigma]`.

    Raises:
        ConfigError: An unknown key or code, or a value of the wrong type.

    Example:
        >>> config = configure({"ignore": ["NRM"], "limits": {"INI201": 5.0},
        ...                     "per-layer-ignores": {"head.*": ["INI2"]}})
        >>> config.ignore, config.limits.settings
        (('NRM', 'INI2:head.*'), {'INI201': 5.0})
    """
    for key in table:
        if key not in _KEYS:
            close = difflib.get_close_matches(str(key), _KEYS, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise ConfigError(f"[tool.onesigma] has no key {key!r}; {hint}its keys are {', '.join(_KEYS)}.")
    ignored_there = _tables(table, "per-layer-ignores")
    ignore = [*_words(table, "ignore")]
    ignore += [f"{code}:{layer}" for layer in ignored_there for code in _words(ignored_there, layer)]
    settings: dict[Any, Any] = dict(_tables(table, "limits"))
    for layer, limits in _tables(table, "per-layer-limits").items():
        if not isinstance(limits, Mapping):
            raise _wrong(f"per-layer-limits.{layer!r}", "a table such as {INI201 = 5.0}", limits)
        settings |= {(code, layer): limit for code, limit in limits.items()}
    select, fail_on = tuple(_words(table, "select")), table.get("fail-on", "warning")
    if fail_on not in (*SEVERITIES, "never"):
        raise _wrong("fail-on", "info, warning, error or never", fail_on)
    baseline = table.get("baseline", "")
    if not isinstance(baseline, str):
        raise _wrong("baseline", "the name of a file", baseline)
    selected(select)
    checked_ignore(ignore)
    return Config(
        select=select, ignore=tuple(ignore), limits=checked_limits(settings), fail_on=fail_on, baseline=baseline
    )


def _words(table: Mapping[str, Any], key: str) -> Sequence[str]:
    words = table.get(key, ())
    if isinstance(words, str) or not isinstance(words, Sequence) or not all(isinstance(word, str) for word in words):
        raise _wrong(key, 'a list of codes such as ["INI201"]', words)
    return words


def _tables(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = table.get(key, {})
    if not isinstance(found, Mapping):
        raise _wrong(key, "a table", found)
    return found


def _wrong(key: str, wanted: str, came: Any) -> ConfigError:
    return ConfigError(f"[tool.onesigma] {key}: wanted {wanted}, got {came!r}.")
