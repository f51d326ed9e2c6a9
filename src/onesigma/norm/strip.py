"""`strip_biases_`: remove the biases that a BatchNorm takes out again, each proven by a probe."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile

import torch
from torch import nn

from onesigma._errors import NoEffectWarning
from onesigma._typing import Batches
from onesigma.model.batches import Batch, first_batch
from onesigma.model.edits import Edit, Edits
from onesigma.model.graph import Call, Graph
from onesigma.model.names import module_names, parameter_names, unwrapped
from onesigma.model.state import random_state_preserved
from onesigma.norm.migration import StrippedBias, tell_of_reducer, undo_all
from onesigma.norm.optimizers import keep_loading, listed
from onesigma.norm.proof import Twin, outputs_of, relative_change
from onesigma.norm.removal import bias_of, remove_bias

__all__ = ["strip_biases_"]

# In float64 a shift that is canceled comes back as rounding, about 1e-15; one that is not, as about 1.
_ROUNDING = 1e-9

_Norm = nn.modules.batchnorm._BatchNorm | nn.modules.instancenorm._InstanceNorm


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A layer whose bias goes into norms, or the reason why it stays."""

    name: str
    layer: nn.Module
    norms: tuple[_Norm, ...]
    reason: str = ""


def strip_biases_(model: nn.Module, batches: Batches, *, optimizer: torch.optim.Optimizer | None = None) -> Edits:
    """Remove every bias that the normalization after it cancels, and correct `running_mean` by it.

    A bias b directly before a BatchNorm moves the batch mean by b and is subtracted with it: no output depends on it
    and its gradient is rounding, which Adam scales up to steps of full size. Whether a bias is such a one is decided
    by a probe: on a float64 copy, in training mode, the bias is shifted by about one std of its layer's output, and
    neither the output of the model nor that of any norm may move beyond rounding. That rules out zero padding, ReLU,
    active dropout, frozen norms and outputs that are read elsewhere, without a list of them. Removal sets
    `layer.bias = None` and `running_mean -= bias`, so that both modes compute what they computed; checkpoints that
    still have the bias load in the same way.

    Args:
        model: Any module that can be run and copied.
        batches: One batch, or an iterable whose first batch is used.
        optimizer: The removed parameters leave its groups and its state; a state dict from before loads afterwards.

    Returns:
        One edit per bias before a norm: `before` is its largest value, `error` the largest change of the model's
        output over its largest value, in training and in eval; a refusal says what the bias still does.

    Warns:
        NoEffectWarning: No bias was removed.
        OnesigmaWarning: The model is wrapped in DistributedDataParallel, which has to be done anew.

    Raises:
        CaptureError: The model raised.
        ModelError: The model cannot be copied.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
        >>> edits = strip_biases_(model, torch.randn(32, 4))
        >>> model[0].bias is None, edits[0].error < 1e-6
        (True, True)

    Reference: Ioffe & Szegedy 2015, section 3.2, https://arxiv.org/abs/1502.03167
    """
    module = unwrapped(model)
    with random_state_preserved():
        batch = first_batch(batches).owned_by(module)
        twin = Twin(module, batch)
        found = [_proven(candidate, twin) for candidate in _candidates(module, twin.graph)]
        redundant = [each for each in found if not each.reason]
        edits = _removed(module, batch, redundant, optimizer=optimizer, twin=twin)
        order = {each.name: position for position, each in enumerate(found)}
        refusals = tuple(_refusal(each) for each in found if each.reason)
        edits = Edits(tuple(sorted((*edits, *refusals), key=lambda edit: order[edit.layer])), edits.undo_steps)
    if edits.applied:
        tell_of_reducer(model, "strip_biases_")
    else:
        warnings.warn("strip_biases_ removed no bias: no norm cancels one here.", NoEffectWarning, stacklevel=2)
    return edits


def _candidates(model: nn.Module, graph: Graph) -> Iterator[_Candidate]:
    modules = {name: module for module, name in module_names(model).items()}
    for name, calls in _calls_with_bias(graph, modules, parameter_names(model)).items():
        ends = [path.end for call in calls for path in graph.sinks(call)]
        norms = [end for end in ends if end is not None and _is_of_norm(end, modules)]
        if not norms:
            continue
        owners = tuple(dict.fromkeys(modules[norm.layer] for norm in norms))
        known = tuple(norm for norm in owners if isinstance(norm, _Norm))
        yield _Candidate(name, modules[name], known, _reason_against(modules[name], known, owners, ends, norms, graph))


def _is_of_norm(call: Call, modules: Mapping[str, nn.Module]) -> bool:
    """Whether a norm makes this call: of its function, or in a module of several calls, as that of ghost batches."""
    return call.op in ("batch_norm", "instance_norm") or isinstance(modules.get(call.layer), _Norm)


def _calls_with_bias(
    graph: Graph, modules: Mapping[str, nn.Module], parameters: Mapping[str, torch.Tensor]
) -> dict[str, list[Call]]:
    """Layer → its calls, where the bias that they read is a parameter of the layer, if of others too."""
    found: dict[str, list[Call]] = {}
    for call in graph.of_kind("linear"):
        layer, bias = modules.get(call.layer), parameters.get(call.parameters.get("bias", ""))
        if layer is not None and bias is not None and layer._parameters.get("bias") is bias:
            found.setdefault(call.layer, []).append(call)
    return found


def _reason_against(
    layer: nn.Module,
    norms: tuple[_Norm, ...],
    owners: tuple[nn.Module, ...],
    ends: list[Call | None],
    reached: list[Call],
    graph: Graph,
) -> str:
    """What the graph alone can say against a removal; whether the bias is canceled is for the probe."""
    if len(reached) < len(ends):
        return "its output is read elsewhere too, not by the norm alone"
    if len(norms) < len(owners):
        return "the norm is a function call without a module whose running_mean could be corrected"
    bias = layer.bias
    if not isinstance(bias, nn.Parameter) or "bias" not in layer._parameters:
        return "the bias is computed, not a parameter of the layer"
    if any(norm.num_features != bias.numel() for norm in norms):
        return f"the norm has {norms[0].num_features} channels, the bias {bias.numel()}"
    readers = {call.layer for end in reached for call in _feeders(graph, end)}
    if len(readers) > 1:
        return f"the norm normalizes {', '.join(sorted(readers))} alike, and has one running_mean for all"
    return ""


def _feeders(graph: Graph, norm: Call) -> list[Call]:
    """Every call whose result goes into the module of `norm`, in any of its calls."""
    calls = [call for call in graph.calls if call.layer == norm.layer and call.op == norm.op]
    return [source for call in calls if (source := graph.source(call).end) is not None]


def _proven(candidate: _Candidate, twin: Twin) -> _Candidate:
    """The candidate, with a reason against it where the probe sees its bias at work."""
    if candidate.reason:
        return candidate
    moved = twin.change_when_shifted(candidate.name)
    if moved <= _ROUNDING:
        return candidate
    reason = f"shifting it by one std moves what comes after by {moved:.2g} of its size, so the norm does not cancel it"
    return _Candidate(candidate.name, candidate.layer, candidate.norms, reason)


def _refusal(candidate: _Candidate) -> Edit:
    return Edit(layer=candidate.name, action="remove bias", applied=False, reason=candidate.reason)


def _removed(
    model: nn.Module,
    batch: Batch,
    redundant: list[_Candidate],
    *,
    optimizer: torch.optim.Optimizer | None,
    twin: Twin,
) -> Edits:
    before = outputs_of(model, batch)
    sizes = [float(bias_of(each.layer).detach().abs().max()) for each in redundant]
    names = {module: name for name, module in model.named_modules()}
    gradients = [twin.bias_gradient(each.name) for each in redundant]
    undo, trained = list[Callable[[], None]](), listed(optimizer)
    try:
        undo += (remove_bias(each.layer, each.norms, model=model, optimizer=optimizer) for each in redundant)
        undo += (_follow_checkpoints(model, each, names) for each in redundant)
        undo.append(keep_loading(optimizer, trained, model=model))
        error = relative_change(before, outputs_of(model, batch)) if redundant else 0.0
    except BaseException:
        undo_all(undo)
        raise
    edits = (
        Edit(
            layer=each.name,
            action="remove bias",
            before=size,
            after=0.0,
            error=error,
            reason=f"the norm cancels it; its gradient is {gradient:.1g} of the weight's",
        )
        for each, size, gradient in zip(redundant, sizes, gradients, strict=True)
    )
    return Edits(tuple(edits), tuple(undo))


def _follow_checkpoints(model: nn.Module, candidate: _Candidate, names: Mapping[nn.Module, str]) -> Callable[[], None]:
    """Let checkpoints with the bias load; the hook is on the innermost module that has the layer and its norms."""
    layer, norms = names[candidate.layer], [names[norm] for norm in candidate.norms]
    parents = zip(*(name.split(".")[:-1] for name in (layer, *norms)), strict=False)
    owner = ".".join(parts[0] for parts in takewhile(lambda parts: len(set(parts)) == 1, parents))
    start = len(owner) + 1 if owner else 0
    hook = StrippedBias(bias=f"{layer[start:]}.bias", means=tuple(f"{norm[start:]}.running_mean" for norm in norms))
    handle = model.get_submodule(owner).register_load_state_dict_pre_hook(hook)  # type: ignore[no-untyped-call]
    remove: Callable[[], None] = handle.remove
    return remove
