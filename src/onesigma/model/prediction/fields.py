"""Random tensors with the moments of predicted signals: what a call's Jacobian is taken at."""

import torch

from onesigma.model.prediction.kernel import Kernel
from onesigma.model.prediction.signal import Signal

__all__ = ["Fields"]

_MOST_ROOTED = 1024  # positions; the root of a matrix of correlations costs that to the third
_ALONE = 0.01  # Σ ρ² over all other positions, below which they are drawn one by one


class Fields:
    """Draws of signals; of two that are functions of the same source, both from the same draw of it.

    Attributes:
        generator: Where the numbers come from.
        number: Which draw this is, for signals that hold draws of their own.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self.number = 0
        self._bases: dict[object, torch.Tensor] = {}
        self._places: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._roots: dict[int, torch.Tensor] = {}
        self._alone: dict[int, bool] = {}

    def next(self) -> None:
        """From here on everything is drawn anew."""
        self.number += 1
        self._bases.clear()

    def of(self, signal: Signal, *, alone: bool = False) -> torch.Tensor:
        """One draw of a signal, of its shape; `alone` leaves out how the positions of a map go together."""
        if signal.draws is not None:
            return signal.draws[self.number % len(signal.draws)]
        base = self._bases.get(signal.key)
        if base is None or base.shape != signal.shape:
            noise = self._noise(signal, alone=alone)
            base = signal.base_mean + signal.base_var.clamp(min=0).sqrt() * noise
            self._bases[signal.key] = base
        return (base if signal.function is None else signal.function(base)).clone()

    def _noise(self, signal: Signal, *, alone: bool) -> torch.Tensor:
        """Standard normals, independent from feature to feature, over positions as the kernel says."""
        kernel = signal.kernel
        if kernel.num_positions < 2 or (alone and kernel.by_distance) or self._independent(kernel):
            return torch.randn(signal.shape, generator=self.generator)
        place, feature = self._placed(signal)
        count = signal.kernel.num_positions
        samples, features = int(place.max()) // count + 1, int(feature.max()) + 1
        field = self._correlated(signal.kernel, samples * features).reshape(samples, features, count)
        return field[place // count, feature, place % count].reshape(signal.shape)

    def _independent(self, kernel: Kernel) -> bool:
        """Whether no position knows of another, but for what is hardly seen."""
        found = self._alone.get(id(kernel))
        if found is None:
            own = 1 if kernel.by_distance else kernel.num_positions  # correlations of a position with itself
            found = self._alone[id(kernel)] = float(kernel.values.square().sum()) - own <= _ALONE * own
        return found

    def _placed(self, signal: Signal) -> tuple[torch.Tensor, torch.Tensor]:
        """Of each element the site, and which of the features there it is."""
        found = self._places.get(id(signal))
        if found is None:
            sites = signal.sites.reshape(-1)
            order = torch.argsort(sites, stable=True)
            counts = torch.bincount(sites)
            starts = counts.cumsum(0) - counts
            feature = torch.empty_like(sites)
            feature[order] = torch.arange(len(sites)) - starts[sites[order]]
            found = self._places[id(signal)] = sites, feature
        return found

    def _correlated(self, kernel: Kernel, rows: int) -> torch.Tensor:
        if kernel.by_distance:
            return self._on_torus(kernel, rows)
        noise = torch.randn(rows, kernel.num_positions, generator=self.generator)
        if kernel.num_positions > _MOST_ROOTED:
            return noise
        root = self._roots.get(id(kernel))
        if root is None:
            values, vectors = torch.linalg.eigh((kernel.values + kernel.values.T) / 2)
            root = self._roots[id(kernel)] = (vectors * values.clamp(min=0).sqrt()).T
        return noise @ root

    def _on_torus(self, kernel: Kernel, rows: int) -> torch.Tensor:
        """The spectrum of the correlations, on a torus large enough that no two positions meet around it."""
        sizes = kernel.values.shape
        axes = tuple(range(1, len(sizes) + 1))
        root = self._roots.get(id(kernel))
        if root is None:
            spectrum = torch.fft.rfftn(torch.fft.ifftshift(kernel.values)).real.clamp(min=0)
            root = self._roots[id(kernel)] = spectrum.sqrt()
        noise = torch.randn(rows, *sizes, generator=self.generator)
        made: torch.Tensor = torch.fft.irfftn(torch.fft.rfftn(noise, dim=axes) * root, s=sizes, dim=axes)
        made = made[(slice(None), *(slice(0, size) for size in kernel.grid))].reshape(rows, -1)
        return made / made.square().mean().clamp(min=1e-30).sqrt()
