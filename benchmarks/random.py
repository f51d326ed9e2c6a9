"""Fillers against torch's, in one run: medians, ratios with their bars, threads, and a model of 1.5 billion weights."""

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import init as torch_init

from onesigma import init
from onesigma.numbers.random import Normal, draw_

__all__ = ["main"]

COUNT = 1 << 25
LEAST_RATIOS = {"normal_": 5.0, "trunc_normal_": 8.0, "uniform_": 3.0}
MODEL_BYTES = 7 * 2**30


def main() -> None:
    """Print medians and ratios, and hold them to their bars."""
    weight = torch.empty(COUNT)
    torch.set_num_threads(min(2, torch.get_num_threads()))
    print(f"{COUNT / 1e6:.1f} M float32 values, {torch.get_num_threads()} threads, medians")
    ratios = {name: _compare(name, weight) for name in LEAST_RATIOS}
    _threads(weight)
    _large_model()
    for name, least in LEAST_RATIOS.items():
        assert ratios[name] >= least, f"{name}: {ratios[name]:.2f} × is below the bar of {least} ×"


def _compare(name: str, weight: torch.Tensor) -> float:
    ours = _median(lambda: getattr(init, name)(weight, key=(0, "weight")))
    theirs = _median(lambda: getattr(torch_init, name)(weight))
    ratio = theirs / ours
    print(
        f"  {name:14} torch {COUNT / theirs / 1e9:6.3f} G/s   onesigma {COUNT / ours / 1e9:6.3f} G/s   "
        f"{ratio:6.2f} × (at least {LEAST_RATIOS[name]:g})"
    )
    return ratio


def _threads(weight: torch.Tensor) -> None:
    one = 0.0
    for threads in (1, 2, 4):
        seconds = _median(lambda threads=threads: draw_(weight, Normal(), key=1, threads=threads))
        one = one or seconds
        print(f"  normal_ on {threads} threads: {COUNT / seconds / 1e9:6.3f} G/s, {one / seconds:.2f} × one thread")


def _large_model() -> None:
    """GPT-2 XL's shapes on meta, materialized and filled: time and peak memory, each in a process of its own."""
    if _free_bytes() < MODEL_BYTES:
        print(f"  GPT-2 XL: left out, {MODEL_BYTES >> 30} GiB are needed and {_free_bytes() >> 30} GiB are free")
        return
    for who in ("torch", "onesigma"):
        command = [sys.executable, "-m", "benchmarks.random", who]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout)
        print(
            f"  GPT-2 XL, {found['weights'] / 1e9:.3f} G weights, {who:9} filled in {found['seconds']:6.2f} s "
            f"({found['whole']:.2f} s with memory), peak {found['peak'] / 2**30:.2f} GiB"
        )


def _fill_large_model(who: str) -> None:
    torch.set_num_threads(2)
    start = time.perf_counter()
    model = _gpt2_xl().to_empty(device="cpu")
    for parameter in model.parameters():
        # Touch every page, so that the filler is not charged for the memory.
        parameter.data.zero_()
    begin = time.perf_counter()
    std, writer = 0.02, 0.02 / (2 * 48) ** 0.5
    for name, parameter in model.named_parameters():
        scale = writer if name.endswith("proj.weight") else std
        if who == "torch":
            torch_init.normal_(parameter, std=scale)
        else:
            init.normal_(parameter, std=scale, key=(0, name))
    end = time.perf_counter()
    weights = sum(parameter.numel() for parameter in model.parameters())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"weights": weights, "seconds": end - begin, "whole": end - start, "peak": peak}))


def _gpt2_xl(width: int = 1600, layers: int = 48) -> nn.Module:
    with torch.device("meta"):
        blocks = [
            nn.ModuleDict(
                {
                    "attention": nn.Linear(width, 3 * width),
                    "attention_proj": nn.Linear(width, width),
                    "mlp": nn.Linear(width, 4 * width),
                    "mlp_proj": nn.Linear(4 * width, width),
                }
            )
            for _ in range(layers)
        ]
        return nn.ModuleList([nn.Embedding(50257, width), nn.Embedding(1024, width), *blocks])


def _free_bytes() -> int:
    with open("/proc/meminfo") as file:
        fields = dict(line.split(":") for line in file)
    return int(fields["MemAvailable"].split()[0]) * 1024


def _median(action: Callable[[], object], *, times: int = 5) -> float:
    action()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


if __name__ == "__main__":
    _fill_large_model(sys.argv[1]) if len(sys.argv) > 1 else main()
