"""`measure` and `check` against one plain forward and backward pass, beside hooks that take mean and std, in one run.

    python -m benchmarks measure

ResNet-50 and GPT-2 small from their configs, random weights. Seconds on the clock, medians, in turn: threads of torch
stay awake after each operation, so that CPU time would count cores that only wait. Memory is the peak of a process of
its own, over that of the plain pass. `check` of a model whose batch norms have tracked something, as after a plain
pass, compares both modes as well, on a few rows where these settle it; `new` is the same model before.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import onesigma

__all__ = ["main"]

MOST_TIME, MOST_MEMORY = 1.5, 1.10
REPEATS = 3
MODELS = ("resnet50", "gpt2")


def main() -> None:
    """Print ratios and hold them to their bars."""
    missed = []
    for name in MODELS:
        model, batch, loss = built(name)
        calls = passes(model, batch, loss)
        seconds = medians(calls)
        peaks = {call: peak(name, call) for call in calls}
        print(f"{name}: {sum(p.numel() for p in model.parameters()) / 1e6:.0f} M parameters")
        for call in calls:
            time_ratio, memory = seconds[call] / seconds["plain"], peaks[call] / peaks["plain"]
            print(f"  {call:<8} {seconds[call]:6.2f} s {time_ratio:5.2f} ×  peak {peaks[call]:5.0f} MB {memory:5.2f} ×")
            if call in ("measure", "check", "new") and (time_ratio > MOST_TIME or memory > MOST_MEMORY):
                missed.append(f"{name} {call}: {time_ratio:.2f} × time, {memory:.2f} × memory")
    assert not missed, f"over {MOST_TIME} × time or {MOST_MEMORY} × memory: {'; '.join(missed)}"


def built(name: str) -> tuple[nn.Module, Any, Callable[..., Tensor] | None]:
    from transformers import GPT2Config, GPT2LMHeadModel, ResNetConfig, ResNetForImageClassification

    torch.manual_seed(0)
    if name == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0))
        tokens = torch.randint(0, 50257, (4, 128))
        return model, {"input_ids": tokens, "labels": tokens}, None
    model = ResNetForImageClassification(ResNetConfig(num_labels=1000))
    return model, {"pixel_values": torch.randn(16, 3, 128, 128), "labels": torch.randint(0, 1000, (16,))}, None


def passes(model: nn.Module, batch: Any, loss: Any) -> dict[str, Callable[[], object]]:
    def plain() -> None:
        model(**batch).loss.backward()
        model.zero_grad(set_to_none=True)

    def hooked() -> None:
        handles = [module.register_forward_hook(take) for module in model.modules() if not list(module.children())]
        plain()
        for handle in handles:
            handle.remove()

    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]

    def new() -> None:
        for norm in norms:
            norm.reset_running_stats()
        onesigma.check(model, batch, loss=loss)

    calls: dict[str, Callable[[], object]] = {
        "plain": plain,
        "hooks": hooked,
        "measure": lambda: onesigma.measure(model, batch, loss=loss),
        "check": lambda: onesigma.check(model, batch, loss=loss),
    }
    return {**calls, "new": new} if norms else calls


def take(_module: nn.Module, _args: Any, output: Any) -> None:
    """What a debugger of twenty lines does: mean and std of every output, and of its gradient."""
    if isinstance(output, Tensor) and output.is_floating_point():
        mean_and_std(output.detach())
        if output.requires_grad:
            output.register_hook(mean_and_std)


def mean_and_std(x: Tensor) -> None:
    x.mean().item()
    x.std().item()


def medians(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(REPEATS + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if repeat:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def peak(name: str, call: str) -> float:
    command = [sys.executable, "-m", "benchmarks.measure", name, call]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(found.stdout.splitlines()[-1]))


def high_water() -> float:
    """Peak memory of this process in MB; `ru_maxrss` would begin with that of the process that started it."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


if __name__ == "__main__":
    passes(*built(sys.argv[1]))[sys.argv[2]]()
    print(json.dumps(high_water()))
