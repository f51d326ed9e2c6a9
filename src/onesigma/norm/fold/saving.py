"""Folded weights in a file, and back into a fresh model: some norms are gone, some layers have a bias that had none."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from onesigma._errors import ModelError
from onesigma.model.edits import Edits
from onesigma.model.names import unwrapped
from onesigma.norm.fold.rewrite import PadPerChannel, drop_padding, replace, stand_in_for

__all__ = ["load_folded_", "save_folded"]

_FORMAT = "onesigma/folded/1"


def save_folded(model: nn.Module, edits: Edits, *, path: Path | str) -> None:
    """Write the state dict of a folded model, with what stands where its norms were.

    Args:
        model: What `fold_` made.
        edits: What `fold_` returned.
        path: A file for `load_folded_`; `torch.load(path, weights_only=True)["state_dict"]` is the state dict alone.

    Example:
        >>> import tempfile
        >>> from onesigma.norm import fold_
        >>> build = lambda: nn.Sequential(nn.Linear(4, 8, bias=False), nn.BatchNorm1d(8, eps=0.5)).eval()
        >>> model, x = build(), torch.randn(16, 4)
        >>> file = Path(tempfile.mkdtemp()) / "folded.pt"
        >>> save_folded(model, fold_(model, x), path=file)
        >>> torch.equal(load_folded_(build(), file)(x), model(x))
        True
    """
    module = unwrapped(model)
    stand_ins = {edit.layer: _described(module.get_submodule(edit.layer), edit.action) for edit in edits.applied}
    torch.save({"format": _FORMAT, "state_dict": module.state_dict(), "stand_ins": stand_ins}, path)


def load_folded_(model: nn.Module, path: Path | str) -> nn.Module:
    """Turn a model as it was built into the folded one of a file, in place; return it.

    Raises:
        ModelError: The file is not one of `save_folded`, or of another model.
    """
    try:
        content = torch.load(path, weights_only=True)
    except Exception as error:
        raise ModelError(f"{path}: cannot be read as folded weights ({error}).") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ModelError(f"{path}: wanted a file of save_folded, got {type(content).__name__} without that format.")
    module, state = unwrapped(model), content["state_dict"]
    try:
        _rebuild(module, state, content["stand_ins"])
        module.load_state_dict(state)
    except (AttributeError, RuntimeError) as error:
        raise ModelError(f"{path}: holds the weights of another model ({error}).") from error
    return model


def _described(stand_in: nn.Module, action: str) -> dict[str, Any]:
    described: dict[str, Any] = {"opened": True} if isinstance(stand_in, nn.Sequential) else {}
    pad = getattr(stand_in, "pad", None) if described else stand_in
    if isinstance(pad, PadPerChannel):
        described |= {"pad": list(pad.pad), "into": action.removeprefix("fold into ")}
    return described


def _rebuild(model: nn.Module, state: Mapping[str, torch.Tensor], stand_ins: Mapping[str, Any]) -> None:
    for name, described in stand_ins.items():
        norm, pad = model.get_submodule(name), None
        opened = norm if described.get("opened") else None
        if "pad" in described:
            key = f"{name}.pad.value" if opened else f"{name}.value"
            pad = PadPerChannel(torch.zeros_like(state[key]), described["pad"])
            drop_padding(model.get_submodule(described["into"]))
        replace(model, norm, new=stand_in_for(opened, pad=pad))
    for key, value in state.items():
        layer, _, role = key.rpartition(".")
        module = model.get_submodule(layer)
        if role in ("weight", "bias") and role in module._parameters and module._parameters[role] is None:
            module.register_parameter(role, nn.Parameter(torch.zeros_like(value)))
