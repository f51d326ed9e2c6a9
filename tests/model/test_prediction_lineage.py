"""Predictions where parts of a model hang together: equal weights, tied tables, choices of one router."""

import statistics

import pytest
import torch
from torch import nn

from onesigma import measure, predict

WIDTH = 256


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def encoder(*, equal: bool) -> nn.Module:
    def layer() -> nn.Module:
        return nn.TransformerEncoderLayer(WIDTH, 4, 512, dropout=0.0, batch_first=True, norm_first=True)

    if equal:
        return nn.TransformerEncoder(layer(), 3, enable_nested_tensor=False).eval()
    return nn.Sequential(*[layer() for _ in range(3)]).eval()


class Tied(nn.Module):
    """Post-norm layers, and the table of tokens as the head."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(500, WIDTH)
        layers = [nn.TransformerEncoderLayer(WIDTH, 4, 512, dropout=0.0, batch_first=True) for _ in range(3)]
        self.layers, self.head = nn.Sequential(*layers), nn.Linear(WIDTH, 500, bias=False)
        self.head.weight = self.table.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(self.table(ids)))


class Routed(nn.Module):
    """The first of several experts, chosen by `where` one after the other."""

    def __init__(self, *, routers: int) -> None:
        super().__init__()
        self.routers = nn.ModuleList(nn.Linear(64, 3) for _ in range(routers))
        self.experts = nn.ModuleList(nn.Linear(64, WIDTH) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        places = [torch.topk(torch.softmax(router(x), -1), 1)[1] for router in self.routers]
        y = self.experts[0](x)
        y = torch.where(places[0] == 1, self.experts[1](x), y)
        return torch.where(places[-1] == 2, self.experts[2](x), y)


def off(model: nn.Module, batch: torch.Tensor) -> dict[str, float]:
    seen = {record.index: record.output for record in measure(model, batch).records}
    return {
        record.name: record.std / output.std - 1
        for record in predict(model, batch).of_kind("linear", "join")
        if record.std is not None and (output := seen.get(record.index)) is not None
    }


def test_a_sum_of_what_copied_layers_wrote_is_unknown_where_it_would_be_off() -> None:
    torch.manual_seed(0)
    model, x = encoder(equal=True), torch.randn(16, 16, WIDTH, generator=seeded(1))
    prediction = predict(model, x)
    assert any("equal weights" in record.unknown for record in prediction.unknown)
    assert max(abs(error) for error in off(model, x).values()) < 0.05


def test_layers_of_their_own_weights_stay_known() -> None:
    torch.manual_seed(0)
    assert predict(encoder(equal=False), torch.randn(4, 16, WIDTH, generator=seeded(1))).unknown == ()


def test_one_layer_for_two_inputs_is_a_sum_of_strangers() -> None:
    layer = nn.Linear(64, WIDTH)

    class Siamese(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return self.layer(x) + self.layer(y)

    pair = tuple(torch.randn(64, 64, generator=seeded(k)) for k in (1, 2))
    assert predict(Siamese(), (pair, None)).unknown == ()


def test_a_tied_head_counts_the_product_of_a_row_with_itself() -> None:
    ids, errors = torch.randint(0, 500, (32, 16), generator=seeded(4)), []
    for seed in range(3):
        torch.manual_seed(seed)
        errors.append(off(Tied().eval(), ids)["head"])
    # 16 % too little without it; draws of the weights leave less than a percent.
    assert abs(statistics.mean(errors)) < 0.02


def test_choices_of_one_router_exclude_one_another_so_their_mixture_is_unknown() -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 64, generator=seeded(5))
    assert any("same router" in record.unknown for record in predict(Routed(routers=1), x).unknown)
    assert predict(Routed(routers=2), x).unknown == ()


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_zero_weights_and_weights_of_other_values_are_no_copies(scale: float) -> None:
    layers = [nn.Linear(WIDTH, WIDTH) for _ in range(2)]
    for number, layer in enumerate(layers):
        nn.init.normal_(layer.weight, std=scale / 16, generator=seeded(number))

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(layers)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for layer in self.layers:
                x = x + layer(torch.relu(x))
            return x

    assert predict(Residual(), torch.randn(16, WIDTH, generator=seeded(2))).unknown == ()
