"""What a fault does to training: the same short training of the faulty program and of its fixed twin, over seeds."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .registry import Case, Fault
from .score import built

__all__ = ["Symptom", "learned", "symptom", "symptoms"]

STEPS = 40
_MARGIN = 0.05


@dataclass(frozen=True)
class Symptom:
    """Means over seeds of what was learned (see `learned`), and in how many of them the faulty program fell behind."""

    name: str
    start_excess: float
    faulty: float | None
    fixed: float | None
    behind: int
    seeds: int


def symptom(fault: Fault, seeds: Iterable[int]) -> Symptom:
    """Train both; NaN counts as nothing learned."""
    pairs = [tuple(_trained(built(fault, seed=seed, twin=twin)) for twin in (False, True)) for seed in seeds]
    scores = [(bad[1], good[1]) for bad, good in pairs if bad[1] is not None and good[1] is not None]
    excess = sum(bad[0] - good[0] for bad, good in pairs) / len(pairs)
    behind = sum(bad < good - _MARGIN for bad, good in scores)
    faulty, fixed = (sum(each) / len(scores) for each in zip(*scores, strict=True)) if scores else (None, None)
    return Symptom(fault.name, excess, faulty, fixed, behind, len(scores))


def _trained(case: Case) -> tuple[float, float | None]:
    """The loss at the start, and what was learned in some steps of Adam, or of the case's own optimizer."""
    model, batch, loss, *training = case
    settings: Mapping[str, Any] = training[0] if training else {}
    make: Callable[[Any], torch.optim.Optimizer] = settings.get("optimizer", _adam)
    inputs, targets = batch if isinstance(batch, tuple) else (batch, None)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    criterion = getattr(torch.nn.functional, f"{loss}_loss") if isinstance(loss, str) else loss
    optimizer, start = make(parameters), float("nan")
    for step in range(settings.get("steps", STEPS)):
        optimizer.zero_grad()
        value = criterion(_run(model, inputs), targets)
        start = float(value.detach()) if step == 0 else start
        if not value.requires_grad or not torch.isfinite(value):
            break
        value.backward()
        optimizer.step()
    with torch.no_grad():
        return start, learned(_run(model, inputs), targets)


def _adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=2e-3)


def _run(model: nn.Module, inputs: Any) -> torch.Tensor:
    output = model(*inputs) if isinstance(inputs, tuple) else model(inputs)
    return output[0] if isinstance(output, tuple) else output


def learned(output: torch.Tensor, targets: torch.Tensor | None) -> float | None:
    """Accuracy for labels; for numbers the share of their variance that is explained, 0 at least; None if neither."""
    if not isinstance(targets, torch.Tensor) or not isinstance(output, torch.Tensor):
        return None
    if not torch.isfinite(output).all():
        return 0.0
    if not targets.is_floating_point():
        is_labeled = output.dim() == targets.dim() + 1
        classes = output.flatten(0, -2).argmax(-1) if output.shape[:-1] == targets.shape else output.argmax(1)
        return float((classes.flatten() == targets.flatten()).float().mean()) if is_labeled else None
    if output.numel() != targets.numel():
        return None
    output, targets = output.float().reshape(targets.shape), targets.float()
    if ((targets == 0) | (targets == 1)).all():
        return _correlated(output.flatten(), targets.flatten())
    residual, spread = ((output - targets) ** 2).mean(), targets.var(0, correction=0).mean()
    return max(0.0, 1 - float(residual / spread)) if spread > 0 else None


def _correlated(output: torch.Tensor, targets: torch.Tensor) -> float:
    """Squared correlation: the same for logits and for probabilities."""
    output, targets = output - output.mean(), targets - targets.mean()
    norm = float((output**2).sum() * (targets**2).sum())
    return float((output * targets).sum()) ** 2 / norm if norm > 0 else 0.0


def symptoms(faults: Iterable[Fault], *, seeds: Iterable[int]) -> Iterator[Symptom]:
    """One per fault; what torch warns of is part of the faults."""
    chosen = list(seeds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for fault in faults:
            yield symptom(fault, chosen)
