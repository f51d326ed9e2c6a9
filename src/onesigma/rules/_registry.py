"""All rules by code, and the judgment of a trace by those that are selected."""

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any

from onesigma._errors import ConfigError
from onesigma.model.trace import Trace
from onesigma.rules import (
    act301_saturated_activation,
    act302_dead_units,
    act303_always_on_units,
    act304_collapsed_samples,
    gra401_vanishing_gradient,
    gra402_exploding_gradient,
    ini201_preactivation_too_large,
    ini202_preactivation_too_small,
    ini203_variance_drift,
    ini204_duplicate_units,
    ini205_residual_growth,
    ini206_unstable_depth,
    inp101_input_off_scale,
    inp102_feature_scale_spread,
    inp103_constant_feature,
    inp104_nonfinite_input,
    inp105_target_off_scale,
    inp106_statistics_mismatch,
    los701_initial_loss_excess,
    los702_initial_loss_below_chance,
    los703_loss_scales_with_batch,
    los704_constant_output,
    los705_double_softmax,
    nrm601_redundant_bias,
    nrm602_stale_running_statistics,
    nrm603_train_eval_gap,
    nrm604_small_normalization_batch,
    nrm605_batch_coupling_in_eval,
    nrm606_dropout_before_norm,
    num901_nonfinite_signal,
    num902_half_precision_range,
    str801_missing_nonlinearity,
    str802_softmax_as_hidden_activation,
    upd501_update_too_large,
    upd502_update_too_small,
)
from onesigma.rules._cause import with_causes
from onesigma.rules._finding import SEVERITIES, Finding
from onesigma.rules._limits import Limits
from onesigma.rules._rule import Rule

__all__ = ["RULES", "checked_ignore", "checked_limits", "judge", "selected"]

_MODULES = (
    inp101_input_off_scale,
    inp102_feature_scale_spread,
    inp103_constant_feature,
    inp104_nonfinite_input,
    inp105_target_off_scale,
    inp106_statistics_mismatch,
    ini201_preactivation_too_large,
    ini202_preactivation_too_small,
    ini203_variance_drift,
    ini204_duplicate_units,
    ini205_residual_growth,
    ini206_unstable_depth,
    act301_saturated_activation,
    act302_dead_units,
    act303_always_on_units,
    act304_collapsed_samples,
    gra401_vanishing_gradient,
    gra402_exploding_gradient,
    upd501_update_too_large,
    upd502_update_too_small,
    nrm601_redundant_bias,
    nrm602_stale_running_statistics,
    nrm603_train_eval_gap,
    nrm604_small_normalization_batch,
    nrm605_batch_coupling_in_eval,
    nrm606_dropout_before_norm,
    los701_initial_loss_excess,
    los702_initial_loss_below_chance,
    los703_loss_scales_with_batch,
    los704_constant_output,
    los705_double_softmax,
    str801_missing_nonlinearity,
    str802_softmax_as_hidden_activation,
    num901_nonfinite_signal,
    num902_half_precision_range,
)

RULES: Mapping[str, Rule] = MappingProxyType({module.RULE.code: module.RULE for module in _MODULES})
"""Every rule by its code, in order."""

AUDITED: Mapping[str, str] = MappingProxyType({"INI207": "off-recipe"})
"""Code → name of what no trace can tell, and an audit against a recipe finds; selected and ignored like a rule."""

_CODES = {rule.name: code for code, rule in RULES.items()} | {name: code for code, name in AUDITED.items()}


def judge(
    trace: Trace,
    *,
    select: Iterable[str] = (),
    ignore: Iterable[str] = (),
    limits: Limits | Mapping[Any, Any] | None = None,
) -> tuple[Finding, ...]:
    """What the selected rules find in a trace: gravest first, then in order of execution.

    A finding that another one explains names it in `cause`, also where the other one is not selected.

    Args:
        trace: What was measured.
        select: Codes or prefixes of codes, as "INI" or "ACT301"; none means all.
        ignore: Codes or prefixes to leave out; "INI:head.*" leaves them out at these layers.
        limits: See `Limits`: `{"INI201": 3.0, ("ACT301", "gate*"): {"error": 0.9}}`.

    Raises:
        ConfigError: A code that no rule has, or a limit that is none.

    Example:
        >>> from onesigma.model.trace import LossRecord
        >>> trace = Trace(loss=LossRecord(name="cross_entropy", value=27.0, chance=3.3, chance_name="log 27"))
        >>> [(finding.code, finding.severity) for finding in judge(trace)]
        [('LOS701', 'error')]
        >>> judge(trace, ignore=["LOS"])
        ()
    """
    settings = checked_limits(limits)
    found = [finding for rule in RULES.values() for finding in rule.check(trace, settings)]
    chosen = kept(with_causes(trace, found), select=select, ignore=ignore)
    return tuple(sorted(chosen, key=lambda finding: (-SEVERITIES.index(finding.severity), finding.index)))


def kept(findings: Iterable[Finding], *, select: Iterable[str] = (), ignore: Iterable[str] = ()) -> tuple[Finding, ...]:
    """The findings whose codes are selected and, at their layers, not ignored.

    Raises:
        ConfigError: A code that no rule has.

    Example:
        >>> off = Finding(code="INI207", name="unset", severity="warning", message="not drawn", layer="head")
        >>> len(kept([off])), kept([off], select=["NUM"]), kept([off], ignore=["off-recipe:head*"])
        (1, (), ())
    """
    prefixes, unwanted = _prefixes(select, "select"), checked_ignore(ignore)
    return tuple(
        finding
        for finding in findings
        if (not prefixes or finding.code.startswith(prefixes)) and not _is_ignored(finding, unwanted)
    )


def selected(select: Iterable[str], *, where: str = "select") -> tuple[str, ...]:
    """The codes that these prefixes (or names) select, in order; all of them for none.

    Raises:
        ConfigError: A prefix of no code; the message says `where` it stood and lists close ones.

    Example:
        >>> selected(["GRA", "dead-units"])
        ('ACT302', 'GRA401', 'GRA402')
    """
    prefixes = _prefixes(select, where)
    return tuple(code for code in RULES if not prefixes or code.startswith(prefixes))


def _prefixes(select: Iterable[str], where: str) -> tuple[str, ...]:
    return tuple(_checked(prefix, where) for prefix in _listed(select))


def checked_ignore(ignore: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Prefix and layer pattern of every entry: "INI:head.*" → ("INI", "head.*").

    Raises:
        ConfigError: A prefix of no code.
    """
    entries = (entry.partition(":") for entry in _listed(ignore))
    return tuple((_checked(prefix, "ignore"), layer or "*") for prefix, _, layer in entries)


def checked_limits(limits: Limits | Mapping[Any, Any] | None) -> Limits:
    """The limits, if every code exists and every value is a number or a table of levels.

    Raises:
        ConfigError: One of them is not.
    """
    settings = limits if isinstance(limits, Limits) else Limits(limits)
    settings.validate()
    for key, setting in (settings.settings or {}).items():
        _check_limit(str(key[0] if isinstance(key, tuple) else key), setting)
    return settings


def _check_limit(code: str, setting: Any) -> None:
    if code in AUDITED:
        raise ConfigError(
            f"limits: {code} has no limit, it holds weights against a recipe; leave it out with ignore=[{code!r}]."
        )
    if code not in RULES:
        raise _unknown(code, "limits")
    levels = RULES[code].levels
    own = {severity: levels.limit(severity) for severity in SEVERITIES if math.isfinite(levels.limit(severity))}
    lowest = min(setting.values(), default=0) if isinstance(setting, Mapping) else setting
    # What a rule compares is of one sign; only a loss below chance is a negative number. Where small is bad, a limit
    # below 0 says never.
    if not levels.below and lowest < 0 <= min(own.values()):
        told = ", ".join(f"{severity} {limit:g}" for severity, limit in own.items())
        raise ConfigError(
            f"limits: {code} judges a number that is never below 0, and the limit is {lowest:g}; "
            f"0 or more is wanted (its own: {told})."
        )


def _listed(entries: Iterable[str]) -> Iterable[str]:
    """ "INI201" is meant as ["INI201"], not as six letters."""
    return [entries] if isinstance(entries, str) else entries


def _is_ignored(finding: Finding, unwanted: Sequence[tuple[str, str]]) -> bool:
    return any(finding.code.startswith(prefix) and fnmatchcase(finding.layer, layer) for prefix, layer in unwanted)


def _checked(prefix: str, where: str) -> str:
    """The prefix of a code that this entry stands for; a name stands for its code."""
    code = _CODES.get(prefix, prefix)
    if not code or not any(known.startswith(code) for known in (*RULES, *AUDITED)):
        raise _unknown(prefix, where)
    return code


def _unknown(code: str, where: str) -> ConfigError:
    close = difflib.get_close_matches(code.upper(), RULES, n=3) or difflib.get_close_matches(code.lower(), _CODES, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else "`onesigma rules` lists them all."
    return ConfigError(f"{where}: no rule has the code {code!r}; {hint}")
