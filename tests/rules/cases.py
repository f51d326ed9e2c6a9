"""Per code: a trace that breaks the rule, with severity and message, and traces that do not."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from onesigma.model.trace import Trace

from .traces import (
    SAMPLES,
    activation,
    activity,
    call,
    chain,
    column,
    features,
    linear,
    loss,
    parameter,
    signal,
    trace,
    with_gradients,
)


@dataclass(frozen=True)
class Case:
    """The first finding of `broken` is golden; `fine` yields nothing graver than an info."""

    broken: Trace
    severity: str
    message: str
    fine: Mapping[str, Trace]


_UNIT = column("3", 0.0, 1.0)
_LABELS = features(kind="labels", name="targets")
_NORM = {"layer": "1", "attributes": {"training": True, "eps": 1e-5}}
_RUNNING = {"running_mean": "1.running_mean", "running_var": "1.running_var"}


def _batch_norm(index: int = 1, **more: object) -> object:
    return call(index, "batch_norm", "norm", **(_NORM | {"layer": str(index)} | more))


def _stream(*added: float) -> Trace:
    """A stem, and branches of one linear that add this much."""
    records = [linear(0, source=-1)]
    stream = 0
    for rms in added:
        writer, join = len(records), len(records) + 1
        records.append(linear(writer, rms, source=stream))
        records.append(call(join, "add", "join", sources=(stream, writer)))
        stream = join
    return trace(*records)


_DEAD_HEAD = activation(3, output=signal(0.0), input=signal(1.0, mean=-4.0))

CASES: dict[str, Case] = {
    "INP101": Case(
        chain(1.0, inputs=(features(column("proline", 746.9, 314.0), _UNIT),)),
        "warning",
        "Input 0: column 'proline', the largest, has mean 747 and std 314, a factor 810 off unit scale.",
        {
            "standardized": chain(1.0, inputs=(features(_UNIT),)),
            "squashed to 0..1": chain(1.0, inputs=(features(column("0", 0.5, 0.29, low=0, high=1)),)),
            "one-hot": chain(1.0, inputs=(features(*[column("0", 0.005, 0.07, low=0, high=1)] * 9),)),
            "a column that is nearly constant": chain(1.0, inputs=(features(_UNIT, column("1", 0, 1e-3)),)),
            "a batch norm reads it first": trace(
                _batch_norm(0, sources=(-1,)), linear(1), inputs=(features(column("0", 700.0, 300.0)),)
            ),
            "tokens": chain(1.0, inputs=(features(name="0", kind="tokens"),)),
        },
    ),
    "INP102": Case(
        chain(1.0, inputs=(features(column("proline", 746.9, 314.0), column("hue", 0.96, 0.228)),)),
        "error",
        "Input 0: column 'proline' (std 314) is 1377 times as wide as column 'hue' (std 0.228).",
        {
            "alike": chain(1.0, inputs=(features(_UNIT, column("1", 5.0, 2.0)),)),
            "rare beside common": chain(1.0, inputs=(features(_UNIT, column("1", 0.01, 0.1, low=0, high=1)),)),
            "one column": chain(1.0, inputs=(features(column("0", 0.0, 1000.0)),)),
        },
    ),
    "INP103": Case(
        chain(1.0, inputs=(features(_UNIT, column("year", 2024.0, 0.0)),)),
        "warning",
        "Input 0: column 'year' never changes from 2024.",
        {
            "borders of images": chain(
                1.0, inputs=(features(column("0", 0.0, 0.0), column("1", 0.5, 0.3, low=0, high=1)),)
            ),
            "eight rows": chain(1.0, inputs=(features(_UNIT, column("1", 3.0, 0.0), rows=8),)),
        },
    ),
    "INP104": Case(
        chain(1.0, inputs=(features(_UNIT, column("age", 0.0, 1.0, bad=3)),)),
        "error",
        "Input 0 holds 3 NaN or infinite values, the first in column 'age'.",
        {"finite": chain(1.0, inputs=(features(_UNIT),))},
    ),
    "INP105": Case(
        chain(
            1.0,
            targets=features(column("0", 3e7, 1e7), name="targets"),
            loss=loss(1e15, 1e14, name="mse", chance_name=""),
        ),
        "error",
        "The targets have mean 3e+07 and std 1e+07, a factor 3.16e+07 off unit scale.",
        {
            "standardized": chain(1.0, targets=features(_UNIT, name="targets"), loss=loss(2.0, 1.0, name="mse")),
            "labels": chain(1.0, targets=_LABELS, loss=loss(2.3)),
            "probabilities": chain(
                1.0,
                targets=features(column("0", 0.1, 0.3, low=0, high=1), name="targets"),
                loss=loss(0.7, 0.69, name="binary_cross_entropy"),
            ),
        },
    ),
    "INP106": Case(
        trace(
            call(0, "div", "scale", sources=(-1,), layer="scaler", output=signal(0.003, mean=-1.7)),
            linear(1),
            inputs=(features(_UNIT),),
        ),
        "error",
        "scaler makes the input mean -1.7 and std 0.003, a factor 222 off unit scale.",
        {"fits": trace(call(0, "div", "scale", sources=(-1,)), linear(1), inputs=(features(column("0", 500, 300)),))},
    ),
    "INI201": Case(
        chain(5.0, op="tanh"),
        "warning",
        "0 hands tanh a std of 5: it reads an rms of 1 and multiplies it by 5.",
        {
            "unit scale": chain(1.0),
            "He on raw input": chain(2**0.5),
            "the head": chain(1.0, head=50.0),
            "before a norm": trace(linear(0, 50.0, source=-1), _batch_norm(), activation(2), linear(3)),
            "a trained model": chain(2.5, loss=loss(0.1)),
            "a gate": trace(
                linear(0, 50.0, source=-1),
                activation(1, "sigmoid"),
                call(2, "mul", "product", sources=(-1, 1)),
                linear(3),
            ),
        },
    ),
    "INI202": Case(
        chain(1.0, 0.0001),
        "error",
        "2 hands relu a std over samples of 0.0001, from one of 1 in its input.",
        {
            "torch's default, three layers": chain(0.58, 0.24, 0.1),
            "a head that starts at zero": chain(1.0, head=0.0),
            "a writer that starts at zero": _stream(0.0, 0.0),
        },
    ),
    "INI203": Case(
        chain(1.0, 0.3, 0.09, 0.027, 0.008),
        "warning",
        "The pre-activation std goes from 1 at 0 to 0.008 at 8: a factor 0.299 per layer.",
        {"level": chain(1.0, 0.9, 0.8, 0.8, 0.8), "three layers": chain(1.0, 0.1, 0.01)},
    ),
    "INI204": Case(
        chain(1.0, parameters=(parameter("0.weight", gradient=0.1, duplicate_rows=0.99),)),
        "error",
        "0.weight: 99 % of its 64 units have the weights and the gradient of another one.",
        {
            "all different": chain(1.0, parameters=(parameter("0.weight", gradient=0.1),)),
            "all zero": chain(1.0, parameters=(parameter("0.weight", 0.0, gradient=0.1, duplicate_rows=1.0),)),
            "no gradient": chain(1.0, parameters=(parameter("0.weight", duplicate_rows=1.0),)),
        },
    ),
    "INI205": Case(
        _stream(*(2.0**block for block in range(8))),
        "warning",
        "The first 2 branches of the stream add an rms of 1.58, the last 2, up to 16, one of 101.",
        {
            "branches of equal scale": _stream(*[1.0] * 24),
            "branches that start at zero": _stream(*[0.0] * 24),
            "no residual": chain(1.0, 1.0),
        },
    ),
    "INI206": Case(
        chain(*[1.0] * 40, op="silu"),
        "warning",
        "40 layers of silu in a row: an error of 1 % grows by a factor 1.17 per layer, 583 in all.",
        {"ten layers": chain(*[1.0] * 10, op="silu"), "relu": chain(*[1.0] * 40)},
    ),
    "ACT301": Case(
        trace(
            linear(0, 5.0, source=-1),
            activation(1, "tanh", activity=activity(saturated=0.676, saturated_units=0.1)),
            linear(2),
        ),
        "error",
        "1: 68 % of the tanh values are saturated, and 10 % of the units always are.",
        {
            "gain 5/3": trace(
                linear(0, source=-1), activation(1, "tanh", activity=activity(saturated=0.209)), linear(2)
            ),
            "a rectifier": trace(linear(0, source=-1), activation(1, activity=activity(saturated=0.5)), linear(2)),
            "an open gate": trace(
                linear(0, source=-1),
                activation(1, "sigmoid", activity=activity(saturated=1.0, saturated_units=1.0)),
                call(2, "mul", "product", sources=(-1, 1)),
            ),
        },
    ),
    "ACT302": Case(
        trace(linear(0, source=-1), activation(1, activity=activity(dead_units=0.75)), linear(2)),
        "error",
        "1: 48 of 64 relu units never fired in 512 observations.",
        {
            "none dead": trace(linear(0, source=-1), activation(1, activity=activity()), linear(2)),
            "as many always on": trace(
                linear(0, source=-1),
                activation(1, activity=activity(dead_units=0.4, always_on_units=0.4)),
                linear(2),
            ),
            "few observations": trace(
                linear(0, source=-1), activation(1, activity=activity(observations=32, dead_units=0.3)), linear(2)
            ),
            "one of four units": trace(
                linear(0, source=-1),
                activation(1, activity=activity(units=4, dead_units=0.25, observations=64)),
                linear(2),
            ),
        },
    ),
    "ACT303": Case(
        trace(linear(0, source=-1), activation(1, activity=activity(always_on_units=1.0)), linear(2)),
        "warning",
        "1: 64 of 64 relu units fired on all of 512 observations.",
        {"half": trace(linear(0, source=-1), activation(1, activity=activity(always_on_units=0.5)), linear(2))},
    ),
    "ACT304": Case(
        trace(
            linear(0, source=-1),
            activation(1),
            linear(2, input=signal(1.0, varies=1e-4), output=signal(0.5, varies=5e-5)),
        ),
        "error",
        "2: over samples its input varies by 0.0001 of an rms of 1, its output by 5e-05.",
        {
            "varies": chain(1.0),
            "a head that starts at zero": chain(1.0, head=0.0),
            "a policy head at a hundredth": chain(1.0, head=0.005),
            "one sample": trace(
                linear(0, source=-1, input=signal(1.0, samples=1), output=replace(signal(1.0), sample_std=None))
            ),
        },
    ),
    "GRA401": Case(
        with_gradients(
            chain(1.0, 1.0, 1.0, loss=loss(2.3)), {0: 1e-5, 1: 1e-4, 2: 1e-3, 3: 1e-2, 4: 0.1, 5: 0.5, 6: 1.0}
        ),
        "error",
        "The gradient at 0 is 0.0001 of that at 4: a factor 0.01 per layer, over 2 layers.",
        {
            "level": with_gradients(chain(1.0, 1.0, loss=loss(2.3)), dict.fromkeys(range(5), 1.0)),
            "held back by a head at zero": with_gradients(
                chain(1.0, 1.0, loss=loss(2.3), parameters=(parameter("4.weight", 0.0, gradient=0.1),)),
                dict.fromkeys(range(4), 0.0) | {4: 1.0},
            ),
            "no loss": chain(1.0, 1.0),
        },
    ),
    "GRA402": Case(
        with_gradients(
            chain(1.0, 1.0, 1.0, loss=loss(2.3)), {0: 100.0, 1: 80.0, 2: 10.0, 3: 5.0, 4: 1.0, 5: 1.0, 6: 1.0}
        ),
        "error",
        "The gradient at 0 is 100 times that at 4: a factor 10 per layer, over 2 layers.",
        {"level": with_gradients(chain(1.0, 1.0, loss=loss(2.3)), dict.fromkeys(range(5), 1.0))},
    ),
    "UPD501": Case(
        chain(1.0, parameters=(parameter("0.weight", update_ratio=0.2, num_updates=50),)),
        "error",
        "0.weight: a step changes it by 0.2 of its own std.",
        {
            "a thousandth": chain(1.0, parameters=(parameter("0.weight", update_ratio=1e-3, num_updates=50),)),
            "a bias": chain(1.0, parameters=(parameter("0.bias", update_ratio=0.5, num_updates=50, shape=(64,)),)),
            "not measured": chain(1.0, parameters=(parameter("0.weight"),)),
        },
    ),
    "UPD502": Case(
        chain(1.0, parameters=(parameter("0.weight", gradient=0.1, update_ratio=0.0, num_updates=50),)),
        "error",
        "0.weight is trainable and no step changes it, though it has a gradient: the optimizer does not know it.",
        {
            "a thousandth": chain(1.0, parameters=(parameter("0.weight", update_ratio=1e-3, num_updates=50),)),
            "frozen": chain(
                1.0, parameters=(parameter("0.weight", update_ratio=0.0, num_updates=50, trainable=False),)
            ),
        },
    ),
    "NRM601": Case(
        trace(
            linear(0, source=-1),
            _batch_norm(),
            activation(2),
            linear(3),
            parameters=(parameter("0.weight", gradient=0.1), parameter("0.bias", gradient=1e-9, shape=(64,))),
        ),
        "warning",
        "0: batch_norm 1 takes its bias away again; its gradient is 1e-09, the weight's 0.1.",
        {
            "no bias": trace(linear(0, source=-1, parameters={"weight": "0.weight"}), _batch_norm()),
            "layer norm": trace(linear(0, source=-1), call(1, "layer_norm", "norm")),
            "eval mode": trace(linear(0, source=-1), _batch_norm(attributes={"training": False})),
            "zero padding between": trace(linear(0, source=-1), call(1, "pad", "shape"), _batch_norm(2)),
            "relu between": trace(linear(0, source=-1), activation(1), _batch_norm(2)),
            "read elsewhere too": trace(linear(0, source=-1), _batch_norm(), call(2, "add", "join", sources=(0, 1))),
            "a gradient, so it counts": trace(
                linear(0, source=-1),
                _batch_norm(),
                parameters=(parameter("0.weight", gradient=0.1), parameter("0.bias", gradient=0.05, shape=(64,))),
            ),
        },
    ),
    "NRM602": Case(
        trace(
            linear(0, source=-1),
            _batch_norm(input=signal(10.0), attributes={"training": False}, parameters=_RUNNING),
            parameters=(
                parameter("1.running_mean", 0.0),
                replace(parameter("1.running_var"), value=signal(0.0, mean=1.0)),
            ),
        ),
        "error",
        "1: its input has an rms of 10, its running statistics are still (0, 1).",
        {
            "they fit": trace(
                linear(0, source=-1),
                _batch_norm(attributes={"training": False}, parameters=_RUNNING),
                parameters=(
                    parameter("1.running_mean", 0.1),
                    replace(parameter("1.running_var"), value=signal(0.1, mean=1.0)),
                ),
            ),
            "in training, still on their way": trace(
                linear(0, source=-1),
                _batch_norm(
                    attributes={"updates": 10, "start_left": 0.35, "mean_gap": 5.0, "var_gap": 3.0, "var_ratio": 0.1},
                    parameters=_RUNNING,
                ),
                parameters=(parameter("1.running_mean", 5.0), parameter("1.running_var", 1.0)),
            ),
            "training mode": trace(
                linear(0, source=-1),
                _batch_norm(input=signal(10.0), parameters=_RUNNING),
                parameters=(
                    parameter("1.running_mean", 0.0),
                    replace(parameter("1.running_var"), value=signal(0.0, mean=1.0)),
                ),
            ),
        },
    ),
    "NRM603": Case(
        trace(
            linear(0, source=-1),
            _batch_norm(parameters=_RUNNING),
            parameters=(parameter("1.running_mean", 0.5),),
            loss=loss(1.0, in_eval=3.0),
        ),
        "error",
        "This batch costs 1 in training mode, 3 in eval mode.",
        {
            "the same": trace(
                _batch_norm(0, sources=(-1,), parameters=_RUNNING),
                parameters=(parameter("1.running_mean", 0.5),),
                loss=loss(1.0, in_eval=1.05),
            ),
            "a look at a fresh model": trace(
                _batch_norm(0, sources=(-1,), parameters=_RUNNING, attributes={"updates": 2, "start_left": 0.81}),
                parameters=(parameter("1.running_mean", 0.5),),
                loss=loss(1.0, in_eval=3.0),
            ),
            "both losses next to nothing": trace(
                _batch_norm(0, sources=(-1,), parameters=_RUNNING),
                parameters=(parameter("1.running_mean", 0.5),),
                loss=loss(0.01, 2.3, in_eval=0.03),
            ),
            "nothing tracked yet": trace(
                _batch_norm(0, sources=(-1,), parameters=_RUNNING),
                parameters=(parameter("1.running_mean", 0.0),),
                loss=loss(1.0, in_eval=3.0),
            ),
        },
    ),
    "NRM604": Case(
        trace(linear(0, source=-1), _batch_norm(shape=(2, 64))),
        "error",
        "1 normalizes each channel by 2 values of the batch.",
        {
            "many": trace(linear(0, source=-1), _batch_norm()),
            "positions count": trace(linear(0, source=-1), _batch_norm(shape=(2, 64, 8, 8))),
            "eval mode": trace(linear(0, source=-1), _batch_norm(shape=(1, 64), attributes={"training": False})),
        },
    ),
    "NRM605": Case(
        trace(linear(0, source=-1), _batch_norm(parameters={"weight": "1.weight"}), coupling=0.25),
        "error",
        "In eval mode an output moves with the other rows, 0.25 of what parts rows: 1 normalizes by the batch.",
        {
            "none": chain(1.0, coupling=0.0),
            "not measured": chain(1.0),
            "rows may be time steps": trace(call(0, "lstm", "recurrent", sources=(-1,)), coupling=0.25),
        },
    ),
    "NRM606": Case(
        trace(call(0, "dropout", "dropout", sources=(-1,), attributes={"p": 0.5}), linear(1), _batch_norm(2)),
        "warning",
        "0 drops 50 % of what 2 tracks the variance of.",
        {
            "behind": trace(linear(0, source=-1), _batch_norm(), call(2, "dropout", "dropout", attributes={"p": 0.5})),
            "a tenth": trace(
                call(0, "dropout", "dropout", sources=(-1,), attributes={"p": 0.1}), linear(1), _batch_norm(2)
            ),
            "layer norm": trace(
                call(0, "dropout", "dropout", sources=(-1,), attributes={"p": 0.5}),
                linear(1),
                call(2, "layer_norm", "norm"),
            ),
        },
    ),
    "LOS701": Case(
        chain(1.0, loss=loss(27.0, 3.2958, chance_name="log 27")),
        "error",
        "The loss starts at 27, where knowing nothing costs 3.3 (log 27): 23.7 nats too much.",
        {
            "at chance": chain(1.0, loss=loss(2.31)),
            "He's last layer": chain(1.0, loss=loss(3.1)),
            "a sum over 512 samples": chain(1.0, loss=loss(512 * 2.31, 512 * 2.302585)),
            "regression": chain(1.0, loss=loss(3.0, 1.0, name="mse", chance_name="variance of the targets")),
            "unknown chance": chain(1.0, loss=loss(1e6, None)),
        },
    ),
    "LOS702": Case(
        chain(1.0, loss=loss(0.2)),
        "warning",
        "The loss is 0.2, where knowing nothing costs 2.3: the model is trained, or the target leaks.",
        {
            "at chance": chain(1.0, loss=loss(2.29)),
            "eval mode": chain(1.0, loss=loss(0.2), training=False),
            "unbalanced labels": chain(1.0, loss=loss(1.0), targets=replace(_LABELS, num_classes=10, entropy=1.0)),
        },
    ),
    "LOS703": Case(
        chain(1.0, loss=loss(100.0, doubled=200.0)),
        "warning",
        "cross_entropy is 100 for the batch, 200 for it twice over: a sum.",
        {"a mean": chain(1.0, loss=loss(2.3, doubled=2.3)), "not measured": chain(1.0, loss=loss(2.3))},
    ),
    "LOS704": Case(
        trace(linear(0, source=-1), activation(1), linear(2), _DEAD_HEAD),
        "error",
        "3: its input varies by 1 over samples, and its relu is 0 for all of them.",
        {
            "varies": trace(
                linear(0, source=-1), activation(1), linear(2), activation(3, "sigmoid", output=signal(0.2, mean=0.5))
            ),
            "no activation": chain(1.0),
            "its input is constant already": trace(
                linear(0, source=-1), activation(1), linear(2), replace(_DEAD_HEAD, input=signal(0.0, mean=-1.0))
            ),
        },
    ),
    "LOS705": Case(
        trace(
            linear(0, source=-1),
            activation(1, "softmax", shape=(SAMPLES, 10)),
            call(2, "cross_entropy", "loss"),
            outputs=(1,),
            loss=loss(2.3),
        ),
        "error",
        "1: cross_entropy gets a softmax: no model can bring it below 1.46.",
        {
            "logits": trace(linear(0, source=-1), call(1, "cross_entropy", "loss"), outputs=(0,), loss=loss(2.3)),
            "log-softmax": trace(
                linear(0, source=-1), activation(1, "log_softmax"), call(2, "cross_entropy", "loss"), outputs=(1,)
            ),
            "attention inside": trace(
                linear(0, source=-1),
                activation(1, "softmax"),
                linear(2),
                call(3, "cross_entropy", "loss"),
                outputs=(2,),
            ),
        },
    ),
    "STR801": Case(
        trace(linear(0, source=-1), linear(1), activation(2), linear(3)),
        "warning",
        "1 reads 0 with no nonlinearity between: together they are one linear of 64 inputs and 64 outputs.",
        {
            "relu between": chain(1.0),
            "low rank": trace(linear(0, source=-1, shape=(SAMPLES, 4)), linear(1, fan_in=4), activation(2), linear(3)),
            "depthwise": trace(linear(0, source=-1, attributes={"groups": 64}), linear(1), activation(2), linear(3)),
            "read elsewhere too": trace(
                linear(0, source=-1), linear(1), call(2, "add", "join", sources=(0, 1)), linear(3)
            ),
        },
    ),
    "STR802": Case(
        trace(linear(0, source=-1), activation(1, "softmax"), linear(2)),
        "error",
        "1: 2 reads a softmax over 64 units as its hidden layer.",
        {
            "at the end": trace(linear(0, source=-1), activation(1, "softmax")),
            "attention": trace(linear(0, source=-1), call(1, "softmax", "attention"), linear(2)),
            "a router": trace(
                linear(0, source=-1), activation(1, "softmax"), call(2, "mul", "product", sources=(-1, 1)), linear(3)
            ),
        },
    ),
    "NUM901": Case(
        trace(
            linear(0, source=-1),
            activation(1, "log", output=signal(1.0, nonfinite=7)),
            linear(2, output=signal(1.0, nonfinite=500)),
        ),
        "error",
        "1 (log) is the first call whose result holds 7 NaN or infinite values.",
        {
            "finite": chain(1.0),
            "a mask of minus infinity": trace(
                linear(0, source=-1),
                call(1, "masked_fill", "shape", output=signal(1.0, nonfinite=99)),
                call(2, "softmax", "attention"),
                linear(3),
            ),
        },
    ),
    "NUM902": Case(
        trace(linear(0, 10000.0, source=-1, dtype="float16")),
        "warning",
        "0 reaches 30000; float16 ends at 65504.",
        {
            "unit scale": trace(linear(0, source=-1, dtype="float16")),
            "bfloat16": trace(linear(0, 1e6, source=-1, dtype="bfloat16")),
        },
    ),
}
