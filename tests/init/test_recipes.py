"""Depth recipes: the factors that their authors publish."""

import math

import pytest

from onesigma._errors import ConfigError
from onesigma.init import recipes
from onesigma.model.fan import Fan

SQUARE = Fan(512, 512)
XAVIER = math.sqrt(2 / 1024)


@pytest.mark.parametrize(
    ("num_layers", "residual", "divided_by"),
    [(6, 1.8612, 0.3799), (12, 2.2134, 0.3195), (24, 2.6321, 0.2686), (100, 3.7606, 0.1880)],
)
def test_deepnorm_has_the_published_constants(num_layers: int, residual: float, divided_by: float) -> None:
    recipe = recipes.deepnorm(num_layers)
    assert round(recipe.residual, 4) == residual
    for role in ("value", "output", "expand", "contract"):
        assert round(recipe.std(role, SQUARE) / XAVIER, 4) == divided_by
    for role in ("query", "key"):
        assert recipe.std(role, SQUARE) == pytest.approx(XAVIER)


def test_deepnorm_of_encoder_and_decoder() -> None:
    encoder, decoder = recipes.deepnorm_encoder(18, 6), recipes.deepnorm_decoder(6)
    depth = (18**4 * 6) ** (1 / 16)
    assert encoder.residual == pytest.approx(0.81 * depth)
    assert encoder.std("value", SQUARE) == pytest.approx(XAVIER * 1.15 / depth)
    assert decoder.residual == pytest.approx(18**0.25)
    assert decoder.std("contract", SQUARE) == pytest.approx(XAVIER * 72**-0.25)


def test_gpt2_scales_only_what_writes_into_the_residual_stream() -> None:
    recipe = recipes.gpt2(12)
    for role in ("embedding", "query", "key", "value", "expand", "head"):
        assert recipe.std(role, SQUARE) == 0.02
    for role in ("output", "contract"):
        assert recipe.std(role, SQUARE) == pytest.approx(0.02 / math.sqrt(24))


def test_sub_ln_grows_with_the_logarithm_of_depth() -> None:
    assert recipes.sub_ln(24).std("expand", SQUARE) == pytest.approx(XAVIER * math.sqrt(math.log(48)))
    encoder = recipes.sub_ln_encoder(12, 6)
    assert encoder.std("expand", SQUARE) == pytest.approx(XAVIER * math.sqrt(math.log(18) * math.log(24) / 3))
    assert recipes.sub_ln_decoder(6).std("value", SQUARE) == pytest.approx(XAVIER * math.sqrt(math.log(18)))


def test_t_fixup_scales_the_branch_the_value_and_the_embedding() -> None:
    encoder, decoder = recipes.t_fixup_encoder(6), recipes.t_fixup_decoder(6)
    assert encoder.std("expand", SQUARE) == pytest.approx(XAVIER * 0.67 * 6**-0.25)
    assert encoder.std("value", SQUARE) == pytest.approx(XAVIER * 0.67 * 6**-0.25 * math.sqrt(2))
    assert decoder.std("expand", SQUARE) == pytest.approx(XAVIER * 54**-0.25)
    assert decoder.std("embedding", Fan(1, 256)) == pytest.approx(54**-0.25 / 16)


@pytest.mark.parametrize(("branch_layers", "power"), [(2, -0.5), (3, -0.25), (4, -1 / 6)])
def test_fixup_scales_by_the_number_of_branches_and_ends_in_zero(branch_layers: int, power: float) -> None:
    recipe = recipes.fixup(54, branch_layers=branch_layers)
    he = math.sqrt(2 / SQUARE.fan_out)
    assert recipe.std("expand", SQUARE) == pytest.approx(he * 54**power)
    assert recipe.std("contract", SQUARE) == recipe.std("head", SQUARE) == 0.0


def test_a_role_that_a_recipe_does_not_know_and_a_depth_that_is_none_are_refused() -> None:
    with pytest.raises(ConfigError, match="says nothing"):
        recipes.fixup(4).std("query", SQUARE)
    with pytest.raises(ConfigError, match="at least 1"):
        recipes.gpt2(0)
    with pytest.raises(ConfigError, match="at least 1"):
        recipes.fixup(4, branch_layers=1)
