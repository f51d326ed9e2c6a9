"""More hard cases of folding: other kinds of norms, hooks around, weights read on the side; and those of fold_cases."""

import runpy
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils import prune
from torch.utils.checkpoint import checkpoint

from onesigma.norm import (
    BatchNormLast,
    MaskedBatchNorm1d,
    freeze_,
    ghost_,
    keep_float32_,
    renorm_,
    synchronize_,
)

__all__ = ["CASES"]

BASE = runpy.run_path(str(Path(__file__).with_name("fold_cases.py")))
Case, IMAGE, B1, B2 = (BASE[name] for name in ("Case", "IMAGE", "B1", "B2"))
build, conv, watched, wired = (BASE[name] for name in ("build", "conv", "watched", "wired"))


def kind(convert: Callable[[nn.Module], object], *parts: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """A sequence whose norms took on another kind."""

    def build() -> nn.Module:
        model = nn.Sequential(*(part() for part in parts))
        convert(model)
        return model

    return build


def shared_block() -> nn.Module:
    block = nn.Sequential(conv(), B2())
    return nn.Sequential(block, nn.ReLU(), block)


def watched_around(parts: Callable[[], list[nn.Module]]) -> Callable[[], nn.Module]:
    """The first part inside a module that a hook watches, which sees what is between the parts."""
    return lambda: nn.Sequential(watched(nn.Sequential(parts()[0])), *parts()[1:])


def pruned() -> nn.Module:
    return prune.l1_unstructured(conv(), "weight", 0.5)


FOLDED = {
    "norm of freeze_": Case(kind(freeze_, conv, B2), IMAGE, (True,)),
    "norm of synchronize_": Case(kind(synchronize_, conv, B2), IMAGE, (True,)),
    "norm of ghost_": Case(kind(ghost_, conv, B2), IMAGE, (True,)),
    "norm of renorm_": Case(kind(renorm_, conv, B2), IMAGE, (True,)),
    "norm of keep_float32_": Case(kind(keep_float32_, conv, B2), IMAGE, (True,)),
    "masked norm without a mask": Case(build(lambda: [nn.Conv1d(4, 4, 3), MaskedBatchNorm1d(4)]), (2, 4, 9), (True,)),
    "norm of sequences, last axis": Case(
        build(lambda: [nn.Linear(9, 7), BatchNormLast(7), nn.ReLU()]), (5, 6, 9), (True,)
    ),
    "momentum None": Case(build(lambda: [conv(), B2(momentum=None)]), IMAGE, (True,)),
    "eps of a million": Case(build(lambda: [conv(), B2(eps=1e6)]), IMAGE, (True,)),
    "variance zero": Case(build(lambda: [conv(), B2()]), IMAGE, (True,), adjust=lambda m: m[1].running_var[0].zero_()),
    "conv, norm, γ = 0": Case(build(lambda: [conv(), B2()]), IMAGE, (True,), adjust=lambda m: m[1].weight[0].zero_()),
    "channels last in memory": Case(
        build(lambda: [conv(), B2(), nn.ReLU(), B2(), conv()]),
        IMAGE,
        (True, True),
        adjust=lambda m: m.to(memory_format=torch.channels_last),
    ),
    "block that runs twice": Case(shared_block, IMAGE, (True,)),
    "compiled part": Case(
        build(lambda: [torch.compile(nn.Sequential(conv(), B2()), backend="eager"), nn.ReLU()]), IMAGE, (True,)
    ),
    "hook around both": Case(build(lambda: [watched(nn.Sequential(conv(), B2())), nn.ReLU()]), IMAGE, (True,)),
    "norm written in place": Case(wired(lambda m, x: m.bn(m.c(x)).mul_(2).add_(1), c=conv, bn=B2), IMAGE, (True,)),
    "checkpointed": Case(
        wired(lambda m, x: checkpoint(lambda y: m.bn(m.c(y)), x, use_reentrant=False), c=conv, bn=B2), IMAGE, (True,)
    ),
    "attention, norm": Case(
        wired(
            lambda m, x: m.bn(m.attend(x, x, x)[0].transpose(1, 2)),
            attend=lambda: nn.MultiheadAttention(4, 2, batch_first=True),
            bn=B1,
        ),
        (2, 5, 4),
        (True,),
    ),
    "norm, conv padded more than it reads": Case(
        build(lambda: [B2(), nn.Conv2d(4, 3, 3, padding=(3, 0), stride=(2, 1))]), IMAGE, (True,)
    ),
    "transposed conv, output size": Case(
        wired(lambda m, x: m.bn(m.c(x, output_size=(18, 18))), c=lambda: nn.ConvTranspose2d(4, 4, 3, 2, 1), bn=B2),
        IMAGE,
        (True,),
    ),
    "squeeze and excitation": Case(
        wired(
            lambda m, x: (y := m.bn(m.c(x))) * m.fc(y.mean((2, 3))).sigmoid()[:, :, None, None],
            c=conv,
            bn=B2,
            fc=lambda: nn.Linear(4, 4),
        ),
        IMAGE,
        (True,),
    ),
}

REFUSED = {
    "masked norm with a mask": Case(
        wired(
            lambda m, x: m.bn(m.c(x), torch.arange(7).expand(2, 7) < 5),
            c=lambda: nn.Conv1d(4, 4, 3),
            bn=lambda: MaskedBatchNorm1d(4),
        ),
        (2, 4, 9),
        (False,),
        "more than turn one input",
    ),
    "watching hook around conv": Case(watched_around(lambda: [conv(), B2()]), IMAGE, (False,), "another signal"),
    "watching hook around norm": Case(watched_around(lambda: [B2(), conv()]), IMAGE, (False,), "another signal"),
    "pruned conv": Case(build(lambda: [pruned(), B2()]), IMAGE, (False,), "function call"),
    "TorchScript conv": Case(build(lambda: [torch.jit.script(conv()), B2()]), IMAGE, (False,), "unknown"),
    "norm's own weight read elsewhere": Case(
        wired(lambda m, x: m.bn(m.c(x)) * m.bn.weight.view(1, -1, 1, 1), c=conv, bn=B2), IMAGE, (False,), "read by more"
    ),
    "type of the norm asked for": Case(
        wired(lambda m, x: m.bn(m.c(x)) * (1 + isinstance(m.bn, nn.BatchNorm2d)), c=conv, bn=B2),
        IMAGE,
        (False,),
        "moves",
    ),
    "absence of a bias asked for": Case(
        wired(lambda m, x: m.bn(m.c(x)) if m.c.bias is None else x, c=lambda: conv(bias=False), bn=B2),
        IMAGE,
        (False,),
        "moves",
    ),
    "weight read through NumPy": Case(
        wired(lambda m, x: m.bn(m.c(x)) * float(m.c.weight.detach().numpy().sum()), c=conv, bn=B2),
        IMAGE,
        (False,),
        "moves",
    ),
    "signal through NumPy": Case(
        wired(lambda m, x: m.bn(torch.from_numpy(m.c(x).detach().numpy())), c=conv, bn=B2), IMAGE, (False,), "more than"
    ),
    "part of conv's output written": Case(
        wired(lambda m, x: m.bn((y := m.c(x), y[:, 0].add_(1))[0]), c=conv, bn=B2), IMAGE, (False,), "add"
    ),
    "part of norm's output written": Case(
        wired(lambda m, x: m.c((y := m.bn(x), y[:, 0].zero_())[0]), c=lambda: conv(padding=0), bn=B2),
        IMAGE,
        (False,),
        "",
    ),
    "dense block": Case(
        wired(
            lambda m, x: m.c2(m.b2(torch.cat([x, m.c1(m.b1(x).relu())], 1)).relu()),
            b1=B2,
            c1=conv,
            b2=lambda: B2(8),
            c2=lambda: conv(8),
        ),
        IMAGE,
        (False, False),
        "cat",
    ),
}

CASES = BASE["CASES"] | FOLDED | REFUSED
