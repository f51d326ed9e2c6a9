"""How the steps of a recurrent layer go together: inputs that are alike add up in what the layer keeps."""

from collections.abc import Sequence

import torch

__all__ = ["Moments", "Steps", "product_correlation"]

Moments = tuple[torch.Tensor, torch.Tensor]


class Steps:
    """The steps of one layer in one direction, up to the present one; numbers are averages over the units.

    With a state c_t = k_t·c_{t−1} + w_t, the covariance of w_t with c_s is that with w_s and, times k_s, that with
    c_{s−1}; so that of c_t and c_s follows from the correlations of what is written, step by step.

    Attributes:
        given: Correlation of the inputs of any two steps, (T, T).
        results: Correlation of the results of the steps so far, (T, T).
    """

    def __init__(self, given: torch.Tensor) -> None:
        self.given = given
        self.results = torch.eye(len(given))
        self._now = 0
        self._sizes = torch.zeros(2, len(given))  # of what comes from the input, and from the step before
        self._written = torch.zeros(len(given))
        self._kept = torch.zeros(len(given))
        self._states = torch.zeros(len(given), len(given))

    def before_activation(self, given: torch.Tensor, recalled: torch.Tensor) -> torch.Tensor:
        """Correlation of W·x_t + U·h_{t−1} with that of each earlier step, from the variances of both parts."""
        now = self._now
        self._sizes[:, now] = torch.stack([given.mean(), recalled.mean()])
        size = self._sizes[:, : now + 1].sqrt()
        covariance = size[0, now] * size[0, :now] * self.given[now, :now]
        if now > 1:
            covariance[1:] += size[1, now] * size[1, 1:now] * self.results[now - 1, : now - 1]
        whole = self._sizes[:, : now + 1].sum(0).clamp(min=1e-30).sqrt()
        return covariance / (whole[now] * whole[:now])

    def accumulated(
        self, correlations: torch.Tensor, *, written: torch.Tensor, kept: torch.Tensor, state: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Variance of k·c + w by which it is more than the sum of both, and the correlation with earlier states.

        Args:
            correlations: Of what is written now with what was, (t,).
            written: Variance of what is written, unit by unit.
            kept: Mean share of the state that is kept, unit by unit.
            state: Variance of the state before, unit by unit.
        """
        now = self._now
        self._written[now], self._kept[now] = written.mean(), kept.mean()
        own = (self._written[now] * self._written[:now]).sqrt() * correlations
        covariances, last = torch.zeros(now), torch.zeros(())
        for step in range(now):
            last = covariances[step] = own[step] + self._kept[step] * last
        before = state.mean()
        together = last / (self._written[now] * before).sqrt().clamp(min=1e-30) if now else last
        more = 2 * kept * together.clamp(-1, 1) * (written * state).clamp(min=0).sqrt()
        self._states[now, :now] = covariances + self._kept[now] * self._states[now - 1, :now] if now else covariances
        whole = self._written[now] + self._kept[now] ** 2 * before + more.mean()
        self._states[now, now] = whole
        sizes = self._states.diagonal()[: now + 1].clamp(min=1e-30).sqrt()
        return more, (self._states[now, :now] / (sizes[now] * sizes[:now])).clamp(-1, 1)

    def done(self, correlations: torch.Tensor) -> None:
        """The present step is over; its result goes with those of earlier steps as told."""
        self.results[self._now, : self._now] = self.results[: self._now, self._now] = correlations
        self._now += 1


def product_correlation(parts: Sequence[tuple[Moments, torch.Tensor]]) -> torch.Tensor:
    """Of a·b with earlier a′·b′, from the moments of a and b and the correlations of each with its earlier self."""
    ((mean, var), first), ((other_mean, other_var), second) = parts
    by_first, by_second = (var * other_mean.square()).mean(), (other_var * mean.square()).mean()
    both = (var * other_var).mean()
    whole = (by_first + by_second + both).clamp(min=1e-30)
    return (by_first * first + by_second * second + both * first * second) / whole
