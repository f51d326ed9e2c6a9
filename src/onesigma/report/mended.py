"""What became of every finding of the state before the edits, in numbers, and the lines that do the same elsewhere."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from onesigma.model.edits import Edit, Edits
from onesigma.report._words import clean, number
from onesigma.report.diagnosis import Diagnosis
from onesigma.rules import SEVERITIES, Finding
from onesigma.rules import values as measured_values

__all__ = ["Mended", "edits_diff", "lines_to_paste", "mended"]

_OF_THE_LOSS = "LOS701"

State = Literal["mended", "milder", "stays", "new"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mended:
    """One finding, before and after.

    Attributes:
        finding: As it was before; for a new one as it is now.
        before: Its number then; None for a new one, or where the rule has none.
        after: The same number now; None where it is not measured any more.
        state: "mended": no finding any more, or a note at most; "milder"; "stays"; "new".
    """

    finding: Finding
    before: float | None
    after: float | None
    state: State


def mended(report: Diagnosis) -> tuple[Mended, ...]:
    """One entry per finding before the edits that is more than a note, gravest first, then those that came."""
    if report.before is None:
        return ()
    now = {(each.code, each.layer, each.call): each for each in report.findings}
    then = [each for each in report.before.findings if each.severity != "info"]
    numbers = measured_values(report.trace, [each.code for each in then])
    known = {(each.code, each.layer, each.call) for each in report.before.findings}
    # A loss is named at the head while that one is to blame for it, and at the whole model afterwards.
    loss = next((value for key, value in numbers.items() if key[0] == _OF_THE_LOSS), None)
    came = (each for each in report.findings if each.severity != "info")
    new = (each for each in came if (each.code, each.layer, each.call) not in known)
    return (
        *(
            _compared(
                each,
                now.get(key := (each.code, each.layer, each.call)),
                numbers.get(key, loss if each.code == _OF_THE_LOSS else None),
            )
            for each in then
        ),
        *(Mended(finding=each, before=None, after=_number(each.value), state="new") for each in new),
    )


def _compared(then: Finding, now: Finding | None, number: float | None) -> Mended:
    after = _number(now.value) if now is not None else number
    steps = -1 if now is None else SEVERITIES.index(now.severity)
    is_milder = steps < SEVERITIES.index(then.severity)
    state: State = "mended" if steps <= 0 else "milder" if is_milder else "stays"
    return Mended(finding=then, before=_number(then.value), after=after, state=state)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def lines_to_paste(edits: Edits) -> tuple[str, ...]:
    """Python that makes the applied edits on a model and batches of one's own, in the same order.

    Example:
        >>> from onesigma.model.edits import Edit
        >>> lines_to_paste(Edits((Edit(layer="0", action="draw weight"), Edit(layer="2", action="draw weight"))))
        ('onesigma.initialize_(model, batches)',)
    """
    return tuple(dict.fromkeys(_lines(edits)))


def edits_diff(edits: Edits) -> str:
    """The edits as a patch would show them: what was, what is, and, after "#", what was left alone and why.

    Example:
        >>> from onesigma.model.edits import Edit
        >>> print(edits_diff(Edits((Edit(layer="0", action="draw weight", before=3.1, after=1.0),))), end="")
        --- 0
        +++ 0: draw weight
        -3.10
        +1.00
    """
    return "".join(map(_hunk, edits))


def _hunk(edit: Edit) -> str:
    layer, action, reason = clean(edit.layer), clean(edit.action), clean(edit.reason)
    if not edit.applied:
        return f"# {layer}: {action}: {reason}\n"
    lines = [f"--- {layer}", f"+++ {layer}: {action}{f'  # {reason}' if reason else ''}"]
    lines += [f"{sign}{number(value)}" for sign, value in (("-", edit.before), ("+", edit.after)) if value is not None]
    return "\n".join(lines) + "\n"


def _lines(edits: Edits) -> Iterator[str]:
    for edit in edits.applied:
        word = edit.action.partition(" ")[0]
        if word == "standardize":
            yield "scaler = onesigma.standardize(data)  # the training set's statistics"
            axis = "axis=1" if edit.action.endswith("channels") else ""
            yield f"model = nn.Sequential(scaler.to_module({axis}), model)"
        elif word == "insert":
            yield "onesigma.norm.insert_(model, batches)"
        elif word == "remove":
            yield "onesigma.norm.strip_biases_(model, batches)"
        elif word == "calibrate":
            yield "onesigma.norm.calibrate_(model, batches)"
        elif word in ("draw", "scale"):
            yield "onesigma.initialize_(model, batches)"
