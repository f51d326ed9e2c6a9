"""Whether anything is asked: rules that are all left out find nothing, and that would read as a clean bill."""

from collections.abc import Iterable

from onesigma._errors import ConfigError
from onesigma.rules import AUDITED, RULES, Finding, kept

__all__ = ["refuse_nothing"]


def refuse_nothing(select: Iterable[str], ignore: Iterable[str], *, audit: bool = False) -> None:
    """Raise where no rule is left to judge by.

    Args:
        select: As in `check`.
        ignore: As in `check`.
        audit: Whether the codes of an audit are asked for, too.

    Raises:
        ConfigError: A code that no rule has, or nothing that is selected and not ignored.

    Example:
        >>> refuse_nothing(["INI"], ["INI201"])
        >>> refuse_nothing(["INI201"], ["INI"])
        Traceback (most recent call last):
        onesigma._errors.ConfigError: select=['INI201'] and ignore=['INI'] leave no rule; ...
    """
    chosen, unwanted = _listed(select), _listed(ignore)
    # At the model as a whole: a pattern of layers leaves it, unless it leaves none.
    anywhere = [Finding(code=code, name=code, severity="info", message="") for code in (*RULES, *AUDITED)]
    left = {finding.code for finding in kept(anywhere, select=chosen, ignore=unwanted)}
    if left & set(RULES) or (audit and left):
        return
    if left:
        raise ConfigError(
            f"select={chosen}: {', '.join(sorted(left))} holds weights against a recipe, which one pass does not; "
            "ask for it with `onesigma check … --audit RECIPE`."
        )
    raise ConfigError(
        f"select={chosen} and ignore={unwanted} leave no rule; take back one of them, "
        "or leave a code out at some layers alone: ignore=['INI201:head.*']."
    )


def _listed(codes: Iterable[str]) -> list[str]:
    return [codes] if isinstance(codes, str) else list(codes)
