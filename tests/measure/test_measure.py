"""A pass over a model in numbers, compared with the same pass done by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from onesigma._errors import CaptureError, ConfigError
from onesigma.measure import measure
from onesigma.model.state import fingerprint


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


class Run(nn.Module):
    def __init__(self, forward, **parts):
        super().__init__()
        self.run = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *args, **kwargs):
        return self.run(self, *args, **kwargs)


class Residual(nn.Module):
    """In-place ReLU, residual `+=`, a module used twice."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(3)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.act(self.norm(self.conv(x)))
        y = self.norm(self.conv(y))
        y += x
        return self.act(y).mean((2, 3))


def frozen_embedding():
    model = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 3))
    model[0].weight.requires_grad_(False)
    return model


def with_nan():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))
    with torch.no_grad():
        model[0].weight[0, 0] = math.nan
    return model


def tied():
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    return model


def accumulated():
    model = nn.Sequential(nn.Linear(4, 3))
    model(torch.randn(2, 4)).sum().backward()
    return model


features, images, tokens = torch.randn(6, 4), torch.randn(6, 3, 5, 5), torch.randint(9, (6, 3))
labels = torch.randint(3, (6,))

MODELS = {
    "residual with in-place ReLU": (Residual, images),
    "residual in eval mode": (lambda: Residual().eval(), images),
    "dropout": (lambda: nn.Sequential(nn.Linear(4, 8), nn.Dropout(), nn.Linear(8, 3)), features),
    "frozen embedding": (frozen_embedding, tokens),
    "everything frozen": (lambda: nn.Sequential(nn.Linear(4, 3)).requires_grad_(False), features),
    "no parameters": (lambda: nn.Softmax(-1), torch.randn(6, 3)),
    "nan": (with_nan, features),
    "tied": (tied, features),
    "accumulated gradients": (accumulated, features),
    "spectral norm": (lambda: parametrizations.spectral_norm(nn.Linear(4, 3)), features),
    "bfloat16": (lambda: nn.Sequential(nn.Linear(4, 3), nn.GELU()).bfloat16(), features.bfloat16()),
    "float64": (lambda: nn.Sequential(nn.Linear(4, 3), nn.GELU()).double(), features.double()),
    "writes into its input": (lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 3)), features),
    "transformer": (
        lambda: Run(
            lambda self, x: self.head(self.layer(self.embed(x)).mean(1)),
            embed=nn.Embedding(9, 8),
            layer=nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
            head=nn.Linear(8, 3),
        ),
        tokens,
    ),
    "data parallel": (lambda: nn.DataParallel(nn.Linear(4, 3)), features),
    "checkpointed": (
        lambda: Run(
            lambda self, x: self.b(checkpoint(self.a, x, use_reentrant=False)),
            a=nn.Sequential(nn.Linear(4, 4), nn.ReLU()),
            b=nn.Linear(4, 3),
        ),
        features,
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_measuring_leaves_no_trace(name):
    build, inputs = MODELS[name]
    model, before_inputs = build(), inputs.clone()
    before = fingerprint(model)
    trace = measure(model, (inputs, labels), loss="cross_entropy")
    assert fingerprint(model) == before
    assert torch.equal(inputs, before_inputs)
    assert not nn.modules.module._global_forward_hooks
    assert trace.records
    assert trace.loss is not None


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["forward", "loss"])
def test_a_pass_that_breaks_off_leaves_no_trace(where, error):
    def fail(*_):
        raise error

    def forward(self, x):
        y = self.drop(self.norm(self.layer(x)))
        return fail() if where == "forward" else y

    model = Run(forward, layer=nn.Linear(4, 3), norm=nn.BatchNorm1d(3), drop=nn.Dropout())
    before = fingerprint(model)
    with pytest.raises(CaptureError if error is ValueError else KeyboardInterrupt):
        measure(model, (features, labels), loss=fail)
    assert fingerprint(model) == before
    assert not nn.modules.module._global_forward_hooks


def test_every_signal_is_that_of_the_pass_done_by_hand():
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    trace = measure(model, (features, labels), loss="cross_entropy")
    tensors = [features]
    for layer in model:
        tensors.append(layer(tensors[-1]))
        tensors[-1].retain_grad()
    loss = F.cross_entropy(tensors[-1], labels)
    loss.backward()
    assert trace.loss.value == pytest.approx(loss.item(), rel=1e-6)
    for record, before, after in zip(trace.records, tensors, tensors[1:], strict=False):
        for found, tensor in ((record.input, before), (record.output, after), (record.gradient, after.grad)):
            assert found.std == pytest.approx(tensor.std(correction=0).item(), rel=1e-5)
            assert found.mean == pytest.approx(tensor.mean().item(), rel=1e-4, abs=1e-7)
            assert found.sample_std == pytest.approx(tensor.var(0, correction=0).mean().sqrt().item(), rel=1e-5)
    for name, parameter in model.named_parameters():
        record = trace.parameter(name)
        assert record.gradient.rms == pytest.approx(parameter.grad.square().mean().sqrt().item(), rel=1e-5)
        assert record.value.rms == pytest.approx(parameter.square().mean().sqrt().item(), rel=1e-5)


def test_in_place_relu_keeps_its_input_and_the_gradient_before_it():
    """https://github.com/pytorch/pytorch/issues/61519"""
    plain, in_place = (nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=flag), nn.Linear(8, 3)) for flag in (False, True))
    in_place.load_state_dict(plain.state_dict())
    first, second = (measure(model, (features, labels), loss="cross_entropy") for model in (plain, in_place))
    assert first.records == second.records


def test_a_residual_written_in_place_is_a_join_with_both_inputs():
    """https://github.com/shap/shap/issues/3565"""
    trace = measure(Residual(), (images, labels), loss="cross_entropy")
    (join,) = trace.of_kind("join")
    assert [trace.records[i].op if i >= 0 else i for i in join.inputs] == ["batch_norm", -1]
    # The sum is passed on unchanged to both sides, so the gradient before it is the gradient after it.
    assert trace.records[join.inputs[0]].gradient.std == join.gradient.std


def test_a_reused_module_has_a_record_per_call():
    trace = measure(Residual(), (images, labels), loss="cross_entropy")
    first, second = trace.of_kind("conv2d")
    assert (first.name, second.name) == ("conv", "conv#1")
    assert first.output.std != second.output.std


def test_running_statistics_are_left_alone_and_reported():
    """https://github.com/sksq96/pytorch-summary/issues/67"""
    model = nn.Sequential(nn.BatchNorm1d(4))
    trace = measure(model, features)
    assert trace.parameter("0.running_mean").value.rms == 0.0
    assert torch.equal(model[0].running_mean, torch.zeros(4))


def test_frozen_layers_have_no_gradient_and_do_no_harm():
    """https://github.com/awslabs/sagemaker-debugger/issues/184"""
    trace = measure(frozen_embedding(), (tokens, labels), loss="cross_entropy")
    assert trace.parameter("0.weight").gradient is None
    assert not trace.parameter("0.weight").trainable
    assert trace.parameter("2.weight").gradient is not None
    assert trace.records[0].kind == "embedding"


def test_nan_is_counted_where_it_arises():
    """https://github.com/pytorch/pytorch/issues/31855"""
    trace = measure(with_nan(), (features, labels), loss="cross_entropy")
    assert [record.output.nonfinite for record in trace.records[:2]] == [6, 6]
    assert math.isnan(trace.loss.value)


def test_half_precision_is_measured_in_full():
    """https://github.com/artste/colorfuldim/issues/2"""
    model = nn.Sequential(nn.Linear(4, 300), nn.ReLU(), nn.Linear(300, 3)).bfloat16()
    trace = measure(model, (features.bfloat16() * 1e4, labels), loss="cross_entropy")
    with torch.no_grad():
        output = model[0](features.bfloat16() * 1e4).double()
    assert trace.records[0].output.std == pytest.approx(output.std(correction=0).item(), rel=1e-9)


def test_tuples_and_none_are_fine_as_outputs():
    """https://github.com/fastai/fastai/issues/2398"""
    model = Run(lambda self, x: (None, {"y": self.layer(x)}, [x]), layer=nn.Linear(4, 3))
    trace = measure(model, features)
    assert trace.outputs == (0, -1)
    assert trace.loss is None
    assert trace.records[0].gradient is None


def test_gradients_of_an_accumulating_loop_are_untouched():
    """https://github.com/wandb/wandb/issues/10100"""
    model = accumulated()
    gradient = model[0].weight.grad
    values = gradient.clone()
    measure(model, (features, labels), loss="cross_entropy")
    assert model[0].weight.grad is gradient
    assert torch.equal(gradient, values)


def test_wrapped_models_are_measured_as_what_they_wrap():
    """https://github.com/wandb/wandb/issues/1819 and https://github.com/pytorch/pytorch/issues/117758"""
    inner = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    plain = measure(inner, (features, labels), loss="cross_entropy")
    for wrapped in (nn.DataParallel(inner), torch.compile(inner, backend="eager")):
        assert measure(wrapped, (features, labels), loss="cross_entropy") == plain


def test_makemore_starts_saturated_and_far_above_chance():
    model = nn.Sequential(nn.Linear(30, 200), nn.Tanh(), nn.Linear(200, 27))
    for layer in (model[0], model[2]):
        nn.init.normal_(layer.weight)
    trace = measure(model, (torch.randn(1000, 30), torch.randint(27, (1000,))), loss="cross_entropy")
    activity = trace.records[1].activity
    assert activity.saturated >= 0.6
    hidden = torch.tanh(model[0](torch.zeros(1, 30)))
    assert hidden.shape[1] == activity.num_units
    assert trace.loss.chance == pytest.approx(math.log(27))
    assert trace.loss.value > trace.loss.chance + 10


def test_saturation_of_tanh_is_the_share_beyond_097():
    x = torch.randn(1000, 7) * 2
    activity = measure(nn.Tanh(), x).records[0].activity
    # 1 − 0.97² = 0.0591 against 0.06 = 1 − 0.96954².
    assert activity.saturated == pytest.approx((torch.tanh(x).abs() > math.sqrt(0.94)).double().mean().item(), abs=1e-9)
    assert activity.dead_units == activity.always_on_units == 0.0


def test_dead_always_on_and_firing_units_of_a_rectifier_are_counted_along_channels():
    x = torch.randn(6, 4, 3, 3)
    x[:, 0], x[:, 1] = -1.0, 1.0
    (record,) = measure(nn.ReLU(), x).records
    assert (record.activity.num_units, record.activity.num_observations) == (4, 54)
    assert (record.activity.dead_units, record.activity.always_on_units) == (0.25, 0.25)
    expected = (x > 0).double().mean((0, 2, 3)).tolist()
    assert record.activity.firing == pytest.approx(expected)


def test_units_of_a_sequence_are_last_and_of_a_1d_convolution_second():
    sequence = nn.Sequential(nn.Linear(4, 5), nn.ReLU())
    signal = nn.Sequential(nn.Conv1d(4, 5, 3), nn.BatchNorm1d(5), nn.ReLU())
    assert measure(sequence, torch.randn(6, 7, 4)).records[-1].activity.num_units == 5
    assert measure(signal, torch.randn(6, 4, 9)).records[-1].activity.num_units == 5


def test_smooth_activations_have_no_always_on_units():
    for module in (nn.GELU(), nn.GELU(approximate="tanh"), nn.SiLU(), nn.Sigmoid(), nn.Softplus()):
        assert measure(module, torch.randn(50, 4)).records[0].activity.always_on_units == 0.0


def test_an_activation_in_a_graph_without_gradients_is_judged_all_the_same():
    with torch.no_grad():
        assert measure(nn.Tanh(), torch.randn(50, 4)).records[0].activity is not None


def test_several_batches_are_joined():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    whole = measure(model, features)
    parts = measure(model, [features[:2], features[2:]])
    assert parts.num_samples == 6
    for a, b in zip(whole.records, parts.records, strict=True):
        assert b.output.mean == pytest.approx(a.output.mean, rel=1e-5, abs=1e-7)
        assert b.output.std == pytest.approx(a.output.std, rel=1e-5)
    assert parts.records[1].activity.firing == pytest.approx(whole.records[1].activity.firing)
    assert [c.std for c in parts.inputs[0].columns] == pytest.approx([c.std for c in whole.inputs[0].columns])


@pytest.mark.parametrize(
    ("loss", "output", "targets", "name", "chance"),
    [
        ("cross_entropy", torch.randn(6, 5), labels, "cross_entropy", math.log(5)),
        (nn.CrossEntropyLoss(), torch.randn(6, 5, 4), torch.randint(5, (6, 4)), "cross_entropy", math.log(5)),
        ("cross_entropy", torch.randn(6, 4, 5), torch.randint(5, (6, 4)), "cross_entropy", math.log(5)),
        (F.cross_entropy, torch.randn(6, 5), torch.rand(6, 5), "cross_entropy", math.log(5)),
        (lambda o, t: F.cross_entropy(o.exp().log(), t), torch.randn(6, 5), labels, "cross_entropy", math.log(5)),
        (nn.CrossEntropyLoss(reduction="sum"), torch.randn(6, 5), labels, "cross_entropy", 6 * math.log(5)),
        (nn.NLLLoss(), torch.randn(6, 5), labels, "nll", math.log(5)),
        (
            "binary_cross_entropy_with_logits",
            torch.randn(6),
            torch.ones(6),
            "binary_cross_entropy_with_logits",
            math.log(2),
        ),
        (nn.BCELoss(), torch.rand(6, 1), torch.ones(6, 1), "binary_cross_entropy", math.log(2)),
        ("mse", torch.randn(4), torch.tensor([1.0, 2.0, 3.0, 6.0]), "mse", 3.5),
        (nn.L1Loss(), torch.randn(5), torch.tensor([0.0, 0.0, 1.0, 5.0, 9.0]), "l1", 2.8),
        (nn.KLDivLoss(reduction="batchmean"), torch.randn(6, 5), torch.rand(6, 5), "kl_div", None),
        (lambda o, t: (o - t).square().mean(), torch.randn(6), torch.randn(6), "<lambda>", None),
        (lambda o, t: -F.cross_entropy(o, t), torch.randn(6, 5), labels, "<lambda>", -math.log(5)),
        (lambda o, t: F.cross_entropy(o, t) - F.mse_loss(o, o), torch.randn(6, 5), labels, "<lambda>", None),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_loss_is_known_by_what_it_computes(loss, output, targets, name, chance):
    found = measure(nn.Identity(), (output, targets), loss=loss).loss
    assert found.name == name
    assert found.chance == (None if chance is None else pytest.approx(chance, rel=1e-6))


def test_a_likelihood_of_some_targets_only_says_between_what_they_lie():
    targets = torch.tensor([-1.0, 0.0, 255.0])
    record = measure(nn.Identity(), torch.zeros(3), loss=lambda o, _: F.binary_cross_entropy_with_logits(o, targets))
    facts = record.records[-1].attributes
    assert (facts["target_min"], facts["target_max"]) == (-1.0, 255.0)


def test_a_model_that_brings_its_loss_is_measured_with_it():
    def forward(self, x, labels):
        logits = self.layer(x)
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}

    model = Run(forward, layer=nn.Linear(4, 3))
    trace = measure(model, {"x": features, "labels": labels})
    assert trace.loss.name == "cross_entropy"
    assert trace.records[0].gradient is not None
    assert [(record.name, record.kind) for record in trace.inputs] == [("x", "features"), ("labels", "labels")]


@pytest.mark.parametrize(
    ("inputs", "kind", "num_columns"),
    [
        (torch.randn(6, 4), "features", 4),
        (torch.randn(6), "features", 1),
        (torch.randn(6, 7, 4), "sequence", 4),
        (torch.randn(6, 3, 5, 5), "image", 3),
        (torch.randint(256, (6, 3, 5, 5), dtype=torch.uint8), "image", 3),
    ],
)
def test_inputs_are_told_apart_and_measured_per_column(inputs, kind, num_columns):
    (record,) = measure(Run(lambda self, x: x.float() * 2), inputs).inputs
    assert (record.kind, len(record.columns)) == (kind, num_columns)
    axis = {"features": 1, "sequence": 2, "image": 1}[kind]
    values = inputs.double().reshape(-1, 1) if inputs.dim() == 1 else inputs.double().movedim(axis, -1).flatten(0, -2)
    assert [column.mean for column in record.columns] == pytest.approx(values.mean(0).tolist())
    assert [column.std for column in record.columns] == pytest.approx(values.std(0, correction=0).tolist())


def test_tokens_and_labels_have_no_scale():
    trace = measure(frozen_embedding(), (tokens, torch.tensor([0, 0, 0, 1, 1, 1])), loss="cross_entropy")
    assert trace.inputs[0].kind == "tokens"
    assert trace.inputs[0].signal is None
    assert (trace.targets.kind, trace.targets.num_classes) == ("labels", 3)
    assert trace.targets.entropy == pytest.approx(math.log(2))


def test_units_that_are_copies_are_counted_by_weight_and_gradient():
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    nn.init.constant_(model[0].weight, 0.01)
    nn.init.zeros_(model[0].bias)
    nn.init.constant_(model[2].weight, 0.01)
    trace = measure(model, (features, labels), loss="cross_entropy")
    assert trace.parameter("0.weight").duplicate_rows == 1.0
    # The rows of the last layer are equal too, but the classes tell them apart by their gradients.
    assert trace.parameter("2.weight").duplicate_rows == 0.0


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        ("crossentropy", "unknown"),
        (3, "got int"),
        (lambda o, t: o, "shape \\(6, 3\\)"),
        (lambda o, t: 1.0, "got float"),
    ],
)
def test_a_loss_that_cannot_be_used_is_refused(loss, words):
    with pytest.raises(ConfigError, match=words):
        measure(nn.Linear(4, 3), (features, labels), loss=loss)


def test_time_major_recurrent_models_count_their_samples_along_the_second_axis():
    model = Run(lambda self, x: self.head(self.cell(x)[0][-1]), cell=nn.LSTM(4, 5), head=nn.Linear(5, 3))
    trace = measure(model, (torch.randn(7, 6, 4), labels), loss="cross_entropy")
    assert [record.output.num_samples for record in trace.of_kind("recurrent", "linear")] == [6, 6]


def test_the_model_is_measured_in_the_mode_it_arrives_in():
    model = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5))
    assert measure(model, features).training
    trace = measure(model.eval(), features)
    assert not trace.training
    assert not any(record.training for record in trace.records)


def test_inference_mode_inside_a_model_is_no_obstacle():
    def forward(self, x):
        with torch.inference_mode():
            return F.relu_(self.layer(x))

    trace = measure(Run(forward, layer=nn.Linear(4, 3)), features)
    assert trace.records[1].activity.num_units == 3


def test_a_vmapped_model_is_recorded_without_the_values_that_cannot_be_read():
    model = Run(lambda self, x: torch.vmap(lambda row: torch.tanh(self.layer(row)))(x), layer=nn.Linear(4, 3))
    trace = measure(model, (features, labels), loss="cross_entropy")
    assert trace.records[0].output is None
    assert trace.loss.name == "cross_entropy"


def test_a_model_that_differentiates_its_own_output_is_measured():
    def forward(self, x):
        energy = torch.tanh(self.layer(x)).sum()
        return torch.autograd.grad(energy, x, create_graph=True)[0]

    model, x = Run(forward, layer=nn.Linear(4, 3)), features.clone().requires_grad_()
    trace = measure(model, (x, torch.zeros(6, 4)), loss="mse")
    assert x.grad is None
    assert trace.parameter("layer.weight").gradient.rms > 0


def test_sparse_gradients_and_max_norm_are_fine():
    model = nn.Sequential(nn.Embedding(9, 4, sparse=True, max_norm=0.1), nn.Flatten(), nn.Linear(12, 3))
    before = fingerprint(model)
    trace = measure(model, (tokens, labels), loss="cross_entropy")
    assert trace.parameter("0.weight").gradient.count == 36
    assert fingerprint(model) == before


@pytest.mark.parametrize("shape", [(64, 5), (16, 5, 7), (4, 5, 6, 7)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_mean_and_variance_of_a_batch_norm_are_those_of_torch(shape, memory_format):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 3 + 5
    x = x.to(memory_format=memory_format) if x.dim() == 4 else x
    axes = [axis for axis in range(x.dim()) if axis != 1]
    var, mean = torch.var_mean(x.double(), dim=axes)
    (norm,) = measure(nn.Sequential({2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}[x.dim()](5)), x).of_kind(
        "batch_norm"
    )
    # Against running statistics 0 and 1, and an eps in both variances.
    assert norm.attributes["mean_gap"] == pytest.approx((mean**2 / (var + 1e-5)).mean().sqrt().item(), rel=1e-6)
    assert norm.attributes["var_ratio"] == pytest.approx(
        math.exp(((1 + 1e-5) / (var + 1e-5)).log().mean().item()), rel=1e-6
    )


@pytest.mark.parametrize("op", [nn.ReLU(), nn.Tanh()])
@pytest.mark.parametrize("shape", [(64, 6), (8, 6, 5, 5)])
def test_units_are_counted_alike_side_by_side_and_along_channels(op, shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 3
    (record,) = measure(op, x).of_kind("activation")
    slopes = (x > 0).double() if isinstance(op, nn.ReLU) else 1 - x.double().tanh() ** 2
    assert record.activity.num_units == 6
    assert record.activity.saturated == pytest.approx((slopes < 0.06).double().mean().item(), abs=1e-12)
