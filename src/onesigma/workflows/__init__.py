"""What a person asks for in one word: check, repair, demo. They only compose the rooms below."""

from onesigma.workflows.check import check, check_table, check_weights
from onesigma.workflows.problem import Problem, Task, problem_from_arrays, problem_from_file
from onesigma.workflows.repair import Repair, repair

__all__ = [
    "Problem",
    "Repair",
    "Task",
    "check",
    "check_table",
    "check_weights",
    "problem_from_arrays",
    "problem_from_file",
    "repair",
]
