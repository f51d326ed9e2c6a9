"""How the values of one feature at two positions of a sample go together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from onesigma.model.prediction.unpredictable import Unpredictable

__all__ = ["Kernel", "blended", "stacked"]

_MOST_DENSE = 4096  # positions; a matrix of correlations is of that size squared


@dataclass(frozen=True)
class Kernel:
    """Correlation of what differs between samples, from position to position, averaged over features.

    Attributes:
        grid: Extent of the positions: () for one, (T,) for tokens, (H, W) for maps. P positions in all, and site
            n·P + p is position p of sample n.
        values: (P, P), or, where only the distance counts, (2H − 1, 2W − 1) with distance 0 in the middle.
        spread: By how much features differ in it, one standard deviation, as filters of few inputs do; None for 0.
        squares: By how much squares go together beyond ρ², as of sums that share a few large values; None for 0.
    """

    grid: tuple[int, ...]
    values: torch.Tensor
    spread: torch.Tensor | None = None
    squares: torch.Tensor | None = None

    @staticmethod
    def independent(*grid: int) -> "Kernel":
        """No position knows of another."""
        if len(grid) < 2:
            return Kernel(grid, torch.eye(math.prod(grid)))
        values = torch.zeros(tuple(2 * size - 1 for size in grid))
        values[tuple(size - 1 for size in grid)] = 1.0
        return Kernel(grid, values)

    @property
    def num_positions(self) -> int:
        """P."""
        return math.prod(self.grid)

    @property
    def by_distance(self) -> bool:
        """Whether only the distance of two positions counts."""
        return len(self.grid) > 1 and self.values.shape == tuple(2 * size - 1 for size in self.grid)

    @property
    def mixed(self) -> "Kernel":
        """That of sums over many features: these differ in nothing any more."""
        return self if self.spread is None else Kernel(self.grid, self.values)

    def between(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Correlation of two sites; 0 for those of two samples."""
        count = self.num_positions
        found = self._at(first % count, second % count)
        return torch.where(first // count == second // count, found, torch.zeros(()))

    def _at(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        if not self.by_distance:
            return self.values[first, second]
        index = []
        for size in reversed(self.grid):
            index.append(first % size - second % size + size - 1)
            first, second = first // size, second // size
        return self.values[tuple(reversed(index))]

    def mapped(self, coefficients: Sequence[float]) -> "Kernel":
        """Σ coefficients[k]·ρ^k; where features differ in ρ, half of them with more of it and half with less."""
        beyond = 0.0 if self.squares is None or len(coefficients) < 3 else coefficients[2] * self.squares
        if self.spread is None:
            return Kernel(self.grid, _polynomial(coefficients, self.values) + beyond)
        high, low = (_polynomial(coefficients, (self.values + sign * self.spread).clamp(-1, 1)) for sign in (1, -1))
        return Kernel(self.grid, (high + low) / 2 + beyond, (high - low).abs() / 2)

    def dense(self) -> "Kernel":
        """The same as a matrix."""
        if not self.by_distance:
            return self
        if self.num_positions > _MOST_DENSE:
            raise Unpredictable(f"positions that mix freely: {self.num_positions} are more than {_MOST_DENSE}")
        sites = torch.arange(self.num_positions)
        return Kernel(self.grid, self._at(sites[:, None], sites[None, :]))

    def on(self, *grid: int) -> "Kernel":
        """The same positions as a map of this extent; correlations of equal distance are averaged."""
        if grid == self.grid and (self.by_distance or len(grid) == 1):
            return self
        if math.prod(grid) != self.num_positions:
            return Kernel.independent(*grid)
        if len(grid) < 2:
            return Kernel(grid, self.dense().values)
        matrix = self.dense().values
        sites = torch.arange(self.num_positions)
        flat = torch.zeros(sites.shape[0], sites.shape[0], dtype=torch.long)
        first, second = sites[:, None], sites[None, :]
        scale = 1
        for size in reversed(grid):
            flat += (first % size - second % size + size - 1) * scale
            first, second, scale = first // size, second // size, scale * (2 * size - 1)
        total = torch.zeros(scale).index_add_(0, flat.reshape(-1), matrix.reshape(-1).float())
        count = torch.zeros(scale).index_add_(0, flat.reshape(-1), torch.ones(flat.numel()))
        return Kernel(grid, (total / count).reshape(tuple(2 * size - 1 for size in grid)))

    def repeated(self, sources: torch.Tensor, *, like: "Kernel") -> "Kernel":
        """On the positions of another kernel, each of which holds the value of one site here; (P,)."""
        if bool((sources == sources[0]).all()):
            return Kernel(like.grid, torch.ones_like(like.values))
        return Kernel((len(sources),), self.between(sources[:, None], sources[None, :])).on(*like.grid)

    def resized(self, stride: Sequence[float], grid: Sequence[int]) -> "Kernel":
        """A map whose neighbors are `stride` apart on this one; below 1 it is a finer map, of repeated values."""
        grid = tuple(grid)
        if len(grid) < 2:
            sites = (torch.arange(grid[0]) * stride[0]).long().clamp(max=self.num_positions - 1)
            values = self.dense().values[sites[:, None], sites[None, :]]
            return Kernel(grid, values.fill_diagonal_(1.0))
        values, rest = self.values, [self.spread, self.squares]
        for axis, (size, step, old) in enumerate(zip(grid, stride, self.grid, strict=True)):
            offsets = torch.arange(1 - size, size) * step
            index = (offsets.round().long() + old - 1).clamp(0, 2 * old - 2)
            values = values.index_select(axis, index)
            rest = [None if each is None else each.index_select(axis, index) for each in rest]
        return Kernel(grid, values, *rest)

    def upsampled(self, stride: Sequence[int], grid: Sequence[int]) -> "Kernel":
        """After a transposed convolution: outputs of two phases are made by different weights, so know nothing."""
        finer = self.resized([1 / step for step in stride], grid)
        if len(grid) < 2:
            sites = torch.arange(grid[0])
            keep = (sites[:, None] - sites[None, :]) % stride[0] == 0
            return Kernel(finer.grid, torch.where(keep, finer.values, torch.zeros(())))
        values = finer.values.clone()
        for axis, (size, step) in enumerate(zip(finer.grid, stride, strict=True)):
            other = torch.arange(1 - size, size) % step != 0
            values.index_fill_(axis, other.nonzero()[:, 0], 0.0)
        return Kernel(finer.grid, values)

    def filtered(self, filters: torch.Tensor, *, excess: float = 0.0) -> "Kernel":
        """After filters (F, I, *extent) over inputs that all go together like this: their mean, and how they differ.

        The covariance at a distance is that of the filter with itself, moved, over the correlations around there. With
        inputs of this excess kurtosis, that of the squares has half of it times Σ w²·w² over what both have in common.
        """
        made, peak = _moved_over(self.values, filters)
        alive = peak > 1e-6 * peak.max().clamp(min=1e-30)
        if not bool(alive.any()):
            return self
        size = peak[alive].reshape(-1, *(1 for _ in self.grid))
        values = (made[alive] / size).clamp(-1, 1)
        squares = None
        if excess > 0:
            squares = excess / 2 * (_moved_over(self.values.square(), filters.square())[0][alive] / size**2).mean(0)
            squares[tuple(each - 1 for each in self.grid)] = 0.0
        return Kernel(self.grid, values.mean(0), values.std(0, correction=0), squares)

    def smoothed(self, window: Sequence[int]) -> tuple["Kernel", float]:
        """After averaging windows, and the mean correlation within a window: by so much the variance shrinks."""
        if len(self.grid) < 2:
            values = _box_rows(_box_rows(self.dense().values, window[0]).T, window[0]).T
        else:
            values = _windowed(self.values, window)
        peak = values.diagonal().mean() if len(self.grid) < 2 else values[tuple(size - 1 for size in self.grid)]
        return Kernel(self.grid, (values / peak.clamp(min=1e-12)).clamp(-1, 1)), float(peak)

    def window(self, extent: Sequence[int]) -> torch.Tensor:
        """Correlations of the positions of one window, (k, k)."""
        extent = tuple(min(size, most) for size, most in zip(extent, self.grid, strict=True))
        place = torch.arange(math.prod(extent))
        sites, scale = torch.zeros_like(place), 1
        for size, whole in zip(reversed(extent), reversed(self.grid), strict=True):
            sites += place % size * scale
            place, scale = place // size, scale * whole
        return self._at(sites[:, None], sites[None, :])


def _moved_over(values: torch.Tensor, filters: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Σ w_p·w_q·values[δ + p − q] for every distance δ and filter; and that at δ = 0."""
    extent = filters.shape[2:]
    own = torch.fft.rfftn(filters, s=[2 * size - 1 for size in extent], dim=tuple(range(2, filters.dim())))
    axes = tuple(range(1, filters.dim() - 1))
    powers = torch.fft.irfftn(own.abs().square().sum(1), s=[2 * size - 1 for size in extent], dim=axes)
    powers = torch.fft.fftshift(powers, dim=axes).unsqueeze(1)
    around = [side for size in reversed(extent) for side in (size - 1, size - 1)]
    source = F.pad(values[None, None], around, mode="replicate")
    made = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[len(extent)](source, powers)[0]
    return made, made.flatten(1)[:, values.numel() // 2]


def _polynomial(coefficients: Sequence[float], x: torch.Tensor) -> torch.Tensor:
    total = torch.zeros_like(x)
    for coefficient in reversed(coefficients):
        total = total * x + coefficient
    return total


def _box_rows(values: torch.Tensor, size: int) -> torch.Tensor:
    """Running mean down the rows, windows cut at the ends."""
    padded = F.avg_pool1d(values.T.unsqueeze(1), size, 1, size // 2, count_include_pad=False)
    return padded[:, 0, : values.shape[0]].T


def _windowed(values: torch.Tensor, window: Sequence[int]) -> torch.Tensor:
    """Mean over all pairs of positions, one in each of two windows, for every distance of the windows."""
    for axis, size in enumerate(window):
        moved = values.movedim(axis, -1)
        flat = F.pad(moved.reshape(-1, 1, moved.shape[-1]), (size - 1, size - 1), mode="replicate")
        flat = F.avg_pool1d(F.avg_pool1d(flat, size, 1), size, 1)
        values = flat.reshape(moved.shape).movedim(-1, axis)
    return values


def stacked(parts: Sequence[tuple[Kernel, torch.Tensor]]) -> Kernel:
    """Of a sum of independent signals at the same positions, from their variances at each position, (P,)."""
    whole = sum((variance for _, variance in parts), torch.zeros(()))
    covariance = torch.zeros(())
    for kernel, variance in parts:
        std = variance.clamp(min=0).sqrt()
        covariance = covariance + kernel.dense().values * std[:, None] * std[None, :]
    scale = whole.clamp(min=1e-30).sqrt()
    values = (covariance / (scale[:, None] * scale[None, :])).clamp(-1, 1)
    return Kernel(parts[0][0].grid, values.fill_diagonal_(1.0))


def blended(kernels: Sequence[tuple[Kernel, float]]) -> Kernel:
    """Of a sum of independent signals: correlations weighted by the signals' variances."""
    total = sum(weight for _, weight in kernels)
    main = max(kernels, key=lambda entry: entry[1])[0]
    if len(kernels) == 1 or total <= 0:
        return main
    fitting = [(kernel, weight) for kernel, weight in kernels if kernel.num_positions == main.num_positions]
    if any(kernel.values.shape != main.values.shape or kernel.grid != main.grid for kernel, _ in fitting):
        fitting = [(kernel.on(*main.grid), weight) for kernel, weight in fitting]
    if any(kernel.values.shape != main.values.shape for kernel, _ in fitting):
        fitting = [(kernel.dense(), weight) for kernel, weight in fitting]
    total = sum(weight for _, weight in fitting)
    values = sum((kernel.values * (weight / total) for kernel, weight in fitting), torch.zeros(()))
    return Kernel(fitting[0][0].grid, values)
