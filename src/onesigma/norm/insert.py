"""`insert_`: put a BatchNorm before or after the nonlinearity of chosen layers of a live model."""

import warnings
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

import torch
from torch import nn

from onesigma._errors import ConfigError, NoEffectWarning
from onesigma._typing import Batches
from onesigma.model.batches import Batch, first_batch
from onesigma.model.capture import Listener, Site, capture
from onesigma.model.edits import Edit, Edits
from onesigma.model.graph import Call, Graph
from onesigma.model.names import module_names, unwrapped
from onesigma.model.state import preserved
from onesigma.norm.layers import batch_norm_for
from onesigma.norm.removal import remove_bias

__all__ = ["insert_"]


def insert_(
    model: nn.Module,
    batches: Batches,
    *,
    layers: Collection[str] | None = None,
    position: Literal["before", "after"] = "before",
) -> Edits:
    """Insert a BatchNorm before or after the nonlinearity that follows each chosen layer.

    The norm has one channel per unit (BatchNorm1d, 2d, 3d by shape; features last for linear layers on sequences),
    γ = 1, β = 0, and running statistics set from the first batch, so that eval computes what training does. Before
    the nonlinearity the layer's bias has no effect any more and is removed. In an `nn.Sequential` the norm gets an
    entry of its own, called like the layer with `_norm` behind, and no key of the state dict changes; elsewhere the
    layer is wrapped in a Sequential, which the edit says, since its keys change.

    Args:
        model: Any module that can be run; changed in place.
        batches: One batch, or an iterable whose first batch is used.
        layers: Names or patterns of linear layers or convolutions; all that feed a nonlinearity if None.
        position: "before" or "after" the nonlinearity.

    Returns:
        One edit per layer: `before` is the std of the signal at that place, `after` that behind the norm.

    Raises:
        ConfigError: Another position, or a pattern that fits no layer.
        CaptureError: The model raised.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
        >>> edits = insert_(model, 100 * torch.randn(64, 4))
        >>> [name for name, _ in model.named_children()], round(edits[0].after, 3)
        (['0', '0_norm', '1', '2'], 1.0)

    Reference: Ioffe & Szegedy 2015, https://arxiv.org/abs/1502.03167
    """
    if position not in ("before", "after"):
        raise ConfigError(f'insert_: position must be "before" or "after", got {position!r}.')
    module = unwrapped(model)
    batch = first_batch(batches).owned_by(module)
    stds = _Stds()
    with preserved(module), torch.no_grad():
        graph = capture(module, batch, listeners=[stds])
    places = list(_places(module, graph, layers=layers, position=position))
    edits = _inserted(module, batch, [place for place in places if not place.reason], stds=stds.found)
    refused = [
        Edit(layer=place.linear.layer, action="insert BatchNorm", applied=False, reason=place.reason)
        for place in places
        if place.reason
    ]
    if not edits.applied:
        why = "; ".join(f"{edit.layer}: {edit.reason}" for edit in refused[:3]) or "no layer feeds a nonlinearity."
        warnings.warn(f"insert_ changed no layer: {why}", NoEffectWarning, stacklevel=2)
    return Edits((*edits, *refused), edits.undo_steps)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one norm goes: behind the module called `host`, on the signal that `signal` makes."""

    linear: Call
    signal: Call
    host: nn.Module | None = None
    name: str = ""
    reason: str = ""


class _Stds(Listener):
    """The std of every call's result."""

    def __init__(self) -> None:
        self.found: dict[int, float] = {}

    def after(self, site: Site, output: Any) -> Any:
        """Look, and hand on."""
        if isinstance(output, torch.Tensor) and output.is_floating_point():
            self.found[site.call.index] = float(output.float().std(correction=0))
        return output


def _places(model: nn.Module, graph: Graph, *, layers: Collection[str] | None, position: str) -> Iterator[_Place]:
    modules = {name: module for module, name in module_names(model).items()}
    linears = [call for call in graph.of_kind("linear") if call.call == 0]
    for pattern in layers or ():
        if not any(fnmatchcase(call.layer, pattern) for call in linears):
            known = ", ".join(call.layer for call in linears)
            raise ConfigError(f"insert_: no linear layer or convolution is called {pattern!r}; there are {known}.")
    for linear in linears:
        if layers is not None and not any(fnmatchcase(linear.layer, pattern) for pattern in layers):
            continue
        consumers = graph.consumers(linear)
        activation = consumers[0] if len(consumers) == 1 and consumers[0].kind == "activation" else None
        if activation is not None:
            signal = linear if position == "before" else activation
            host = modules.get(signal.layer)
            yield _Place(linear, signal, host, signal.layer, _reason_against(graph, signal, host, position=position))
        elif layers is not None:
            yield _Place(linear, linear, reason="no nonlinearity alone reads its output")


def _reason_against(graph: Graph, signal: Call, host: nn.Module | None, *, position: str) -> str:
    if host is None or not signal.layer:
        return "it is a function call in the model's own forward; make it a module"
    calls = [call for call in graph.calls if call.layer == signal.layer and call.kind not in ("shape", "scale")]
    if len(calls) > 1:
        what = "the layer runs more than once" if position == "before" else f"{signal.layer!r} makes several calls"
        return f"{what}, and one norm cannot keep statistics of both"
    return ""


def _inserted(model: nn.Module, batch: Batch, places: list[_Place], *, stds: Mapping[int, float]) -> Edits:
    steps: list[Callable[[], None]] = []
    norms: list[nn.Module] = []
    notes: list[str] = []
    try:
        for place in places:
            assert place.host is not None
            norm = batch_norm_for(place.signal.shape, channels_last=not place.linear.op.startswith("conv"))
            norm.to(next(place.host.parameters(), next(model.parameters())).device).train(model.training)
            step, note = _attach(model, place.name, host=place.host, norm=norm)
            steps.append(step)
            norms.append(norm)
            if place.signal is place.linear and isinstance(getattr(place.host, "bias", None), nn.Parameter):
                steps.append(remove_bias(place.host, ()))
                note = "; ".join(filter(None, ("its bias was removed: the norm cancels it", note)))
            notes.append(note)
        after = _calibrated(model, batch, norms) if norms else {}
    except BaseException:
        for step in reversed(steps):
            step()
        raise
    edits = tuple(
        Edit(
            layer=place.linear.layer,
            action=f"insert {type(norm).__name__}",
            before=stds.get(place.signal.index),
            after=after[norm],
            reason=note,
        )
        for place, norm, note in zip(places, norms, notes, strict=True)
    )
    return Edits(edits, tuple(steps))


def _attach(model: nn.Module, name: str, *, host: nn.Module, norm: nn.Module) -> tuple[Callable[[], None], str]:
    """Put `norm` behind the module called `name`; return the way back, and what changes for the state dict."""
    path, _, key = name.rpartition(".")
    parent = model.get_submodule(path)
    before = dict(parent._modules)
    note = ""
    if isinstance(parent, nn.Sequential):
        entries = [(key, host), (f"{key}_norm", norm)]
        after = [pair for old in before.items() for pair in (entries if old[0] == key else [old])]
    else:
        wrapped = nn.Sequential(OrderedDict(layer=host, norm=norm)).train(parent.training)
        after = [(old, wrapped if old == key else module) for old, module in before.items()]
        note = f"wrapped: {name}.* is now {name}.layer.*" if host.state_dict() else ""
    _refill(parent, dict(after))

    def restore() -> None:
        _refill(parent, before)

    return restore, note


def _refill(parent: nn.Module, modules: Mapping[str, nn.Module | None]) -> None:
    parent._modules.clear()
    parent._modules.update(modules)


def _calibrated(model: nn.Module, batch: Batch, norms: list[nn.Module]) -> dict[nn.Module, float]:
    """Set the running statistics of the new norms from one batch; return the std behind each."""
    after: dict[nn.Module, float] = {}
    statistics: dict[nn.Module, tuple[torch.Tensor, torch.Tensor]] = {}

    def keep(norm: nn.Module, _: Any, output: torch.Tensor) -> None:
        after[norm] = float(output.float().std(correction=0))
        assert isinstance(norm, nn.modules.batchnorm._BatchNorm)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        statistics[norm] = (norm.running_mean.clone(), norm.running_var.clone())

    with preserved(model), torch.no_grad():
        for norm in norms:
            norm.train()
            norm.momentum = 1.0  # type: ignore[assignment]
            norm.register_forward_hook(keep)
        model(*batch.args, **batch.kwargs)
    for norm, (mean, variance) in statistics.items():
        norm.running_mean.copy_(mean)  # type: ignore[operator]
        norm.running_var.copy_(variance)  # type: ignore[operator]
        norm.num_batches_tracked.fill_(1)  # type: ignore[operator]
    return after
