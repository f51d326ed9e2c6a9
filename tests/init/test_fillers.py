"""`onesigma.init` stands in for `torch.nn.init`: names, arguments, defaults, errors, return values, distributions."""

import inspect
import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn import init as torch_init

from onesigma import init
from onesigma._errors import ConfigError, FanError, ModelError, OnesigmaWarning
from onesigma.init.fillers import corrected
from onesigma.model.fan import fan
from onesigma.numbers.gain import gain_of

KEY = (0, "w")
RANDOM = [
    "uniform_",
    "normal_",
    "trunc_normal_",
    "xavier_uniform_",
    "xavier_normal_",
    "kaiming_uniform_",
    "kaiming_normal_",
    "orthogonal_",
]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def relative_error_of_std(count: int) -> float:
    """Five standard errors of the std of `count` normal draws, as a ratio."""
    return 5 / math.sqrt(2 * count)


@pytest.mark.parametrize("name", torch_init.__all__)
def test_every_function_of_torch_is_there_with_its_arguments_and_defaults(name: str) -> None:
    ours, theirs = getattr(init, name), getattr(torch_init, name)
    assert name in init.__all__
    expected = inspect.signature(theirs).parameters.values()
    got = list(inspect.signature(ours).parameters.values())
    if name.endswith("_") or name == "calculate_gain":
        shared = [p for p in got if p.kind is not inspect.Parameter.KEYWORD_ONLY]
        assert [(p.name, p.default) for p in shared] == [(p.name, p.default) for p in expected]


@pytest.mark.parametrize("name", RANDOM)
def test_fillers_return_what_they_were_given_filled_in_place_without_autograd(name: str) -> None:
    weight = nn.Parameter(torch.full((8, 6), math.nan))
    assert getattr(init, name)(weight, key=KEY) is weight
    assert weight.isfinite().all()
    assert weight.requires_grad
    assert weight.grad_fn is None
    layer = nn.Linear(6, 8)
    assert getattr(init, name)(layer, key=KEY) is layer


@pytest.mark.parametrize("name", RANDOM)
def test_a_generator_gives_one_stream_per_state_and_the_default_generator_is_torchs(name: str) -> None:
    filler = getattr(init, name)
    generator = seeded(5)
    first, second = filler(torch.empty(8, 6), generator=generator), filler(torch.empty(8, 6), generator=generator)
    assert not first.equal(second)
    torch.manual_seed(5)
    assert filler(torch.empty(8, 6)).equal(first)
    assert filler(torch.empty(8, 6)).equal(second)


def test_a_key_uses_no_generator_and_excludes_one() -> None:
    state = torch.get_rng_state()
    init.normal_(torch.empty(3), key=KEY)
    assert torch.get_rng_state().equal(state)
    with pytest.raises(ConfigError, match="not both"):
        init.normal_(torch.empty(3), key=KEY, generator=seeded())


DISTRIBUTIONS: dict[str, tuple[Callable[[torch.Tensor], Any], Any]] = {
    "uniform": (lambda t: init.uniform_(t, -1, 3, key=KEY), stats.uniform(-1, 4)),
    "normal": (lambda t: init.normal_(t, 2, 0.5, key=KEY), stats.norm(2, 0.5)),
    "truncated": (lambda t: init.trunc_normal_(t, 1, 2, -1, 4, key=KEY), stats.truncnorm(-1, 1.5, 1, 2)),
    "truncated far out": (lambda t: init.trunc_normal_(t, 0, 1, 1.9, 6, key=KEY), stats.truncnorm(1.9, 6)),
    "xavier uniform": (
        lambda t: init.xavier_uniform_(t, 2, key=KEY),
        stats.uniform(-2 * (6 / 700) ** 0.5, 4 * (6 / 700) ** 0.5),
    ),
    "xavier normal": (lambda t: init.xavier_normal_(t, 2, key=KEY), stats.norm(0, 2 * (2 / 700) ** 0.5)),
    "kaiming uniform": (
        lambda t: init.kaiming_uniform_(t, math.sqrt(5), key=KEY),
        stats.uniform(-(400**-0.5), 2 * 400**-0.5),
    ),
    "kaiming normal": (
        lambda t: init.kaiming_normal_(t, mode="fan_out", nonlinearity="relu", key=KEY),
        stats.norm(0, (2 / 300) ** 0.5),
    ),
    "kaiming average": (
        lambda t: init.kaiming_normal_(t, mode="fan_avg", nonlinearity="linear", key=KEY),
        stats.norm(0, 350**-0.5),
    ),
    "lecun normal": (lambda t: init.lecun_normal_(t, key=KEY), stats.norm(0, 0.05)),
    "lecun uniform": (
        lambda t: init.lecun_uniform_(t, key=KEY),
        stats.uniform(-(3**0.5) / 20, 2 * 3**0.5 / 20),
    ),
    "variance scaling": (
        lambda t: init.variance_scaling_(t, 2.0, "fan_geo_avg", "normal", key=KEY),
        stats.norm(0, (2 / 120_000**0.5) ** 0.5),
    ),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_values_follow_the_distribution_they_claim(name: str) -> None:
    filler, expected = DISTRIBUTIONS[name]
    values = filler(torch.empty(300, 400)).flatten().double().numpy()
    # One fixed stream; a p-value below 1e-4 would be a wrong distribution, not bad luck.
    assert stats.kstest(values, expected.cdf).pvalue > 1e-4


@pytest.mark.parametrize("name", ["linear", "conv3d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
def test_gains_that_torch_knows_are_torchs(name: str) -> None:
    assert init.calculate_gain(name) == torch_init.calculate_gain(name)


def test_other_gains_are_exact_and_functions_always_are() -> None:
    assert init.calculate_gain("gelu") == pytest.approx(1.533530441195535, rel=1e-12)
    assert init.calculate_gain(torch.tanh) == pytest.approx(1.592537419722831, rel=1e-12)
    assert init.calculate_gain("leaky_relu", 0.2) == torch_init.calculate_gain("leaky_relu", 0.2)
    weight = init.kaiming_normal_(torch.empty(500, 400), nonlinearity=nn.SiLU(), key=KEY)
    expected = gain_of(nn.SiLU()) / 20
    assert weight.std().item() == pytest.approx(expected, rel=relative_error_of_std(weight.numel()))
    given = init.kaiming_normal_(torch.empty(500, 400), gain=3.0, key=KEY)
    assert given.std().item() == pytest.approx(3 / 20, rel=relative_error_of_std(given.numel()))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(200, 100),
        nn.Conv2d(32, 64, 3, groups=4),
        nn.ConvTranspose2d(32, 16, 4, stride=2),
        nn.Embedding(1000, 64),
        nn.Bilinear(20, 30, 40),
        nn.MultiheadAttention(64, 4),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_are_filled_by_the_fan_of_their_role(layer: nn.Module) -> None:
    init.kaiming_normal_(layer, nonlinearity="linear", key=(0, "layer"))
    weight = layer.in_proj_weight if isinstance(layer, nn.MultiheadAttention) else layer.weight
    expected = fan(layer).fan_in ** -0.5
    assert weight.std().item() == pytest.approx(expected, rel=relative_error_of_std(weight.numel()))


def test_a_layer_with_several_weights_draws_each_from_its_own_stream() -> None:
    layer = init.xavier_normal_(nn.LSTM(8, 8), key=(0, "lstm"))
    bare = init.normal_(torch.empty(32, 8), std=math.sqrt(2 / 16), key=(0, "lstm.weight_hh_l0"))
    assert layer.weight_hh_l0.equal(bare)
    assert not layer.weight_ih_l0.equal(layer.weight_hh_l0)


@pytest.mark.parametrize("bounds", [(-2.0, 2.0), (-1.0, 3.0), (0.5, math.inf), (6.0, 7.0)])
def test_truncated_normals_have_the_mean_and_std_asked_for(bounds: tuple[float, float]) -> None:
    distribution = corrected(mean=0.3, std=0.02, lower=bounds[0], upper=bounds[1])
    exact = stats.truncnorm(*bounds, distribution.mean, distribution.std)
    assert exact.mean() == pytest.approx(0.3, rel=1e-6)
    assert exact.std() == pytest.approx(0.02, rel=1e-6)
    values = init.truncated_normal_(torch.empty(400, 400), 0.3, 0.02, *bounds, key=KEY)
    assert values.mean().item() == pytest.approx(0.3, abs=5 * 0.02 / 400)
    assert values.std().item() == pytest.approx(0.02, rel=2 * relative_error_of_std(values.numel()))
    assert distribution.low - 1e-6 <= values.min()
    assert values.max() <= distribution.high + 1e-6


def test_complex_normals_have_half_the_variance_in_each_part() -> None:
    values = init.normal_(torch.empty(400, 400, dtype=torch.complex64), std=2.0, key=KEY)
    tolerance = relative_error_of_std(values.numel())
    assert values.real.std().item() == pytest.approx(2**0.5, rel=tolerance)
    assert values.imag.std().item() == pytest.approx(2**0.5, rel=tolerance)


BAD: dict[str, Callable[[Any], Any]] = {
    "normal on integers": lambda m: m.normal_(torch.empty(3, dtype=torch.long)),
    "normal on booleans": lambda m: m.normal_(torch.empty(3, dtype=torch.bool)),
    "uniform on integers": lambda m: m.uniform_(torch.empty(3, dtype=torch.long)),
    "truncated on complex": lambda m: m.trunc_normal_(torch.empty(3, dtype=torch.complex64)),
    "truncated on integers": lambda m: m.trunc_normal_(torch.empty(3, dtype=torch.long)),
    "orthogonal on integers": lambda m: m.orthogonal_(torch.empty(3, 3, dtype=torch.long)),
    "negative std": lambda m: m.normal_(torch.empty(3), std=-1),
    "negative std of nothing": lambda m: m.normal_(torch.empty(0), std=-1),
    "NaN std": lambda m: m.normal_(torch.empty(3), std=math.nan),
    "swapped bounds": lambda m: m.uniform_(torch.empty(3), 1, 0),
    "NaN bound": lambda m: m.uniform_(torch.empty(3), math.nan, 1),
    "infinite bound": lambda m: m.uniform_(torch.empty(3), 0, math.inf),
    "zero std": lambda m: m.trunc_normal_(torch.empty(3), std=0.0),
    "swapped truncation": lambda m: m.trunc_normal_(torch.empty(3), a=2, b=1),
    "xavier on a vector": lambda m: m.xavier_normal_(torch.empty(3)),
    "xavier on a scalar": lambda m: m.xavier_uniform_(torch.empty(())),
    "xavier on nothing": lambda m: m.xavier_normal_(torch.empty(0, 0)),
    "xavier with NaN": lambda m: m.xavier_normal_(torch.empty(3, 3), gain=math.nan),
    "xavier with a negative gain": lambda m: m.xavier_uniform_(torch.empty(3, 3), gain=-1),
    "kaiming on a vector": lambda m: m.kaiming_normal_(torch.empty(3)),
    "kaiming with a wrong mode": lambda m: m.kaiming_normal_(torch.empty(3, 3), mode="fan"),
    "kaiming with a wrong name": lambda m: m.kaiming_uniform_(torch.empty(3, 3), nonlinearity="nonesuch"),
    "slope that is no number": lambda m: m.calculate_gain("leaky_relu", "steep"),
    "unknown gain": lambda m: m.calculate_gain("nonesuch"),
    "orthogonal on a vector": lambda m: m.orthogonal_(torch.empty(3)),
    "eye on a vector": lambda m: m.eye_(torch.empty(3)),
    "dirac on a matrix": lambda m: m.dirac_(torch.empty(3, 3)),
    "dirac with a wrong group": lambda m: m.dirac_(torch.empty(3, 3, 3), 2),
    "sparse on a vector": lambda m: m.sparse_(torch.empty(3), 0.1),
    "expanded": lambda m: m.normal_(torch.empty(3, 1).expand(3, 4)),
    "expanded constant": lambda m: m.orthogonal_(torch.empty(3, 1).expand(3, 4)),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_raises_what_torch_raises(name: str) -> None:
    with pytest.raises(Exception) as theirs:  # noqa: PT011
        BAD[name](torch_init)
    with pytest.raises(theirs.type):
        BAD[name](init)


@pytest.mark.parametrize(
    "fill",
    [
        lambda: init.normal_(torch.empty(3), mean=math.nan),
        lambda: init.normal_(torch.empty(3), std=math.inf),
        lambda: init.trunc_normal_(torch.empty(3), std=-1.0),
        lambda: init.trunc_normal_(torch.empty(3), std=math.nan),
        lambda: init.truncated_normal_(torch.empty(3), lower=2, upper=2),
        lambda: init.variance_scaling_(torch.empty(3, 3), -1.0),
        lambda: init.variance_scaling_(torch.empty(3, 3), distribution="cauchy"),
        lambda: init.sparse_(torch.empty(3, 3), 1.5),
    ],
)
def test_what_torch_lets_pass_silently_is_refused_with_a_reason(fill: Callable[[], Any]) -> None:
    with pytest.raises(ConfigError):
        fill()


@pytest.mark.parametrize("name", ["kaiming_normal_", "kaiming_uniform_"])
def test_a_tensor_without_elements_is_left_alone_with_torchs_warning(name: str) -> None:
    with pytest.warns(UserWarning, match="Initializing zero-element tensors is a no-op") as seen:
        getattr(init, name)(torch.empty(0, 3))
    assert seen[0].filename == __file__


@pytest.mark.parametrize("name", ["uniform_", "normal_", "trunc_normal_", "orthogonal_", "xavier_normal_"])
def test_other_fillers_leave_a_tensor_without_elements_alone(name: str) -> None:
    assert getattr(init, name)(torch.empty(0, 3), key=KEY).shape == (0, 3)


def test_a_mean_far_outside_the_bounds_is_warned_of_and_still_drawn_right() -> None:
    with pytest.warns(OnesigmaWarning, match="more than 2 std"):
        values = init.trunc_normal_(torch.empty(20_000), a=50.0, b=60.0, key=KEY)
    exact = stats.truncnorm(50, 60)
    assert values.mean().item() == pytest.approx(exact.mean(), abs=5 * exact.std() / math.sqrt(20_000))


@pytest.mark.parametrize("name", ["normal", "uniform", "constant", "eye", "dirac", "sparse", "orthogonal"])
def test_deprecated_names_warn_and_work(name: str) -> None:
    arguments = {"constant": (0.5,), "sparse": (0.5,)}.get(name, ())
    shape = (4, 4, 3) if name == "dirac" else (4, 4)
    torch.manual_seed(0)
    with pytest.warns(FutureWarning, match=rf"`nn.init.{name}` is now deprecated"):
        old = getattr(init, name)(torch.empty(shape), *arguments)
    torch.manual_seed(0)
    assert old.equal(getattr(init, f"{name}_")(torch.empty(shape), *arguments))


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.long, torch.bfloat16])
def test_eye_is_torchs(shape: tuple[int, int], dtype: torch.dtype) -> None:
    assert init.eye_(torch.empty(shape, dtype=dtype)).equal(torch_init.eye_(torch.empty(shape, dtype=dtype)))


@pytest.mark.parametrize(("shape", "groups"), [((6, 4, 3), 1), ((6, 2, 3, 4), 3), ((4, 6, 2, 3, 5), 2)])
def test_dirac_is_torchs(shape: tuple[int, ...], groups: int) -> None:
    assert init.dirac_(torch.empty(shape), groups).equal(torch_init.dirac_(torch.empty(shape), groups))


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.33, 1.0])
def test_sparse_has_torchs_number_of_zeros_in_every_column_in_random_rows(sparsity: float) -> None:
    weight = init.sparse_(torch.empty(200, 300), sparsity, std=0.5, key=KEY)
    assert (weight == 0).sum(0).eq(math.ceil(sparsity * 200)).all()
    if 0 < sparsity < 1:
        rows = (weight == 0).double().mean(1)
        assert (rows - rows.mean()).abs().max() < 5 * math.sqrt(sparsity * (1 - sparsity) / 300)
        kept = weight[weight != 0]
        assert kept.std().item() == pytest.approx(0.5, rel=relative_error_of_std(kept.numel()))


@pytest.mark.parametrize("name", ["constant_", "ones_", "zeros_"])
def test_constants_fill_tensors_and_layers(name: str) -> None:
    arguments = (0.25,) if name == "constant_" else ()
    value = {"constant_": 0.25, "ones_": 1.0, "zeros_": 0.0}[name]
    assert getattr(init, name)(torch.empty(3), *arguments).eq(value).all()
    layer = getattr(init, name)(nn.Linear(3, 2), *arguments)
    assert layer.weight.eq(value).all()


def test_a_weight_under_weight_norm_is_written_through_its_inverse() -> None:
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(40, 30))
    init.kaiming_normal_(layer, key=(0, "fc"))
    torch.testing.assert_close(layer.weight, init.kaiming_normal_(torch.empty(30, 40), key=(0, "fc.weight")))


def test_a_weight_whose_parametrization_changes_it_is_refused_and_left_as_it_was() -> None:
    layer = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3)).eval()
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    with pytest.raises(ModelError, match="parametrized"):
        init.normal_(layer, std=5.0)
    assert all(before[name].equal(value) for name, value in layer.state_dict().items())


@pytest.mark.parametrize(
    "wrap", [nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm, nn.utils.weight_norm]
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_computed_tensor_is_refused_because_writing_to_it_does_nothing(wrap: Callable[[nn.Module], Any]) -> None:
    layer = wrap(nn.Linear(4, 3))
    with pytest.raises(ModelError, match="no effect"):
        init.normal_(layer.weight)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_layer_under_the_old_weight_norm_is_refused() -> None:
    with pytest.raises(ModelError, match="computed from others"):
        init.normal_(nn.utils.weight_norm(nn.Linear(4, 3)))


def test_slices_and_chunks_of_a_parameter_can_be_filled() -> None:
    weight = nn.Parameter(torch.zeros(6, 4))
    first, *_ = weight.chunk(3)
    init.normal_(first, key=KEY)
    init.normal_(weight[2:, 1:], key=KEY)
    assert weight[:2].equal(init.normal_(torch.empty(2, 4), key=KEY))
    assert weight[2:, 0].eq(0).all()


def test_layers_of_unknown_role_are_refused() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.empty(2, 3, 4))

    with pytest.raises(FanError, match="axes"):
        init.normal_(Odd())


def test_reset_parameters_of_a_layer_written_for_torch_works_with_ours() -> None:
    weight = torch.empty(7, 5, 3)
    assert init._calculate_fan_in_and_fan_out(weight) == torch_init._calculate_fan_in_and_fan_out(weight)


def test_nothing_is_warned_of_where_nothing_is_wrong() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in RANDOM:
            getattr(init, name)(torch.empty(4, 4), key=KEY)
