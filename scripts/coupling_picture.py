"""Draws docs/coupling.svg: which sample's output moves with which sample's input, in training and in eval mode.

Run it as `python scripts/coupling_picture.py`; the same torch gives the same bytes.
"""

from pathlib import Path

import torch
from torch import nn

from onesigma.norm import coupling

_SAMPLES = 8
_CELL = 22
_SIZES = (2, 4, 8, 16, 32, 64)


def model() -> nn.Sequential:
    """Linear, BatchNorm, tanh, linear, from seed 0."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(10, 32), nn.BatchNorm1d(32), nn.Tanh(), nn.Linear(32, 4)).double()


def batch(size: int) -> torch.Tensor:
    """Standard normal inputs, from seed 1."""
    return torch.randn(size, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def blocks(net: nn.Module) -> torch.Tensor:
    """(i, j): the largest |∂out_i/∂in_j|, over the largest of all."""
    jacobian = torch.autograd.functional.jacobian(net, batch(_SAMPLES))
    assert isinstance(jacobian, torch.Tensor)
    sizes = jacobian.abs().amax((1, 3))
    return sizes / sizes.max()


def panel(values: torch.Tensor, *, left: int, title: str) -> list[str]:
    """One map: rows are outputs, columns inputs, dark is much, white with a dot is exactly zero."""
    parts = [f'<text x="{left}" y="24" font-size="14">{title}</text>']
    for i, row in enumerate(values.tolist()):
        for j, value in enumerate(row):
            x, y = left + j * _CELL, 40 + i * _CELL
            shade = round(255 - 200 * value**0.5) if value else 255
            parts.append(
                f'<rect x="{x}" y="{y}" width="{_CELL - 2}" height="{_CELL - 2}" fill="rgb({shade},{shade},255)" '
                'stroke="#bbb" stroke-width="0.5"/>'
            )
            if not value:
                parts.append(f'<circle cx="{x + _CELL // 2 - 1}" cy="{y + _CELL // 2 - 1}" r="1.5" fill="#999"/>')
    below = 40 + _SAMPLES * _CELL + 14
    parts.append(f'<text x="{left}" y="{below}" font-size="11">input of sample j →; rows: output of sample i</text>')
    return parts


def table(*, left: int) -> list[str]:
    """Coupling against batch size."""
    parts = [f'<text x="{left}" y="24" font-size="14">coupling by batch size</text>']
    for line, size in enumerate(_SIZES):
        found = coupling(model().float(), batch(size).float())
        text = f"N = {size}: train {found.train:.2f}, eval {found.eval:g}"
        parts.append(f'<text x="{left}" y="{54 + 26 * line}" font-size="12">{text}</text>')
    return parts


def main() -> None:
    """Write the picture."""
    net = model()
    trained, evaluated = blocks(net.train()), blocks(net.eval())
    parts = [
        *panel(trained, left=20, title="training: every input moves every output"),
        *panel(evaluated, left=330, title="eval: each only its own"),
        *table(left=560),
    ]
    body = "\n".join(parts)
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="790" height="250" font-family="sans-serif">\n'
        f'<rect width="790" height="250" fill="white"/>\n{body}\n</svg>\n'
    )
    (Path(__file__).parents[1] / "docs" / "coupling.svg").write_text(svg)


if __name__ == "__main__":
    main()
