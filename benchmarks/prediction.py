"""Predicted beside measured: `python -m benchmarks prediction` prints the table of docs/prediction.md.

Per model: the median and the largest relative error of the predicted std over all weighted layers and residual sums,
and the CPU time of `predict` over that of `measure`.
"""

import importlib.util
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from onesigma import initialize_, measure, predict

_spec = importlib.util.spec_from_file_location("families", Path(__file__).parents[1] / "tests/model/families.py")
families = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(families)


def stack(activation: type[nn.Module]) -> nn.Sequential:
    hidden = [layer for _ in range(6) for layer in (activation(), nn.Linear(256, 256))]
    return nn.Sequential(nn.Linear(64, 256), *hidden)


def errors(model: nn.Module, batch: torch.Tensor) -> list[float]:
    measured = {(record.layer, record.op, record.call): record.output for record in measure(model, batch).records}
    found = []
    for record in predict(model, batch).of_kind("linear", "join"):
        seen = measured.get((record.layer, record.op, record.call))
        if record.std is not None and seen is not None and record.op != "index_add":
            found.append(abs(record.std / seen.std - 1))
    return sorted(found)


def seconds(action: Callable[[], object]) -> float:
    action()
    start = time.process_time()
    action()
    return time.process_time() - start


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    ids, noise, table = torch.randint(0, 1000, (64, 64)), torch.randn(64, 3, 32, 32), torch.randn(256, 64)
    cases: dict[str, tuple[nn.Module, torch.Tensor]] = {
        "MLP, ReLU": (stack(nn.ReLU), table),
        "MLP, GELU": (stack(nn.GELU), table),
        "U-Net, transposed 2×2": (families.Unet(), noise),
        "U-Net, transposed 3×3": (families.Unet(kernel=3), noise),
        "ResNet": (families.resnet(norm=True), noise),
        "ResNet without norms": (families.resnet(norm=False), noise),
        "ViT": (families.Vit(), noise),
        "GPT": (families.Gpt(), ids),
        "Llama-style": (families.Llama(), ids),
        "mixture of experts": (families.Gpt(experts=True), ids),
    }
    print("| model | calls | median error | largest error | predict / measure | analytic: largest \\|std − 1\\| |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, (model, batch) in cases.items():
        found = errors(model, batch)
        ratio = seconds(lambda: predict(model, batch)) / seconds(lambda: measure(model, batch))  # noqa: B023
        edits = {edit.layer for edit in initialize_(model, batch, scheme="analytic").applied}
        records = measure(model, batch).of_kind("linear", "embedding")
        stds = [record.output.std for record in records if record.output is not None and record.name in edits]
        far = max(abs(std - 1) for std in stds)
        half = found[len(found) // 2]
        print(f"| {name} | {len(found)} | {half:.1%} | {found[-1]:.1%} | {ratio:.1f} | {far:.1%} |")


if __name__ == "__main__":
    main()
