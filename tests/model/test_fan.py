"""Fans by role, proven by measuring: weights of variance 1/fan_in give outputs of variance 1 on the real module."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from onesigma._errors import FanError
from onesigma.model.fan import Fan, fan, fan_of, fans

SEED = 20


def seeded(seed: int = SEED) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Conv1D(nn.Module):
    """The layer of GPT-2, whose weight is (in, out)."""

    def __init__(self, nf: int, nx: int) -> None:
        super().__init__()
        self.nf = nf
        self.weight = nn.Parameter(torch.empty(nx, nf))
        self.bias = nn.Parameter(torch.zeros(nf))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight).view(*x.shape[:-1], self.nf)


class Experts(nn.Module):
    """A batch of experts: weights (experts, out, in)."""

    def __init__(self, num: int, num_in: int, num_out: int) -> None:
        super().__init__()
        self.up = nn.Parameter(torch.empty(num, num_out, num_in))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.einsum("eoi,bi->beo", self.up, x)


def draw_(layer: nn.Module, std_of: Callable[[Fan], float], **options: str) -> None:
    """Weights from N(0, std²), biases zero: only what the fan says sets the scale."""
    generator = seeded()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        for name, each in fans(layer, **options).items():
            layer.get_parameter(name).normal_(0.0, std_of(each), generator=generator)


def second_moment_and_error(y: torch.Tensor) -> tuple[float, float]:
    """E[y²] and its standard error, from rows that are independent samples given the weights."""
    per_sample = y.detach().flatten(1).double().square().mean(1)
    return per_sample.mean().item(), per_sample.std().item() / math.sqrt(len(per_sample))


LAYERS = {
    "linear": (lambda: nn.Linear(512, 256), (64, 512)),
    "conv1d": (lambda: nn.Conv1d(32, 64, 5), (16, 32, 40)),
    "conv2d": (lambda: nn.Conv2d(32, 64, 3), (16, 32, 12, 12)),
    "conv2d strided": (lambda: nn.Conv2d(32, 64, 4, stride=2), (16, 32, 14, 14)),
    "conv2d dilated": (lambda: nn.Conv2d(32, 64, 3, dilation=2), (16, 32, 14, 14)),
    "conv3d": (lambda: nn.Conv3d(16, 32, 3), (8, 16, 7, 7, 7)),
    "conv2d grouped": (lambda: nn.Conv2d(64, 128, 3, groups=4), (16, 64, 12, 12)),
    "conv2d depthwise": (lambda: nn.Conv2d(256, 256, 3, groups=256), (16, 256, 12, 12)),
    "conv2d circular": (lambda: nn.Conv2d(32, 64, 3, padding=1, padding_mode="circular"), (16, 32, 9, 9)),
    "conv1d of gpt-2": (lambda: Conv1D(1024, 256), (64, 256)),
    "bilinear": (lambda: nn.Bilinear(32, 24, 128), None),
}


@pytest.mark.parametrize("name", LAYERS)
def test_weights_of_variance_one_over_fan_in_keep_the_second_moment(name: str) -> None:
    build, shape = LAYERS[name]
    layer = build()
    draw_(layer, lambda each: each.fan_in**-0.5)
    generator = seeded(1)
    if shape is None:
        inputs = (torch.randn(256, 32, generator=generator), torch.randn(256, 24, generator=generator))
    else:
        inputs = (torch.randn(shape, generator=generator),)
    measured, error = second_moment_and_error(layer(*inputs))
    # The draw of the weights adds its own relative error √(2/numel), shared by all samples.
    tolerance = 4 * math.hypot(error, math.sqrt(2 / layer.weight.numel()))
    assert measured == pytest.approx(1.0, abs=tolerance)


@pytest.mark.parametrize("channels", [(16, 64), (64, 64), (64, 16)])
@pytest.mark.parametrize(("kernel", "stride"), [(4, 2), (3, 2), (3, 3), (2, 2), (6, 2)])
def test_transposed_convolution_keeps_the_second_moment_averaged_over_its_phases(
    channels: tuple[int, int], kernel: int, stride: int
) -> None:
    layer = nn.ConvTranspose2d(*channels, kernel, stride=stride)
    draw_(layer, lambda each: each.fan_in**-0.5)
    x = torch.randn(32, channels[0], 12, 12, generator=seeded(1))
    # The interior, cut to whole periods of the stride: borders read fewer inputs.
    margin = kernel + (-kernel) % stride
    interior = layer(x)[..., margin : margin + 6 * stride, margin : margin + 6 * stride]
    measured, error = second_moment_and_error(interior)
    assert measured == pytest.approx(1.0, abs=4 * math.hypot(error, math.sqrt(2 / layer.weight.numel())))


def test_transposed_grouped_convolution_divides_its_fan_in_by_the_groups() -> None:
    layer = nn.ConvTranspose1d(64, 32, 4, stride=2, groups=4)
    assert fan(layer) == Fan(32, 32)
    draw_(layer, lambda each: each.fan_in**-0.5)
    measured, error = second_moment_and_error(layer(torch.randn(64, 64, 30, generator=seeded(1)))[..., 4:-4])
    assert measured == pytest.approx(1.0, abs=4 * math.hypot(error, math.sqrt(2 / layer.weight.numel())))


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda: nn.Linear(256, 512), (64, 256)),
        (lambda: nn.Conv2d(32, 64, 3), (16, 32, 16, 16)),
        (lambda: nn.Conv2d(32, 64, 4, stride=2), (16, 32, 24, 24)),
        (lambda: nn.Conv2d(64, 128, 3, groups=4), (16, 64, 16, 16)),
        (lambda: nn.Conv2d(128, 128, 3, groups=128), (16, 128, 16, 16)),
        (lambda: nn.ConvTranspose2d(32, 64, 4, stride=2), (16, 32, 16, 16)),
        (lambda: Conv1D(512, 256), (64, 256)),
    ],
)
def test_weights_of_variance_one_over_fan_out_keep_the_gradient(
    build: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    layer = build()
    draw_(layer, lambda each: each.fan_out**-0.5)
    x = torch.randn(shape, generator=seeded(1)).requires_grad_()
    y = layer(x)
    (gradient,) = torch.autograd.grad(y, x, torch.randn(y.shape, generator=seeded(2)))
    if len(shape) == 4:
        gradient = gradient[..., 6:-6, 6:-6]
    measured, error = second_moment_and_error(gradient)
    assert measured == pytest.approx(1.0, abs=4 * math.hypot(error, math.sqrt(2 / layer.weight.numel())))


def test_bilinear_fan_out_is_the_mean_over_the_inputs_of_both_sides() -> None:
    layer = nn.Bilinear(16, 48, 64)
    draw_(layer, lambda each: each.fan_out**-0.5)
    left = torch.randn(512, 16, generator=seeded(1)).requires_grad_()
    right = torch.randn(512, 48, generator=seeded(2)).requires_grad_()
    gradients = torch.autograd.grad(layer(left, right), (left, right), torch.randn(512, 64, generator=seeded(3)))
    measured, error = second_moment_and_error(torch.cat(gradients, 1))
    assert measured == pytest.approx(1.0, abs=4 * math.hypot(error, math.sqrt(2 / layer.weight.numel())))


def test_embedding_reads_one_row() -> None:
    layer = nn.Embedding(5000, 256)
    assert fan(layer) == Fan(1, 256) == fan(nn.EmbeddingBag(5000, 256))
    draw_(layer, lambda each: each.fan_in**-0.5)
    measured, error = second_moment_and_error(layer(torch.randint(0, 5000, (2000,), generator=seeded(1))))
    assert measured == pytest.approx(1.0, abs=4 * error)


def test_batched_experts_need_their_axes_named_and_then_keep_the_second_moment() -> None:
    experts = Experts(8, 256, 128)
    with pytest.raises(FanError, match="expert out in"):
        fan(experts)
    assert fan(experts, layout="expert out in") == Fan(256, 128)
    assert fan_of((8, 256, 128), layout="expert in out") == Fan(256, 128)
    draw_(experts, lambda each: each.fan_in**-0.5, layout="expert out in")
    measured, error = second_moment_and_error(experts(torch.randn(256, 256, generator=seeded(1))))
    assert measured == pytest.approx(1.0, abs=4 * math.hypot(error, math.sqrt(2 / experts.up.numel())))


@pytest.mark.parametrize("options", [{}, {"kdim": 48, "vdim": 96}])
def test_attention_projections_keep_the_second_moment_packed_or_not(options: dict[str, int]) -> None:
    layer = nn.MultiheadAttention(64, 4, bias=False, **options)
    assert all(each.fan_out == 64 for each in fans(layer).values())
    draw_(layer, lambda each: each.fan_in**-0.5)
    packed = layer.in_proj_weight
    weights = packed.chunk(3) if packed is not None else (layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight)
    for weight in weights:
        x = torch.randn(512, weight.shape[1], generator=seeded(1))
        measured, error = second_moment_and_error(nn.functional.linear(x, weight))
        assert measured == pytest.approx(1.0, abs=4 * math.hypot(error, math.sqrt(2 / weight.numel())))


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_recurrent_fans_cover_every_weight_and_match_its_shape(kind: type[nn.RNNBase], bidirectional: bool) -> None:
    layer = kind(24, 40, num_layers=3, bidirectional=bidirectional)
    gates = {"LSTM": 4, "GRU": 3}.get(kind.__name__, 1)
    found = fans(layer)
    assert list(found) == [name for name, p in layer.named_parameters() if p.ndim == 2]
    for name, each in found.items():
        assert layer.get_parameter(name).shape == (gates * each.fan_out, each.fan_in)


def test_lstm_with_projection_reads_the_projected_state() -> None:
    layer = nn.LSTM(24, 40, num_layers=2, proj_size=10)
    found = fans(layer)
    assert found["weight_hh_l0"] == found["weight_ih_l1"] == Fan(10, 40)
    assert found["weight_hr_l0"] == Fan(40, 10)
    assert set(found) == {name for name, p in layer.named_parameters() if p.ndim == 2}


@pytest.mark.parametrize("kind", [nn.RNNCell, nn.GRUCell, nn.LSTMCell])
def test_cells_count_one_gate(kind: type[nn.RNNCellBase]) -> None:
    assert fans(kind(12, 30)) == {"weight_ih": Fan(12, 30), "weight_hh": Fan(30, 30)}


def test_fan_of_a_layer_with_several_weights_is_that_of_the_one_that_reads_its_input() -> None:
    assert fan(nn.LSTM(10, 20)) == Fan(10, 20)
    assert fan(nn.MultiheadAttention(64, 4)) == Fan(64, 64)


def test_fused_projections_divide_fan_out_by_their_blocks() -> None:
    assert fan(nn.Linear(64, 192), blocks=3) == Fan(64, 64)
    assert fan(Conv1D(192, 64), blocks=3) == Fan(64, 64)
    assert fan_of((192, 64), blocks=3) == Fan(64, 64)


@pytest.mark.parametrize(
    "wrap",
    [
        nn.utils.parametrizations.weight_norm,
        nn.utils.parametrizations.spectral_norm,
        nn.utils.parametrizations.orthogonal,
    ],
)
def test_parametrized_weights_count_by_their_logical_shape_and_are_not_evaluated(
    wrap: Callable[[nn.Module], nn.Module],
) -> None:
    layer = wrap(nn.Linear(32, 16))
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    assert fan(layer) == Fan(32, 16)
    assert all(torch.equal(before[name], value) for name, value in layer.state_dict().items())


@pytest.mark.parametrize("local", [torch.empty(0), torch.zeros(100), torch.zeros(4, 32)])
def test_a_sharded_or_flattened_weight_counts_by_the_layer(local: torch.Tensor) -> None:
    layer = nn.Linear(32, 16)
    layer.weight = nn.Parameter(local)
    assert fan(layer) == Fan(32, 16)


def test_meta_layers_have_fans() -> None:
    assert fan(nn.Conv2d(3, 64, 7, stride=2, device="meta")) == Fan(147, 784)


def test_linear_by_duck_typing_needs_the_shape_to_agree() -> None:
    class Mine(nn.Module):
        def __init__(self, *shape: int) -> None:
            super().__init__()
            self.in_features, self.out_features = 8, 4
            self.weight = nn.Parameter(torch.empty(shape))

    assert fan(Mine(4, 8)) == Fan(8, 4)
    with pytest.raises(FanError, match="unknown"):
        fan(Mine(8, 4))


@pytest.mark.parametrize("layer", [nn.LazyLinear(8), nn.LazyConv2d(8, 3), nn.LazyConvTranspose2d(8, 3)])
def test_lazy_layers_are_refused_until_they_have_a_shape(layer: nn.Module) -> None:
    with pytest.raises(FanError, match="lazy"):
        fan(layer)


@pytest.mark.parametrize("layer", [nn.LayerNorm(8), nn.ReLU(), nn.Sequential(nn.Linear(2, 2)), nn.PReLU()])
def test_layers_without_a_weight_of_their_own_have_no_fan(layer: nn.Module) -> None:
    assert fans(layer) == {}
    with pytest.raises(FanError, match="at least 2 dimensions"):
        fan(layer)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((3, 4, 5), {}),
        ((3,), {}),
        ((), {}),
        ((3, 4), {"layout": "out"}),
        ((3, 4), {"layout": "in in"}),
        ((3, 4), {"layout": "out inn"}),
        ((3, 4, 5), {"layout": "out in"}),
        ((3,), {"layout": "out in ..."}),
    ],
)
def test_a_bare_weight_whose_axes_are_not_told_is_refused(shape: tuple[int, ...], options: dict[str, str]) -> None:
    with pytest.raises(FanError):
        fan_of(shape, **options)


def test_layouts_name_parameters_that_exist() -> None:
    experts = Experts(2, 3, 4)
    assert fans(experts, layout={"up": "expert in out"}) == {"up": Fan(4, 3)}
    with pytest.raises(FanError, match="has no parameter down"):
        fans(experts, layout={"down": "expert out in"})


@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.Linear(6, 4),
        lambda: nn.Conv2d(8, 16, (3, 5), stride=(2, 1), groups=2),
        lambda: nn.ConvTranspose2d(8, 16, (3, 5), stride=(2, 1), groups=2),
    ],
)
def test_fan_of_the_shape_agrees_with_fan_of_the_layer(build: Callable[[], nn.Module]) -> None:
    layer = build()
    transposed = bool(getattr(layer, "transposed", False))
    by_shape = fan_of(
        layer.weight.shape,
        layout="in out ..." if transposed else "out in ...",
        groups=getattr(layer, "groups", 1),
        stride=getattr(layer, "stride", 1),
        transposed=transposed,
    )
    assert by_shape == fan(layer)
