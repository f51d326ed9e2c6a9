"""What is predicted of one tensor: a mean and a variance for every element, and who goes with whom."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch

from onesigma.model.prediction.held import Held, roots
from onesigma.model.prediction.kernel import Kernel
from onesigma.model.prediction.law import Law, law_through
from onesigma.model.prediction.laws import Function, correlation_series, fourth_moment, moments_through, once
from onesigma.model.prediction.unpredictable import Unpredictable

__all__ = ["Average", "Known", "Signal", "axis_role", "fresh_key", "identity", "spread"]


_GROWN = 0.4  # what a function may add to the unevenness, to first order, before tails that two points lack decide
_EVEN = 1e-3  # unevenness below which it is not worth a second integration


class _Key:
    """The identity of a source of randomness; two are never equal."""


def fresh_key() -> object:
    """A new source."""
    return _Key()


@dataclass(frozen=True, eq=False, kw_only=True)
class Signal:
    """x = f(g) with g normal: over the samples, element i of g has a mean and a variance of its own.

    The mean over the samples is what samples share, so it is the across-sample correlation too: of two samples the
    expected product is mean². What is left differs from sample to sample, is taken as independent from feature to
    feature, and goes together over the positions of a sample as `kernel` says.

    Attributes:
        base_mean: Mean of g, in the tensor's own shape, with one or a few samples.
        base_var: Its variance.
        sites: For each element, which position of which sample it belongs to; see `Kernel`.
        kernel: Correlation of g from site to site.
        function: f; None for the identity.
        key: Where g comes from: two signals of one key are functions of the same g, element by element.
        terms: What of g is made of independent sources: key → (factor, variance of the source).
        draws: Values drawn for all elements together, (S, *shape), where their joint law is needed.
        unevenness: Relative variance, over samples, of the variance that one sample's features have: some samples are
            larger than others, by so much that what is not linear tells.
        raw: The data itself, all samples of it, where this is an input of the model and nothing has been computed.
        leveled: Whether every sample's features have one mean square, as behind a LayerNorm: so have sums of them.
        seen: Whether the unevenness was seen in data, so that what few features are uneven by of themselves is in it.
        mirrored: Axis along which the second half of g is minus the first, as behind weights made so.
        halves: Correlation of the mirrored halves, where it is no longer told by f.
        averaged: The key of the values that these are averages of, over positions.
        law_from: Gives the law of g where it is not normal; it is asked for only where something is not linear.
        average: What this is a function of, where that is a mean over features; see `Average`.
        held: What else this is a function of, element by element; see `Held`.
        shares: How many shares of a softmax these are, or mixtures of its heads: the sum of so many is certain.
    """

    base_mean: torch.Tensor
    base_var: torch.Tensor
    sites: torch.Tensor
    kernel: Kernel
    function: Function | None = None
    key: object = field(default_factory=fresh_key)
    terms: Mapping[object, tuple[float | torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    raw: torch.Tensor | None = None
    draws: torch.Tensor | None = None
    unevenness: float = 0.0
    leveled: bool = False
    seen: bool = False
    mirrored: int | None = None
    halves: float | None = None
    averaged: object | None = None
    average: "Average | None" = None
    held: Held = field(default_factory=dict)
    shares: int | None = None
    law_from: Callable[[], Law | None] | None = None

    @cached_property
    def law(self) -> Law | None:
        """That of g; None for a normal one."""
        return None if self.law_from is None else self.law_from()

    @cached_property
    def _moments(self) -> tuple[torch.Tensor, torch.Tensor, float, torch.Tensor | None]:
        if self.function is None:
            return self.base_mean, self.base_var, self.unevenness, None
        return self._through(self.function)

    def _through(self, function: Function) -> tuple[torch.Tensor, torch.Tensor, float, torch.Tensor | None]:
        def moments(mean: torch.Tensor, var: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return moments_through(function, mean, var, nodes=self.nodes)

        if self.unevenness < _EVEN:
            mean, var = once(moments, self.base_mean, self.base_var)
            return mean, var, 0.0, None
        # Half of the samples larger, half of them smaller: two points have the right mean and variance.
        apart = min(math.sqrt(self.unevenness), 1.0)
        high, low = (once(moments, self.base_mean, self.base_var * (1 + sign * apart)) for sign in (1, -1))
        mean, lift = (high[0] + low[0]) / 2, (high[0] - low[0]) / 2
        large, small = float(high[1].mean()), float(low[1].mean())
        middle = float(once(moments, self.base_mean, self.base_var)[1].mean()) if apart == 1.0 else None
        if self.unevenness * (_exponent(large, small, apart=apart, middle=middle) ** 2 - 1) > _GROWN:
            raise Unpredictable("a function of samples that differ so much in size that the few largest decide")
        unevenness = ((large - small) / (large + small)) ** 2 if large + small > 0 else 0.0
        return mean, (high[1] + low[1]) / 2 + lift.square(), unevenness, lift

    @property
    def mean(self) -> torch.Tensor:
        """E[x], elementwise, over samples."""
        return self._moments[0]

    @property
    def var(self) -> torch.Tensor:
        """Var[x], elementwise, over samples."""
        return self._moments[1]

    @property
    def nodes(self) -> tuple[tuple[float, float], ...] | None:
        """Points and weights of g, standardized; None for a normal."""
        return None if self.law is None else self.law.nodes

    @property
    def lift(self) -> torch.Tensor | None:
        """How far E[x] of a large sample lies above that of all, elementwise; None where it does not."""
        return self._moments[3]

    @property
    def shape(self) -> torch.Size:
        """Of the tensor."""
        return self.base_mean.shape

    @cached_property
    def plain(self) -> "Signal":
        """The same as a signal of its own: f is forgotten; moments, correlations and the law stay."""
        if self.function is None:
            return self
        function, quantile = self.function, None if self.law is None else self.law.at
        series = correlation_series(function, self.base_mean, self.base_var, quantile=quantile)
        mean, var, unevenness, _ = self._moments
        return Signal(
            base_mean=mean,
            base_var=var,
            sites=self.sites,
            kernel=self.kernel.mapped(series),
            unevenness=unevenness,
            held=roots(self),
            law_from=lambda: law_through(function, self.base_mean, self.base_var, law=self.law),
        )

    @property
    def mirror_covariance(self) -> torch.Tensor | None:
        """Cov(f(g), f(−g)) for the first half of the features; None where the halves are no mirrors."""
        if self.mirrored is None:
            return None
        if self.halves is not None:
            first, second = self.base_var.chunk(2, self.mirrored)
            return self.halves * (first * second).clamp(min=0).sqrt()
        mean, var = (each.chunk(2, self.mirrored)[0] for each in (self.base_mean, self.base_var))
        function = self.function or identity

        def moment(sign: float) -> torch.Tensor:
            return moments_through(lambda v: function(v) + sign * function(-v), mean, var)[1]

        return (moment(1.0) - moment(-1.0)) / 4

    def mirrored_as(self, other: "Signal") -> "Signal":
        """The same, with halves along axis 1 that go together as those of another signal do, of which it is made."""
        together = other.mirror_covariance
        if together is None:
            return self
        first, second = other.var.chunk(2, other.mirrored or 0)
        size = (first * second).clamp(min=0).sqrt().mean().clamp(min=1e-30)
        return replace(self, mirrored=1, halves=float(together.mean() / size))

    @property
    def profile(self) -> torch.Tensor:
        """Variance of g at each position, (P,), averaged over samples and features."""
        count = self.kernel.num_positions
        places = (self.sites % count).reshape(-1)
        total = torch.zeros(count).index_add_(0, places, self.base_var.reshape(-1))
        return total / torch.bincount(places, minlength=count).clamp(min=1)

    @property
    def width(self) -> float:
        """Features that one sample has, at one position where positions are many; of a map, at all of them."""
        if len(self.kernel.grid) != 1:
            return self.base_mean.numel() / self.shape[0]
        lines = self.sites
        for axis, stride in enumerate(lines.stride()):
            lines = lines.narrow(axis, 0, min(1, lines.shape[axis])) if stride == 0 else lines
        return self.base_mean.numel() / max(len(torch.unique(lines)), 1)

    @property
    def excess(self) -> float:
        """Unevenness beyond that of as many independent normal features."""
        return max(0.0, self.unevenness - 2 / self.width) if self.seen else self.unevenness

    @property
    def unevenness_of_sums(self) -> float:
        """That of normal-weighted sums over the features: finitely many of them have no certain mean square."""
        if self.raw is not None or self.leveled:
            return self.unevenness  # seen in the data themselves, or nothing is left of it
        kurtosis = fourth_moment(self.function or identity, self.base_mean, self.base_var, nodes=self.nodes)
        return self.plain.unevenness + (1 + self.plain.unevenness) * (kurtosis - 1) / self.width

    @property
    def sources(self) -> Mapping[object, tuple[float | torch.Tensor, torch.Tensor]]:
        """`terms`, or itself as the only one."""
        return self.terms or {self.key: (1.0, self.base_var)}

    def with_draws(self, draws: torch.Tensor) -> "Signal":
        """The signal that these draws are of."""
        sites = self.sites if draws.shape[1:] == self.shape else _sites_for(self.sites, draws.shape[1:])
        values = draws.float()
        mean, var = values.mean(0), values.var(0, correction=0)
        return Signal(base_mean=mean, base_var=var, sites=sites, kernel=self.kernel, draws=draws)

    def mapped(self, function: Callable[[torch.Tensor], torch.Tensor]) -> "Signal":
        """function of every draw."""
        assert self.draws is not None
        return self.with_draws(torch.stack([function(draw) for draw in self.draws]))

    def through(self, function: Function) -> "Signal":
        """f(x), elementwise."""
        inner = self.function
        mirrored = self.mirrored if self.halves is None else None
        composed = function if inner is None else (lambda x: function(inner(x)))
        return replace(self, function=composed, raw=None, draws=None, leveled=False, mirrored=mirrored)

    def fresh(self, mean: torch.Tensor, var: torch.Tensor, *, sites: torch.Tensor | None = None) -> "Signal":
        """A new source with these moments, at the same positions."""
        return Signal(
            base_mean=mean,
            base_var=var,
            sites=self.sites if sites is None else sites,
            kernel=self.plain.kernel,
            unevenness=self.plain.unevenness,
        )

    def scaled(self, factor: float, *, shift: float = 0.0) -> "Signal":
        """factor·x + shift."""
        if self.function is not None:
            return self.through(lambda x: factor * x + shift)
        terms = {key: (factor * coefficient, var) for key, (coefficient, var) in self.sources.items()}
        mean, var = self.base_mean * factor + shift, self.base_var * factor**2
        average = self.average if factor > 0 else None
        mirrored = self.mirrored if shift == 0 else None
        law_from = self.law_from if factor > 0 else None
        changed = {
            "law_from": law_from,
            "mirrored": mirrored,
            "base_mean": mean,
            "base_var": var,
            "terms": terms,
            "key": fresh_key(),
            "average": average,
        }
        return replace(self, **changed, raw=None, draws=None)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Average:
    """A mean s of f(x) over the features of x.

    Attributes:
        key: Of x.
        function: f.
        count: Number of features.
        mean: E[s], on average.
        std: √Var[s], on average.
        lift: How far s of a large sample lies above E[s].
    """

    key: object
    function: Function
    count: int
    mean: float
    std: float
    lift: float = 0.0


@dataclass(frozen=True, slots=True)
class Known:
    """Numbers that no data went into, such as weights, masks and positions.

    Attributes:
        value: The tensor.
    """

    value: torch.Tensor


def identity(x: torch.Tensor) -> torch.Tensor:
    """x: the function of a signal that has none."""
    return x


def _exponent(large: float, small: float, *, apart: float, middle: float | None) -> float:
    """By which power of a sample's variance that of f(x) goes: 1 of ReLU, 2 of its square."""
    if middle is None:
        values, sizes = (large, small), (1 + apart, 1 - apart)
    else:
        values, sizes = (large, middle), (1 + apart, 1.0)
    return math.log(values[0] / values[1]) / math.log(sizes[0] / sizes[1]) if min(values) > 0 else 1.0


def _sites_for(sites: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Sites of what was made from features: those that the rows had."""
    for _ in range(sites.dim() - len(shape)):
        sites = sites[..., 0]
    for _ in range(len(shape) - sites.dim()):
        sites = sites.unsqueeze(-1)
    index = tuple(
        slice(0, size) if size <= have else slice(0, 1) for size, have in zip(shape, sites.shape, strict=True)
    )
    return sites[index].expand(shape)


def axis_role(sites: torch.Tensor, axis: int, *, num_positions: int) -> str:
    """What an axis runs over: "feature", "position", "sample", or "mixed"."""
    if not sites.numel():
        return "feature"
    line = sites.movedim(axis, -1)
    line = line.reshape(-1, line.shape[-1])[0]
    if bool((line == line[0]).all()):
        return "feature"
    same_sample = bool((line // num_positions == line[0] // num_positions).all())
    if len(set(line.tolist())) == line.numel():
        if same_sample:
            return "position"
        if bool((line % num_positions == line[0] % num_positions).all()):
            return "sample"
    return "mixed"


def spread(signal: Signal) -> tuple[float, float, float]:
    """Mean, second moment, and mean product of two samples, over all elements that are finite, as masks are not."""
    mean, var = signal.mean.double(), signal.var.double()
    finite = mean.isfinite() & var.isfinite()
    if not bool(finite.all()):
        mean, var = mean[finite], var[finite]
    if not mean.numel():
        return 0.0, 0.0, 0.0
    shared = mean.square().mean()
    return float(mean.mean()), float(shared + var.mean()), float(shared)
