"""Real architectures: every linear at unit scale after `initialize_`, what was refused and why."""

import warnings
from pathlib import Path

import torch

from tests.zoo import own, text, vision
from tests.zoo.exam import examine

__all__ = ["main"]

PAGE = Path(__file__).parents[1] / "docs" / "zoo.md"
HEAD = """# The zoo

`onesigma.initialize_(model, batch)` on {count} models: small configs of real architectures, and hand-written ones that
spell the same things in other ways. Each was initialized, run again, and measured from outside: `worst` is the largest
distance of a linear's pre-activation std from 1. Calls that were not set have an edit with a reason; all stand below.
Afterwards `edits.undo()` gave every model back bit for bit. Made by `python -m benchmarks.zoo`.

| model | linears | worst | refused | unknown functions |
| --- | --- | --- | --- | --- |
"""


def main(*, write: bool = False) -> None:
    """Print the table and hold every model to the bar; `write` makes the page of the documents."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    models = {**text.MODELS, **vision.MODELS, **own.MODELS}
    reasons: dict[str, int] = {}
    rows = []
    for name, (build, batch) in models.items():
        torch.manual_seed(0)
        found = examine(build(), batch(4))
        worst = max((abs(std - 1) for std in found.stds.values()), default=0.0)
        unknown = ", ".join(sorted(set(found.unknown))) or "none"
        rows.append(f"| {name} | {len(found.stds)} | {worst:.1e} | {len(found.exceptions)} | {unknown} |")
        print(rows[-1], flush=True)
        assert worst <= 1e-3
        assert found.untouched
        assert not found.unexplained
        for reason in found.exceptions.values():
            known = _shortened(reason)
            reasons[known] = reasons.get(known, 0) + 1
    if write:
        table = "\n".join(f"| {reason} | {count} |" for reason, count in sorted(reasons.items(), key=lambda r: -r[1]))
        tail = f"\n\n## Why calls were not set\n\n| reason | calls |\n| --- | --- |\n{table}\n"
        PAGE.write_text(HEAD.format(count=len(models)) + "\n".join(rows) + tail, encoding="utf-8")


def _shortened(reason: str) -> str:
    for known in ("reused: set when another call ran", "its output has std 0 on this batch", "input weights 1/√fan_in"):
        if known.split(":")[0].split(" ran")[0] in reason:
            return known
    return reason.split(",")[0]


if __name__ == "__main__":
    main(write=True)
