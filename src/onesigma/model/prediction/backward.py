"""Gradients before any data: random gradients pulled back through every call, at inputs drawn from what is predicted.

For y = f(x), ∂L/∂x = Jᵀ∂L/∂y with J = f′(x). The gradient at the outputs is random signs; every call is made again on a
draw of its predicted inputs, and its own vector-Jacobian product takes the gradient on. So gradients that go together
over positions, as those behind a mean over tokens do, stay together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from onesigma.model.batches import tensors_in
from onesigma.model.ops import is_in_place
from onesigma.model.prediction.fields import Fields
from onesigma.model.prediction.rules.shapes import MOVES, SAME
from onesigma.model.prediction.signal import Known, Signal
from onesigma.model.prediction.step import Step
from onesigma.model.state import random_state_preserved

__all__ = ["Key", "Made", "gradients"]

Key = tuple[int, int]
_Gradients = dict[Key, torch.Tensor | str]

_ADDITIVE = MOVES | SAME | {"add", "sub", "rsub", "neg", "cat", "stack", "mean", "sum", "pad", "dropout", "interpolate"}
_ADDITIVE |= {f"{kind}avg_pool{n}d" for kind in ("", "adaptive_") for n in (1, 2, 3)}
# Products with weights or numbers.
_LINEAR_IN_ONE = {"linear", "matmul", "bmm", "mm", "mul", "div"}
_LINEAR_IN_ONE |= {f"conv{transposed}{n}d" for transposed in ("", "_transpose") for n in (1, 2, 3)}

_FEWEST, _MOST = 4, 16
_WANTED = 4096  # values at the outputs, over all probes: mean squares are then right to √(2/4096), 2.2 %


@dataclass(frozen=True, slots=True)
class Made:
    """One call that data went through.

    Attributes:
        step: The call as its rule saw it.
        sources: Argument → (call, number of its result) that made it.
        results: What is predicted of its results.
        key: Of its first result.
        unknown: Why nothing is predicted of its results, which then are none.
    """

    step: Step
    sources: Mapping[str, Key]
    results: Sequence[Signal]
    key: Key
    unknown: str = ""


@torch.no_grad()
def gradients(trail: Sequence[Made], outputs: Sequence[int]) -> dict[int, float | str]:
    """Call → mean square of the gradient of its first result, for a gradient of mean square 1 at the outputs.

    Where a call has no gradient that could be taken, everything before it has the reason instead.
    """
    ends = [made for made in trail if made.key[0] in outputs and made.results]
    values = sum(made.results[0].base_mean.numel() for made in ends)
    probes = min(max(_WANTED // max(values, 1), _FEWEST), _MOST)
    generator = torch.Generator().manual_seed(0)
    fields = Fields(generator)
    found: dict[int, float | str] = {}
    with random_state_preserved():
        torch.manual_seed(0)  # of dropout
        for _ in range(probes):
            for (index, number), gradient in _probe(trail, ends, fields=fields).items():
                before = found.get(index, 0.0)
                if number == 0 and not isinstance(before, str):
                    square = gradient if isinstance(gradient, str) else float(gradient.double().square().mean())
                    found[index] = square if isinstance(square, str) else before + square / probes
            fields.next()
    return found


def _probe(trail: Sequence[Made], ends: Sequence[Made], *, fields: Fields) -> _Gradients:
    """Every gradient, for random signs at the outputs."""
    found: _Gradients = {}
    for made in ends:
        coins = torch.randint(0, 2, made.results[0].shape, generator=fields.generator)
        found[made.key] = 2.0 * coins - 1
    for made in reversed(trail):
        if made.unknown:
            for source in made.sources.values():
                _add(found, source, f"behind {made.step.call.op}: {made.unknown}")
            continue
        came = [found.get((made.key[0], number)) for number in range(len(made.results))]
        if all(each is None for each in came):
            continue
        reason = next((each for each in came if isinstance(each, str)), None)
        for name, gradient in _passed(made, came, reason=reason, fields=fields).items():
            if name in made.sources:
                _add(found, made.sources[name], gradient)
    return found


def _add(found: _Gradients, key: Key, gradient: torch.Tensor | str) -> None:
    before = found.get(key)
    if isinstance(before, torch.Tensor) and isinstance(gradient, torch.Tensor):
        gradient = before + gradient
    found[key] = before if isinstance(before, str) else gradient


def _passed(
    made: Made, came: Sequence[torch.Tensor | str | None], *, reason: str | None, fields: Fields
) -> Mapping[str, torch.Tensor | str]:
    if reason is None:
        try:
            whole = [
                each if isinstance(each, torch.Tensor) else torch.zeros(result.shape)
                for each, result in zip(came, made.results, strict=True)
            ]
            return _batch_norm(made, whole) if _over_the_batch(made.step) else _pulled(made, whole, fields=fields)
        except Exception as error:  # no call may bring down the prediction
            reason = f"{made.step.call.op}: backward does not fit this call ({type(error).__name__}: {error})"
    return dict.fromkeys(made.step.signals, reason)


def _over_the_batch(step: Step) -> bool:
    return step.call.op == "batch_norm"


def _batch_norm(made: Made, came: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    """γ/σ: what the means over a whole batch take from a gradient, those over a few samples would overstate."""
    before, after = made.step.signal().var, made.results[0].var
    average = after.mean() / before.mean().clamp(min=1e-30)
    return {"input": came[0] * torch.where(before > 0, after / before.clamp(min=1e-30), average).sqrt()}


def _pulled(made: Made, came: Sequence[torch.Tensor], *, fields: Fields) -> dict[str, torch.Tensor]:
    """The vector-Jacobian product of the call, at a draw of its inputs."""
    step = made.step
    alone = step.call.kind == "activation"  # a slope looks at no neighbor
    given = {
        name: _as_in(step, name, torch.zeros(signal.shape) if _is_linear(step) else fields.of(signal, alone=alone))
        for name, signal in step.signals.items()
    }
    leaves = {name: value for name, value in given.items() if value.is_floating_point()}
    with torch.enable_grad():
        for leaf in leaves.values():
            leaf.requires_grad_()
        results = _called(step, {name: value.clone() for name, value in given.items()})
        pairs = [(out, grad) for out, grad in zip(results, came, strict=False) if out.requires_grad]
        if not pairs or not leaves:
            return {}
        outs, grads = zip(*pairs, strict=True)
        found = torch.autograd.grad(outs, list(leaves.values()), grads, allow_unused=True)
    return {name: gradient for name, gradient in zip(leaves, found, strict=True) if gradient is not None}


def _is_linear(step: Step) -> bool:
    """Whether the Jacobian is the same everywhere, so that no input need be drawn."""
    one = len(step.signals) == 1 and "input" in step.signals
    return step.call.op in _ADDITIVE or (one and step.call.op in _LINEAR_IN_ONE)


def _called(step: Step, given: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
    """The floating-point results of the call on other inputs; one that writes in place does so on copies."""
    if step.call.kind == "activation" and step.call.function is not None and step.call.op != "prelu":
        return [step.call.function(given["input"])]
    if step.call.op == "view":
        return [given["input"].reshape(step.shapes[0])]
    others = {name: _copied(known) for name, known in step.known.items() if _is_written(step, name)}
    arguments: dict[str, Any] = {**others, **given}
    made = step.again(**arguments)
    results = [tensor for tensor in tensors_in(made) if tensor.is_floating_point()]
    return results or [arguments["input"]]  # an assignment returns nothing


def _is_written(step: Step, name: str) -> bool:
    running = name in ("running_mean", "running_var")
    return not isinstance(step.known[name], Signal) and (running or (name == "input" and is_in_place(step.function)))


def _copied(known: Signal | Known) -> torch.Tensor:
    assert isinstance(known, Known)
    return known.value.detach().clone()


def _as_in(step: Step, name: str, value: torch.Tensor) -> torch.Tensor:
    """A mask as what the call reads: booleans."""
    outer, _, number = name.partition(".")
    original: Any = step.arguments[outer]
    original = original[int(number)] if number else original
    if isinstance(original, torch.Tensor) and not original.is_floating_point():
        return (value > 0.5) if original.dtype == torch.bool else value.to(original.dtype)
    return value.float()
