"""What torch's functions are: canonical name, kind, and the names of their arguments."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

__all__ = ["Op", "bound_arguments", "is_in_place", "op_of"]


@dataclass(frozen=True, slots=True)
class Op:
    """One operation.

    Attributes:
        name: Canonical name: `torch.relu_`, `Tensor.relu` and `F.relu` are all "relu".
        kind: Its group, as in `Record.kind`; "arithmetic", "matmul", "extreme" and "selection" are decided by what they
            are called with.
        arguments: Names of the positional arguments, in order.
    """

    name: str
    kind: str
    arguments: tuple[str, ...] = ("input", "other")


_CONV = "input weight bias stride padding dilation groups"
_TRANSPOSED = "input weight bias stride padding output_padding groups dilation"
_POOL = "input kernel_size stride padding"

# kind -> {names: arguments}
_TABLE: Mapping[str, Mapping[str, str]] = {
    "linear": {
        "linear": "input weight bias",
        "conv1d conv2d conv3d": _CONV,
        "conv_transpose1d conv_transpose2d conv_transpose3d": _TRANSPOSED,
        "bilinear": "input other weight bias",
    },
    "matmul": {
        "matmul mm bmm mv dot inner outer": "input other",
        "addmm baddbmm addbmm addmv": "bias input other",
        "einsum": "equation",
        "tensordot": "input other dims",
        "grouped_mm _grouped_mm": "input other offs bias",
        "scaled_mm _scaled_mm": "input other",
        "linalg_multi_dot chain_matmul": "tensors",
        "linalg_vecdot vdot": "input other",
    },
    "embedding": {
        "embedding": "input weight padding_idx max_norm norm_type scale_grad_by_freq sparse",
        "embedding_bag": "input weight offsets max_norm norm_type scale_grad_by_freq mode sparse",
    },
    "activation": {
        "relu relu6 selu silu mish hardsigmoid hardswish": "input inplace",
        "sigmoid tanh softsign logsigmoid tanhshrink sin cos": "input",
        "leaky_relu": "input negative_slope inplace",
        "prelu": "input weight",
        "rrelu": "input lower upper training inplace",
        "elu celu": "input alpha inplace",
        "gelu": "input approximate",
        "softplus": "input beta threshold",
        "hardtanh": "input min_val max_val inplace",
        "softshrink hardshrink": "input lambd",
        "threshold": "input threshold value inplace",
        "clamp clip": "input min max",
        "clamp_min": "input min",
        "clamp_max": "input max",
        "exp exp2 expm1 log log1p log2 log10 sqrt rsqrt reciprocal abs square erf erfc erfinv": "input",
        "sinh cosh tan atan asin acos asinh acosh atanh sinc i0 digamma lgamma": "input",
        "logit": "input eps",
        "pow": "input exponent",
        "round floor ceil trunc frac": "input",
        "softmax log_softmax softmin gumbel_softmax": "input dim",
    },
    "norm": {
        "batch_norm": "input running_mean running_var weight bias training momentum eps",
        "instance_norm": "input running_mean running_var weight bias use_input_stats momentum eps",
        "layer_norm": "input normalized_shape weight bias eps",
        "rms_norm": "input normalized_shape weight eps",
        "group_norm": "input num_groups weight bias eps",
        "local_response_norm": "input size alpha beta k",
        "normalize": "input p dim eps",
    },
    "arithmetic": {
        "add sub rsub mul div rdiv": "input other",
        "addcmul addcdiv": "input tensor1 tensor2",
        "lerp": "input end weight",
    },
    "extreme": {"maximum minimum fmax fmin logaddexp logaddexp2": "input other"},
    "selection": {"where": "condition input other", "masked_fill": "input mask value"},
    "scale": {"neg positive conj": "input"},
    "product": {"glu": "input dim"},
    "attention": {
        "scaled_dot_product_attention flex_attention": "query key value attn_mask dropout_p is_causal",
        "multi_head_attention_forward": "query key value embed_dim num_heads",
    },
    "recurrent": {
        "lstm gru rnn_tanh rnn_relu": "input hx",
        "lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell": "input hx weight_ih weight_hh bias_ih bias_hh",
    },
    "pool": {
        "avg_pool1d avg_pool2d avg_pool3d max_pool1d max_pool2d max_pool3d lp_pool1d lp_pool2d": _POOL,
        "max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices": _POOL,
        "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d": "input output_size",
        "adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d": "input output_size",
        "adaptive_max_pool1d_with_indices adaptive_max_pool2d_with_indices": "input output_size",
        "adaptive_max_pool3d_with_indices": "input output_size",
        "interpolate upsample grid_sample": "input size scale_factor mode",
    },
    "dropout": {
        "dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout feature_dropout": "input p training",
    },
    "concat": {"cat concat concatenate stack hstack vstack dstack row_stack column_stack block_diag": "tensors dim"},
    "shape": {
        "view reshape flatten unflatten transpose permute t T mT H mH swapaxes swapdims movedim moveaxis": "input",
        "squeeze unsqueeze expand expand_as repeat repeat_interleave tile broadcast_to atleast_2d": "input",
        "chunk split split_with_sizes tensor_split unbind select narrow __getitem__ index_select gather": "input",
        "take_along_dim roll flip rot90 pad contiguous clone detach to float half bfloat16 double type": "input",
        "type_as view_as reshape_as unfold fold pixel_shuffle pixel_unshuffle channel_shuffle": "input",
        "masked_select tril triu diagonal view_as_real view_as_complex real imag data": "input",
        "cpu cuda alias topk sort _pack_padded_sequence _pad_packed_sequence nan_to_num ravel diag": "input",
        "take hsplit vsplit dsplit unsafe_split unsafe_chunk fliplr flipud diag_embed atleast_1d atleast_3d": "input",
        "as_strided adjoint kthvalue msort affine_grid meshgrid resolve_conj resolve_neg": "input",
        "fake_quantize_per_tensor_affine fake_quantize_per_channel_affine fused_moving_avg_obs_fake_quant": "input",
        "quantize_per_tensor quantize_per_channel dequantize": "input",
        "__setitem__ index_put copy index_copy scatter masked_scatter index_fill fill_diagonal": "input",
        "select_scatter slice_scatter diagonal_scatter": "input src",
    },
    "reduce": {
        "mean sum amax amin max min logsumexp var std norm prod cumsum cumprod median nanmean nansum": "input dim",
        "cummax cummin logcumsumexp quantile nanquantile nanmedian mode aminmax diff trace dist renorm": "input dim",
        "linalg_norm linalg_vector_norm var_mean std_mean scatter_add index_add scatter_reduce": "input dim",
        "cosine_similarity pairwise_distance cdist pdist": "input other",
    },
    # Results that say where or how many, not how much.
    "discrete": {
        "eq ne lt le gt ge greater greater_equal less less_equal not_equal isnan isinf isfinite isin": "input other",
        "logical_and logical_or logical_not logical_xor bitwise_and bitwise_or bitwise_not bitwise_xor": "input other",
        "and or invert xor any all argmax argmin argsort one_hot bincount nonzero unique searchsorted": "input",
        "long int bool short byte histc count_nonzero sign sgn signbit bucketize multinomial bernoulli": "input",
    },
    "loss": {
        "cross_entropy nll_loss mse_loss l1_loss smooth_l1_loss huber_loss binary_cross_entropy kl_div": "input target",
        "binary_cross_entropy_with_logits poisson_nll_loss gaussian_nll_loss hinge_embedding_loss": "input target",
        "multi_margin_loss multilabel_margin_loss multilabel_soft_margin_loss soft_margin_loss": "input target",
        "margin_ranking_loss triplet_margin_loss triplet_margin_with_distance_loss": "input other target",
        "cosine_embedding_loss": "input other target",
        "ctc_loss": "input target",
    },
}

_OPS: Mapping[str, Op] = {
    name: Op(name, kind, tuple(arguments.split()))
    for kind, group in _TABLE.items()
    for names, arguments in group.items()
    for name in names.split()
}

# Other spellings of the same operation.
_ALIASES: Mapping[str, str] = {
    "special_expit": "sigmoid",
    "expit": "sigmoid",
    "log_sigmoid": "logsigmoid",
    "multiply": "mul",
    "divide": "div",
    "true_divide": "div",
    "truediv": "div",
    "subtract": "sub",
    "negative": "neg",
    "concat": "cat",
    "concatenate": "cat",
    "clip": "clamp",
    "special_softmax": "softmax",
    "special_log_softmax": "log_softmax",
    "_softmax": "softmax",
    "linalg_matmul": "matmul",
    "absolute": "abs",
    "_threshold": "threshold",
    "getitem": "__getitem__",
    "setitem": "__setitem__",
    "special_logit": "logit",
    "special_erf": "erf",
    "special_erfc": "erfc",
    "special_erfinv": "erfinv",
    "special_exp2": "exp2",
    "special_expm1": "expm1",
    "special_log1p": "log1p",
    "special_logsumexp": "logsumexp",
    "arctan": "atan",
    "arcsin": "asin",
    "arccos": "acos",
    "arcsinh": "asinh",
    "arctanh": "atanh",
    "native_layer_norm": "layer_norm",
    "native_dropout": "dropout",
    "_grouped_mm": "grouped_mm",
    "_scaled_mm": "scaled_mm",
}

# The same names with their arguments in another order.
_OVERRIDES: Mapping[Callable[..., Any], Op] = {
    torch.batch_norm: Op("batch_norm", "norm", ("input", "weight", "bias", "running_mean", "running_var")),
    torch.native_batch_norm: Op("batch_norm", "norm", ("input", "weight", "bias", "running_mean", "running_var")),
    torch.instance_norm: Op("instance_norm", "norm", ("input", "weight", "bias", "running_mean", "running_var")),
}

# Functions that only look at a tensor or at what torch knows of it, and those that make one of nothing.
_QUERIES_TEXT = """
    size dim ndimension numel nelement stride storage_offset is_contiguous is_floating_point is_complex is_signed
    is_same_size data_ptr element_size get_device item tolist requires_grad register_hook retain_grad untyped_storage
    storage is_inference is_shared share_memory numpy result_type can_cast allclose equal is_nonzero _set_grad_enabled
    backward register_post_accumulate_grad_hook __len__ __int__ __float__ __index__ __bool__ __format__ __repr__
    __hash__ __contains__ __iter__ __reversed__ __array__
    zeros ones empty full eye arange linspace rand randn randint randperm zeros_like ones_like empty_like full_like
    rand_like randn_like randint_like new_zeros new_ones new_empty new_full new_tensor
    tril_indices triu_indices logspace hann_window hamming_window normal uniform random exponential geometric cauchy
    log_normal cartesian_prod combinations
"""
_QUERIES = frozenset(_QUERIES_TEXT.split())

_KEPT_DUNDERS = frozenset({"__getitem__", "__setitem__"})


@cache
def op_of(func: Callable[..., Any]) -> Op | None:
    """The operation that a torch function is; None for attribute access, which computes nothing.

    Example:
        >>> op_of(torch.relu_).name, op_of(torch.Tensor.__iadd__).name, op_of(torch.fft.fft).name
        ('relu', 'add', 'unknown')
    """
    if func in _OVERRIDES:
        return _OVERRIDES[func]
    name = getattr(func, "__name__", type(func).__name__)
    if name in ("__get__", "__set__", "__delete__"):
        attribute = getattr(getattr(func, "__self__", None), "__name__", "")
        return _OPS.get(attribute) if name == "__get__" else None
    name = _canonical(name)
    if name in _QUERIES:
        return None
    return _OPS.get(_ALIASES.get(name, name), Op("unknown", "unknown"))


def _canonical(name: str) -> str:
    name = name.split(".")[0]  # "add.Tensor", an overload
    if name in _KEPT_DUNDERS:
        return name
    if not (name.startswith("__") and name.endswith("__")):
        return name.rstrip("_")
    for prefix in ("", "i", "r"):
        inner = name[2:-2].removeprefix(prefix)
        if inner in _OPERATORS and name == f"__{prefix}{inner}__":
            return _REVERSED.get(inner, inner) if prefix == "r" else inner
    return name


_OPERATORS = frozenset(
    {"add", "sub", "mul", "div", "truediv", "matmul", "pow", "neg", "and", "or", "xor", "invert", "eq", "ne"}
    | {"lt", "le", "gt", "ge", "abs"}
)
# What these compute is no longer the operation that the name without the r stands for.
_REVERSED = {"sub": "rsub", "div": "rdiv", "truediv": "rdiv", "pow": "unknown"}


def is_in_place(func: Callable[..., Any]) -> bool:
    """Whether the function's name says that it writes to its first argument."""
    name = getattr(func, "__name__", "").split(".")[0]
    return name == "__setitem__" or (name.endswith("_") and not name.endswith("__")) or name.startswith("__i")


def bound_arguments(op: Op, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments by name; positions that the operation does not name get their number."""
    names = (*op.arguments, *map(str, range(len(op.arguments), len(args))))
    return dict(zip(names, args, strict=False)) | dict(kwargs)
