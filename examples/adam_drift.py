"""What a bias before a BatchNorm does in training: nothing to the output, and a random walk under Adam.

`python examples/adam_drift.py` trains one network with both optimizers, prints what becomes of the bias, and draws
docs/adam_drift.svg.
"""

import copy
import sys

import torch
from _chart import Panel, write_chart
from torch import nn

from onesigma.norm import calibrate_, strip_biases_

STEPS, BATCH = 500, 64


def train(optimizer: str, *, strip: bool = False) -> tuple[list[float], list[float], nn.Sequential]:
    """Mean |bias − start| and |bias gradient| / |weight gradient| after every step, and the network."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 1))
    teacher, x = torch.randn(20, 1) / 20**0.5, torch.randn(4096, 20)
    y = torch.tanh(x @ teacher) + torch.randn(4096, 1)
    if strip:
        strip_biases_(model, x[:BATCH])
    make = {"Adam": (torch.optim.Adam, 1e-2), "SGD": (torch.optim.SGD, 5e-2)}[optimizer]
    stepper = make[0](model.parameters(), lr=make[1])
    start = None if strip else model[0].bias.detach().clone()
    drifts, ratios = [], []
    for _ in range(STEPS):
        rows = torch.randint(0, len(x), (BATCH,))
        stepper.zero_grad()
        nn.functional.mse_loss(model(x[rows]), y[rows]).backward()
        stepper.step()
        if start is not None:
            drifts.append(float((model[0].bias.detach() - start).abs().mean()))
            ratios.append(float(model[0].bias.grad.abs().max() / model[0].weight.grad.abs().max()))
    return drifts, ratios, model


def lag(model: nn.Sequential) -> float:
    """How far running_mean is behind the bias: its largest distance from the data's mean, in stds."""
    generator = torch.Generator().manual_seed(1)
    return calibrate_(copy.deepcopy(model), torch.randn(4096, 20, generator=generator))[0].before or 0.0


def say(text: str) -> None:
    """One line to the terminal."""
    sys.stdout.write(text + "\n")


def main() -> None:
    """Train, print and draw."""
    torch.set_num_threads(1)
    found = {name: train(name) for name in ("Adam", "SGD")}
    for name, (drifts, ratios, model) in found.items():
        say(f"{name}: after {STEPS} steps the bias moved by {drifts[-1]:.2g} on average,")
        say(f"  its gradient was at most {max(ratios):.1g} of the weight's; running_mean is {lag(model):.2g} std off")
    stripped = train("Adam", strip=True)[2]
    say(f"Adam without the bias: running_mean is {lag(stripped):.2g} std off")
    steps = list(range(1, STEPS + 1))
    drift = {name: drifts for name, (drifts, _, _) in found.items()}
    ratio = {name: ratios for name, (_, ratios, _) in found.items()}
    says = (
        "Left: the bias drifts under Adam by a tenth in 500 steps, under SGD not at all. Right: its gradient is 1e-7."
    )
    write_chart(
        "adam_drift.svg",
        [
            Panel(
                title="mean |bias − start|", x=steps, x_label="step", lines=drift, bands={}, low=1e-10, high=1, log=True
            ),
            Panel(
                title="bias gradient / weight gradient",
                x=steps,
                x_label="step",
                lines=ratio,
                bands={},
                low=1e-10,
                high=1,
                log=True,
            ),
        ],
        says=says,
    )


if __name__ == "__main__":
    main()
