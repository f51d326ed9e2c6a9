"""RNN, LSTM and GRU as one call: their equations step by step, on means and variances of every unit."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from onesigma.model.prediction.kernel import Kernel
from onesigma.model.prediction.laws import Function, moments_through
from onesigma.model.prediction.signal import Known, Signal, axis_role
from onesigma.model.prediction.step import Rule, Step
from onesigma.model.prediction.unpredictable import Unpredictable

__all__ = ["RECURRENT"]

Moments = tuple[torch.Tensor, torch.Tensor]
# What a step keeps: h, then c where there is one; and the share of it that the next step takes over.
_State = tuple[Moments, ...]
_Cell = Callable[[Moments, _State, Sequence[torch.Tensor]], tuple[_State, float]]


def _affine(x: Moments, weight: torch.Tensor, bias: torch.Tensor) -> Moments:
    return F.linear(x[0], weight, bias), F.linear(x[1], weight.square())


def _sum(a: Moments, b: Moments) -> Moments:
    return a[0] + b[0], a[1] + b[1]


def _product(a: Moments, b: Moments) -> Moments:
    return a[0] * b[0], a[1] * b[1] + a[1] * b[0].square() + b[1] * a[0].square()


def _through(function: Function, x: Moments) -> Moments:
    return moments_through(function, *x)


def _gates(x: Moments, state: Moments, weights: Sequence[torch.Tensor], count: int) -> list[Moments]:
    whole = _sum(_affine(x, weights[0], weights[2]), _affine(state, weights[1], weights[3]))
    return list(zip(*(each.chunk(count, -1) for each in whole), strict=True))


def _lstm(x: Moments, state: _State, weights: Sequence[torch.Tensor]) -> tuple[_State, float]:
    """c = σ(f)·c + σ(i)·tanh(g), h = σ(o)·tanh(c)."""
    gates = _gates(x, state[0], weights, 4)
    write, keep, read = (_through(torch.sigmoid, gates[number]) for number in (0, 1, 3))
    cell = _sum(_product(keep, state[1]), _product(write, _through(torch.tanh, gates[2])))
    return (_product(read, _through(torch.tanh, cell)), cell), float(keep[0].mean())


def _gru(x: Moments, state: _State, weights: Sequence[torch.Tensor]) -> tuple[_State, float]:
    """n = tanh(W_n x + b + σ(r)·(U_n h + b′)), h = (1 − σ(z))·n + σ(z)·h."""
    given, recalled = _affine(x, weights[0], weights[2]), _affine(state[0], weights[1], weights[3])
    from_x, from_h = ([*zip(*(each.chunk(3, -1) for each in whole), strict=True)] for whole in (given, recalled))
    reset, keep = (_through(torch.sigmoid, _sum(from_x[number], from_h[number])) for number in (0, 1))
    new = _through(torch.tanh, _sum(from_x[2], _product(reset, from_h[2])))
    written, kept = _product((1 - keep[0], keep[1]), new), _product(keep, state[0])
    mean, var = _sum(written, kept)
    # Where more is kept, less is written.
    return ((mean, (var - 2 * keep[1] * new[0] * state[0][0]).clamp(min=0)),), float(keep[0].mean())


def _plain(function: Function) -> _Cell:
    def cell(x: Moments, state: _State, weights: Sequence[torch.Tensor]) -> tuple[_State, float]:
        (whole,) = _gates(x, state[0], weights, 1)
        return (_through(function, whole),), 0.0

    return cell


def _recurrent(cell: _Cell) -> Rule:
    def rule(step: Step) -> Signal | list[Signal]:
        if "8" not in step.arguments:
            raise Unpredictable(f"{step.call.op} of a packed sequence")
        x, batch_first = step.signal().plain, bool(step.arguments["8"])
        if x.base_mean.dim() != 3:
            raise Unpredictable(f"{step.call.op}: an input without an axis of samples")
        time = 1 if batch_first else 0
        if x.shape[time] > 1 and axis_role(x.sites, time, num_positions=x.kernel.num_positions) == "sample":
            raise Unpredictable(f"{step.call.op}: axis 0 of the batch is time, and is taken for samples")
        if float(step.arguments["5"]) and step.arguments["6"] and int(step.arguments["4"]) > 1:
            raise Unpredictable(f"{step.call.op} with dropout between its layers")
        inputs, sites = ((x.mean, x.var), x.sites[..., 0])
        if batch_first:
            inputs, sites = (x.mean.transpose(0, 1), x.var.transpose(0, 1)), sites.transpose(0, 1)
        made, last, kept = _layers(step, inputs, cell)
        if batch_first:
            made, sites = (made[0].transpose(0, 1), made[1].transpose(0, 1)), sites.transpose(0, 1)
        kernel = _remembering(x, kept)
        rows = sites.unsqueeze(-1).expand(made[0].shape)
        first = Signal(base_mean=made[0], base_var=made[1], sites=rows, kernel=kernel)
        samples = torch.arange(last[0][0].shape[1]).reshape(1, -1, 1)
        ends = [
            Signal(base_mean=mean, base_var=var, sites=samples.expand(mean.shape), kernel=Kernel.independent())
            for mean, var in last
        ]
        return [first, *ends]

    return rule


def _layers(step: Step, inputs: Moments, cell: _Cell) -> tuple[Moments, list[Moments], float]:
    """The results of the last layer (T, N, F), the last states (layers, N, H), and the share that steps keep."""
    weights = _weights(step)
    directions = 2 if step.arguments["7"] else 1
    ends: list[_State] = []
    kept = 0.0
    for layer in range(int(step.arguments["4"])):
        sides = []
        for direction in range(directions):
            number = layer * directions + direction
            order = range(len(inputs[0]))
            times = list(reversed(order)) if direction else list(order)
            state = _start(step, number)
            found: list[Moments] = [state[0]] * len(times)
            for time in times:
                state, kept = cell((inputs[0][time], inputs[1][time]), state, weights[number])
                found[time] = state[0]
            ends.append(state)
            sides.append([torch.stack(each) for each in zip(*found, strict=True)])
        inputs = torch.cat([side[0] for side in sides], -1), torch.cat([side[1] for side in sides], -1)
    last = [
        (torch.stack([end[part][0] for end in ends]), torch.stack([end[part][1] for end in ends]))
        for part in range(len(ends[0]))
    ]
    return inputs, last, kept


def _weights(step: Step) -> list[list[torch.Tensor]]:
    """W_ih, W_hh, b_ih, b_hh of every layer and direction."""
    flat = [step.value(name) for name in step.known if name.startswith("2.")]
    count = 4 if step.arguments["3"] else 2
    layers = int(step.arguments["4"]) * (2 if step.arguments["7"] else 1)
    if len(flat) != layers * count:
        raise Unpredictable(f"{step.call.op} with projections")
    groups = [flat[start : start + count] for start in range(0, len(flat), count)]
    return [[*group, *(torch.zeros(len(group[0])) for _ in range(4 - count))] for group in groups]


def _start(step: Step, number: int) -> _State:
    names = [name for name in step.known if name.startswith("hx")]
    parts: list[Any] = [step.known[name] for name in names]
    if not all(isinstance(part, Known) for part in parts):
        raise Unpredictable(f"{step.call.op}: a first state that depends on the data")
    values = [step.value(name)[number] for name in names]
    return tuple((value, torch.zeros_like(value)) for value in values)


def _remembering(x: Signal, kept: float) -> Kernel:
    """Steps are as alike as the inputs are, or as much as a step keeps of the one before it."""
    count = x.kernel.num_positions
    if len(x.kernel.grid) != 1 or count < 2:
        return x.kernel
    places = torch.arange(count)
    decay = kept ** (places[:, None] - places[None, :]).abs().float()
    return Kernel(x.kernel.grid, torch.maximum(decay, x.kernel.dense().values))


def _one_step(cell: _Cell) -> Rule:
    """A cell that the model calls itself, time by time."""

    def rule(step: Step) -> list[Signal]:
        rows = next(iter(step.signals.values())).plain
        states = [_moments_of(step, name) for name in step.known if name.startswith("hx")]
        weights = [step.value(name) for name in ("weight_ih", "weight_hh")]
        biases = [step.optional(name) for name in ("bias_ih", "bias_hh")]
        full = [*weights, *(torch.zeros(len(weights[0])) if bias is None else bias for bias in biases)]
        made, _ = cell(_moments_of(step, "input"), tuple(states), full)
        sites = rows.sites[..., :1]
        return [
            Signal(base_mean=mean, base_var=var, sites=sites.expand(mean.shape), kernel=rows.kernel)
            for mean, var in made
        ]

    return rule


def _moments_of(step: Step, name: str) -> Moments:
    if isinstance(step.known[name], Signal):
        return step.signal(name).mean, step.signal(name).var
    return step.value(name), torch.zeros_like(step.value(name))


RECURRENT: Mapping[str, Rule] = {
    "lstm": _recurrent(_lstm),
    "gru": _recurrent(_gru),
    "rnn_tanh": _recurrent(_plain(torch.tanh)),
    "rnn_relu": _recurrent(_plain(torch.relu)),
    "lstm_cell": _one_step(_lstm),
    "gru_cell": _one_step(_gru),
    "rnn_tanh_cell": _one_step(_plain(torch.tanh)),
    "rnn_relu_cell": _one_step(_plain(torch.relu)),
}
