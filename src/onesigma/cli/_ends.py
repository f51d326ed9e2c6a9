"""How a run of the command line can end before its time: the exit code, and one line that says why."""

import os
import sys

import typer

from onesigma._errors import OnesigmaError

__all__ = ["INTERRUPTED", "told"]

INTERRUPTED = "interrupted; the same command starts again, or continues a pass over data."

_COULD_NOT_RUN = 2
# As shells number the ends by a signal: 128 + SIGINT, 128 + SIGPIPE.
_WAS_INTERRUPTED, _NOBODY_READS = 130, 141

_UsageError: type[Exception] = typer.BadParameter.__bases__[0]


def told(error: BaseException, *, debug: bool = False) -> tuple[int, str]:
    """The exit code for what was raised, and what to say of it; nothing is said to a reader who has gone."""
    if isinstance(error, BrokenPipeError) or isinstance(error.__context__, BrokenPipeError):
        # Python would write what is left, and complain, when it closes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _NOBODY_READS, ""
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return _WAS_INTERRUPTED, INTERRUPTED
    return _COULD_NOT_RUN, "error: " + " ".join(_sentence(error, debug=debug).split())


def _sentence(error: BaseException, *, debug: bool) -> str:
    if isinstance(error, OnesigmaError):
        return str(error)
    if isinstance(error, _UsageError):
        return _usage(error)
    if isinstance(error, SystemExit):
        return f"the model's code ended the program (sys.exit({error.code!r})); take that line out of it."
    said = f"{type(error).__name__}: {error}".rstrip(". ")
    if isinstance(error, OSError):
        return f"{said}."
    if isinstance(error, MemoryError):
        return f"not enough memory ({said}); take fewer rows or a smaller model."
    hint = "" if debug else " The same command with --debug shows where."
    return f"unexpected {said}.{hint}"


def _usage(error: Exception) -> str:
    command = getattr(getattr(error, "ctx", None), "command_path", "onesigma")
    said = getattr(error, "format_message", error.__str__)().rstrip(". ").replace("Value error, ", "")
    return f"{command}: {said}; see {command} --help."
