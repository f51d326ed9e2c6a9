"""What a batch costs in eval mode and twice over, and whether its rows depend on one another."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from onesigma.measure import contrasted, measure, measure_contrasted
from onesigma.model.batches import first_batch
from onesigma.model.state import fingerprint
from onesigma.model.trace import Trace

X = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(64) % 3


def seen(model: nn.Module, batch: Any = (X, Y), loss: Any = "cross_entropy") -> Trace:
    return contrasted(measure(model, batch, loss=loss), model, first_batch(batch), loss=loss)


def network(*extra: nn.Module) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 16), *extra, nn.ReLU(), nn.Linear(16, 3))


def test_the_loss_in_eval_mode_is_that_of_the_same_batch() -> None:
    model = network(nn.BatchNorm1d(16))
    model(X)
    trace = seen(model)
    assert trace.loss is not None
    model.eval()
    torch.testing.assert_close(trace.loss.in_eval, F.cross_entropy(model(X), Y).item())


@pytest.mark.parametrize("model", [network(), network(nn.BatchNorm1d(16)), network(nn.Dropout())])
def test_without_tracked_statistics_no_second_pass_is_made(model: nn.Module) -> None:
    assert seen(model).loss.in_eval is None  # type: ignore[union-attr]


def squares(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return ((output - F.one_hot(targets, 3)) ** 2).sum()


@pytest.mark.parametrize(("loss", "factor"), [(squares, 2), (lambda o, y: squares(o, y) / len(y), 1)])
def test_a_sum_doubles_and_a_mean_does_not(loss: Any, factor: int) -> None:
    found = seen(network(nn.Dropout()), loss=loss).loss
    assert found is not None
    assert found.doubled is not None
    assert found.doubled / found.value == pytest.approx(factor, rel=1e-5)


def rivals(output: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    """Neighbors are pairs, all others their rivals."""
    one, other = F.normalize(output[::2], dim=1), F.normalize(output[1::2], dim=1)
    return F.cross_entropy(one @ other.T, torch.arange(len(one)))


def test_a_contrastive_loss_that_grows_like_a_logarithm_is_no_sum() -> None:
    found = seen(network(), loss=rivals).loss
    assert found is not None
    assert found.doubled is None


def partly_summed(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return squares(output, targets) + 60.0


def test_a_sum_beside_a_fixed_term_still_grows_by_as_much_again() -> None:
    found = seen(network(), loss=partly_summed).loss
    assert found is not None
    assert found.doubled is not None
    assert found.doubled > 1.1 * found.value


class Carrying(nn.Module):
    """Computes its own summed loss, as Hugging Face models do."""

    def __init__(self) -> None:
        super().__init__()
        self.body = network()

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self.body(x)
        return {"loss": F.cross_entropy(logits, labels, reduction="sum"), "logits": logits}


def test_a_loss_that_the_model_carries_is_given_every_row_twice() -> None:
    found = seen(Carrying(), {"x": X, "labels": Y}, None).loss
    assert found is not None
    assert found.doubled is not None
    assert found.doubled / found.value == pytest.approx(2, rel=1e-5)


class WithPenalty(Carrying):
    """Adds something to the loss that no function of torch made."""

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        found = super().forward(x, labels)
        return {**found, "loss": found["loss"] + found["logits"].square().sum()}


def passes_of(model: nn.Module) -> tuple[Trace, list[int]]:
    """The trace of `check`, and how many rows each of its passes had."""
    rows: list[int] = []
    model.register_forward_pre_hook(lambda module, args, kwargs: rows.append(len(kwargs["x"])), with_kwargs=True)
    return measure_contrasted(model, first_batch({"x": X, "labels": Y})), rows


@pytest.mark.parametrize(("model", "expected"), [(Carrying(), [64, 1]), (WithPenalty(), [64, 1, 2])])
def test_a_plain_loss_is_doubled_without_the_model_and_equal_rows_need_no_other_company(
    model: nn.Module, expected: list[int]
) -> None:
    trace, rows = passes_of(model)
    assert rows == expected
    assert trace.coupling == 0
    assert trace.loss is not None
    assert trace.loss.doubled is not None
    assert trace.loss.doubled / trace.loss.value == pytest.approx(2, rel=1e-5)


class OfTokens(nn.Module):
    """Hands its loss a table of all tokens, of which the first costs far more than the others."""

    def __init__(self, reduction: str) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.tensor([100.0] + [0.0] * 6)[:, None])
        self.reduction = reduction

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = x[:, None, :] + self.bias * torch.arange(x.shape[1])
        tokens = labels[:, None].expand(-1, 7).reshape(-1)
        return {"loss": F.cross_entropy(logits.flatten(0, 1), tokens, reduction=self.reduction), "logits": logits}


@pytest.mark.parametrize(("reduction", "growth"), [("mean", 1), ("sum", 2)])
def test_a_loss_over_the_tokens_of_rows_is_doubled_row_by_row(reduction: str, growth: int) -> None:
    found = seen(OfTokens(reduction), {"x": X, "labels": Y}, None).loss
    assert found is not None
    assert found.doubled is not None
    assert found.doubled / found.value == pytest.approx(growth, rel=1e-5)


class LooksBack(nn.Module):
    """Reads the two rows before, as a convolution does for which the batch stands in the place of time."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + x.roll(1, 0) + x.roll(2, 0)


@pytest.mark.parametrize("part", [LooksBack(), nn.BatchNorm1d(16, track_running_stats=False)])
def test_rows_that_depend_on_one_another_are_seen_against_the_measured_pass(part: nn.Module) -> None:
    coupling = measure_contrasted(network(part), first_batch((X, Y)), loss="cross_entropy").coupling
    assert coupling is not None
    assert coupling > 1e-3


class OverBatch(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.softmax(0)


class Sampling(nn.Module):
    """Adds noise, from torch's generator or from its own, whose state no one can put back."""

    def __init__(self, generator: torch.Generator | None) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.randn(x.shape, generator=self.generator)


@pytest.mark.parametrize("part", [OverBatch(), nn.BatchNorm1d(16, track_running_stats=False)])
def test_rows_that_depend_on_one_another_are_seen(part: nn.Module) -> None:
    coupling = seen(network(part)).coupling
    assert coupling is not None
    assert coupling > 1e-3


def test_a_norm_left_in_training_mode_is_seen_in_an_eval_model() -> None:
    model = network(nn.BatchNorm1d(16)).eval()
    model[1].train()
    assert (seen(model).coupling or 0) > 1e-3


@pytest.mark.parametrize("part", [nn.BatchNorm1d(16), nn.LayerNorm(16), nn.Dropout(), Sampling(None)])
def test_rows_that_do_not_have_a_coupling_of_exactly_zero(part: nn.Module) -> None:
    assert seen(network(part)).coupling == 0


def test_of_a_model_with_a_generator_of_its_own_nothing_is_said() -> None:
    assert seen(network(Sampling(torch.Generator()))).coupling is None


class Whole(nn.Module):
    """Takes batches of 64 and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.body = network()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x.view(64, 6))


@pytest.mark.parametrize("batch", [(X, Y), ((X, torch.randn(2, 9)), Y)])
def test_what_cannot_be_tried_stays_unknown(batch: Any) -> None:
    class Two(Whole):
        def forward(self, x: torch.Tensor, edges: torch.Tensor | None = None) -> torch.Tensor:
            return super().forward(x)

    trace = seen(Two(), batch)
    assert (trace.coupling, trace.loss.doubled) == (None, None)  # type: ignore[union-attr]


def test_the_model_is_left_bit_for_bit_also_where_a_part_raises() -> None:
    for model in (network(nn.BatchNorm1d(16), nn.Dropout()), Whole()):
        model(X)
        trace, before = measure(model, (X, Y), loss="cross_entropy"), fingerprint(model)
        contrasted(trace, model, first_batch((X, Y)), loss="cross_entropy")
        assert fingerprint(model) == before


def test_an_interrupt_passes_and_leaves_no_trace() -> None:
    class Interrupted(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if len(x) < 64:
                raise KeyboardInterrupt
            return super().forward(x)

    model = Interrupted(*network(nn.BatchNorm1d(16)))
    trace, before = measure(model, (X, Y), loss="cross_entropy"), fingerprint(model)
    with pytest.raises(KeyboardInterrupt):
        contrasted(trace, model, first_batch((X, Y)), loss="cross_entropy")
    assert fingerprint(model) == before


def test_running_statistics_are_compared_channel_by_channel() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2))
    with torch.no_grad():
        model[0].running_mean.copy_(torch.tensor([0.0, 3.0]))
        model[0].running_var.copy_(torch.tensor([1.0, 4.0]))
    # Mean 0 and unbiased variance 1 in both channels.
    x = torch.tensor([[-1.0], [1.0]]).repeat(512, 2) * (1023 / 1024) ** 0.5
    (norm,) = measure(model.eval(), x).of_kind("batch_norm")
    assert norm.attributes["mean_gap"] == pytest.approx(3 / 2**0.5, rel=1e-4)
    assert norm.attributes["var_ratio"] == pytest.approx(2, rel=1e-4)
    assert (norm.attributes["updates"], norm.attributes["start_left"]) == (0, 1.0)
