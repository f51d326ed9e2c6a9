"""`repair`: fix what was found, on a copy, step by step; a step stays only if measuring again shows that it helped."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import nn

from onesigma._errors import ModelError
from onesigma.init.initialize import initialize_
from onesigma.inputs import StandardScaler
from onesigma.model.batches import first_batch
from onesigma.model.edits import Edit, Edits
from onesigma.norm import insert_, strip_biases_
from onesigma.numbers.columns import Columns
from onesigma.report.report import Report
from onesigma.workflows.check import SAMPLE_ROWS, check
from onesigma.workflows.predicted import predicted_stds
from onesigma.workflows.problem import Problem

__all__ = ["Repair", "repair"]

# Findings that new input statistics, a new draw or a removed bias can mend.
_INPUTS = ("INP101", "INP102")
_WEIGHTS = ("INI", "ACT301", "ACT302", "ACT304", "GRA", "LOS701")
_BIASES = ("NRM601",)


@dataclass(frozen=True, slots=True)
class Repair:
    """What `repair` made of a model.

    Attributes:
        model: The repaired copy; the model that came in is as it was.
        scaler: Fitted input statistics, or None where the inputs were fine.
        report: After the repair; its `before` is the model as it came, its `edits` are what was done or refused.
    """

    model: nn.Module
    scaler: StandardScaler | None
    report: Report

    def inputs(self, problem: Problem) -> Problem:
        """The problem as the repaired model wants it: standardized, or as it is."""
        return problem if self.scaler is None else _standardized(problem, self.scaler)


def repair(
    model: nn.Module,
    problem: Problem,
    *,
    norm: Literal["before", "after"] | None = None,
    strip: bool = False,
    seed: int = 0,
    source: str = "",
    on_step: Callable[[str], None] = lambda step: None,
    **judging: Any,
) -> Repair:
    """Standardize the inputs, initialize the weights, and, where asked, insert norms and strip biases; then prove it.

    Each step runs only if a finding calls for it, is measured again, and is undone unless the findings became fewer
    or milder. So a trained model whose only trouble are its inputs keeps its weights.

    Args:
        model: As it came; it is not changed.
        problem: Inputs, and targets if there are any.
        norm: Insert a BatchNorm "before" or "after" every nonlinearity; it changes the function, so only if asked for.
        strip: Remove biases that a norm cancels; it changes the parameters, so only if asked for.
        seed: Of the new weights.
        source: Where the data came from, for the provenance of the input statistics.
        on_step: Told in words what is being done.
        judging: `select`, `ignore` and `limits` of `check`.
    """
    judged = problem.sample(SAMPLE_ROWS, seed=seed)
    state = _State(_copy(model), judged, judging)
    on_step("measure the model as it is")
    before = state.report = state.check()
    scaler = None
    if _calls_for(before, _INPUTS):
        on_step("standardize the inputs")
        columns = Columns.of(problem.inputs.numpy(), problem.names)
        scaler = StandardScaler.from_columns(columns, provenance={"source": source} if source else None)
        state.standardize(scaler)
    if norm is not None:
        on_step(f"insert BatchNorm {norm} the nonlinearities")
        state.apply(lambda: insert_(state.model, state.batch, position=norm), always=True)
    if _calls_for(state.report, _WEIGHTS):
        on_step("initialize the weights")
        state.apply(lambda: initialize_(state.model, state.batch, seed=seed))
    if strip and _calls_for(state.report, _BIASES):
        on_step("strip redundant biases")
        state.apply(lambda: strip_biases_(state.model, state.batch))
    theory = predicted_stds(state.model, first_batch(state.batch))
    return Repair(state.model, scaler, replace(state.report, before=before, edits=state.edits, predicted=theory))


class _State:
    """The copy under repair, what it is fed with, and what was last measured of it."""

    def __init__(self, model: nn.Module, problem: Problem, judging: dict[str, Any]) -> None:
        self.model = model
        self.problem = problem
        self.judging = judging
        self.edits = Edits()
        self.report: Report

    @property
    def batch(self) -> Any:
        return self.problem.batch()

    def check(self) -> Report:
        return check(self.model, self.batch, loss=self.problem.loss, **self.judging)

    def standardize(self, scaler: StandardScaler) -> None:
        """Feed the copy with standardized inputs from here on."""
        before = self.problem.inputs.std(correction=0).item()
        self.problem = _standardized(self.problem, scaler)
        after = self.problem.inputs.std(correction=0).item()
        action = f"standardize {self.problem.num_features} columns"
        self.edits += Edits((Edit(layer="inputs", action=action, before=before, after=after),))
        self.report = self.check()

    def apply(self, change: Callable[[], Edits], *, always: bool = False) -> None:
        """Make a change; undo it unless it helped, or was asked for by name."""
        edits = change()
        report = self.check()
        if always or _badness(report) < _badness(self.report):
            self.edits += edits
            self.report = report
        else:
            edits.undo()
            self.edits += Edits(tuple(_useless(edit) for edit in edits))


def _useless(edit: Edit) -> Edit:
    reason = "undone: measured again, the findings were no fewer and no milder"
    return replace(edit, applied=False, reason=edit.reason if not edit.applied else reason)


def _badness(report: Report) -> tuple[int, int, int]:
    summary = report.summary
    return summary.errors, summary.warnings, summary.infos


def _calls_for(report: Report, codes: Sequence[str]) -> bool:
    return any(finding.code.startswith(tuple(codes)) and finding.severity != "info" for finding in report.findings)


def _standardized(problem: Problem, scaler: StandardScaler) -> Problem:
    with torch.no_grad():
        return replace(problem, inputs=scaler.to_module()(problem.inputs))


def _copy(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except Exception as error:
        raise ModelError(
            f"{type(model).__name__} cannot be copied ({type(error).__name__}: {error}), and a repair works on a copy; "
            "give it a __deepcopy__, or call onesigma.initialize_ on it yourself."
        ) from error
