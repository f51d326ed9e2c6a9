"""What a model would pay that knows nothing of its input."""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F

from onesigma.model.capture import Site
from onesigma.model.graph import Graph
from onesigma.model.signals import Ledger

__all__ = ["chance_at", "chance_of", "target_range"]

_LIKELIHOODS = frozenset({"binary_cross_entropy", "binary_cross_entropy_with_logits", "poisson_nll"})


def chance_of(site: Site) -> tuple[torch.Tensor, str, int] | None:
    """Chance level of a recorded loss call, in words, and its number of classes (0 for none); None if unknown."""
    output, target = site.tensors.get("input"), site.tensors.get("target")
    if output is None or target is None:
        return None
    op = site.call.op.removesuffix("_loss")
    with torch.no_grad():
        if op in ("cross_entropy", "nll"):
            classes = output.shape[1] if output.dim() > 1 else output.shape[0]
            entries = target.numel() if not target.is_floating_point() else target.numel() // classes
            value = output.new_full((), math.log(classes), dtype=torch.float32)
            return _reduced(value, site, count=entries), f"log {classes}", classes
        if op.startswith("binary_cross_entropy"):
            value = output.new_full((), math.log(2), dtype=torch.float32)
            return _reduced(value, site, count=target.numel()), "log 2", 0
        if op in ("mse", "l1", "smooth_l1", "huber"):
            value, name = _constant_guess(op, target.detach())
            return _reduced(value, site, count=target.numel()), name, 0
    return None


def target_range(site: Site) -> torch.Tensor | None:
    """Lowest and highest target of a recorded loss call that is a likelihood of some numbers only; None for others."""
    target = site.tensors.get("target")
    if site.call.op.removesuffix("_loss") not in _LIKELIHOODS or target is None or not target.numel():
        return None
    return torch.stack(target.detach().aminmax()).float()


def chance_at(
    index: int, graph: Graph, *, ledger: Ledger, known: Mapping[int, tuple[int, str]]
) -> tuple[float, str] | None:
    """Chance level of the value that call `index` made, from those of the losses in it; None where one is unknown.

    Sums, multiples by constants, means and views of losses are seen through: a model that knows nothing pays the sum.
    One that enters with a minus sign alone makes the level negative; in a sum with others it may be meant.
    """
    if index in known:
        slot, name = known[index]
        return float(ledger.row(slot)[0]), name
    call = graph.calls[index] if index >= 0 else None
    if call is None or not call.inputs:
        return None
    found = []
    for source in call.inputs:
        part = chance_at(source, graph, ledger=ledger, known=known)
        if part is None:
            return None  # at once: the ways through joined experts and residual sums are without number
        found.append(part)
    if call.kind == "shape" or call.op == "mean":
        return found[0]
    factor = call.attributes.get("other")
    if call.op == "neg":
        return -found[0][0], f"{found[0][1]}, negated"
    if call.kind == "scale" and isinstance(factor, int | float) and factor and call.op in ("mul", "div"):
        return found[0][0] * (factor if call.op == "mul" else 1 / factor), f"{found[0][1]}, scaled"
    if call.kind == "join" and call.op == "add" and all(value >= 0 for value, _ in found):
        return sum(value for value, _ in found), " and ".join(name for _, name in found)
    return None


def _constant_guess(op: str, target: torch.Tensor) -> tuple[torch.Tensor, str]:
    """What the best constant per output would pay."""
    target = target.to(torch.float32 if target.device.type == "mps" else torch.float64)
    columns = target.reshape(target.shape[0], -1) if target.dim() else target.reshape(1, 1)
    if op == "mse":
        return columns.var(0, correction=0).mean(), "variance of the targets"
    median = columns.median(0).values.expand_as(columns)
    if op == "l1":
        return F.l1_loss(median, columns), "mean distance of the targets from their median"
    return (F.huber_loss if op == "huber" else F.smooth_l1_loss)(median, columns), f"{op} of the targets' median"


def _reduced(value: torch.Tensor, site: Site, *, count: int) -> torch.Tensor:
    return value * count if site.arguments.get("reduction") == "sum" else value
