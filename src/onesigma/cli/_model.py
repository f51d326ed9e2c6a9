"""MODEL on the command line: `package.module:factory` or `file.py:factory`."""

import difflib
import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from onesigma._errors import CaptureError, ModelError

__all__ = ["build_model", "fed", "find_factory"]

_MOST_NAMES = 8

# Dotted identifiers, of which the last is no suffix of a file.
_MODULE_NAME = re.compile(r"[^\W\d]\w*(\.(?!py$)[^\W\d]\w*)*")

_SIZES = {
    "num_features": ("num_features", "in_features", "n_features", "num_inputs", "input_size", "input_dim"),
    "num_classes": ("num_classes", "out_features", "n_classes", "num_outputs", "output_size", "output_dim"),
}


def find_factory(spec: str) -> Callable[..., Any]:
    """The function (or class, or ready model) that `spec` names.

    Raises:
        ModelError: No colon, no such file or module, an import that fails, no such name in it.
    """
    where, colon, name = spec.rpartition(":")
    if not colon or not where or not name:
        raise ModelError(
            f"MODEL {spec!r}: wanted 'package.module:factory' or 'file.py:factory', got no "
            f"{'factory after a colon' if not colon else 'name on one side of the colon'}; e.g. 'my_model.py:build'."
        )
    by_name = _MODULE_NAME.fullmatch(where) is not None and not ("." in where and Path(where).is_file())
    module = _module_by_name(where) if by_name else _module_from_file(where)
    if not hasattr(module, name):
        raise ModelError(f"MODEL {spec!r}: {where} has no {name!r}; {_suggestion(name, module)}")
    factory: Callable[..., Any] = getattr(module, name)
    return factory


def build_model(spec: str, *, num_features: int | None = None, num_classes: int | None = None) -> nn.Module:
    """Call the factory, filling in the sizes of the data by parameter name, and check that a module came back.

    A parameter called num_features, in_features, input_size … gets `num_features`; num_classes, out_features,
    num_outputs … gets `num_classes`; other parameters need a default of their own.

    Raises:
        ModelError: The factory cannot be called so, raises, or returns no `nn.Module`.
    """
    factory = find_factory(spec)
    if isinstance(factory, nn.Module):
        return factory
    if not callable(factory):
        raise ModelError(f"MODEL {spec!r}: wanted a function that returns an nn.Module, got {_kind(factory)}.")
    arguments = _arguments(spec, factory, {"num_features": num_features, "num_classes": num_classes})
    try:
        model = factory(**arguments)
    except (Exception, SystemExit) as error:
        raise ModelError(f"MODEL {spec!r}: {_call(spec, arguments)} raised {_said(error)}.") from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"MODEL {spec!r}: wanted an nn.Module from {_call(spec, arguments)}, got {_kind(model)}.")
    return model


@contextmanager
def fed(spec: str, *, data: Path, num_features: int) -> Iterator[None]:
    """Say which model was fed with what, where it raises while it is looked at.

    Raises:
        CaptureError: As the model raised, with both named.
    """
    try:
        yield
    except CaptureError as error:
        raise CaptureError(
            f"MODEL {spec!r}, fed with (N, {num_features}) float32 of {data}: {str(error).rstrip('. ')}. Was it made "
            "for other columns? A parameter num_features of its factory is filled in."
        ) from error


def _arguments(spec: str, factory: Callable[..., Any], sizes: dict[str, int | None]) -> dict[str, int]:
    arguments: dict[str, int] = {}
    for parameter in inspect.signature(factory).parameters.values():
        known = next((size for size, names in _SIZES.items() if parameter.name in names), None)
        if known is not None and sizes[known] is not None:
            arguments[parameter.name] = int(sizes[known] or 0)
        elif parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        ):
            raise ModelError(
                f"MODEL {spec!r}: its parameter {parameter.name!r} has no default and onesigma fills in only "
                f"num_features and num_classes (the latter needs --target); give it a default."
            )
    return arguments


def _module_from_file(where: str) -> ModuleType:
    path = Path(where)
    if path.suffix != ".py":
        raise ModelError(f"MODEL: {where} is neither a module's name nor a Python file; e.g. 'my_model.py:build'.")
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.py")], n=1)
        hint = f"did you mean {path.parent / near[0]}?" if near else "name the Python file that builds the model."
        raise ModelError(f"MODEL: there is no file {where}; {hint}")
    # A name of its own: a user's random.py must not take the place of Python's.
    name = f"_onesigma_model_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModelError(f"MODEL: {where} cannot be loaded as Python.")
    module = importlib.util.module_from_spec(spec)
    # The file's neighbors are importable, as if it had been run as a script.
    sys.path.insert(0, str(path.parent.resolve()))
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise ModelError(f"MODEL: importing {where} raised {_said(error)}{_line_of(error, path)}.") from error
    finally:
        sys.path.remove(str(path.parent.resolve()))
    return module


def _module_by_name(where: str) -> ModuleType:
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(where)
    except ModuleNotFoundError as error:
        if error.name is not None and where.startswith(error.name):
            path = f"{where.replace('.', '/')}.py:build"
            raise ModelError(
                f"MODEL: there is no module {error.name!r} to import (looked in the working directory and in "
                f"{sys.prefix}); for a file write its path, such as '{path}'."
            ) from error
        raise ModelError(f"MODEL: importing {where} raised {_said(error)}.") from error
    except (Exception, SystemExit) as error:
        raise ModelError(f"MODEL: importing {where} raised {_said(error)}.") from error
    finally:
        sys.path.remove(str(Path.cwd()))


def _suggestion(name: str, module: ModuleType) -> str:
    public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
    own = [key for key in public if getattr(getattr(module, key), "__module__", "") == module.__name__]
    near = difflib.get_close_matches(name, own, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    more = f" and {len(own) - _MOST_NAMES} more" if len(own) > _MOST_NAMES else ""
    return f"it offers {', '.join(sorted(own)[:_MOST_NAMES])}{more}." if own else "it defines no function."


def _call(spec: str, arguments: dict[str, int]) -> str:
    return f"{spec.rpartition(':')[2]}({', '.join(f'{key}={value}' for key, value in arguments.items())})"


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(". ")


def _kind(value: object) -> str:
    return f"{type(value).__name__} {value!r:.60}"


def _line_of(error: BaseException, path: Path) -> str:
    if isinstance(error, SyntaxError):  # says its line itself
        return ""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).resolve() == path.resolve()
    ]
    return f" (line {lines[-1]})" if lines else ""
