"""Writes the table of docs/folding.md: the hard cases of folding, done by onesigma and by torch's own tools.

Run: python scripts/folding_table.py [--check]. With --check nothing is written; exit code 1 says that the page is old.
"""

import copy
import platform
import runpy
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch._inductor.fx_passes.pre_grad import fuse_conv_bn as inductor_fuse
from torch.fx.experimental.optimization import fuse as fx_fuse
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval
from torch.overrides import TorchFunctionMode

from onesigma.model.capture import capture
from onesigma.model.names import module_names
from onesigma.norm import fold_

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "folding.md"
BEGIN, END = "<!-- table begins -->", "<!-- table ends -->"

# Times the largest output: rounding stays below, every mistake lies above. In units of rounding for halves.
WRONG, UNITS = 1e-4, 8


class Norms(TorchFunctionMode):
    """Counts the batch norms that run."""

    count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.nn.functional.batch_norm
        return func(*args, **(kwargs or {}))


def by_fx(model: nn.Module, x: torch.Tensor) -> nn.Module:
    """The pass over a traced graph."""
    return fx_fuse(model)


def by_fuse_modules(model: nn.Module, x: torch.Tensor) -> nn.Module:
    """The quantization tools' fusion, told which layer feeds each norm."""
    pairs = [[layer, norm] for layer, norm in named_pairs(model, x)]
    return torch.ao.quantization.fuse_modules(model, pairs) if pairs else model


def by_fuse_eval(model: nn.Module, x: torch.Tensor) -> nn.Module:
    """`fuse_conv_bn_eval` and `fuse_linear_bn_eval`, on the layer that feeds each norm."""
    for layer, norm in named_pairs(model, x):
        first, second = model.get_submodule(layer), model.get_submodule(norm)
        if isinstance(first, nn.Linear):
            fused = fuse_linear_bn_eval(first, second)
        else:
            fused = fuse_conv_bn_eval(first, second, transpose=isinstance(first, nn.modules.conv._ConvTransposeNd))
        model.set_submodule(layer, fused)
        model.set_submodule(norm, nn.Identity())
    return model


def by_jit(model: nn.Module, x: torch.Tensor) -> nn.Module:
    """TorchScript: traced, frozen, optimized for inference."""
    return torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(model, x)))


def by_inductor(model: nn.Module, x: torch.Tensor) -> nn.Module:
    """Inductor's pass before gradients, run by itself."""
    return inductor_fuse(torch.fx.symbolic_trace(model))


TOOLS: dict[str, Callable[[nn.Module, torch.Tensor], nn.Module]] = {
    "`fx…optimization.fuse`": by_fx,
    "`fuse_modules`": by_fuse_modules,
    "`fuse_conv_bn_eval`": by_fuse_eval,
    "inductor `fuse_conv_bn`": by_inductor,
    "`jit.freeze`": by_jit,
}


def named_pairs(model: nn.Module, x: torch.Tensor) -> Iterator[tuple[str, str]]:
    """(layer, norm) as a person names them who knows which layer feeds which norm, once per norm."""
    names = set(module_names(model).values())
    graph, seen = capture(copy.deepcopy(model), x), set()
    for norm in graph.of_kind("batch_norm"):
        end = graph.source(norm).end
        if end is not None and end.kind == "linear" and {end.layer, norm.layer} <= names and norm.layer not in seen:
            seen.add(norm.layer)
            yield end.layer, norm.layer


def verdict(tool: Callable[[nn.Module, torch.Tensor], nn.Module], case: Any) -> str:
    """One word on what a tool made of a case; judged on the batch and on the batch with its sign turned."""
    x = case.batch()
    try:
        changed = tool(case.model(), x)
        with torch.no_grad():
            error = max(largest(changed(batch), case.model()(batch)) for batch in (x, -x))
    except Exception as error:
        return type(error).__name__
    if not error <= WRONG:
        return f"**wrong, {error:.1g}**"
    if isinstance(changed, torch.jit.ScriptModule):
        return "right"
    before, after = norms_run(case.model(), x), norms_run(changed, x)
    return "left" if after == before else "folded" if after == 0 else "folded in part"


def own_verdict(case: Any) -> str:
    """The same for `fold_`, whose edits say for every norm what was done."""
    model, x = case.model(), case.batch()
    edits = fold_(model, x)
    with torch.no_grad():
        error = max(largest(model(batch), case.model()(batch)) for batch in (x, -x))
    if not error <= WRONG:
        return f"**wrong, {error:.1g}**"
    return "folded" if not edits.refused else "refused" if not edits.applied else "folded in part, refused in part"


def norms_run(model: nn.Module, x: torch.Tensor) -> int:
    """How many batch norms run."""
    with torch.no_grad(), Norms() as norms:
        model(x)
    return norms.count


def largest(found: Any, expected: Any) -> float:
    """Distance over the largest value; NaN must be where NaN was."""
    if isinstance(expected, tuple):
        return max(map(largest, found, expected))
    if not bool(expected.isfinite().all()):
        return 0.0 if torch.equal(found.isfinite(), expected.isfinite()) else float("inf")
    error = float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-30))
    return 0.0 if error <= UNITS * torch.finfo(expected.dtype).eps else error


def table() -> str:
    """The table and the versions it was made with."""
    cases = runpy.run_path(str(ROOT / "tests" / "norm" / "fold_more_cases.py"))["CASES"]
    columns = ["onesigma `fold_`", *TOOLS]
    rows = ["| case | " + " | ".join(columns) + " |", "| --- |" + " --- |" * len(columns)]
    counts = dict.fromkeys(columns, 0)
    for name, case in cases.items():
        found = {columns[0]: own_verdict(case)} | {tool: verdict(run, case) for tool, run in TOOLS.items()}
        for tool, word in found.items():
            counts[tool] += "wrong" in word
        rows.append(f"| {name} | " + " | ".join(found.values()) + " |")
    rows.append("| **silently wrong** | " + " | ".join(f"**{count}**" for count in counts.values()) + " |")
    versions = f"torch {torch.__version__}, Python {platform.python_version()}, {len(cases)} cases."
    return f"{versions}\n\n" + "\n".join(rows)


def main() -> int:
    """Write the page, or compare."""
    warnings.simplefilter("ignore")
    page = PAGE.read_text(encoding="utf-8")
    head, rest = page.split(BEGIN)
    new = f"{head}{BEGIN}\n\n{table()}\n\n{END}{rest.split(END)[1]}"
    if "--check" in sys.argv:
        return int(new != page)
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
