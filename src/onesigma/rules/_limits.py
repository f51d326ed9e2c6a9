"""Limits: from which value on a rule speaks, per code and per layer."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from onesigma._errors import ConfigError
from onesigma.rules._finding import SEVERITIES, Severity

__all__ = ["Levels", "Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """The value from which a finding is an info, a warning, an error; None where a rule never says so.

    Attributes:
        info: Limit of "info".
        warning: Limit of "warning".
        error: Limit of "error".
        below: True where small values are the bad ones.
    """

    info: float | None = None
    warning: float | None = None
    error: float | None = None
    below: bool = False

    def severity(self, value: float, *, slack: float = 1.0) -> Severity | None:
        """The gravest level that `value` lies strictly beyond, each limit widened by the factor `slack` ≥ 1.

        Example:
            >>> Levels(info=2.0, warning=3.0, error=10.0).severity(4.0)
            'warning'
            >>> Levels(info=2.0, warning=3.0, error=10.0).severity(4.0, slack=1.5)
            'info'
        """
        beyond = [level for level in SEVERITIES if self._is_beyond(value, self.limit(level, slack=slack))]
        return beyond[-1] if beyond else None

    def limit(self, severity: Severity, *, slack: float = 1.0) -> float:
        """The widened limit of this severity; infinitely far off where there is none."""
        limit = {"info": self.info, "warning": self.warning, "error": self.error}[severity]
        if limit is None:
            return -math.inf if self.below else math.inf
        return limit / slack if self.below else limit * slack

    def _is_beyond(self, value: float, limit: float) -> bool:
        return value < limit if self.below else value > limit


@dataclass(frozen=True, slots=True)
class Limits:
    """What a user set other than the defaults of the rules.

    `settings` maps a code, or `(code, layer pattern)`, to a number or to a table of levels. A number is the
    limit of the warning: nothing short of it is reported, and an error needs both it and the default limit of
    errors. A table sets the levels it names and keeps the others. Later settings win, and a layer's over a code's.

    Example:
        >>> default = Levels(info=2.0, warning=3.0, error=10.0)
        >>> limits = Limits({"INI201": 5.0, ("INI201", "head*"): {"error": 50.0}})
        >>> limits.of("INI201", layer="body.0", default=default)
        Levels(info=None, warning=5.0, error=10.0, below=False)
        >>> limits.of("INI201", layer="head", default=default).error
        50.0
    """

    settings: Mapping[str | tuple[str, str], Any] | None = None

    def of(self, code: str, *, layer: str, default: Levels) -> Levels:
        """The levels of `code` at `layer`."""
        levels = default
        for key, setting in (self.settings or {}).items():
            if key == code:
                levels = _changed(levels, setting)
        for key, setting in (self.settings or {}).items():
            if isinstance(key, tuple) and key[0] == code and fnmatchcase(layer, key[1]):
                levels = _changed(levels, setting)
        return levels

    def names_error(self, code: str, *, layer: str) -> bool:
        """Whether a table says from where on `code` is an error at `layer`: then no caution of a rule stands above it.

        Example:
            >>> Limits({"INI204": {"error": 0.9}}).names_error("INI204", layer="head")
            True
        """
        tables = (
            setting
            for key, setting in (self.settings or {}).items()
            if key == code or (isinstance(key, tuple) and key[0] == code and fnmatchcase(layer, key[1]))
        )
        return any(isinstance(setting, Mapping) and "error" in setting for setting in tables)

    @property
    def codes(self) -> tuple[str, ...]:
        """Every code that is set, in order."""
        return tuple(str(key[0] if isinstance(key, tuple) else key) for key in self.settings or {})

    def validate(self) -> None:
        """Raise ConfigError where a setting is neither a number nor a table of levels."""
        if self.settings is not None and not isinstance(self.settings, Mapping):
            raise ConfigError(f"limits: wanted a mapping such as {{'INI201': 3.0}}, got {self.settings!r}.")
        for key, setting in (self.settings or {}).items():
            _validate(key, setting)


def _changed(levels: Levels, setting: Any) -> Levels:
    if isinstance(setting, Mapping):
        given: dict[str, Any] = {level: float(limit) for level, limit in setting.items()}
        return replace(levels, **given)
    number = float(setting)
    farther = min if levels.below else max
    error = None if levels.error is None else farther(number, levels.error)
    return replace(levels, info=None, warning=number, error=error)


def _validate(key: Any, setting: Any) -> None:
    where = f"limits[{key!r}]"
    if isinstance(key, tuple) and (len(key) != 2 or not all(isinstance(part, str) for part in key)):
        raise ConfigError(f"{where}: a key is a code, or a code and a layer pattern: ('INI201', 'head.*').")
    table = setting if isinstance(setting, Mapping) else {"warning": setting}
    for level, limit in table.items():
        if level not in SEVERITIES:
            raise ConfigError(f"{where}: levels are info, warning and error, got {level!r}; write {{'warning': 3.0}}.")
        if isinstance(limit, bool) or not isinstance(limit, int | float) or math.isnan(limit):
            raise ConfigError(f"{where}: the limit of {level!r} must be a number, got {limit!r}; write 3.0.")
