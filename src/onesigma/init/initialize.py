"""`initialize_`: one call that leaves every layer where it should be, says what it did, and can undo it."""

import warnings
from collections.abc import Collection, Mapping
from dataclasses import replace

import torch
from torch import nn

from onesigma._errors import ConfigError, NoEffectWarning
from onesigma._typing import Batches
from onesigma.init.analytic import AnalyticScale, analytic_pass
from onesigma.init.choice import left_out
from onesigma.init.deep import DeepScale
from onesigma.init.static import RECIPES, RULES, PlannedScale, RecipeScale, RuleScale
from onesigma.init.targets import Owners
from onesigma.init.unit import UnitScale
from onesigma.model.batches import Batch, first_batch, tensors_in
from onesigma.model.capture import capture, recording
from onesigma.model.edits import Edit, Edits
from onesigma.model.graph import Call, Graph
from onesigma.model.names import parameter_names, tied_names, unwrapped
from onesigma.model.state import preserved
from onesigma.model.together import group_of, is_on_ranks, on_ranks

__all__ = ["initialize_"]

_QUIET = 0.1

_SCHEMES: Mapping[str, type[UnitScale]] = (
    {"unit": UnitScale, "analytic": AnalyticScale, "deep": DeepScale}
    | dict.fromkeys(RULES, RuleScale)
    | dict.fromkeys(RECIPES, RecipeScale)
)


def initialize_(
    model: nn.Module,
    batches: Batches,
    *,
    scheme: str = "unit",
    seed: int = 0,
    where: Collection[str] = (),
    skip: Collection[str] = (),
    head: float | None = None,
) -> Edits:
    """Set the weights of `model` so that every linear's pre-activation has std 1 on the first batch.

    With the scheme "unit" it is one forward pass in the mode that the model arrives in. As each layer is about to run
    its weight is drawn from N(0, gain²/fan_in), with the gain of the nonlinearity that feeds it and fan_in by its
    role; as it has run, the weight is divided by the std s of what came out, and the pass goes on with y/s. Biases
    are zero, gates of RNNs are drawn per gate. Weights do not depend on the layout or on the order of layers: each is
    the stream of (seed, name).

    Left alone, and said so in the edits: weights that are zero on purpose (they end a residual branch, gate a
    product, or make the output), tied weights after their first use, frozen, derived and normalized weights, layers
    that the batch never reaches, and whatever `skip` names. Norms, running statistics, gradients, modes and random
    state stay bit for bit. If anything raises, the model is as it was.

    Under DDP, FSDP2 or with DTensors every rank must call, each with its own batch: all end with the bits of one
    process on the joined batch; see `on_ranks`.

    Args:
        model: Any module that can be run.
        batches: One batch, or an iterable whose first batch is used; see `iterate_batches`. Targets are not needed.
        scheme: "unit" as above; "analytic" the same with the predicted std (see `predict`) for the measured one: no
            value of a pass is looked at, and meta tensors do for a batch;
            "deep" for stacks without norms or skips: orthogonal weights, mirrored for a
            nonlinearity that is not odd, and a pre-activation variance that keeps gradients over the whole depth
            (1 for ReLU, GELU, SiLU, softplus). It looks at the graph first: two forward passes, as do all that follow.
            "kaiming", "xavier", "lecun", "orthogonal" draw by fans and gains alone, fans by role and the gain of the
            nonlinearity that feeds the layer; "gpt2", "llama", "deepnorm", "t-fixup", "fixup", "mup" by what each
            weight is for and by depth. Neither looks at a value of the data.
        seed: With the canonical name of a parameter it makes the values; no global random state is used.
        where: What to set, if not everything: patterns of names, class names of layers, or roles, such as
            `["blocks.*", "Conv2d", "residual_writer"]`. Roles are embedding, query, key, value, qkv, gate, up, expand,
            residual_writer and head; they are read off the graph.
        skip: The same, of what is left alone: `["head", "blocks.*.gate.weight"]`.
        head: Factor on the layers whose result leaves the model. Logits of std s cost about s²/2 above log C: 0.5 at
            the unit scale that "unit", "analytic" and "deep" give them too, 0.005 with `head=0.1`. That is the default
            of the rules "kaiming" to "orthogonal" where the batch has integer targets (or `labels`); else it is 1.

    Returns:
        One edit per layer in execution order: `before` is the std as drawn, `after` as set.

    Raises:
        ConfigError: There is no such scheme, or `where` means nothing.
        CaptureError: The model raised.
        BatchError: There is no batch that the model can be fed with.

    Example:
        >>> model = nn.Sequential(nn.Linear(10, 200), nn.Tanh(), nn.Linear(200, 50))
        >>> edits = initialize_(model, torch.randn(500, 10, generator=torch.Generator().manual_seed(1)))
        >>> [(edit.layer, round(edit.after, 3)) for edit in edits]
        [('0', 1.0), ('2', 1.0)]
        >>> edits.undo()

    Reference: the draw is that of He et al. 2015 (https://arxiv.org/abs/1502.01852) with exact gains; setting scales
    from data in order of execution follows Mishkin & Matas 2016 (https://arxiv.org/abs/1511.06422).
    """
    if scheme not in _SCHEMES:
        raise ConfigError(f"initialize_: scheme must be one of {', '.join(map(repr, _SCHEMES))}, got {scheme!r}.")
    if is_on_ranks(model):
        return on_ranks(
            initialize_, model, batches, group=group_of(model),
            scheme=scheme, seed=seed, where=where, skip=skip, head=head,
        )  # fmt: skip
    module = unwrapped(model)
    batch = first_batch(batches)
    if scheme != "analytic":  # which takes batches without values, too, and copies what it runs
        batch = batch.owned_by(module)
    with torch.no_grad():
        skip = left_out(module, where=where, skip=skip, graph=lambda: _graph_of(module, batch))
        listener, graph = _ran(module, batch, scheme=scheme, seed=seed, skip=skip)
        if forgotten := _forgotten_zeros(graph, listener):
            _restore(listener.saved)
            listener, graph = _ran(module, batch, scheme=scheme, seed=seed, skip=skip, forgotten=forgotten)
        _scale_heads(listener, graph, factor=_head_factor(batch, head, scheme=scheme))
    saved = listener.saved
    edits = Edits((*listener.edits, *_never_ran(module, graph)), (lambda: _restore(saved),))
    if not edits.applied:
        warnings.warn("initialize_ set no layer: " + _why(edits), NoEffectWarning, stacklevel=2)
    return edits


def _ran(
    model: nn.Module, batch: Batch, *, scheme: str, seed: int, skip: Collection[str], forgotten: Collection[str] = ()
) -> tuple[UnitScale, Graph]:
    """One pass of a scheme over the model, and the graph that it saw."""
    if scheme == "analytic":
        return analytic_pass(model, batch, seed=seed, skip=skip, forgotten=forgotten, tied=tied_names(model))
    listener = _SCHEMES[scheme](Owners.of(model), seed=seed, skip=skip, forgotten=forgotten, tied=tied_names(model))
    if isinstance(listener, DeepScale):
        listener.plan_for(_graph_of(model, batch))
    elif isinstance(listener, PlannedScale):
        listener.plan_for(_graph_of(model, batch), scheme=scheme)
    with preserved(model, parameters=False):
        try:
            with recording(model, listeners=[listener]) as recorder:
                listener.recorder = recorder
                recorder.run(batch)
        except BaseException:
            _restore(listener.saved)
            raise
    return listener, recorder.graph


def _graph_of(model: nn.Module, batch: Batch) -> Graph:
    """The graph, from a pass that the pass to come does not notice, nor the model's own weights."""
    with preserved(model):
        return capture(model, batch)


def _forgotten_zeros(graph: Graph, listener: UnitScale) -> frozenset[str]:
    """The blank weights that nothing excuses: their output is not added to a stream, nor gates one, nor leaves."""
    return frozenset(name for call, name in listener.blank if call.kind == "linear" and not _opens_quietly(graph, call))


def _opens_quietly(graph: Graph, call: Call) -> bool:
    ends = [path.end for path in graph.sinks(call)]
    return any(end is None or end.kind in ("join", "product", "loss") for end in ends)


def _head_factor(batch: Batch, head: float | None, *, scheme: str) -> float:
    """Logits of std s cost about s²/2 above log C: a tenth of unit scale makes that nothing, and still breaks ties."""
    if head is not None or scheme not in RULES:
        return 1.0 if head is None else head
    labels = (*tensors_in(batch.targets), *tensors_in(batch.kwargs.get("labels")))
    return _QUIET if any(not label.is_floating_point() and label.dtype != torch.bool for label in labels) else 1.0


def _scale_heads(listener: UnitScale, graph: Graph, *, factor: float) -> None:
    """Scale what leaves the model; recipes that say themselves how large a head is are left with that."""
    if factor == 1 or (isinstance(listener, RecipeScale) and listener.scheme in ("gpt2", "llama", "fixup", "mup")):
        return
    tied = set(listener.tied)
    for index, target in listener.targets.items():
        call = graph.calls[index]
        ends = [path.end for path in graph.sinks(call)]
        if call.kind != "linear" or target.name in tied or any(end is not None and end.kind != "loss" for end in ends):
            continue
        try:
            target.scale(factor)
        except ValueError:
            continue
        listener.edits[:] = [
            _quieter(edit, factor=factor) if edit.layer == call.name else edit for edit in listener.edits
        ]


def _quieter(edit: Edit, *, factor: float) -> Edit:
    after = None if edit.after is None else edit.after * factor
    return replace(edit, after=after, reason=f"{edit.reason}; head of a classification: × {factor:g}")


def _never_ran(model: nn.Module, graph: Graph) -> list[Edit]:
    """A refusal per layer with a weight that this batch did not reach, or not before our eyes."""
    hidden = ", ".join(
        dict.fromkeys(str(call.attributes.get("function", call.op)) for call in graph.of_kind("unknown"))
    )
    reason = "never ran on this batch" + (f", unless inside {hidden}, which is not looked into" if hidden else "")
    seen = {name for call in graph.calls for names in call.origins.values() for name in names}
    seen |= {name for call in graph.calls for name in call.parameters.values()}
    return [
        Edit(layer=name.rpartition(".")[0], action="draw weight", applied=False, reason=reason)
        for name, value in parameter_names(model).items()
        if name not in seen and value.dim() > 1
    ]


def _restore(saved: dict[nn.Parameter, torch.Tensor]) -> None:
    with torch.no_grad():
        # The last first: of two parameters over one memory, the second was saved when the first had been set.
        for parameter, value in reversed(saved.items()):
            parameter.copy_(value)


def _why(edits: Edits) -> str:
    return "; ".join(f"{edit.layer}: {edit.reason}" for edit in edits.refused[:3]) or "it has no weights"
