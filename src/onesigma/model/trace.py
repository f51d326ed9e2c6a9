"""Law 2: what was seen of a model, as plain numbers. Rules read it; nothing here holds a tensor."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

__all__ = ["Activity", "Column", "InputRecord", "LossRecord", "ParameterRecord", "Record", "Signal", "Trace"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """The scale of one tensor over one pass. Non-finite values are counted and left out of the moments.

    With N samples along axis 0, x_i the i-th sample as a vector and a bar for means over the samples:

    Attributes:
        count: Number of values.
        mean: Mean of all values.
        std: Std about that mean, over all values (correction 0).
        rms: √E[x²]: the scale that the next layer sees.
        minimum: Smallest finite value.
        maximum: Largest finite value.
        nonfinite: Number of NaN and infinite values.
        num_samples: N; 0 where the tensor has no axis of samples.
        sample_std: √(mean over features of the variance over samples): what depends on the sample. None if N < 2.
        correlation: Mean over pairs i ≠ j of x_i·x_j, over mean of x_i·x_i: 1 means all samples are alike.
        edges: Histogram: first and last edge, as (low, high); the bins are equal in width.
        histogram: Counts per bin; empty where none was asked for.
    """

    count: int
    mean: float
    std: float
    rms: float
    minimum: float = 0.0
    maximum: float = 0.0
    nonfinite: int = 0
    num_samples: int = 0
    sample_std: float | None = None
    correlation: float | None = None
    edges: tuple[float, float] = (0.0, 0.0)
    histogram: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """How the units of one activation work. A unit is one channel or feature; an observation one value of it.

    Attributes:
        num_units: Number of units.
        num_observations: Observations per unit (samples × positions).
        saturated: Share of values whose local slope |f'(x)| is below 0.06 of the largest slope of f.
        saturated_units: Share of units that are saturated on more than 99 % of their observations.
        dead_units: Share of units that never fire: flat (slope 0) on every observation.
        always_on_units: Share of units of a rectifier that fire on every observation, so are affine; 0 for others.
        firing: Per unit, the share of observations on which it fires, in unit order; empty if not counted.
    """

    num_units: int
    num_observations: int
    saturated: float = 0.0
    saturated_units: float = 0.0
    dead_units: float = 0.0
    always_on_units: float = 0.0
    firing: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One call, in execution order, with what was seen of it.

    Attributes:
        index: Position in the trace.
        op: Canonical name of the operation: "linear", "conv2d", "tanh", "add", "batch_norm", …; "unknown" if unknown.
        kind: Group of the operation: "linear", "embedding", "activation", "norm", "join" (residual add),
            "product" (gating), "attention", "recurrent", "pool", "dropout", "concat", "shape" (reshape,
            transpose, slice, pad), "scale" (affine by a constant), "reduce", "loss", "unknown".
        layer: Dotted path of the innermost module that made the call; "" for the model itself.
        module: Class name of that module: "Linear", "Tanh".
        call: How often `layer` had made this op before: 0 for the first call.
        inputs: Which records (≥ 0) the tensor arguments came from, or which model inputs: −1 the first, −2 the second.
        parameters: Role → canonical name: {"weight": "net.0.weight", "bias": "net.0.bias"}.
        shape: Shape of the output.
        dtype: Of the output, as torch names it, without "torch."; "" where it is not known.
        fan_in: Inputs per output by role; 0 where the op has no weight.
        fan_out: Outputs per input by role; 0 where the op has no weight.
        training: The mode that the module was in.
        input: The first tensor argument, before the call (so before an in-place op).
        output: The result; for a linear layer this is the pre-activation.
        gradient: ∂loss/∂output; None without a loss or where no gradient flows.
        activity: For activations only.
        attributes: Small facts an op needs to be judged: {"p": 0.5}, {"eps": 1e-5, "values_per_channel": 64}.
    """

    index: int
    op: str
    kind: str
    layer: str = ""
    module: str = ""
    call: int = 0
    inputs: tuple[int, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    shape: tuple[int, ...] = ()
    dtype: str = ""
    fan_in: float = 0.0
    fan_out: float = 0.0
    training: bool = True
    input: Signal | None = None
    output: Signal | None = None
    gradient: Signal | None = None
    activity: Activity | None = None
    attributes: Mapping[str, float | int | str | bool] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """`layer` as a person would say it, with the call where there is more than one."""
        base = self.layer or self.op
        return f"{base}#{self.call}" if self.call else base


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterRecord:
    """One parameter (or one buffer of running statistics): its scale and that of its gradient.

    Attributes:
        name: Canonical name.
        shape: Logical shape.
        value: Its values.
        gradient: ∂loss/∂parameter; None if there is none.
        trainable: `requires_grad`.
        duplicate_rows: Share of rows (units) whose weights, and whose gradients if any, equal those of another row.
        equal_rows: The same whatever their gradients; rows of zeros do not count.
        constant_rows: Share of rows that are one number throughout, not zero; looked for in stored weights only.
        zero_rows: Share of rows that are all zero; looked for in stored weights only.
        update_ratio: Median over the measured steps of std(update)/std(weight); None where no step was taken.
        num_updates: How many steps that median is of.
    """

    name: str
    shape: tuple[int, ...]
    value: Signal
    gradient: Signal | None = None
    trainable: bool = True
    duplicate_rows: float = 0.0
    equal_rows: float = 0.0
    constant_rows: float = 0.0
    zero_rows: float = 0.0
    update_ratio: float | None = None
    num_updates: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One feature of an input (one channel of an image): moments over samples and positions."""

    name: str
    mean: float
    std: float
    minimum: float
    maximum: float
    nonfinite: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRecord:
    """One tensor that the model is fed with, or the targets.

    Attributes:
        name: Argument name or position: "0", "input_ids", "targets".
        kind: "features" (N, F), "sequence" (N, L, F), "image" (N, C, H, W), "tokens" (integers that index),
            "labels" (integer targets), "other".
        shape: Shape of the batch.
        dtype: As torch names it, without "torch.".
        signal: Over all values; None for tokens and labels.
        columns: Per feature or channel; empty for tokens and labels.
        num_classes: For labels: largest label + 1, or what the model's output says.
        entropy: For labels: entropy of their distribution in nats.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    signal: Signal | None = None
    columns: tuple[Column, ...] = ()
    num_classes: int = 0
    entropy: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LossRecord:
    """The loss of the measured pass.

    Attributes:
        name: "cross_entropy", "mse", …, or the callable's name.
        value: As measured.
        chance: What a model that knows nothing of the input would pay: log C, the variance of the targets;
            None where onesigma cannot tell.
        chance_name: How that number is made, in words: "log 10", "variance of the targets".
        doubled: The same loss on the batch given twice over, as its first rows tell; None where not measured.
        in_eval: The same loss on the same batch in eval mode; None where that was not measured.
        eval_samples: Rows that `in_eval` is from: all of the batch, or a few of a costly one where these tell, with
            99 % confidence, that eval mode costs less than a tenth more; 0 where it was not measured.
    """

    name: str
    value: float
    chance: float | None = None
    chance_name: str = ""
    doubled: float | None = None
    in_eval: float | None = None
    eval_samples: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One forward (and backward) pass of a model, in numbers.

    Attributes:
        model: Class name of the model.
        records: One per call, in execution order.
        parameters: One per parameter that the pass could reach.
        inputs: What the model was fed with.
        targets: What the loss compared with; None without.
        loss: None where no loss was given.
        outputs: Records whose results the model returned.
        num_samples: Rows of all measured batches.
        training: The mode the model was in as a whole.
        coupling: In eval mode, how far the output of a row moves with the rows beside it, over how far outputs of rows
            lie apart; exactly 0 where it stays within rounding, None if unknown.
    """

    model: str = ""
    records: tuple[Record, ...] = ()
    parameters: tuple[ParameterRecord, ...] = ()
    inputs: tuple[InputRecord, ...] = ()
    targets: InputRecord | None = None
    loss: LossRecord | None = None
    outputs: tuple[int, ...] = ()
    num_samples: int = 0
    training: bool = True
    coupling: float | None = None

    def of_kind(self, *kinds: str) -> Iterator[Record]:
        """The records of these kinds or ops, in order: `trace.of_kind("linear")`, `trace.of_kind("tanh")`."""
        return (record for record in self.records if record.kind in kinds or record.op in kinds)

    def consumers(self, index: int) -> Iterator[Record]:
        """The records that read the result of record `index`."""
        return (record for record in self.records if index in record.inputs)

    def parameter(self, name: str) -> ParameterRecord | None:
        """The parameter of this canonical name, or None."""
        return next((parameter for parameter in self.parameters if parameter.name == name), None)
