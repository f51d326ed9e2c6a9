"""`MaskedBatchNorm1d`: BatchNorm of padded sequences, in which padding counts for nothing."""

from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from onesigma._errors import BatchError
from onesigma.model.edits import Edits
from onesigma.norm.kernels import MaskedNormalize, normalized_where
from onesigma.norm.layers import BatchNormLast
from onesigma.norm.masked_kernel import CompiledMaskedNormalize, is_for_compiled_loops
from onesigma.norm.running import is_traced, move_
from onesigma.norm.variants import Variant, built_type, convert_, kinds_of

__all__ = ["MaskedBatchNorm1d", "mask_"]


class MaskedBatchNorm1d(Variant, nn.BatchNorm1d):
    """BatchNorm over the valid positions of (N, C, L) or the valid rows of (N, C).

    mean_c = Σ mask·x / Σ mask, and the variance alike; running statistics, momentum and counter as in
    `nn.BatchNorm1d`, whose state dict it shares. Padding comes out as 0 and gets no gradient, whatever stands there,
    NaN included. A batch without a valid value changes nothing. Synchronized (`synchronize_`), ranks weigh by their
    valid values.

    Shapes: input (N, C, L) with mask (N, L), or (N, C) with mask (N,); output like the input.

    Example:
        >>> norm = MaskedBatchNorm1d(1, momentum=1.0)
        >>> x = torch.tensor([[[1.0, 3.0, 5.0, 0.0]], [[3.0, 0.0, 0.0, 0.0]]])
        >>> _ = norm(x, torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]]))
        >>> norm.running_mean.item(), round(norm.running_var.item() * 3 / 4, 6)
        (3.0, 2.0)
    """

    outer = True
    takes_statistics = False

    @classmethod
    def reason_against(cls, norm: nn.Module) -> str:
        """Only of (N, C, L) and (N, C) is it known which axes the mask has."""
        is_sequence = isinstance(norm, nn.BatchNorm1d) and not isinstance(norm, BatchNormLast)
        return "" if is_sequence else f"a mask is for nn.BatchNorm1d, and it is a {type(norm).__name__}"

    def forward(self, input: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Normalize the valid values; all are valid without a mask (1 or True is valid).

        Raises:
            BatchError: The mask does not have the shape of the input without its channels.
        """
        if mask is None:
            return super().forward(input)
        self._check_input_dim(input)
        wanted = (input.shape[0], *input.shape[2:])
        if tuple(mask.shape) != wanted:
            raise BatchError(f"MaskedBatchNorm1d: the mask must have shape {wanted}, got {tuple(mask.shape)}.")
        mask = mask.to(input.device, torch.bool)
        if is_traced() and (not self._takes_batch() or self._is_as_built()):
            return self._in_a_graph(input, mask)
        compiled = is_for_compiled_loops(input)
        count = np.count_nonzero(mask.numpy()) if compiled else int(mask.count_nonzero())
        if count == mask.numel() and count:
            return super().forward(input)
        # Without compiled loops, rows are best taken out, at the price of a copy.
        if count > 1 and self.training and (compiled or input.dim() > 2) and self._is_simple(input):
            return self._in_place(input, mask, compiled=compiled)
        return self._by_rows(input, mask)

    def _is_simple(self, input: torch.Tensor) -> bool:
        """Floats, unwatched: nobody has to see the valid values by themselves."""
        weight = self.weight
        plain = input.dtype in (torch.float32, torch.float64) and (weight is None or weight.dtype == input.dtype)
        return plain and self._is_as_built() and not torch._C._len_torch_function_stack()

    def _is_as_built(self) -> bool:
        """A subclass that does more must be run, and a kind that takes its own statistics."""
        own = built_type(self) in (nn.BatchNorm1d, MaskedBatchNorm1d)
        return own and not any(kind.takes_statistics for kind in kinds_of(self))

    def _takes_batch(self) -> bool:
        return self.training or self.running_mean is None

    def _in_a_graph(self, input: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """One way for every mask, in which the number of valid values decides nothing."""
        valid = mask.unsqueeze(1)
        if not self._takes_batch():
            return torch.where(valid, super().forward(torch.where(valid, input, 0.0)), 0.0)
        output, mean, variance, count = normalized_where(valid, input, self.weight, self.bias, eps=self.eps)
        if self.training and self.track_running_stats and self.running_mean is not None:
            # A single value has no spread; where no graph is made, it is an error.
            move_(self, mean=mean.detach(), variance=variance.detach(), count=count * (count > 1))
        return output

    def _in_place(self, input: torch.Tensor, mask: torch.Tensor, *, compiled: bool) -> torch.Tensor:
        keeps = self.track_running_stats and self.running_mean is not None
        given = self.weight, self.bias, self.eps
        if compiled:
            output = CompiledMaskedNormalize.apply(input, mask, *given, self if keeps else None)  # type: ignore[no-untyped-call]
        else:
            output, *moments, count = MaskedNormalize.apply(input, mask.unsqueeze(1).to(input.dtype), *given)  # type: ignore[no-untyped-call]
            if keeps:
                move_(self, mean=moments[0], variance=moments[1], count=count)
        return cast(torch.Tensor, output)

    def _by_rows(self, input: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Take the valid values out, normalize them, and put them back."""
        if input.dim() > 2:
            sequence = input.movedim(1, -1)
            output = self._by_rows(sequence.reshape(-1, input.shape[1]), mask.flatten())
            return output.view(sequence.shape).movedim(-1, 1)
        # By index: twice as fast as by a boolean mask, forward and backward.
        valid = mask.nonzero().squeeze(1)
        taken = input.index_select(0, valid)
        if len(valid) or isinstance(self, nn.SyncBatchNorm):
            normalized = super().forward(taken)
        else:  # which counts no batch, and gives γ and β a gradient of 0, for those who wait for one
            normalized = F.batch_norm(taken, None, None, self.weight, self.bias, training=True)
        return normalized.new_zeros(input.shape).index_copy_(0, valid, normalized)


def mask_(model: nn.Module) -> Edits:
    """Let every `nn.BatchNorm1d` of a model take a mask, `norm(x, mask)`; without one it is what it was.

    A layer keeps its class as a base, its parameters, buffers, hooks and state-dict keys; `plain_` or `undo` puts the
    change off. Handing the masks on is up to the model.

    Warns:
        NoEffectWarning: No layer could be changed.

    Example:
        >>> model = nn.ModuleDict({"norm": nn.BatchNorm1d(2)})
        >>> _ = mask_(model)
        >>> model.norm(torch.randn(3, 2, 4), torch.ones(3, 4)).shape
        torch.Size([3, 2, 4])
    """
    return convert_(model, MaskedBatchNorm1d, action="mask")
