"""`repair`: fix what was found, on a copy, step by step; a step stays only if measuring again shows that it helped."""

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import nn

from onesigma._errors import ModelError, NoEffectWarning, OnesigmaError
from onesigma._typing import Batches, Loss
from onesigma.init.initialize import initialize_
from onesigma.inputs import StandardScaler
from onesigma.model.batches import first_batch
from onesigma.model.edits import Edit, Edits
from onesigma.norm import calibrate_, insert_, strip_biases_
from onesigma.report.groups import place
from onesigma.report.report import Report
from onesigma.rules import Finding
from onesigma.workflows.check import SAMPLE_ROWS, check
from onesigma.workflows.feed import Feed, feed_of
from onesigma.workflows.predicted import theory_of
from onesigma.workflows.problem import Problem
from onesigma.workflows.updates import MakeOptimizer

__all__ = ["Repair", "repair"]

# Findings that each step can mend; a code that stands nowhere is mended by hand.
_INPUTS = ("INP101", "INP102")
_WEIGHTS = ("INI", "ACT", "GRA", "UPD", "LOS701", "LOS704", "NUM")
_STATISTICS = ("NRM602", "NRM603")
_BIASES = ("NRM601",)


@dataclass(frozen=True, slots=True)
class Repair:
    """What `repair` made of a model.

    Attributes:
        model: The repaired copy; the model that came in is as it was.
        scaler: Fitted input statistics, or None where the inputs were fine.
        report: After the repair; its `before` is the model as it came, its `edits` are what was done or refused: of
            every kind of finding that stays, why.
        whole: What takes the inputs as they came: the scaler as a layer, then the model.
    """

    model: nn.Module
    scaler: StandardScaler | None
    report: Report
    whole: nn.Module

    def inputs(self, problem: Problem) -> Problem:
        """The problem as the repaired model wants it: standardized, or as it is."""
        if self.scaler is None:
            return problem
        with torch.no_grad():
            return replace(problem, inputs=self.scaler.to_module()(problem.inputs))


def repair(
    model: nn.Module,
    data: Problem | Batches,
    *,
    loss: Loss | str | None = None,
    optimizer: MakeOptimizer | None = None,
    steps: int = 0,
    norm: Literal["before", "after"] | None = None,
    strip: bool = False,
    seed: int = 0,
    source: str = "",
    on_step: Callable[[str], None] = lambda step: None,
    **judging: Any,
) -> Repair:
    """Standardize the inputs, initialize the weights, calibrate running statistics, and, where asked, insert norms and
    strip biases; then prove it.

    Each step runs only if a finding calls for it, is measured again, and is undone unless the findings became fewer
    or milder. So a trained model whose only trouble are its inputs keeps its weights. A step that cannot be made is
    an edit that was refused; so is every kind of finding that stays, with what is left to do by hand.

    Args:
        model: As it came; it is not changed.
        data: A table, whose loss is known; or batches as `check` takes them.
        loss: See `check`; of batches.
        optimizer: See `check`; of batches.
        steps: See `check`; of batches.
        norm: Insert a BatchNorm "before" or "after" every nonlinearity; it changes the function, so only if asked for.
        strip: Remove biases that a norm cancels; it changes the parameters, so only if asked for.
        seed: Of the new weights.
        source: Where the data came from, for the provenance of the input statistics.
        on_step: Told in words what is being done.
        judging: `select`, `ignore` and `limits` of `check`.

    Raises:
        CaptureError: The model raises as it came.
        ModelError: It cannot be copied.

    Example:
        >>> raw = 300 * torch.randn(64, 5, generator=torch.Generator().manual_seed(0))
        >>> done = repair(nn.Sequential(nn.Linear(5, 32), nn.Tanh(), nn.Linear(32, 1)), raw)
        >>> done.report.before.exit_code, done.report.exit_code, done.whole(raw).shape
        (1, 0, torch.Size([64, 1]))
    """
    feed = feed_of(data, rows=SAMPLE_ROWS, seed=seed, loss=loss, optimizer=optimizer, steps=steps)
    state = _State(_copy(model), feed, judging)
    on_step("measure the model as it is")
    before = state.report = state.check()
    if state.calls_for(_INPUTS):
        on_step("standardize the inputs")
        state.standardize(source)
    if norm is not None:
        on_step(step := f"insert BatchNorm {norm} the nonlinearities")
        state.apply(step, lambda: insert_(state.model, state.feed.batches, position=norm), always=True)
    for step, codes, change in (
        ("initialize the weights", _WEIGHTS, lambda: initialize_(state.model, state.feed.batches, seed=seed)),
        ("calibrate the running statistics", _STATISTICS, lambda: calibrate_(state.model, state.feed.batches)),
        ("strip redundant biases", _BIASES if strip else (), lambda: strip_biases_(state.model, state.feed.batches)),
    ):
        if state.calls_for(codes):
            on_step(step)
            state.apply(step, change)
    if norm is None:
        state.settle(before)
    edits = state.edits + Edits(tuple(_left(state.report, strip=strip)))
    theory = theory_of(state.model, first_batch(state.feed.batches), state.report.trace)
    report = replace(
        state.report, before=before, edits=edits, predicted=theory.stds, predicted_gradients=theory.gradients
    )
    return Repair(state.model, state.scaler, report, state.whole)


class _State:
    """The copy under repair, what it is fed with, and what was last measured of it."""

    def __init__(self, model: nn.Module, feed: Feed, judging: dict[str, Any]) -> None:
        self.model = model
        self.feed = self.raw = feed
        self.judging = judging
        self.scaler: StandardScaler | None = None
        self.edits = Edits()
        self.report: Report

    @property
    def whole(self) -> nn.Module:
        return self.model if self.scaler is None else nn.Sequential(self.feed.layer(self.scaler), self.model)

    def check(self) -> Report:
        return check(self.model, self.feed.batches, **self.feed.asked, **self.judging)

    def calls_for(self, codes: Sequence[str]) -> bool:
        return any(finding.code.startswith(tuple(codes)) for finding in _serious(self.report)) if codes else False

    def standardize(self, source: str) -> None:
        """Feed the copy with standardized inputs from here on."""
        try:
            scaler = self.feed.fit(source)
            feed = self.feed.standardized(scaler)
            action = f"standardize {len(scaler.columns_)} {self.feed.noun}"
            edit = Edit(layer="inputs", action=action, before=self.feed.std, after=feed.std)
        except OnesigmaError as error:
            self._refuse("standardize the inputs", error)
            return
        self.scaler, self.feed, self.edits = scaler, feed, self.edits + Edits((edit,))
        self.report = self.check()

    def apply(self, step: str, change: Callable[[], Edits], *, always: bool = False) -> None:
        """Make a change; undo it unless it helped, or was asked for by name."""
        edits = Edits()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NoEffectWarning)  # its edits say why
                edits = change()
            report = self.check()
        except OnesigmaError as error:
            edits.undo()
            self._refuse(step, error)
            return
        if always or _badness(report) < _badness(self.report):
            self.edits += edits
            self.report = report
        else:
            edits.undo()
            self.edits += Edits(tuple(_useless(edit) for edit in edits))

    def settle(self, before: Report) -> None:
        """Take standardized inputs back, with all that was done to suit them, unless together they helped."""
        if self.scaler is None or _badness(self.report) < _badness(before):
            return
        self.edits.undo()
        self.edits = Edits(tuple(_useless(edit) for edit in self.edits))
        self.scaler, self.feed, self.report = None, self.raw, before

    def _refuse(self, step: str, error: OnesigmaError) -> None:
        self.edits += Edits((Edit(layer="model", action=step, applied=False, reason=str(error)),))


def _useless(edit: Edit) -> Edit:
    reason = "undone: measured again, the findings were no fewer and no milder"
    return replace(edit, applied=False, reason=edit.reason if not edit.applied else reason)


def _serious(report: Report) -> list[Finding]:
    return [finding for finding in report.findings if finding.severity != "info"]


def _left(report: Report, *, strip: bool) -> Iterator[Edit]:
    """A refusal for every kind of finding that stays: that no step mends it, or that none did."""
    by_code: dict[str, list[Finding]] = {}
    for finding in _serious(report):
        by_code.setdefault(finding.code, []).append(finding)
    for code, found in by_code.items():
        why = "no automatic fix"
        if code.startswith(_BIASES) and not strip:
            why = "left, since it changes the parameters: --unsafe-fixes, or strip=True"
        elif code.startswith((*_INPUTS, *_WEIGHTS, *_STATISTICS, *_BIASES)):
            why = "what was tried did not mend it"
        by_hand = f"; by hand: {' '.join(found[0].fix.split())}" if found[0].fix else ""
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        where = place(found[0]) or "model"
        yield Edit(layer=f"{where}{more}", action=f"mend {code}", applied=False, reason=f"{why}{by_hand}")


def _badness(report: Report) -> tuple[int, int, int]:
    summary = report.summary
    return summary.errors, summary.warnings, summary.infos


def _copy(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except Exception as error:
        raise ModelError(
            f"{type(model).__name__} cannot be copied ({type(error).__name__}: {error}), and a repair works on a copy; "
            "give it a __deepcopy__, or call onesigma.initialize_ on it yourself."
        ) from error
