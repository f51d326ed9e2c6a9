"""Input statistics as a layer, so that they are saved, moved and exported with the model and cannot be forgotten."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from onesigma._errors import BatchError, NotFittedError, ScalerFileError
from onesigma.inputs.affine import STATISTICS, Affine
from onesigma.inputs.header import Header

__all__ = ["Drift", "Standardize"]

_COUNTERS = ("num_values", "num_below", "num_above", "num_nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How the values of one column, as the layer saw them, lie to those that the statistics were fitted on."""

    num_values: int
    num_below: int
    num_above: int
    num_nan: int


class Standardize(nn.Module):
    """y = ((x − shift) − shift_low) / scale per column, with the statistics as buffers.

    Comes from a fitted scaler, `scaler.to_module()`, and gives bit for bit what `scaler.transform` gives. An empty
    `Standardize()` takes everything from a `state_dict`; until then it raises. See `Affine` for the formulas.

    The statistics are float64 and stay so when the model is cast (`model.half()`). In use they are rounded to the
    dtype of the input, the mean to a pair of numbers, high + low, so that float32 unix time survives. Halves are
    computed in float32 and returned as halves; integers are computed in float64 and returned in torch's default
    dtype. NaN passes through.

    Args:
        affine: The map; None for an empty layer.
        names: One name per column.
        axis: Where the columns lie in the input: −1, or 1 for images (N, C, H, W).
        fingerprint: Of the scaler that the statistics come from.
        count_out_of_range: Count, while the model runs, values outside what the statistics have seen; see `drift`.

    Shape:
        Input: a tensor with F columns on `axis`, or a mapping of the F names to tensors of one shape, which are
        stacked on `axis`. Output: the tensor, standardized.

    Raises:
        NotFittedError: The layer is empty.
        BatchError: The input has another number of columns, or other names.

    Example:
        >>> from onesigma.inputs import StandardScaler
        >>> scaler = StandardScaler().fit([[1.0], [3.0]])
        >>> layer = Standardize()
        >>> layer.load_state_dict(scaler.to_module().state_dict())
        <All keys matched successfully>
        >>> layer(torch.tensor([[1.0], [5.0]])).tolist(), layer.fingerprint == scaler.fingerprint
        ([[-1.0], [3.0]], True)
    """

    shift: Tensor
    shift_low: Tensor
    scale: Tensor
    minimum: Tensor
    maximum: Tensor
    header: Tensor

    def __init__(
        self,
        affine: Affine | None = None,
        *,
        names: Sequence[str] = (),
        axis: int = -1,
        fingerprint: str = "",
        count_out_of_range: bool = False,
    ) -> None:
        super().__init__()
        for name in STATISTICS:
            values = [] if affine is None else getattr(affine, name)
            self.register_buffer(name, torch.tensor(values, dtype=torch.float64))
        output_range, clip = (affine.output_range, affine.clip) if affine else (None, None)
        self.about = Header(tuple(names), axis=axis, fingerprint=fingerprint, output_range=output_range, clip=clip)
        self.register_buffer("header", self.about.encode())
        self.count_out_of_range = count_out_of_range
        self.reset_drift()

    @property
    def names(self) -> tuple[str, ...]:
        """The columns, in order; empty before anything was loaded."""
        return self.about.names

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the scaler that the statistics come from."""
        return self.about.fingerprint

    @property
    def affine(self) -> Affine:
        """The map, on arrays."""
        arrays = {name: getattr(self, name).cpu().numpy() for name in STATISTICS}
        return Affine(**arrays, output_range=self.about.output_range, clip=self.about.clip)

    def forward(self, x: Tensor | Mapping[str, Tensor]) -> Tensor:
        """Standardize `x`."""
        values = self._columns(x)
        if self.count_out_of_range:
            self._count(values)
        work = values.to(_work_dtype(values.dtype))
        shift, shift_low, scale = self._rounded(work)
        y = (_shifted(values, work, shift) - shift_low) / scale
        start, end = self.about.output_range or (0.0, 1.0)
        if (start, end) != (0.0, 1.0):
            y = start * (1 - y) + end * y
        if self.about.clip is not None:
            # Not `clamp`: the runtimes of exported models do not agree on what it makes of NaN.
            low, high = self.about.clip
            y = torch.where(y < low, low, torch.where(y > high, high, y))
        return y.to(values.dtype if values.is_floating_point() else torch.get_default_dtype())

    @property
    def drift(self) -> dict[str, Drift]:
        """What was counted since the last `reset_drift`; all zero without `count_out_of_range`."""
        counts = zip(*(self._buffers[name].tolist() for name in _COUNTERS), strict=True)  # type: ignore[union-attr]
        return {
            name: Drift(num_values=values, num_below=below, num_above=above, num_nan=nan)
            for name, (values, below, above, nan) in zip(self.names, counts, strict=True)
        }

    def reset_drift(self) -> None:
        """Count from zero again."""
        for name in _COUNTERS:
            zeros = torch.zeros(len(self.names), dtype=torch.int64, device=self.shift.device)
            self.register_buffer(name, zeros, persistent=False)

    def extra_repr(self) -> str:
        """The columns, in short, and the fingerprint."""
        return self.about.summary() if self.names else "empty"

    def _columns(self, x: Tensor | Mapping[str, Tensor]) -> Tensor:
        """The input as one tensor with one column per statistic."""
        names, axis = self.about.names, self.about.axis
        if not names:
            raise NotFittedError(
                "Standardize: wanted statistics, got an empty layer; load a state_dict that has them, "
                "or make the layer with scaler.to_module()."
            )
        if isinstance(x, Mapping):
            self.about.check_names(x)
            x = torch.stack([x[name] for name in names], dim=axis)
        if not -x.dim() <= axis < x.dim() or x.shape[axis] != len(names):
            raise BatchError(
                f"Standardize: wanted {len(names)} columns ({self.about.summary()}) on axis {axis}, "
                f"got shape {tuple(x.shape)}; feed the columns that the statistics were fitted on."
            )
        return x

    def _rounded(self, work: Tensor) -> tuple[Tensor, Tensor | float, Tensor]:
        """Shift, its rest and scale in the dtype of `work`, to be broadcast against it."""
        dtype = work.dtype
        if self.about.output_range is None or dtype == torch.float64:
            shift = self.shift.to(dtype)
            low = ((self.shift - shift.double()) + self.shift_low).to(dtype)
            scale = self.scale.to(dtype).clamp_min(torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps)
        else:
            shift = self.minimum.to(dtype)
            low = torch.zeros_like(shift)
            scale = self.maximum.to(dtype) - shift
            scale = torch.where(scale == 0, torch.ones_like(scale), scale)
        return self._aligned(shift, work), self._aligned(low, work), self._aligned(scale, work)

    def _aligned(self, part: Tensor, x: Tensor) -> Tensor:
        axis = self.about.axis % x.dim()
        return part.to(x.device).view([-1] + [1] * (x.dim() - 1 - axis))

    @torch.no_grad()
    def _count(self, values: Tensor) -> None:
        """Compare in the dtype of the values, where the minimum seen is rounded as the values are."""
        axes = [axis for axis in range(values.dim()) if axis != self.about.axis % values.dim()]
        low, high = (self._aligned(bound.to(values.dtype), values) for bound in (self.minimum, self.maximum))
        marks = (torch.ones_like(values, dtype=torch.bool), values < low, values > high, values.isnan())
        for name, mark in zip(_COUNTERS, marks, strict=True):
            self._buffers[name] += mark.sum(axes).to(self.shift.device)  # type: ignore[operator]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move the statistics with the model, but do not cast them: half a mean of 1000 is no mean."""

        def moved(buffer: Tensor) -> Tensor:
            try:
                result = fn(buffer)
            except TypeError:
                return buffer  # a device without float64: the few numbers stay where they are
            return result if result.dtype == buffer.dtype else buffer.to(result.device)

        super()._apply(moved, recurse)  # type: ignore[no-untyped-call]
        return self

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: Mapping[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Take over names and options too; an empty layer takes any columns, another one only its own."""
        try:
            self._take_header(state_dict, prefix)
        except (BatchError, ScalerFileError) as error:
            error_msgs.append(f"{prefix or 'Standardize'}: {error}")
            return
        super()._load_from_state_dict(
            state_dict,
            prefix,
            local_metadata,
            strict,
            missing_keys,
            unexpected_keys,
            error_msgs,
        )

    def _take_header(self, state_dict: Mapping[str, Any], prefix: str) -> None:
        encoded = state_dict.get(f"{prefix}header")
        if encoded is None:
            return
        about = Header.decode(encoded)
        if self.names:
            self.about.check_names(about.names, ordered=True)
        for name in STATISTICS:
            values = state_dict.get(f"{prefix}{name}")
            if values is not None and tuple(values.shape) != (len(about.names),):
                raise ScalerFileError(f"{name} has shape {tuple(values.shape)} for {len(about.names)} columns.")
            setattr(self, name, self.shift.new_zeros(len(about.names)))
        self.about, self.header = about, torch.empty_like(encoded, device=self.shift.device)
        self.reset_drift()


def _work_dtype(dtype: torch.dtype) -> torch.dtype:
    if not dtype.is_floating_point:
        return torch.float64
    return torch.float32 if dtype.itemsize < 4 else dtype


def _shifted(values: Tensor, work: Tensor, shift: Tensor) -> Tensor:
    """values − shift; of 64-bit integers nothing is lost where the difference is one of them, as in `Affine`."""
    difference = work - shift
    if values.dtype != torch.int64:
        return difference
    whole = torch.where(shift.abs() <= 2.0**63, shift.trunc(), torch.zeros_like(shift))
    modulo = torch.where(whole < 2.0**63, whole, whole - 2.0**64)
    exact = (values - modulo.to(torch.int64)).to(work.dtype) - (shift - whole)
    return torch.where((difference.abs() < 2.0**62) & (shift.abs() <= 2.0**63), exact, difference)
