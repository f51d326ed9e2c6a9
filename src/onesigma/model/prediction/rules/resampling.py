"""Average pools and interpolations: along each axis a matrix of shares, and how the values they mix go together."""

import math
from collections.abc import Mapping

import torch

from onesigma.model.prediction.kernel import Kernel
from onesigma.model.prediction.law import law_of_mean
from onesigma.model.prediction.rules.linear import grid_sites
from onesigma.model.prediction.rules.pools import mean_over
from onesigma.model.prediction.signal import Signal
from onesigma.model.prediction.step import Rule, Step
from onesigma.model.prediction.unpredictable import Unpredictable

__all__ = ["RESAMPLING"]

_AT_ONCE = 2**22  # elements
_LEAST = 1e-6  # sum of shares, of those of an element; below it there is nothing


def _resampled(step: Step) -> Signal:
    """y = Σ a_p x_p with the shares that the call itself gives: Var[y] = Σ a_p a_q ρ_pq, in units of the x around y."""
    x = step.signal().plain
    count = len(step.shapes[0]) - 2
    if x.base_mean.dim() != count + 2 or count < 1:
        raise Unpredictable(f"{step.call.op}: an input without an axis of samples")
    if "adaptive" in step.call.op and math.prod(step.shapes[0][2:]) == 1:
        return mean_over(x, tuple(range(2, 2 + count)), keepdim=True)
    mean, near = step.again(input=x.base_mean), step.again(input=x.base_var)
    whole = step.again(input=torch.ones(1, 1, *x.shape[2:]))[0, 0]
    shares = _shares(step, x.shape[2:], whole=whole)
    square, kernel = _through(x.kernel.on(*x.shape[2:]), shares)
    factor = torch.where(whole.abs() > _LEAST, square / whole, torch.zeros(()))
    alone = float((whole.square().mean() / square.mean().clamp(min=1e-30)).clamp(min=1))
    return Signal(
        base_mean=mean,
        base_var=(near * factor).clamp(min=0),
        sites=grid_sites(mean.shape),
        kernel=kernel,
        law_from=lambda: law_of_mean(x.law, alone),
    )


def _shares(step: Step, before: torch.Size, *, whole: torch.Tensor) -> list[torch.Tensor]:
    """For each axis the matrix (new, old) whose products are the shares, from calls on 1 at one place and 0 else."""
    top = torch.unravel_index(whole.abs().argmax(), whole.shape)
    found = []
    for axis, size in enumerate(before):
        at_once = max(1, _AT_ONCE // math.prod((*before, *whole.shape)))
        rows = []
        for start in range(0, size, at_once):
            places = torch.arange(start, min(size, start + at_once))
            lines = (places[:, None] == torch.arange(size)).float()
            shape = [len(places), 1, *(size if place == axis else 1 for place in range(len(before)))]
            made = step.again(input=lines.reshape(shape).expand(len(places), 1, *before).contiguous())[:, 0]
            rows.append(made[(slice(None), *(slice(None) if k == axis else top[k] for k in range(len(before))))])
        found.append(torch.cat(rows).T)
    # Each holds what the others do at the place of the largest whole, which is to be counted once.
    return [matrix / whole[top] if axis else matrix for axis, matrix in enumerate(found)]


def _through(kernel: Kernel, shares: list[torch.Tensor]) -> tuple[torch.Tensor, Kernel]:
    """Variance at each new place, and how the new places go together."""
    grid = tuple(len(matrix) for matrix in shares)
    if len(grid) == 1:
        (matrix,) = shares
        covariance = matrix @ kernel.dense().values @ matrix.T
        std = covariance.diagonal().clamp(min=1e-30).sqrt()
        values = (covariance / (std[:, None] * std[None, :])).clamp(-1, 1).fill_diagonal_(1.0)
        return covariance.diagonal(), Kernel(grid, values)
    square, values = kernel.values, kernel.values
    for axis, matrix in enumerate(shares):
        products = _products(matrix)
        square = torch.movedim(torch.tensordot(products[0], square, ([1], [axis])), 0, axis)
        values = torch.movedim(torch.tensordot(products[1], values, ([1], [axis])), 0, axis)
    peak = values[tuple(size - 1 for size in grid)].clamp(min=1e-30)
    return square, Kernel(grid, (values / peak).clamp(-1, 1))


def _products(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Σ_p a_p(o)·a_{p−d}(o + δ) for every distance d of old places: at δ = 0 for each o; for each δ, mean over o."""
    new, old = matrix.shape
    own = torch.fft.irfft(torch.fft.rfft(matrix, n=2 * old - 1).abs().square(), n=2 * old - 1)
    size = (2 * new - 1, 2 * old - 1)
    power = torch.fft.irfft2(torch.fft.rfft2(matrix, s=size).abs().square(), s=size)
    counts = (new - torch.arange(1 - new, new).abs()).unsqueeze(1)
    return torch.fft.fftshift(own, dim=1), torch.fft.fftshift(power) / counts


RESAMPLING: Mapping[str, Rule] = {
    **{f"{kind}avg_pool{n}d": _resampled for kind in ("", "adaptive_") for n in (1, 2, 3)},
    "interpolate": _resampled,
    "upsample": _resampled,
}
