"""The listener that predicts: while the graph is captured, rules make results' signals from those of arguments."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.utils.weak import WeakTensorKeyDictionary

from onesigma.model.batches import tensors_in
from onesigma.model.capture import Listener, Recorder, Site
from onesigma.model.graph import Call
from onesigma.model.ops import is_in_place, op_of
from onesigma.model.prediction.asides import READS_MASKS, bernoulli, mask_of, random_numbers, site_of
from onesigma.model.prediction.backward import Made
from onesigma.model.prediction.feed import has_values
from onesigma.model.prediction.inputs import input_signal, looked_up
from onesigma.model.prediction.kernel import Kernel
from onesigma.model.prediction.lineage import Lineage
from onesigma.model.prediction.rules import rule_of
from onesigma.model.prediction.rules.pools import bagged
from onesigma.model.prediction.rules.shapes import SAME
from onesigma.model.prediction.signal import Known, Signal
from onesigma.model.prediction.step import Step
from onesigma.model.prediction.unpredictable import Unpredictable
from onesigma.model.roles import Operands

__all__ = ["Propagation", "Unknown"]


class Unknown(str):
    """Why nothing is known of a tensor."""


def _is_signal(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _memory(tensor: torch.Tensor) -> int:
    """Where its values lie: the same for a weight and its transpose."""
    return tensor.untyped_storage().data_ptr() if has_values(tensor) else 0


def _constant(value: torch.Tensor) -> Signal:
    mean = value.detach().float()
    sites = torch.zeros((), dtype=torch.long).expand(mean.shape)
    return Signal(base_mean=mean, base_var=torch.zeros_like(mean), sites=sites, kernel=Kernel.independent())


def _drawn(step: Step) -> list[Signal]:
    """A call on nothing but draws is made on each of them."""
    signals = step.signals
    first = next(iter(signals.values()))
    assert first.draws is not None
    results = [
        list(
            tensors_in(
                step.again(**{name: signal.draws[k] for name, signal in signals.items() if signal.draws is not None})
            )
        )
        for k in range(len(first.draws))
    ]
    return [first.with_draws(torch.stack(each)) for each in zip(*results, strict=True)]


_KEEP_HALVES = frozenset({"linear", "conv1d", "conv2d", "conv3d", *SAME})
_CARRY_HALVES = frozenset({"flatten", "view", "reshape", "squeeze"} | {f"avg_pool{n}d" for n in (1, 2, 3)})
_CARRY_HALVES |= {f"adaptive_avg_pool{n}d" for n in (1, 2, 3)}


def _followed(step: Step, made: Signal) -> Signal:
    """The result, with what is known of halves that mirror each other: as independent features they would be wrong."""
    mirrored = [signal for signal in step.signals.values() if signal.mirrored is not None]
    if not mirrored or step.call.kind == "activation" or step.call.op in _KEEP_HALVES:
        return made
    x = mirrored[0]
    same = bool(made.shape) and made.base_mean.dim() > 1 and made.shape[0] == x.shape[0]
    if step.call.op in _CARRY_HALVES and x.mirrored == 1 and same and made.shape[1] % 2 == 0:
        return made if made is x else replace(made, mirrored=None).plain.mirrored_as(x)
    raise Unpredictable(f"{step.call.op}: features that mirror one another are not followed through it")


class Propagation(Listener):
    """Follows the signals. No floating-point value of the running pass is read: only shapes, masks and indices are.

    Attributes:
        found: Call index → what is predicted of its result.
        trail: The calls that data went through, with `keep`: what gradients go back by.
    """

    def __init__(self, data: Mapping[torch.Tensor, tuple[torch.Tensor, bool]], *, keep: bool = False) -> None:
        self.trail: list[Made] = []
        self._keep = keep
        self.found: dict[int, Signal | Unknown] = {}
        self.recorder: Recorder | None = None
        self._states: Any = WeakTensorKeyDictionary()
        self._tokens: Any = WeakTensorKeyDictionary()
        self._keys: Any = WeakTensorKeyDictionary()
        self._read: set[int] = set()
        self._lineage = Lineage()
        self._overwritten: torch.Tensor | None = None
        for tensor, (values, real) in data.items():
            if tensor.is_floating_point():
                self._states[tensor] = input_signal(values, has_values=real, num_samples=tensor.shape[0])
            else:
                self._tokens[tensor] = values if real else values.to("meta")

    def before(self, site: Site) -> None:
        """Keep the constant that an in-place call is about to write a signal into."""
        target = site.tensors.get("input")
        writes = is_in_place(site.function) or bool(site.arguments.get("inplace"))
        self._overwritten = target.clone() if writes and target is not None and target not in self._states else None

    def after(self, site: Site, output: Any) -> Any:
        """Predict the result of a call that has just run."""
        made = [tensor for tensor in tensors_in(output) if isinstance(tensor, torch.Tensor)]
        if not made and "input" in site.tensors:
            made = [site.tensors["input"]]  # an assignment returns nothing
        states = self.predicted(site, made)
        self._read |= {_memory(tensor) for tensor in site.tensors.values() if site.call.kind != "embedding"}
        floating = [tensor for tensor in made if _is_signal(tensor)]
        if self._keep:
            own = (
                states if len(states) != len(made) else [s for t, s in zip(made, states, strict=True) if _is_signal(t)]
            )
            self._remember(site, floating, own)
        for tensor in made:
            if not _is_signal(tensor) and states:
                self._states[tensor] = Unknown(f"{site.call.op}: the order depends on the data")
        for tensor, state in zip(made if len(states) == len(made) else floating, states, strict=False):
            self._states[tensor] = state
        if not states and floating and not (floating[0].is_meta or floating[0].is_complex()):
            states = [_constant(floating[0])]  # no data went into it, as into the embedding of positions
        self.found[site.call.index] = states[0] if states else Unknown("it has no floating-point result")
        return output

    def _remember(self, site: Site, floating: list[torch.Tensor], states: Sequence[Signal | Unknown]) -> None:
        """Keep the step for the way back, with the calls that made its arguments."""
        index, known = site.call.index, [state for state in states if isinstance(state, Signal)]
        sources = {name: self._keys[tensor] for name, tensor in site.tensors.items() if tensor in self._keys}
        if known and len(known) == len(states) == len(floating):
            self.trail.append(Made(self.step(site, floating), sources, known, (index, 0)))
        elif sources and (unknown := next((state for state in states if isinstance(state, Unknown)), None)):
            self.trail.append(Made(self.step(site, floating), sources, (), (index, 0), str(unknown)))
        for number, tensor in enumerate(floating):
            self._keys[tensor] = (index, number)

    def replace(self, call: Call, tensor: torch.Tensor, signal: Signal) -> None:
        """From here on the result of this call is another tensor, of another signal."""
        self._states[tensor] = self.found[call.index] = signal

    def predicted(self, site: Site, made: list[torch.Tensor]) -> list[Signal | Unknown]:
        """One state for each floating-point result; empty where the result is no signal."""
        floating = [tensor for tensor in made if _is_signal(tensor)]
        try:
            states = self._by_rule(site, made)
            for state in states:
                if isinstance(state, Signal) and bool(state.mean.isnan().any() or state.var.isnan().any()):
                    raise Unpredictable(f"{site.call.op}: the moments are not finite")
        except Unpredictable as found:
            return [Unknown(str(found))] * len(floating)
        except Exception as error:  # no rule may bring down the model that runs
            reason = f"{site.call.op}: the rule does not fit this call ({type(error).__name__}: {error})"
            return [Unknown(reason)] * len(floating)
        if any(tensor.is_complex() for tensor in floating):
            return [Unknown(f"{site.call.op}: its result is complex")] * len(floating)
        for state, tensor in zip(states, made if len(states) == len(made) else floating, strict=False):
            if isinstance(state, Signal) and state.shape != tensor.shape:
                came = f"{tuple(state.shape)} for {tuple(tensor.shape)}"
                return [Unknown(f"{site.call.op}: the rule made shape {came}")] * len(floating)
        return list(states)

    def _by_rule(self, site: Site, made: list[torch.Tensor]) -> list[Signal | Unknown]:
        known = {name: self.state(tensor, op=site.call.op) for name, tensor in site.tensors.items()}
        for name, state in known.items():
            if isinstance(state, Unknown):
                return [Unknown(state if state.startswith("behind ") else f"behind {name}: {state}")] * len(made)
        step = self.step(site, made)
        if site.call.kind == "embedding" and not step.signals:
            rows = self._embedded(site, step)
            return list(self._lineage.follow(site, step, made=rows, results=made))
        if not step.signals:
            return []
        signals = step.signals
        if all(signal.draws is not None for signal in signals.values()):
            return list(self._lineage.follow(site, step, made=_drawn(step), results=made))
        rule = rule_of(step)
        if rule is None:
            raise Unpredictable(f"no rule for {site.call.attributes.get('function', site.call.op)!r}")
        found = rule(step)
        followed = [_followed(step, each) for each in (found if isinstance(found, list) else [found])]
        return list(self._lineage.follow(site, step, made=followed, results=made))

    def step(self, site: Site, made: list[torch.Tensor]) -> Step:
        """The call as its rule sees it."""
        known = {name: self.state(tensor, op=site.call.op) for name, tensor in site.tensors.items()}
        if self._overwritten is not None:
            known["input"] = Known(self._overwritten)
        op = op_of(site.function)
        assert op is not None
        return Step(
            call=site.call,
            op=op,
            function=site.function,
            arguments=site.arguments,
            known={name: state for name, state in known.items() if not isinstance(state, Unknown)},
            shapes=[tensor.shape for tensor in made],
        )

    def state(self, tensor: torch.Tensor, *, op: str = "") -> Signal | Known | Unknown:
        """What is known of a tensor that a call of this op reads."""
        found: Signal | Unknown | None = self._states.get(tensor)
        if found is None:
            return Known(tensor)
        is_index = not _is_signal(tensor) and op not in READS_MASKS
        return Known(tensor) if is_index and getattr(found, "draws", None) is None else found

    def aside(self, function: Callable[..., Any], operands: Operands | None, output: Any) -> None:
        """Random numbers and masks that depend on the data are signals too."""
        if not isinstance(output, torch.Tensor) or output.is_meta:
            return
        try:
            state = self._beside(function, operands, output)
        except Unpredictable as found:
            state = Unknown(str(found))
        except Exception as error:  # no rule may bring down the model that runs
            name = getattr(function, "__name__", "a function")
            state = Unknown(f"{name}: the rule does not fit this call ({type(error).__name__}: {error})")
        if state is not None:
            self._states[output] = state
            self._lineage.aside(() if operands is None else operands.tensors.values(), output)

    def _beside(
        self, function: Callable[..., Any], operands: Operands | None, output: torch.Tensor
    ) -> Signal | Unknown | None:
        if operands is None:
            return random_numbers(function.__name__, output)
        if operands.op.name == "bernoulli":
            return bernoulli(operands.arguments, output)
        states = {name: self._states[tensor] for name, tensor in operands.tensors.items() if tensor in self._states}
        if not states or (operands.names and not operands.calls):
            return None  # noise on a weight is a weight, and holds for all samples
        site = site_of(function, operands)
        step = self.step(site, [output])
        if any(isinstance(state, Unknown) for state in states.values()):
            return Unknown(f"{operands.op.name}: a mask made of what is not known")
        if _is_signal(output):
            return self.predicted(site, [output])[0]
        if all(state.draws is not None for state in states.values()):
            (found,) = _drawn(step)
            return found if found.shape == output.shape else None
        return mask_of(operands.op.name, {**operands.arguments, **states})

    def _embedded(self, site: Site, step: Step) -> list[Signal]:
        ids = next(tensor for name, tensor in site.tensors.items() if not tensor.is_floating_point())
        if self.recorder is not None and self.recorder.index_of(ids) is None and not ids.is_meta:
            return []  # positions, counted by the model itself: what they look up is no signal but known
        table = step.value("weight") if "weight" in step.known else step.value("input")
        if isinstance(self._states.get(ids), Unknown) and _memory(table) in self._read:
            raise Unpredictable("rows of a table that were picked by what was read from it before")
        is_bag = site.call.op == "embedding_bag" and ids.dim() == 2
        if not is_bag and site.call.op not in ("embedding", "__getitem__", "index_select"):
            raise Unpredictable(f"{site.call.op} has no rule yet")
        shape = torch.Size((*ids.shape, table.shape[-1]))
        data = self._tokens.get(ids)
        if data is None:
            data = torch.empty(ids.shape, dtype=torch.long, device="meta")
        rows = looked_up(table, data, shape=shape)
        return [bagged(step, rows) if is_bag else rows]
