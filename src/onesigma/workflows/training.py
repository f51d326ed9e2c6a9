"""A short training, to show what a repair is worth."""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import nn

from onesigma.workflows.problem import Problem

__all__ = ["accuracy", "train"]


def train(
    model: nn.Module,
    problem: Problem,
    *,
    steps: int,
    lr: float = 1e-3,
    batch_size: int = 64,
    seed: int = 0,
    on_step: Callable[[float], None] = lambda loss: None,
) -> tuple[float, ...]:
    """Train `model` in place with Adam; the loss of every step is returned and handed to `on_step`.

    The same seed gives the same batches to every model, so that two curves differ by the model alone.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    losses = []
    model.train()
    for inputs, targets in _batches(problem, steps=steps, batch_size=batch_size, seed=seed):
        optimizer.zero_grad()
        output = model(inputs)
        loss = F.cross_entropy(output, targets) if problem.task == "classification" else F.mse_loss(output, targets)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
        on_step(losses[-1])
    return tuple(losses)


def accuracy(model: nn.Module, problem: Problem) -> float:
    """Share of rows whose largest output is their class, in eval mode; the mode is put back."""
    was_training = model.training
    model.eval()
    with torch.no_grad():
        inputs, targets = problem.batch()
        share = (model(inputs).argmax(1) == targets).float().mean()
    model.train(was_training)
    return float(share)


def _batches(
    problem: Problem, *, steps: int, batch_size: int, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """`steps` batches of rows drawn in shuffled epochs."""
    inputs, targets = problem.batch()
    generator = torch.Generator().manual_seed(seed)
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(steps):
        if len(order) < min(batch_size, len(inputs)):
            order = torch.randperm(len(inputs), generator=generator)
        rows, order = order[:batch_size], order[batch_size:]
        yield inputs[rows], targets[rows]
