"""Gradients before any data: second moments go backward through what made each result, element by element.

Of y = Jx the gradient ∂L/∂x = Jᵀ∂L/∂y has second moments (J²)ᵀE[(∂L/∂y)²], if the gradients of different elements of y
are independent. Where variances go forward as J²·Var[x], this is the transpose of that map.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from onesigma.model.prediction.laws import slope_moment
from onesigma.model.prediction.rules.attention import attended
from onesigma.model.prediction.rules.pools import evenly, slope_of_largest
from onesigma.model.prediction.rules.shapes import MOVES, SAME
from onesigma.model.prediction.signal import Known, Signal
from onesigma.model.prediction.step import Step
from onesigma.model.prediction.unpredictable import Unpredictable

__all__ = ["Key", "Made", "gradients"]

Key = tuple[int, int]
_Back = Callable[["Made", Sequence[torch.Tensor]], dict[str, torch.Tensor]]


@dataclass(frozen=True, slots=True)
class Made:
    """One call that data went through.

    Attributes:
        step: The call as its rule saw it.
        sources: Argument → (call, number of its result) that made it.
        results: What is predicted of its results.
        key: Of its first result.
    """

    step: Step
    sources: Mapping[str, Key]
    results: Sequence[Signal]
    key: Key


@torch.no_grad()
def gradients(trail: Sequence[Made], outputs: Sequence[int]) -> dict[int, torch.Tensor | str]:
    """Call → second moments of the gradient of its first result, for a gradient of second moment 1 at the outputs.

    Where no rule tells how a gradient goes on, everything before that call has the reason instead.
    """
    found: dict[Key, torch.Tensor | str] = {}
    for made in trail:
        if made.key[0] in outputs:
            found[made.key] = torch.ones(made.results[0].shape)
    for made in reversed(trail):
        keys = [(made.key[0], number) for number in range(len(made.results))]
        came = [found.get(key) for key in keys]
        reason = next((each for each in came if isinstance(each, str)), None)
        if all(each is None for each in came):
            continue
        whole = [
            each if isinstance(each, torch.Tensor) else torch.zeros(result.shape)
            for each, result in zip(came, made.results, strict=True)
        ]
        for name, moment in _passed(made, whole, reason=reason).items():
            if name in made.sources:
                _add(found, made.sources[name], moment)
    return {index: moment for (index, number), moment in found.items() if number == 0}


def _add(found: dict[Key, torch.Tensor | str], key: Key, moment: torch.Tensor | str) -> None:
    before = found.get(key)
    if isinstance(before, torch.Tensor) and isinstance(moment, torch.Tensor):
        moment = before + moment
    found[key] = before if isinstance(before, str) else moment


def _passed(made: Made, came: Sequence[torch.Tensor], *, reason: str | None) -> Mapping[str, torch.Tensor | str]:
    if reason is None:
        try:
            return _back_of(made.step)(made, came)
        except Unpredictable as found:
            reason = str(found)
        except Exception as error:  # no rule may bring down the prediction
            reason = f"{made.step.call.op}: backward does not fit this call ({type(error).__name__}: {error})"
    return dict.fromkeys(made.step.signals, reason)


def _back_of(step: Step) -> _Back:
    call = step.call
    if call.kind == "activation" and call.function is not None:
        return _activation
    if call.kind == "norm":
        return _norm
    found = _BACK.get(call.op)
    if found is None:
        raise Unpredictable(f"no backward rule for {call.attributes.get('function', call.op)!r}")
    return found


def _pulled(
    step: Step, came: Sequence[torch.Tensor], *, forward: Callable[[str, torch.Tensor], Any]
) -> dict[str, torch.Tensor]:
    """The transpose of how variances go forward from each argument."""
    found = {}
    for name, signal in step.signals.items():
        with torch.enable_grad():
            variance = torch.zeros(signal.shape, requires_grad=True)
            out = forward(name, variance)
            results: list[torch.Tensor] = list(out) if isinstance(out, (tuple, list)) else [out]
            (found[name],) = torch.autograd.grad(results, variance, list(came))
    return found


def _activation(made: Made, came: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    x, function = made.step.signal(), made.step.call.function
    assert function is not None
    plain = x.plain
    return {"input": came[0] * slope_moment(function, plain.base_mean, plain.base_var)}


def _norm(made: Made, came: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    """(γ/σ)²: what the few means that a norm subtracts take from a gradient is of order 1/n."""
    before, after = made.step.signal().var, made.results[0].var
    average = after.mean() / before.mean().clamp(min=1e-30)
    return {"input": came[0] * torch.where(before > 0, after / before.clamp(min=1e-30), average)}


def _weighted(made: Made, came: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Layers with weights, and products of two signals: squares of the other side."""
    step = made.step

    def forward(name: str, variance: torch.Tensor) -> object:
        others: dict[str, object] = {"bias": None} if step.call.op.startswith(("linear", "conv")) else {}
        if "bias" in step.known and not others:
            raise Unpredictable(f"{step.call.op} with a bias has no backward rule yet")
        for key, known in step.known.items():
            if key not in (name, "bias"):
                others[key] = _square(known)
        return step.again(**{name: variance}, **others)

    return _pulled(step, came, forward=forward)


def _square(known: Signal | Known) -> torch.Tensor:
    if isinstance(known, Signal):
        return known.var + known.mean.square()
    return known.value.detach().float().square() if known.value.is_floating_point() else known.value


def _moved(made: Made, came: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    step = made.step

    def forward(name: str, variance: torch.Tensor) -> object:
        if step.call.op in ("view", "reshape"):
            return variance.reshape(step.shapes[0])
        others = {key: torch.zeros(known.shape) for key, known in step.signals.items() if key != name}
        return step.again(**{name: variance}, **others)

    return _pulled(step, came, forward=forward)


def _same(made: Made, came: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    return {"input": came[0]}


def _sum(made: Made, came: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Residual joins: each side has the gradient of the whole; what was broadcast sums it."""
    factor = float(made.step.arguments.get("alpha", 1)) ** 2
    return {
        name: (came[0] * (factor if name == "other" else 1.0)).sum_to_size(signal.shape)
        for name, signal in made.step.signals.items()
    }


def _product(made: Made, came: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    found = {}
    for name, signal in made.step.signals.items():
        other = made.step.known.get("other" if name == "input" else "input")
        factor = _square(other) if other is not None else torch.tensor(_number(made.step)).square()
        found[name] = (came[0] * factor).sum_to_size(signal.shape)
    return found


def _number(step: Step) -> float:
    return next(float(value) for value in step.arguments.values() if isinstance(value, (int, float)))


def _quotient(made: Made, came: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    if len(made.step.signals) > 1 or "input" not in made.step.signals:
        raise Unpredictable("a quotient by a signal has no backward rule yet")
    other = made.step.known.get("other")
    divisor = _square(other) if other is not None else torch.tensor(_number(made.step)).square()
    return {"input": (came[0] / divisor).sum_to_size(made.step.signal().shape)}


def _dropout(made: Made, came: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    if made.results[0] is made.step.signal():
        return {"input": came[0]}
    return {"input": came[0] / (1 - float(made.step.arguments.get("p", 0.5)))}


def _mean(made: Made, came: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    step = made.step
    count = step.signal().base_mean.numel() / max(made.results[0].base_mean.numel(), 1)
    if step.call.op.startswith("avg_pool"):
        size = step.arguments["kernel_size"]
        axes = int(step.call.op[-2])
        count = float(torch.tensor(size).prod()) if isinstance(size, (tuple, list)) else float(size) ** axes
    return _pulled(step, came, forward=lambda name, variance: step.again(**{name: variance}) / count)


def _total(made: Made, came: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    return _pulled(made.step, came, forward=lambda name, variance: made.step.again(**{name: variance}))


def _maximum(made: Made, came: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    """One of the values of a window has the whole gradient, and any is as likely."""
    factor = slope_of_largest(made.step)
    return _pulled(made.step, came, forward=lambda name, variance: evenly(made.step, variance) * factor)


def _attention(made: Made, came: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    """∂L/∂v = aᵀg, and ∂L/∂logit_j = a_j·g·(v_j − o) on the way to queries and keys."""
    attention = attended(made.step)
    mean, weights = attention.weights.base_mean, attention.weights
    second = weights.base_var + mean.square()
    apart = attention.value.var * (1 - attention.alike_values)
    around = (1 - 2 * mean + second.sum(-1, keepdim=True)).clamp(min=0)
    logits = second * around * (came[0] @ apart.transpose(-1, -2)) * attention.scale**2
    query, key = attention.query, attention.key
    found = {
        "query": logits @ (key.var * (1 - attention.alike_keys) + _spread(key)),
        "key": logits.transpose(-1, -2) @ (query.var + query.mean.square()),
        "value": second.transpose(-1, -2) @ came[0],
    }
    return {name: _grouped(moment, made.step.signal(name).shape) for name, moment in found.items()}


def _spread(x: Signal) -> torch.Tensor:
    return (x.mean - x.mean.mean(-2, keepdim=True)).square()


def _grouped(moment: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Summed over the heads that share keys and values."""
    if moment.shape == shape:
        return moment
    return moment.reshape(*shape[:-2], -1, *shape[-2:]).sum(-3)


_LAYERS = tuple(f"conv{transposed}{n}d" for transposed in ("", "_transpose") for n in (1, 2, 3))
_MAXIMA = tuple(
    f"{kind}max_pool{n}d{end}" for kind in ("", "adaptive_") for n in (1, 2, 3) for end in ("", "_with_indices")
)
_MEANS = tuple(f"{kind}avg_pool{n}d" for kind in ("", "adaptive_") for n in (1, 2, 3))

_BACK: Mapping[str, _Back] = {
    **dict.fromkeys(("linear", *_LAYERS, "matmul", "mm", "bmm", "einsum"), _weighted),
    **dict.fromkeys((*MOVES, "cat", "stack"), _moved),
    **dict.fromkeys(SAME, _same),
    **dict.fromkeys(("add", "sub", "rsub"), _sum),
    "neg": _same,
    "mul": _product,
    "div": _quotient,
    **dict.fromkeys(("dropout", "dropout1d", "dropout2d", "dropout3d"), _dropout),
    **dict.fromkeys((*_MEANS, "mean"), _mean),
    "sum": _total,
    **dict.fromkeys(_MAXIMA, _maximum),
    "scaled_dot_product_attention": _attention,
}
