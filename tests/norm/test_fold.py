"""Folding leaves no trace where it fails, and what it makes can be exported."""

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from onesigma._errors import CaptureError, ModelError, NoEffectWarning
from onesigma.inputs import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler
from onesigma.model.edits import Edits
from onesigma.model.state import fingerprint
from onesigma.norm import fold_
from onesigma.norm.fold import PadPerChannel
from onesigma.norm.fold.weights import scaled_inputs, scaled_outputs


def seeded(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def with_statistics(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    for norm in model.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            norm.running_mean.normal_(generator=generator)
            norm.running_var.uniform_(0.2, 3, generator=generator)
            nn.init.uniform_(norm.weight, 0.3, 2, generator=generator)
            nn.init.normal_(norm.bias, generator=generator)
    return model


def small_net() -> nn.Module:
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.BatchNorm2d(8)]
    head = [nn.Conv2d(8, 6, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(6), nn.AvgPool2d(2), nn.Flatten()]
    return with_statistics(nn.Sequential(*body, *head, nn.Linear(6 * 16, 4))).eval()


IMAGE = seeded(4, 3, 8, 8)


class Block(nn.Module):
    """A bottleneck with a residual path, in-place additions and activations."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.first, self.norm1 = nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels)
        self.second, self.norm2 = nn.Conv2d(channels, channels, 3, stride, 1, groups=4), nn.BatchNorm2d(channels)
        self.skip = nn.Sequential(nn.Conv2d(channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.norm1(self.first(x)), inplace=True)
        y = self.norm2(self.second(y))
        y += self.skip(x)
        return F.relu_(y)


def test_a_residual_net_has_no_norm_left() -> None:
    torch.manual_seed(0)
    stem = nn.Sequential(nn.Conv2d(3, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True))
    model = nn.Sequential(stem, *(Block(16, 1 + i % 2) for i in range(4)), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = with_statistics(model).eval()
    x = seeded(4, 3, 20, 20)
    exact = copy.deepcopy(model).double()(x.double())
    noise = (model(x) - exact).abs().max()
    edits = fold_(model, x)
    assert len(edits.applied) == 13
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    assert (model(x) - exact).abs().max() <= max(2 * noise, 4 * 2**-23 * exact.abs().max())


def test_keys_of_all_other_parameters_stay_and_only_norms_lose_theirs() -> None:
    model = small_net()
    before = set(model.state_dict())
    fold_(model, IMAGE)
    after = set(model.state_dict())
    assert {key.split(".")[0] for key in before - after} == {"1", "3", "6"}
    assert after - before == {"0.bias", "3.value"}
    assert isinstance(model[3], PadPerChannel)
    assert model[4].padding == (0, 0)


def test_parameters_stay_the_same_objects_so_that_an_optimizer_keeps_them() -> None:
    model = small_net()
    parameters = [model[0].weight, model[4].weight, model[9].bias]
    fold_(model, IMAGE)
    assert all(a is b for a, b in zip([model[0].weight, model[4].weight, model[9].bias], parameters, strict=True))


def test_a_model_in_training_mode_is_folded_for_eval_and_stays_in_training_mode() -> None:
    model = small_net()
    expected = copy.deepcopy(model)(IMAGE)
    fold_(model.train(), IMAGE)
    assert all(module.training for module in model.modules())
    torch.testing.assert_close(model.eval()(IMAGE), expected)


def test_several_batches_keyword_inputs_and_targets_are_taken() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = small_net()

        def forward(self, *, image: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"logits": self.net(image)}

    model = Named().eval()
    edits = fold_(model, [{"image": IMAGE}, {"image": seeded(2, 3, 8, 8)}])
    assert len(edits.applied) == 3
    assert len(fold_(small_net(), (IMAGE, torch.zeros(4)))) == 3


def test_a_branch_that_only_a_later_batch_takes_is_seen() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(self.conv(x)) if len(x) < 4 else self.conv(x)

    model = with_statistics(Branching()).eval()
    with pytest.warns(NoEffectWarning):
        edits = fold_(model, [seeded(2, 3, 8, 8), seeded(5, 3, 8, 8)])
    assert not edits.applied
    assert "moves the output" in edits[0].reason


def test_only_the_norm_that_is_to_blame_is_refused() -> None:
    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.conv, self.norm = small_net()[:3], nn.Conv2d(8, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(self.conv(self.net(x))) * self.norm.eps

    edits = fold_(with_statistics(Reads()).eval(), IMAGE)
    assert [(edit.layer, edit.applied) for edit in edits] == [("net.1", True), ("norm", False)]
    assert "read by more than what is called" in edits[1].reason


def test_a_shift_of_many_stds_is_refused_for_its_rounding() -> None:
    class Inputs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.tensor([1e6, 0.0]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x - self.mean

    x = seeded(64, 2) + torch.tensor([1e6, 0.0])
    with pytest.warns(NoEffectWarning):
        (edit,) = fold_(nn.Sequential(Inputs(), nn.Linear(2, 8)), x)
    assert "rounds worse" in edit.reason


def test_casts_inside_the_model_do_not_spoil_the_proof() -> None:
    class Casting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = small_net()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x.float() / 255).to(torch.float32)

    assert len(fold_(Casting().eval(), (seeded(4, 3, 8, 8) * 255).byte()).applied) == 3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_dtypes_are_rounded_once(dtype: torch.dtype) -> None:
    model = small_net().to(dtype)
    exact = copy.deepcopy(model).double()(IMAGE.to(dtype).double())
    noise = (model(IMAGE.to(dtype)) - exact).abs().max()
    edits = fold_(model, IMAGE.to(dtype))
    assert len(edits.applied) == 3
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    scale = exact.abs().max()
    assert (model(IMAGE.to(dtype)) - exact).abs().max() <= max(
        2 * noise, 4 * torch.finfo(dtype).eps * scale, 1e-10 * scale
    )


def test_an_exception_in_the_middle_leaves_the_model_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_net()
    before = fingerprint(model)
    stop = KeyboardInterrupt()

    def interrupted(self: object) -> None:
        raise stop

    monkeypatch.setattr("onesigma.norm.fold.certificate.Proof.rounding", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fold_(model, IMAGE)
    assert fingerprint(model) == before


def test_a_signal_that_was_left_on_the_model_does_not_stand_in_the_way() -> None:
    model = small_net()
    model.seen = model(IMAGE)
    assert len(fold_(model, IMAGE).applied) == 3


def test_a_model_that_raises_or_cannot_be_proven_says_so() -> None:
    with pytest.raises(CaptureError, match="cannot be multiplied"):
        fold_(nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)), seeded(8, 3))
    with pytest.raises(ModelError, match="no shape yet"):
        fold_(nn.Sequential(nn.LazyLinear(4), nn.BatchNorm1d(4)), seeded(8, 3))
    with torch.device("meta"):
        meta = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    with pytest.warns(NoEffectWarning, match="meta"):
        assert not fold_(meta, seeded(8, 3)).applied


def test_nothing_to_fold_is_no_silence() -> None:
    with pytest.warns(NoEffectWarning, match="no norm"):
        assert fold_(nn.Sequential(nn.Linear(3, 4)), seeded(8, 3)) == Edits()


@settings(deadline=None, max_examples=40)
@given(groups=st.integers(1, 4), inputs=st.integers(1, 3), outputs=st.integers(1, 3), transposed=st.booleans())
def test_scaling_a_weight_is_scaling_what_it_reads_or_makes(
    groups: int, inputs: int, outputs: int, transposed: bool
) -> None:
    conv = F.conv_transpose1d if transposed else F.conv1d
    op = conv.__name__ if transposed else "conv1d"
    num_in, num_out = groups * inputs, groups * outputs
    weight = seeded(*((num_in, outputs, 3) if transposed else (num_out, inputs, 3))).double()
    x, read, made = seeded(2, num_in, 7).double(), seeded(num_in).double(), seeded(num_out).double()
    expected = made[:, None] * conv(read[:, None] * x, weight, groups=groups)
    both = scaled_outputs(op, scaled_inputs(op, weight, scale=read, groups=groups), scale=made, groups=groups)
    torch.testing.assert_close(conv(x, both, groups=groups), expected)


def test_export_and_onnx_runtime_agree_with_the_folded_model(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = small_net()
    original = model(IMAGE)
    fold_(model, IMAGE)
    folded = model(IMAGE)
    program = torch.export.export(model, (IMAGE,))
    torch.testing.assert_close(program.module()(IMAGE), folded)
    assert not any("batch_norm" in str(node.target) for node in program.graph.nodes)
    file = tmp_path / "folded.onnx"
    torch.onnx.export(program, f=str(file), dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: IMAGE.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), folded)
    torch.testing.assert_close(torch.from_numpy(found), original)


@pytest.mark.parametrize("scaler", [StandardScaler, MinMaxScaler, RobustScaler, MaxAbsScaler])
@pytest.mark.parametrize("padding", [None, 0, 1])
def test_an_input_layer_folds_into_what_reads_it(scaler: type, padding: int | None) -> None:
    x = seeded(16, 5, 7, 7) * 3 + 2 if padding is not None else seeded(64, 5) * 3 + 2
    axis, table = (1, x.movedim(1, -1).reshape(-1, 5)) if padding is not None else (-1, x)
    first = nn.Linear(5, 4) if padding is None else nn.Conv2d(5, 4, 3, padding=padding)
    model = nn.Sequential(scaler().fit(table.numpy()).to_module(axis=axis), first, nn.ReLU()).eval()
    expected = copy.deepcopy(model)(x)
    (edit,) = fold_(model, x)
    assert edit.applied
    assert edit.error <= 1e-10
    torch.testing.assert_close(model(x), expected)


def test_an_input_layer_that_counts_stays() -> None:
    x = seeded(64, 5)
    layer = StandardScaler().fit(x.numpy()).to_module(count_out_of_range=True)
    with pytest.warns(NoEffectWarning, match="counts what it sees"):
        assert not fold_(nn.Sequential(layer, nn.Linear(5, 4)), x).applied
