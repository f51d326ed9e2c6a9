"""What is known of the model's inputs before any layer runs: their moments, and how their positions go together."""

import torch

from onesigma.model.prediction.kernel import Kernel
from onesigma.model.prediction.rules.linear import grid_sites
from onesigma.model.prediction.signal import Signal

__all__ = ["input_signal", "looked_up"]


def input_signal(data: torch.Tensor, *, has_values: bool, num_samples: int) -> Signal:
    """The signal of a floating-point input, for its first `num_samples` samples.

    Values give the mean of every element over the samples, its variance, and the correlation of positions; without
    values it is standardized: mean 0, second moment 1, samples and positions independent.
    """
    shape = (num_samples, *data.shape[1:])
    sites, grid = _sites_of(shape)
    if not has_values or data.shape[0] < 2:
        value = data.detach().float() if has_values else None
        mean = torch.zeros(shape) if value is None else torch.zeros(shape) + value.mean()
        var = torch.ones(shape) if value is None else torch.zeros(shape) + value.var(correction=0)
        return Signal(base_mean=mean, base_var=var, sites=sites, kernel=Kernel.independent(*grid))
    values = data.detach().float().nan_to_num(0.0, 0.0, 0.0)
    mean, var = population(values.mean(0), values.square().mean(0), num_samples=values.shape[0])
    kernel = _kernel_of(values - values.mean(0), grid)
    return Signal(
        base_mean=mean.expand(shape),
        base_var=var.expand(shape),
        sites=sites,
        kernel=kernel,
        raw=values,
        seen=True,
        unevenness=_unevenness(values - values.mean(0)),
    )


def _unevenness(centered: torch.Tensor) -> float:
    """Relative variance of the samples' mean squares; of a sequence's, of those of all its positions."""
    axes = -1 if centered.dim() == 3 else tuple(range(1, centered.dim()))
    sizes = centered.square().mean(axes) if centered.dim() > 1 else centered.square()
    return float(sizes.var(correction=0) / sizes.mean().square().clamp(min=1e-30))


def population(mean: torch.Tensor, second: torch.Tensor, *, num_samples: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance with E[mean²] what two different samples share; the second moments stay.

    The mean of N samples is off by noise of variance v/N, which is no signal that they share: it is shrunk.
    """
    shared = mean.square().mean()
    noise = (second.mean() - shared) / max(num_samples - 1, 1)
    shrink = float(((shared - noise) / shared.clamp(min=1e-30)).clamp(0, 1).sqrt())
    mean = mean * shrink
    return mean, _settled((second - mean.square()).clamp(min=0), num_samples=num_samples)


def _settled(var: torch.Tensor, *, num_samples: int) -> torch.Tensor:
    """Variances of N samples are off by √(2/(N − 1)): so much less do those of the elements differ from one another."""
    size = var.mean().clamp(min=1e-30)
    differ = var.var(correction=0) / size.square()
    noise = 2 / max(num_samples - 1, 1) * (1 + differ)
    keep = float(((differ - noise) / differ.clamp(min=1e-30)).clamp(0, 1).sqrt())
    return torch.where(var > 0, size + keep * (var - size), var).clamp(min=0)


def _over_tokens(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`population` of rows (N, T, F): what all positions share is known from N·T rows, the rest from N."""
    second = rows.square().mean(0)
    shared, _ = population(rows.mean((0, 1)), second.mean(0), num_samples=rows.shape[0] * rows.shape[1])
    apart, _ = population(rows.mean(0) - shared, second - shared.square(), num_samples=rows.shape[0])
    mean = shared + apart
    return mean, _settled((second - mean.square()).clamp(min=0), num_samples=rows.shape[0])


def _sites_of(shape: tuple[int, ...]) -> tuple[torch.Tensor, tuple[int, ...]]:
    """Positions are the axes behind the channels of a map (N, C, H, W), and the middle axis of a sequence (N, T, F)."""
    if len(shape) > 3:
        return grid_sites(shape), tuple(shape[2:])
    samples = torch.arange(shape[0]).reshape(-1, *(1 for _ in shape[1:]))
    if len(shape) < 3:
        return samples.expand(shape), ()
    count = shape[1]
    return (samples * count + torch.arange(count).reshape(1, -1, 1)).expand(shape), (count,)


def _kernel_of(centered: torch.Tensor, grid: tuple[int, ...]) -> Kernel:
    if not grid:
        return Kernel.independent()
    if len(grid) == 1:
        covariance = torch.einsum("ntf,nsf->ts", centered, centered)
        scale = covariance.diagonal().clamp(min=1e-30).sqrt()
        return Kernel(grid, (covariance / (scale[:, None] * scale[None, :])).clamp(-1, 1).fill_diagonal_(1.0))
    axes = tuple(range(-len(grid), 0))
    doubled = [2 * size - 1 for size in grid]
    power = torch.fft.rfftn(centered, s=doubled, dim=axes).abs().square().flatten(0, 1).mean(0)
    products = torch.fft.fftshift(torch.fft.irfftn(power, s=doubled, dim=axes), dim=axes)
    counts = torch.ones(())
    for size in grid:
        counts = counts.unsqueeze(-1) * (size - torch.arange(1 - size, size).abs())
    values = products / counts
    peak = values[tuple(size - 1 for size in grid)].clamp(min=1e-30)
    return Kernel(grid, (values / peak).clamp(-1, 1))


def looked_up(table: torch.Tensor, ids: torch.Tensor, *, shape: torch.Size) -> Signal:
    """Rows of a table for integers that are data: the rows' moments with the frequencies of the integers."""
    width = table.shape[-1]
    if ids.is_meta or ids.shape[0] < 2:
        mean, second = table.mean(0), table.square().mean(0)
        mean, var = mean.expand(shape), (second - mean.square()).expand(shape)
        kernel = Kernel.independent(*shape[1:-1])
    else:
        rows = table[ids]
        mean, var = (
            _over_tokens(rows)
            if rows.dim() == 3
            else population(rows.mean(0), rows.square().mean(0), num_samples=ids.shape[0])
        )
        mean, var = mean.expand(shape), var.expand(shape)
        kernel = _repeats(ids) if ids.dim() == 2 else Kernel.independent(*shape[1:-1])
    count = kernel.num_positions
    positions = torch.arange(count).reshape(1, *shape[1:-1], 1)
    samples = torch.arange(shape[0]).reshape(-1, *(1 for _ in shape[1:]))
    sites = (samples * count + positions).expand(*shape[:-1], width)
    return Signal(base_mean=mean, base_var=var, sites=sites, kernel=kernel)


def _repeats(ids: torch.Tensor) -> Kernel:
    """How much more often a token comes again within a sample than between samples."""
    count = ids.shape[1]
    same = (ids[:, :, None] == ids[:, None, :]).float().mean(0)
    frequency = torch.unique(ids, return_counts=True)[1].float() / ids.numel()
    chance = frequency.square().sum()
    values = ((same - chance) / (1 - chance).clamp(min=1e-6)).clamp(0, 1).fill_diagonal_(1.0)
    return Kernel((count,), values)
