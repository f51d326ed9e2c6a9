"""A problem from a file. Apart from the noun: whoever checks a model on tensors need not load what reads tables."""

from pathlib import Path

from onesigma.inputs.sources import load_table
from onesigma.workflows.problem import Problem, Task, problem_from_arrays

__all__ = ["problem_from_file"]


def problem_from_file(path: str | Path, *, target: str | None = None, task: Task | None = None) -> Problem:
    """Read the numeric columns of a table, and one column of it as the target.

    Raises:
        SourceError: As `load_table` says it: no file, no such column, text, missing values, no rows.
    """
    names, inputs, targets = load_table(path, target=target)
    return problem_from_arrays(inputs, targets, names=names, task=task, target=target or "", where=str(path))
