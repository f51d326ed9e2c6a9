"""What is seen of a model by running it."""

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.utils import parametrizations, parametrize
from torch.utils.checkpoint import checkpoint

from onesigma._errors import CaptureError
from onesigma.model.capture import Listener, capture, recording
from onesigma.model.graph import Call, Graph
from onesigma.model.state import preserved


class Run(nn.Module):
    """A model that is one function of its own parameters and of the input."""

    def __init__(self, forward, **parts):
        super().__init__()
        self.run = forward
        for name, part in parts.items():
            if isinstance(part, torch.Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, *args, **kwargs):
        return self.run(self, *args, **kwargs)


def weight(*shape):
    return nn.Parameter(torch.randn(*shape))


def ops(graph: Graph):
    return [call.op for call in graph.calls]


def only(graph: Graph, op: str) -> Call:
    (call,) = graph.of_kind(op)
    return call


X = torch.randn(5, 4)


@pytest.mark.parametrize(
    "function",
    [
        F.relu,
        torch.relu,
        torch.Tensor.relu,
        torch.relu_,
        lambda x: F.relu(x, inplace=True),
        lambda x: x.relu_(),
        nn.ReLU(),
        nn.ReLU(inplace=True),
        torch.ops.aten.relu,
    ],
)
def test_every_spelling_of_an_activation_is_one_op_fed_by_the_layer_before_it(function):
    model = Run(lambda self, x: self.second(function(self.first(x))), first=nn.Linear(4, 4), second=nn.Linear(4, 2))
    graph = capture(model, X)
    assert ops(graph) == ["linear", "relu", "linear"]
    assert [call.inputs for call in graph.calls] == [(-1,), (0,), (1,)]
    assert graph.outputs == (2,)


@pytest.mark.parametrize(
    ("module", "op"),
    [
        (nn.Tanh(), "tanh"),
        (nn.Sigmoid(), "sigmoid"),
        (nn.GELU(), "gelu"),
        (nn.GELU(approximate="tanh"), "gelu"),
        (nn.SiLU(), "silu"),
        (nn.Mish(), "mish"),
        (nn.ELU(0.5), "elu"),
        (nn.SELU(), "selu"),
        (nn.CELU(2.0), "celu"),
        (nn.LeakyReLU(0.3), "leaky_relu"),
        (nn.LeakyReLU(0.3, inplace=True), "leaky_relu"),
        (nn.PReLU(), "prelu"),
        (nn.RReLU(), "rrelu"),
        (nn.ReLU6(), "hardtanh"),
        (Run(lambda self, x: F.relu6(x)), "relu6"),
        (nn.Hardtanh(-2.0, 1.0), "hardtanh"),
        (nn.Hardsigmoid(), "hardsigmoid"),
        (nn.Hardswish(), "hardswish"),
        (nn.Softplus(2.0), "softplus"),
        (nn.Softsign(), "softsign"),
        (nn.Softshrink(0.3), "softshrink"),
        (nn.Hardshrink(0.3), "hardshrink"),
        (nn.Tanhshrink(), "tanhshrink"),
        (nn.LogSigmoid(), "logsigmoid"),
        (nn.Threshold(0.1, -1.0), "threshold"),
    ],
)
def test_the_function_of_an_activation_is_what_the_module_computes(module, op):
    module.eval()
    call = only(capture(nn.Sequential(nn.Linear(4, 4), module), X), op)
    x = torch.linspace(-3, 3, 101)
    expected = module(x.clone())
    torch.testing.assert_close(call.function(x), expected)
    assert call.kind == "activation"


def test_softmax_over_attention_scores_is_attention_and_elsewhere_an_activation():
    def attend(self, x):
        scores = (self.q(x) @ self.k(x).transpose(-2, -1)) / 2
        scores = scores.masked_fill(torch.ones(3, 3).triu(1).bool(), float("-inf"))
        return scores.softmax(-1) @ x

    graph = capture(Run(attend, q=nn.Linear(4, 4), k=nn.Linear(4, 4)), torch.randn(2, 3, 4))
    assert only(graph, "softmax").kind == "attention"
    assert [call.kind for call in graph.of_kind("matmul")] == ["attention", "attention"]
    assert only(capture(nn.Sequential(nn.Linear(4, 4), nn.Softmax(-1)), X), "softmax").kind == "activation"


def test_additions_are_joins_between_signals_and_scales_elsewhere():
    def forward(self, x):
        y = self.layer(x)
        y += x
        y = y + self.shift
        y = 2 * y - 1
        return y.sub(x)

    graph = capture(Run(forward, layer=nn.Linear(4, 4), shift=weight(4)), X)
    assert [(call.op, call.kind) for call in graph.calls[1:]] == [
        ("add", "join"),
        ("add", "scale"),
        ("mul", "scale"),
        ("sub", "scale"),
        ("sub", "join"),
    ]
    assert graph.calls[1].inputs == (0, -1)
    assert graph.calls[2].parameters == {"bias": "shift"}


def test_a_gate_is_a_product_of_the_two_halves_of_a_chunk():
    def forward(self, x):
        gate, value = self.layer(x).chunk(2, -1)
        return F.silu(gate) * value

    graph = capture(Run(forward, layer=nn.Linear(4, 8)), X)
    product = only(graph, "product")
    assert [graph.source(product, i).end.op for i in range(2)] == ["silu", "linear"]
    assert only(capture(nn.Sequential(nn.Linear(4, 8), nn.GLU()), X), "glu").kind == "product"


@pytest.mark.parametrize(
    ("product", "shape", "fan_in", "fan_out"),
    [
        (lambda x, w: x @ w, (4, 3), 4, 3),
        (lambda x, w: x.matmul(w), (4, 3), 4, 3),
        (lambda x, w: x @ w.t(), (3, 4), 4, 3),
        (torch.mm, (4, 3), 4, 3),
        (lambda x, w: (w @ x.T).T, (3, 4), 4, 3),
        (lambda x, w: torch.addmm(torch.zeros(3), x, w), (4, 3), 4, 3),
        (F.linear, (3, 4), 4, 3),
        (lambda x, w: torch.einsum("ni,io->no", x, w), (4, 3), 4, 3),
        (lambda x, w: torch.einsum("oi,ni->no", w, x), (3, 4), 4, 3),
        (lambda x, w: torch.einsum("...i,eio->...eo", x, w), (2, 4, 3), 4, 6),
        (lambda x, w: torch.tensordot(x, w, 1), (4, 3), 4, 3),
        (lambda x, w: torch.bmm(x.expand(2, 5, 4), w), (2, 4, 3), 4, 3),
        (lambda x, w: torch.baddbmm(torch.zeros(1, 1, 3), x.expand(2, 5, 4), w), (2, 4, 3), 4, 3),
    ],
)
def test_a_product_with_a_parameter_is_linear_with_the_fans_of_what_it_sums(product, shape, fan_in, fan_out):
    graph = capture(Run(lambda self, x: product(x, self.w), w=weight(*shape)), X)
    call = next(graph.of_kind("linear"))
    assert call.parameters["weight"] == "w"
    assert (call.fan_in, call.fan_out) == (fan_in, fan_out)
    assert "parametrized" not in call.attributes


@pytest.mark.parametrize(
    ("layer", "shape", "op", "fan_in", "fan_out"),
    [
        (nn.Conv1d(4, 6, 3), (2, 4, 9), "conv1d", 12, 18),
        (nn.Conv2d(4, 6, 3, groups=2), (2, 4, 9, 9), "conv2d", 18, 27),
        (nn.Conv3d(4, 6, 3, padding="same"), (2, 4, 5, 5, 5), "conv3d", 108, 162),
        (nn.Conv2d(4, 4, 3, stride=3, groups=4), (2, 4, 9, 9), "conv2d", 9, 1),
        (nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), (2, 4, 9, 9), "conv2d", 36, 54),
        (nn.ConvTranspose2d(4, 6, 4, stride=2), (2, 4, 5, 5), "conv_transpose2d", 16, 96),
        (nn.Linear(4, 6), (2, 7, 4), "linear", 4, 6),
    ],
)
def test_fans_are_those_of_the_call(layer, shape, op, fan_in, fan_out):
    call = only(capture(nn.Sequential(layer), torch.randn(shape)), op)
    assert (call.kind, call.fan_in, call.fan_out) == ("linear", fan_in, fan_out)
    assert call.parameters == {"weight": "0.weight", "bias": "0.bias"}


def test_embeddings_read_one_row_each():
    tokens = torch.tensor([[1, 2], [0, 3]])
    graph = capture(
        Run(
            lambda self, x: self.e(x).sum(1) + self.b(x) + self.t[x].sum(1),
            e=nn.Embedding(5, 3),
            b=nn.EmbeddingBag(5, 3),
            t=weight(5, 3),
        ),
        tokens,
    )
    found = list(graph.of_kind("embedding"))
    assert [call.parameters["weight"] for call in found] == ["e.weight", "b.weight", "t"]
    assert all((call.fan_in, call.fan_out) == (1, 3) for call in found)
    assert all(call.inputs == (-1,) for call in found)


def test_multihead_attention_is_looked_into():
    model = nn.MultiheadAttention(8, 2, batch_first=True)
    x = torch.randn(2, 3, 8)
    graph = capture(Run(lambda self, x: self.attention(x, x, x)[0], attention=model), x)
    linear = list(graph.of_kind("linear"))
    assert [(call.layer, call.parameters["weight"]) for call in linear] == [
        ("attention", "attention.in_proj_weight"),
        ("attention.out_proj", "attention.out_proj.weight"),
    ]
    assert graph.source(linear[1]).end.kind == "attention"


@pytest.mark.parametrize("training", [True, False])
def test_a_transformer_layer_shows_its_parts_in_either_mode(training):
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).train(training)
    with torch.no_grad():
        graph = capture(layer, torch.randn(2, 3, 8))
    kinds = [call.kind for call in graph.calls if call.kind not in ("shape", "dropout")]
    assert kinds == ["linear", "attention", "linear", "join", "norm", "linear", "activation", "linear", "join", "norm"]


@pytest.mark.parametrize("make", [nn.RNN, nn.LSTM, nn.GRU])
def test_recurrent_layers_carry_all_their_weights(make):
    graph = capture(Run(lambda self, x: self.cell(x)[0], cell=make(4, 3)), torch.randn(6, 5, 4))
    (call,) = graph.of_kind("recurrent")
    assert call.parameters["weight_hh_l0"] == "cell.weight_hh_l0"
    assert (call.fan_in, call.fan_out, call.inputs) == (4, 3, (-1,))


@pytest.mark.parametrize(
    ("norm", "shape"),
    [
        (nn.BatchNorm1d(4), (5, 4)),
        (nn.BatchNorm2d(4), (5, 4, 3, 3)),
        (nn.LayerNorm(4), (5, 4)),
        (nn.GroupNorm(2, 4), (5, 4, 3)),
        (nn.InstanceNorm1d(4, affine=True), (5, 4, 3)),
        (nn.RMSNorm(4), (5, 4)),
    ],
)
def test_norms_name_their_parameters(norm, shape):
    (call,) = capture(nn.Sequential(norm), torch.randn(shape)).calls
    assert call.kind == "norm"
    assert call.parameters["weight"] == "0.weight"
    assert call.attributes.get("eps", 1e-5) == pytest.approx(getattr(norm, "eps", None) or 1e-5)


def test_batch_norm_knows_how_many_values_stand_behind_a_statistic():
    assert (
        only(capture(nn.BatchNorm2d(4), torch.randn(5, 4, 3, 2)), "batch_norm").attributes["values_per_channel"] == 30
    )


def test_source_and_sink_pass_shapes_dropout_and_pools():
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.5), nn.Flatten(), nn.Linear(18, 2)
    )
    graph = capture(model, torch.randn(5, 1, 8, 8))
    path = graph.source(graph.calls[-1])
    assert path.end.op == "relu"
    assert [call.kind for call in path.passed] == ["shape", "dropout", "pool"]
    assert graph.sink(only(graph, "relu")).end.op == "linear"
    assert graph.sink(graph.calls[-1]).end is None
    assert graph.source(only(graph, "conv2d")).index == -1


def test_concatenation_and_padding_keep_the_flow():
    graph = capture(
        Run(
            lambda self, x: self.out(torch.cat([F.pad(self.a(x), (0, 1)), x], -1)),
            a=nn.Linear(4, 3),
            out=nn.Linear(8, 2),
        ),
        X,
    )
    (concat,) = graph.of_kind("concat")
    assert graph.source(concat, 0).end.op == "linear"
    assert graph.source(concat, 1).index == -1


def test_a_reused_module_is_counted_and_a_tied_weight_has_one_name():
    model = Run(
        lambda self, x: F.linear(self.b(self.a(self.a(x))), self.a.weight), a=nn.Linear(4, 4), b=nn.Linear(4, 4)
    )
    model.b.weight = model.a.weight
    graph = capture(model, X)
    assert [(call.layer, call.call) for call in graph.calls] == [("a", 0), ("a", 1), ("b", 0), ("", 0)]
    assert {call.parameters["weight"] for call in graph.calls} == {"a.weight"}


@pytest.mark.parametrize(
    "wrap", [parametrizations.weight_norm, parametrizations.spectral_norm, parametrizations.orthogonal]
)
def test_a_parametrized_weight_is_traced_to_its_originals(wrap):
    graph = capture(nn.Sequential(wrap(nn.Linear(4, 4)), nn.Tanh()), X)
    assert ops(graph) == ["linear", "tanh"]
    call = graph.calls[0]
    assert call.parameters["weight"] == "0.weight"
    assert call.attributes["parametrized"] is True
    assert any("original" in name or name == "0.weight" for name in call.origins["weight"])


@pytest.mark.filterwarnings("ignore")
def test_the_older_weight_norm_is_seen_too():
    call = capture(nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 4))), X).calls[0]
    assert call.attributes["parametrized"] is True
    assert set(call.origins["weight"]) == {"0.weight_g", "0.weight_v"}


def test_a_masked_weight_is_parametrized_and_a_low_rank_update_is_no_signal():
    def forward(self, x):
        return F.linear(x, self.w * self.mask + self.b @ self.a)

    graph = capture(Run(forward, w=weight(3, 4), mask=torch.ones(3, 4), a=weight(2, 4), b=weight(3, 2)), X)
    assert ops(graph) == ["linear"]
    assert set(graph.calls[0].origins["weight"]) == {"w", "mask", "a", "b"}
    assert graph.calls[0].parameters["weight"] == "w"


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointed_blocks_are_recorded_once(reentrant):
    block = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    model = Run(
        lambda self, x: self.head(checkpoint(self.block, self.stem(x), use_reentrant=reentrant)),
        stem=nn.Linear(4, 4),
        block=block,
        head=nn.Linear(4, 2),
    )
    graph = capture(model, X)
    assert [call.layer for call in graph.calls] == ["stem", "block.0", "block.1", "head"]
    assert [call.inputs for call in graph.calls] == [(-1,), (0,), (1,), (2,)]


def test_wrappers_are_looked_through():
    inner = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    compiled = torch.compile(inner, backend="eager")
    for model in (nn.DataParallel(inner), compiled, nn.DataParallel(compiled)):
        assert [call.layer for call in capture(model, X).calls] == ["0", "1"]


def test_a_compiled_block_inside_is_run_eagerly():
    model = nn.Sequential(nn.Linear(4, 4), torch.compile(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), backend="eager"))
    assert [call.layer for call in capture(model, X).calls] == ["0", "1.0", "1.1"]


@dataclass
class Output:
    logits: torch.Tensor
    hidden: tuple[torch.Tensor, ...] | None = None
    cache: object = None


@pytest.mark.parametrize(
    "pack",
    [
        Output,
        lambda y: {"logits": y, "loss": None},
        lambda y: (None, [y, (y,)]),
        lambda y: y,
    ],
)
def test_outputs_of_any_structure_are_found(pack):
    graph = capture(Run(lambda self, x: pack(self.layer(x)), layer=nn.Linear(4, 2)), X)
    assert graph.outputs == (0,)


def test_masks_and_indices_are_no_signals_but_keep_the_flow():
    def forward(self, x, mask):
        hidden = self.layer(x) + (1.0 - mask[:, None].float()) * -1e4
        return hidden.gather(1, hidden.argmax(1, keepdim=True))

    graph = capture(Run(forward, layer=nn.Linear(4, 4)), ((X, torch.ones(5, dtype=torch.long)), None))
    add = only(graph, "add")
    assert add.kind == "scale"
    gather = only(graph, "gather")
    assert add.index in gather.inputs


def test_unknown_functions_keep_their_name_and_the_flow():
    graph = capture(Run(lambda self, x: torch.fft.fft(self.layer(x)).real, layer=nn.Linear(4, 4)), X)
    call = only(graph, "unknown")
    assert call.attributes["function"] == "fft_fft"
    assert call.inputs == (0,)


def test_a_custom_autograd_function_keeps_the_flow():
    class Swish(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * torch.sigmoid(x)

        @staticmethod
        def backward(ctx, gradient):
            return gradient

    model = Run(lambda self, x: self.b(Swish.apply(self.a(x))), a=nn.Linear(4, 4), b=nn.Linear(4, 4))
    assert capture(model, X).source(capture(model, X).calls[-1]).end.op == "mul"


def test_writing_into_a_slice_makes_the_whole_tensor_a_result():
    def forward(self, x):
        out = torch.zeros(5, 6)
        out[:, :4] = self.a(x)
        return self.b(out)

    graph = capture(Run(forward, a=nn.Linear(4, 4), b=nn.Linear(6, 2)), X)
    assert ops(graph) == ["linear", "__setitem__", "linear"]
    assert [call.inputs for call in graph.calls] == [(-1,), (0,), (1,)]


def test_an_inactive_dropout_is_seen_and_passed_by():
    graph = capture(nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 2)).eval(), X)
    assert ops(graph) == ["linear", "dropout", "linear"]
    assert graph.source(graph.calls[2]).end.op == "linear"


def test_fake_tensors_give_the_same_structure():
    def build():
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))

    real = capture(build(), torch.randn(2, 3, 8, 8))
    with FakeTensorMode():
        fake = capture(build(), torch.randn(2, 3, 8, 8))
    assert fake == real


def test_the_meta_device_gives_the_same_structure():
    model = nn.Sequential(nn.Linear(4, 3), nn.GELU(), nn.Linear(3, 2))
    assert capture(model.to("meta"), torch.randn(5, 4, device="meta")) == capture(model.to_empty(device="cpu"), X)


class Halving(Listener):
    def __init__(self):
        self.seen = []

    def before(self, site):
        self.seen.append((site.call.op, site.weights.get("weight")))

    def after(self, site, output):
        return output / 2 if site.call.kind == "linear" else output


def test_a_listener_sees_the_parameter_itself_and_its_result_replaces_the_output():
    model = nn.Sequential(nn.Linear(4, 3, bias=False), nn.Linear(3, 2, bias=False))
    listener = Halving()
    with recording(model, listeners=[listener]) as recorder:
        output = recorder.run(next(iter(_batches(X))))
    torch.testing.assert_close(output, X @ model[0].weight.T @ model[1].weight.T / 4)
    assert [tensor is layer.weight for (_, tensor), layer in zip(listener.seen, model, strict=True)] == [True, True]
    assert [call.inputs for call in recorder.graph.calls] == [(-1,), (0,)]


def _batches(x):
    from onesigma.model.batches import iterate_batches

    return iterate_batches(x)


def test_a_model_that_raises_is_named_with_the_last_call_and_the_layer():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(4, 2))
    with pytest.raises(
        CaptureError, match=r"Sequential\.forward raised RuntimeError in layer '2'.*relu in '1'"
    ) as caught:
        capture(model, X)
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_keyboard_interrupt_is_not_swallowed_and_leaves_no_hook():
    def forward(self, x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        capture(Run(forward), X)
    assert not nn.modules.module._global_forward_hooks
    assert not nn.modules.module._global_forward_pre_hooks


def test_losses_are_calls_too():
    graph = capture(nn.Sequential(nn.Linear(4, 3)), (X, torch.zeros(5, dtype=torch.long)), loss=nn.CrossEntropyLoss())
    assert [(call.op, call.kind, call.inputs) for call in graph.calls][1:] == [("cross_entropy", "loss", (0,))]


def test_capturing_runs_the_model_once():
    count = 0

    def forward(self, x):
        nonlocal count
        count += 1
        return x

    capture(Run(forward), X)
    assert count == 1


def test_recording_keeps_no_activation_alive():
    import gc
    import weakref

    kept = []

    def forward(self, x):
        hidden = self.a(x)
        kept.append(weakref.ref(hidden))
        del x
        out = self.b(hidden)
        del hidden
        gc.collect()
        assert kept[0]() is None
        return out

    with torch.no_grad(), preserved(model := Run(forward, a=nn.Linear(4, 4), b=nn.Linear(4, 4))):
        capture(model, X)


def test_parametrizing_with_a_network_records_only_signals():
    class Symmetric(nn.Module):
        def forward(self, w):
            return w.triu() + w.triu(1).transpose(-1, -2)

    layer = nn.Linear(4, 4)
    parametrize.register_parametrization(layer, "weight", Symmetric())
    assert ops(capture(nn.Sequential(layer), X)) == ["linear"]


def test_a_module_whose_inside_cannot_be_seen_is_one_unknown_call():
    with torch.no_grad():
        scripted = torch.jit.trace(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), X)
    graph = capture(Run(lambda self, x: self.b(self.a(x)), a=scripted, b=nn.Linear(4, 2)), X)
    assert [(call.kind, call.layer, call.inputs) for call in graph.calls] == [
        ("unknown", "a", (-1,)),
        ("linear", "b", (0,)),
    ]


def test_casts_and_autocast_keep_the_flow():
    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.b(F.gelu(self.a(x))).float()

    graph = capture(Run(forward, a=nn.Linear(4, 4), b=nn.Linear(4, 2)), X)
    assert ops(graph) == ["linear", "gelu", "linear", "float"]
    assert graph.calls[0].dtype == "bfloat16"
    assert graph.outputs == (3,)


def test_tensors_made_of_nothing_are_no_calls():
    def forward(self, x):
        state = torch.zeros_like(x)
        for _ in range(2):
            state = torch.tanh(self.a(x) + self.b(state))
        return state + torch.randn_like(state)

    graph = capture(Run(forward, a=nn.Linear(4, 4), b=nn.Linear(4, 4)), X)
    assert ops(graph) == ["linear", "linear", "add", "tanh", "linear", "linear", "add", "tanh", "add"]
    assert [call.kind for call in graph.of_kind("add")] == ["join", "join", "scale"]


def test_experts_that_are_chosen_by_a_router_are_linear():
    def forward(self, x):
        weights, chosen = self.router(x).softmax(-1).topk(1, -1)
        out = torch.zeros_like(x)
        for expert in range(3):
            mask = (chosen == expert).any(-1)
            out[mask] = F.relu(x[mask] @ self.experts[expert]) * weights[mask]
        return out

    graph = capture(Run(forward, router=nn.Linear(4, 3), experts=weight(3, 4, 4)), X)
    experts = [call for call in graph.of_kind("linear") if call.parameters["weight"] == "experts"]
    assert len(experts) == 3
    assert all((call.fan_in, call.fan_out) == (4, 4) for call in experts)
    assert graph.source(experts[0]).index == -1
