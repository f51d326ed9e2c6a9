"""RNN, LSTM and GRU as one call: their equations step by step, on means and variances of every unit."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from onesigma.model.prediction.kernel import Kernel
from onesigma.model.prediction.laws import Function, correlation_series, moments_through
from onesigma.model.prediction.rules.steps import Moments, Steps, product_correlation
from onesigma.model.prediction.signal import Known, Signal, axis_role
from onesigma.model.prediction.step import Rule, Step
from onesigma.model.prediction.unpredictable import Unpredictable

__all__ = ["RECURRENT"]

_State = tuple[Moments, ...]  # what a step keeps: h, then c where there is one
_Cell = Callable[[Moments, _State, Sequence[torch.Tensor], Steps], _State]


def _affine(x: Moments, weight: torch.Tensor, bias: torch.Tensor) -> Moments:
    return F.linear(x[0], weight, bias), F.linear(x[1], weight.square())


def _sum(a: Moments, b: Moments) -> Moments:
    return a[0] + b[0], a[1] + b[1]


def _product(a: Moments, b: Moments) -> Moments:
    return a[0] * b[0], a[1] * b[1] + a[1] * b[0].square() + b[1] * a[0].square()


def _through(function: Function, x: Moments) -> Moments:
    return moments_through(function, *x)


def _gates(
    x: Moments, state: Moments, weights: Sequence[torch.Tensor], *, count: int, steps: Steps
) -> tuple[list[Moments], torch.Tensor]:
    """W·x + U·h in blocks, and how they go with those of earlier steps."""
    given, recalled = _affine(x, weights[0], weights[2]), _affine(state, weights[1], weights[3])
    blocks = list(zip(*(each.chunk(count, -1) for each in _sum(given, recalled)), strict=True))
    return blocks, steps.before_activation(given[1], recalled[1])


def _lstm(x: Moments, state: _State, weights: Sequence[torch.Tensor], steps: Steps) -> _State:
    """c = σ(f)·c + σ(i)·tanh(g), h = σ(o)·tanh(c)."""
    gates, alike = _gates(x, state[0], weights, count=4, steps=steps)
    write, keep, read = (_through(torch.sigmoid, gates[number]) for number in (0, 1, 3))
    new = _through(torch.tanh, gates[2])
    written, kept = _product(write, new), _product(keep, state[1])
    correlations = product_correlation([(write, alike), (new, alike)])
    more, states = steps.accumulated(correlations, written=written[1], kept=keep[0], state=state[1][1])
    cell = written[0] + kept[0], (written[1] + kept[1] + more).clamp(min=0)
    shown = _through(torch.tanh, cell)
    steps.done(product_correlation([(read, alike), (shown, states)]))
    return _product(read, shown), cell


def _gru(x: Moments, state: _State, weights: Sequence[torch.Tensor], steps: Steps) -> _State:
    """n = tanh(W_n x + b + σ(r)·(U_n h + b′)), h = (1 − σ(z))·n + σ(z)·h."""
    given, recalled = _affine(x, weights[0], weights[2]), _affine(state[0], weights[1], weights[3])
    from_x, from_h = ([*zip(*(each.chunk(3, -1) for each in whole), strict=True)] for whole in (given, recalled))
    reset, keep = (_through(torch.sigmoid, _sum(from_x[number], from_h[number])) for number in (0, 1))
    recall = _product(reset, from_h[2])
    new, alike = _through(torch.tanh, _sum(from_x[2], recall)), steps.before_activation(from_x[2][1], recall[1])
    written, kept = _product((1 - keep[0], keep[1]), new), _product(keep, state[0])
    correlations = product_correlation([((1 - keep[0], keep[1]), alike), (new, alike)])
    more, states = steps.accumulated(correlations, written=written[1], kept=keep[0], state=state[0][1])
    steps.done(states)
    mean, var = _sum(written, kept)
    # Where more is kept, less is written: E[n·h] of that cancels.
    together = new[0] * state[0][0] + more / (2 * keep[0] * (1 - keep[0])).clamp(min=1e-30)
    return ((mean, (var + more - 2 * keep[1] * together).clamp(min=0)),)


def _plain(function: Function) -> _Cell:
    def cell(x: Moments, state: _State, weights: Sequence[torch.Tensor], steps: Steps) -> _State:
        (whole,), alike = _gates(x, state[0], weights, count=1, steps=steps)
        series = correlation_series(function, *whole)
        steps.done(sum((share * alike**power for power, share in enumerate(series)), torch.zeros(())))
        return (_through(function, whole),)

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
        line = sites[:, 0]
        made, last, alike = _layers(step, inputs, cell, given=x.kernel.between(line[:, None], line[None, :]))
        if batch_first:
            made, sites = (made[0].transpose(0, 1), made[1].transpose(0, 1)), sites.transpose(0, 1)
        kernel = _remembering(x, line, alike)
        rows = sites.unsqueeze(-1).expand(made[0].shape)
        first = Signal(base_mean=made[0], base_var=made[1], sites=rows, kernel=kernel)
        samples = torch.arange(last[0][0][0].shape[0]).reshape(1, -1, 1)
        stacked = [[torch.stack(moment) for moment in zip(*part, strict=True)] for part in zip(*last, strict=True)]
        ends = [
            Signal(base_mean=mean, base_var=var, sites=samples.expand(mean.shape), kernel=Kernel.independent())
            for mean, var in stacked
        ]
        return [first, *ends]

    return rule


def _layers(
    step: Step, inputs: Moments, cell: _Cell, *, given: torch.Tensor
) -> tuple[Moments, list[_State], torch.Tensor]:
    """Results of the last layer (T, N, F), last states of all layers, and correlations of the results' steps (T, T)."""
    weights = _weights(step)
    directions = 2 if step.arguments["7"] else 1
    ends: list[_State] = []
    for layer in range(int(step.arguments["4"])):
        sides, alike = [], []
        for direction in range(directions):
            number = layer * directions + direction
            order = range(len(inputs[0]))
            times = list(reversed(order)) if direction else list(order)
            state = _start(step, number)
            found: list[Moments] = [state[0]] * len(times)
            steps = Steps(given.flip(0, 1) if direction else given)
            for time in times:
                state = cell((inputs[0][time], inputs[1][time]), state, weights[number], steps)
                found[time] = state[0]
            ends.append(state)
            alike.append(steps.results.flip(0, 1) if direction else steps.results)
            sides.append([torch.stack(each) for each in zip(*found, strict=True)])
        inputs = torch.cat([side[0] for side in sides], -1), torch.cat([side[1] for side in sides], -1)
        given = torch.stack(alike).mean(0)
    return inputs, ends, given


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


def _remembering(x: Signal, line: torch.Tensor, alike: torch.Tensor) -> Kernel:
    """The correlations of the steps, at the positions that were the steps."""
    count, places = x.kernel.num_positions, line % x.kernel.num_positions
    if len(x.kernel.grid) != 1 or count < 2:
        return x.kernel
    values = torch.eye(count)
    values[places[:, None], places[None, :]] = alike
    return Kernel(x.kernel.grid, values)


def _one_step(cell: _Cell) -> Rule:
    """A cell that the model calls itself, time by time."""

    def rule(step: Step) -> list[Signal]:
        rows = next(iter(step.signals.values())).plain
        states = [_moments_of(step, name) for name in step.known if name.startswith("hx")]
        weights = [step.value(name) for name in ("weight_ih", "weight_hh")]
        biases = [step.optional(name) for name in ("bias_ih", "bias_hh")]
        full = [*weights, *(torch.zeros(len(weights[0])) if bias is None else bias for bias in biases)]
        made = cell(_moments_of(step, "input"), tuple(states), full, Steps(torch.eye(1)))
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
