"""Padding counts for nothing."""

import copy

import pytest
import torch
from torch import nn
from torch.overrides import BaseTorchFunctionMode

from onesigma._errors import BatchError, NoEffectWarning
from onesigma.model.state import fingerprint
from onesigma.norm import BatchNormLast, MaskedBatchNorm1d, calibrate_, freeze_, mask_, plain_
from onesigma.norm.kernels import MaskedNormalize


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def padded() -> tuple[torch.Tensor, torch.Tensor]:
    """Five sequences of 1 to 5 positions."""
    mask = torch.arange(5)[None] < torch.tensor([1, 5, 2, 3, 4])[:, None]
    return seeded(5, 3, 5) * 2 + 1, mask


def test_valid_values_alone_make_the_statistics() -> None:
    norm = MaskedBatchNorm1d(1, momentum=1.0)
    x = torch.tensor([[[1.0, 3.0, 5.0, 0.0]], [[3.0, 0.0, 0.0, 0.0]]])
    norm(x, torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]]))
    assert norm.running_mean.item() == 3.0
    torch.testing.assert_close(norm.running_var * 3 / 4, torch.tensor([2.0]))


@pytest.mark.parametrize("training", [True, False])
def test_valid_positions_are_those_of_batchnorm_on_them_alone_forward_and_backward(training: bool) -> None:
    x, mask = padded()
    masked, plain = MaskedBatchNorm1d(3).train(training), nn.BatchNorm1d(3).train(training)
    x, rows = x.requires_grad_(), x.detach().movedim(1, -1)[mask].requires_grad_()
    output, expected = masked(x, mask), plain(rows)
    torch.testing.assert_close(output.movedim(1, -1)[mask], expected)
    assert not output.movedim(1, -1)[~mask].any()
    (output**3).sum().backward()
    (expected**3).sum().backward()
    torch.testing.assert_close(x.grad.movedim(1, -1)[mask], rows.grad)
    assert not x.grad.movedim(1, -1)[~mask].any()
    for mine, theirs in zip(masked.state_dict().values(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_what_stands_in_the_padding_does_not_matter() -> None:
    x, mask = padded()
    garbage = x.masked_fill(~mask[:, None], float("nan"))
    assert torch.equal(MaskedBatchNorm1d(3)(x, mask), MaskedBatchNorm1d(3)(garbage, mask))


def test_without_a_mask_it_is_batchnorm() -> None:
    x, mask = padded()
    assert torch.equal(MaskedBatchNorm1d(3)(x), nn.BatchNorm1d(3)(x))
    torch.testing.assert_close(MaskedBatchNorm1d(3)(x, torch.ones_like(mask)), nn.BatchNorm1d(3)(x))


def test_rows_can_be_masked_too() -> None:
    x, mask = seeded(6, 3), torch.tensor([1, 1, 0, 1, 0, 1])
    torch.testing.assert_close(MaskedBatchNorm1d(3)(x, mask)[mask.bool()], nn.BatchNorm1d(3)(x[mask.bool()]))


def test_a_batch_without_a_valid_value_changes_nothing() -> None:
    norm, (x, mask) = MaskedBatchNorm1d(3), padded()
    assert not norm(x, torch.zeros_like(mask)).any()
    assert norm.running_mean.tolist() == [0.0, 0.0, 0.0]
    assert int(norm.num_batches_tracked) == 0


def test_a_mask_of_another_shape_is_refused() -> None:
    x, mask = padded()
    with pytest.raises(BatchError, match=r"shape \(5, 5\), got \(5, 3, 5\)"):
        MaskedBatchNorm1d(3)(x, mask[:, None].expand(5, 3, 5))


class Padded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = MaskedBatchNorm1d(3)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.norm(x, mask)


def test_calibration_counts_valid_values_only() -> None:
    model, (x, mask) = Padded(), padded()
    calibrate_(model, {"x": x, "mask": mask})
    rows = x.movedim(1, -1)[mask]
    torch.testing.assert_close(model.norm.running_mean, rows.mean(0))
    torch.testing.assert_close(model.norm.running_var, rows.var(0))


def test_a_mean_of_ten_thousand_stds_costs_no_digit_of_the_gradient() -> None:
    """Where `nn.BatchNorm1d` in float32 is off by a thousandth."""
    shape = (9, 3, 7)
    x = (seeded(*shape) + 10_000).requires_grad_()
    mask = seeded(shape[0], *shape[2:], seed=1) > -0.5
    rows = x.detach().movedim(1, -1)[mask].double().requires_grad_()
    exact = nn.BatchNorm1d(3).double()(rows)
    output, direction = MaskedBatchNorm1d(3)(x, mask), seeded(*shape, seed=2)
    torch.testing.assert_close(output.movedim(1, -1)[mask].double(), exact, rtol=0, atol=1e-5)
    (output * direction).sum().backward()
    (exact * direction.movedim(1, -1)[mask].double()).sum().backward()
    torch.testing.assert_close(x.grad.movedim(1, -1)[mask].double(), rows.grad, rtol=0, atol=1e-5)


def test_a_gradient_that_is_not_finite_in_the_padding_does_not_matter() -> None:
    x, mask = padded()
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    for each, garbage in zip(inputs, (0.0, float("nan")), strict=True):
        gradient = seeded(5, 3, 5, seed=3).masked_fill(~mask[:, None], garbage)
        MaskedBatchNorm1d(3)(each, mask).backward(gradient)
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)


@pytest.mark.parametrize("affine", [True, False])
def test_watched_and_unwatched_give_the_same(affine: bool) -> None:
    """Under a mode the valid values are taken out, so that what looks on sees them."""
    x, mask = padded()
    norms = [MaskedBatchNorm1d(3, affine=affine) for _ in range(2)]
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    fast = norms[0](inputs[0], mask)
    with BaseTorchFunctionMode():
        slow = norms[1](inputs[1], mask)
    torch.testing.assert_close(fast, slow)
    for output in (fast, slow):
        (output**3).sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)
    for mine, theirs in zip(norms[0].buffers(), norms[1].buffers(), strict=True):
        torch.testing.assert_close(mine, theirs)


class Activated(nn.BatchNorm1d):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input).relu()


@pytest.mark.parametrize("make", [nn.BatchNorm1d, Activated])
def test_a_live_layer_takes_a_mask_and_gives_it_back(make: type[nn.BatchNorm1d]) -> None:
    model, (x, mask) = nn.Sequential(make(3)), padded()
    before, parameters = fingerprint(model), list(model.parameters())
    edits = mask_(model)
    assert isinstance(model[0], MaskedBatchNorm1d)
    assert isinstance(model[0], make)
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    torch.testing.assert_close(copy.deepcopy(model)(x), make(3)(x))
    valid = copy.deepcopy(model)[0](x, mask).movedim(1, -1)[mask]
    torch.testing.assert_close(valid, make(3)(x.movedim(1, -1)[mask]))
    freeze_(model)
    torch.testing.assert_close(model[0](x, mask).movedim(1, -1)[mask], make(3).eval()(x.movedim(1, -1)[mask]))
    plain_(model)
    assert type(model[0]) is make
    edits.undo()
    assert fingerprint(model) == before


def test_layers_whose_positions_are_not_known_are_refused() -> None:
    with pytest.warns(NoEffectWarning, match="is for nn.BatchNorm1d"):
        assert not mask_(nn.Sequential(nn.BatchNorm2d(3), BatchNormLast(3))).applied


@pytest.mark.parametrize("affine", [True, False])
def test_many_rows_give_what_a_norm_of_the_valid_ones_gives(affine: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    x = 1e3 + torch.randn(1200, 64, generator=generator, dtype=torch.float64)
    mask, above = torch.rand(1200, generator=generator) < 0.7, torch.randn(1200, 64, generator=generator).double()
    masked, plain = (kind(64, affine=affine).double() for kind in (MaskedBatchNorm1d, nn.BatchNorm1d))
    valid, padded = x[mask].requires_grad_(), torch.where(mask[:, None], x, torch.nan).requires_grad_()
    expected, found = plain(valid), masked(padded, mask)
    expected.backward(above[mask])
    found.backward(torch.where(mask[:, None], above, torch.nan))
    torch.testing.assert_close(found[mask], expected)
    assert padded.grad is not None
    torch.testing.assert_close(padded.grad[mask], valid.grad)
    assert not found[~mask].any()
    assert not padded.grad[~mask].any()
    for own, other in zip(masked.state_dict().values(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(own, other)
    for own, other in zip(masked.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad)


@pytest.mark.parametrize("training", [True, False])
def test_a_batch_without_a_valid_value_has_gradients_of_zero_and_counts_for_nothing(training: bool) -> None:
    """Ranks that wait for each other's gradients wait for these too."""
    norm, x = MaskedBatchNorm1d(3).train(training), seeded(5, 3, 4).requires_grad_()
    before = {name: buffer.clone() for name, buffer in norm.named_buffers()}
    output = norm(x, torch.zeros(5, 4))
    output.sum().backward()
    for gradient in (output, x.grad, norm.weight.grad, norm.bias.grad):
        assert gradient is not None
        assert not gradient.any()
    assert all(torch.equal(buffer, before[name]) for name, buffer in norm.named_buffers())


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", [(7, 3), (4, 3, 5)])
def test_gradients_and_gradients_of_gradients_are_those_of_finite_differences(
    shape: tuple[int, ...], affine: bool
) -> None:
    """Gradient penalties derive twice, which `nn.BatchNorm1d` can."""
    x, mask = seeded(*shape).double().requires_grad_(), seeded(shape[0], *shape[2:], seed=1) > -0.5
    norm = MaskedBatchNorm1d(3, affine=affine, track_running_stats=False).double()

    def run(x: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(norm, dict(zip(("weight", "bias"), weights, strict=False)), (x, mask))

    inputs = (x, *(seeded(3, seed=seed).double().requires_grad_() for seed in (2, 3) if affine))
    assert torch.autograd.gradcheck(run, inputs)
    assert torch.autograd.gradgradcheck(run, inputs)


def test_other_devices_take_the_gradient_of_a_gradient_too() -> None:
    x, mask = seeded(4, 3, 5).double().requires_grad_(), (seeded(4, 1, 5, seed=1) > -0.5).double()
    weights = [seeded(3, seed=seed).double().requires_grad_() for seed in (2, 3)]

    def run(x: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = MaskedNormalize.apply(x, mask, *weights, 1e-5)[0]
        return output

    assert torch.autograd.gradcheck(run, (x, *weights))
    assert torch.autograd.gradgradcheck(run, (x, *weights))


@pytest.mark.parametrize("shape", [(6, 3), (6, 3, 5)])
def test_memory_with_gaps_gives_what_memory_without_gives(shape: tuple[int, ...]) -> None:
    wide, mask = seeded(*shape, 2), seeded(shape[0], *shape[2:], 2, seed=1) > -0.5
    views, gradient = (wide[..., 0].requires_grad_(), mask[..., 0]), seeded(*shape, 2, seed=2)[..., 1]
    whole = (wide[..., 0].detach().contiguous().requires_grad_(), mask[..., 0].contiguous())
    outputs = [MaskedBatchNorm1d(3)(*pair) for pair in (views, whole)]
    assert torch.equal(*outputs)
    found = [
        torch.autograd.grad(output, x, gradient, create_graph=twice)[0]
        for twice in (False, True)
        for output, x in zip(
            [MaskedBatchNorm1d(3)(*pair) for pair in (views, whole)], (views[0], whole[0]), strict=True
        )
    ]
    assert torch.equal(*found[:2])
    for other in found[2:]:
        torch.testing.assert_close(other, found[0])


def test_any_number_of_threads_gives_the_same_to_rounding() -> None:
    """Over a million values, of which each thread takes a share."""
    x, above = seeded(2100, 512).double(), seeded(2100, 512, seed=1).double()
    mask, before, found = seeded(2100, seed=2) > -1, torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            norm, mine = MaskedBatchNorm1d(512).double(), x.clone().requires_grad_()
            output = norm(mine, mask)
            output.backward(above)
            found.append([output, mine.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var])
    finally:
        torch.set_num_threads(before)
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("buffers", [torch.float32, torch.float64, torch.bfloat16])
def test_running_statistics_of_any_dtype_move_and_say_that_they_were_written(buffers: torch.dtype) -> None:
    norm, (x, mask) = MaskedBatchNorm1d(3), padded()
    rows = x.movedim(1, -1)[mask].double()
    norm.running_mean, norm.running_var = norm.running_mean.to(buffers), norm.running_var.to(buffers)
    versions = norm.running_mean._version, norm.running_var._version
    norm(x, mask)
    assert (norm.running_mean._version, norm.running_var._version) > versions
    torch.testing.assert_close(norm.running_mean, (0.1 * rows.mean(0)).to(buffers))
    torch.testing.assert_close(norm.running_var, (0.9 + 0.1 * rows.var(0)).to(buffers))
