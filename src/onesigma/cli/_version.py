"""`onesigma --version`: the versions that a bug report needs."""

import platform
from importlib.metadata import version

import typer

__all__ = ["print_version"]


def print_version(wanted: bool) -> None:
    """Print onesigma's, torch's and Python's version and leave; does nothing unless `wanted`."""
    if wanted:
        typer.echo(f"onesigma {version('onesigma')} (torch {version('torch')}, Python {platform.python_version()})")
        raise typer.Exit
