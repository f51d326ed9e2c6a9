"""`check`: measure, then judge. `steps` trains a copy first, so that updates and running statistics can be judged."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import nn

from onesigma._errors import BatchError, ConfigError
from onesigma._typing import Batches, Loss
from onesigma.measure import load_weights, measure, measure_contrasted, measure_state
from onesigma.model.batches import iterate_batches
from onesigma.model.trace import Trace
from onesigma.report.report import Report
from onesigma.report.summary import Meta
from onesigma.rules import RULES, SEVERITIES, Finding, Limits, judge, selected
from onesigma.workflows.asked import refuse_nothing
from onesigma.workflows.predicted import Theory, theory_of
from onesigma.workflows.problem import Problem
from onesigma.workflows.updates import MakeOptimizer, train_copy

__all__ = ["SAMPLE_ROWS", "check", "check_table", "check_weights"]

# A table is judged on at most so many rows; its statistics are always those of all rows.
SAMPLE_ROWS = 2048

# What a training can bring about that one pass over the fresh model does not show.
_OF_TRAINING = ("ACT302", "NRM602", "NUM901")


def check(
    model: nn.Module | Mapping[str, Any],
    batches: Batches | None = None,
    *,
    loss: Loss | str | None = None,
    optimizer: MakeOptimizer | None = None,
    steps: int = 0,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    limits: Limits | Mapping[Any, Any] | None = None,
    predicted: bool = False,
) -> Report:
    """Measure every layer of `model` and judge what was seen: one forward pass, and with a loss one backward pass.

    Then a few rows go through it in eval mode, to see whether they depend on one another and whether the loss is a sum;
    the whole batch does where batch norms have tracked something, to compare both modes, unless a few rows of a costly
    one settle that eval mode costs no more. The model is measured in the mode it arrives in, and is afterwards what it
    was, bit for bit.

    Args:
        model: Any module, on any device. Or a state_dict: then nothing is run, and its weights and running statistics
            are judged by themselves; see `check_weights` for a file.
        batches: A tensor, `(inputs, targets)`, `((a, b), targets)`, keyword inputs, or an iterable of those, of which
            the first is looked at, and the first `steps` are trained on.
        loss: A callable `loss(output, targets)`, a loss module, a name such as "cross_entropy"; None takes the `.loss`
            that a Hugging Face model puts into its output.
        optimizer: Makes the optimizer for `steps`: `lambda params: torch.optim.Adam(params, lr=1e-3)`.
        steps: Train a copy for so many steps, and judge the size of its updates and what it became, too.
        select: Codes or prefixes of codes to judge by: `["INI", "ACT301"]`; all if empty.
        ignore: Codes or prefixes to leave out; "INI:head.*" leaves them out at these layers.
        limits: `{"INI201": 3.0, ("ACT301", "gate*"): {"error": 0.9}}`; see `Limits`.
        predicted: Put what `onesigma.predict` says beside what was measured; it takes about as long again.

    Returns:
        The report: `.findings`, `.trace`, `.exit_code`, `.to_text()`, `.to_json()`, `.to_html()`, `.save(path)`.

    Raises:
        BatchError: There is no batch that the model can be fed with.
        CaptureError: The model or the loss raised; the message names the last call that ran.
        ConfigError: An unknown code, limit or loss; no rule left; or `steps` without an optimizer or a loss.
        ModelError: A state_dict without a tensor.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 3))
        >>> report = check(model, 100 * torch.ones(32, 4).cumsum(0), select=["INP"])
        >>> report.findings[0].code, report.exit_code
        ('INP101', 1)
    """
    refuse_nothing(select, ignore)
    judging: dict[str, Any] = {"select": select, "ignore": ignore, "limits": limits}
    if isinstance(model, Mapping) and not isinstance(model, nn.Module):
        return _judged_state(measure_state(model), **judging)
    if batches is None:
        raise BatchError("check: a model is measured on batches: check(model, (inputs, targets), loss=…).")
    if steps and optimizer is None:
        raise ConfigError("check: steps needs an optimizer=lambda params: torch.optim.Adam(params, lr=1e-3).")
    return _judged(model, batches, loss=loss, optimizer=optimizer, steps=steps, judging=judging, predicted=predicted)


def _judged(
    model: nn.Module,
    batches: Batches,
    *,
    loss: Loss | str | None,
    judging: dict[str, Any],
    predicted: bool,
    optimizer: MakeOptimizer | None = None,
    steps: int = 0,
) -> Report:
    held = list(iterate_batches(batches, limit=max(steps, 1)))
    trace = measure_contrasted(model, held[0], loss=loss)
    findings: tuple[Finding, ...] = ()
    if optimizer is not None and steps:
        updates = train_copy(model, held, loss=loss, optimizer=optimizer, steps=steps)
        trace = updates.added_to(trace)
        trained = judge(measure(updates.model, held[0], loss=loss), **judging)
        findings = tuple(_later(finding, steps=steps) for finding in trained if finding.code in _OF_TRAINING)
    findings = (*judge(trace, **judging), *findings)
    theory = theory_of(model, held[0], trace) if predicted else Theory()
    return Report(
        trace=trace,
        findings=findings,
        meta=_meta(judging),
        predicted=theory.stds,
        predicted_gradients=theory.gradients,
    )


def _later(finding: Finding, *, steps: int) -> Finding:
    return replace(finding, message=f"After {steps} steps on a copy: {finding.message}")


def check_weights(path: str | Path, **judging: Any) -> Report:
    """Judge a file of weights without running anything: safetensors, or what `torch.save` wrote.

    NaN and infinite values, running statistics that were never updated or cannot be true, units that are copies of one
    another, constant or all zero. Nothing in the file is executed; it is mapped into memory, a tensor at a time.

    Args:
        path: Of the file.
        judging: `select`, `ignore` and `limits` of `check`.

    Raises:
        SourceError: No such file, another format, a file that is damaged, or one that wants to run code.
        ModelError: It holds no tensor by name.
        ConfigError: An unknown code or limit, or no rule left.
    """
    refuse_nothing(judging.get("select", ()), judging.get("ignore", ()))
    return _judged_state(measure_state(load_weights(Path(path)), name=Path(path).name), **judging)


def _judged_state(trace: Trace, **judging: Any) -> Report:
    return Report(trace=trace, findings=judge(trace, **judging), meta=_meta(judging))


def check_table(model: nn.Module, problem: Problem, *, seed: int = 0, **judging: Any) -> Report:
    """`check` on at most 2048 rows of a table, drawn with `seed`; `judging` is `select`, `ignore` and `limits`."""
    batch = problem.sample(SAMPLE_ROWS, seed=seed).batch()
    return _judged(model, batch, loss=problem.loss, judging=judging, predicted=True)


def _meta(judging: Mapping[str, Any]) -> Meta:
    """Versions, and the limits that the selected rules used where no layer has its own."""
    limits = judging.get("limits")
    settings = limits if isinstance(limits, Limits) else Limits(limits)
    used = {}
    for code in selected(judging.get("select", ())):
        levels = settings.of(code, layer="", default=RULES[code].levels)
        sign = "<" if levels.below else ">"
        told = (f"{name} {sign} {limit:g}" for name in SEVERITIES if (limit := getattr(levels, name)) is not None)
        used[code] = ", ".join(told)
    return Meta(versions={**_versions(), "python": platform.python_version()}, limits=used)


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("onesigma", "torch")}
