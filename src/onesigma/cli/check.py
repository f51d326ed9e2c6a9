"""`onesigma check`: measure a model on a table, judge what was measured, and on request repair it."""

import shlex
import sys
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import typer
from rich.console import Console
from rich.markup import escape

from onesigma._errors import ConfigError, OutputError
from onesigma.cli import _paths
from onesigma.cli._model import build_model, fed, find_factory
from onesigma.cli._out import write_repair
from onesigma.cli._settings import settings, with_baseline
from onesigma.cli._stats import report_stats
from onesigma.measure import holds_weights
from onesigma.report.report import Report
from onesigma.report.summary import FailOn
from onesigma.rules import Config
from onesigma.workflows.asked import refuse_nothing
from onesigma.workflows.audit import History, audited
from onesigma.workflows.check import SAMPLE_ROWS, check_table, check_weights
from onesigma.workflows.problem import Problem
from onesigma.workflows.problem_files import problem_from_file
from onesigma.workflows.repair import Repair, repair

__all__ = ["check"]

Format = Literal["text", "json", "html", "sarif", "github", "junit"]


def check(
    model: Annotated[
        str,
        typer.Argument(
            help="package.module:factory, file.py:factory, or a file of weights; with --stats the data.",
            metavar="MODEL",
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", parser=_paths.file, help="Table: Parquet, CSV, Arrow, NPY, JSON lines.", show_default=False
        ),
    ] = None,
    target: Annotated[str | None, typer.Option(help="Column to learn; without it there are no gradients.")] = None,
    task: Annotated[
        Literal["classification", "regression"] | None,
        typer.Option(help="What the target is; text and up to 20 integers are classes unless said otherwise."),
    ] = None,
    fix: Annotated[bool, typer.Option("--fix", help="Repair a copy, measure it again, and write it to --out.")] = False,
    out: Annotated[Path | None, typer.Option(parser=_paths.file, help="Folder for what --fix makes.")] = None,
    norm: Annotated[
        Literal["before", "after"] | None,
        typer.Option(help="With --fix --unsafe-fixes: insert a BatchNorm before or after every nonlinearity."),
    ] = None,
    unsafe_fixes: Annotated[
        bool, typer.Option("--unsafe-fixes", help="With --fix: also change the model's form (strip biases, --norm).")
    ] = False,
    audit: Annotated[
        str | None,
        typer.Option(help="Hold the initial weights against this recipe: gpt2, llama, deepnorm, kaiming, xavier, …"),
    ] = None,
    truncated: Annotated[
        float | None,
        typer.Option(help="With --audit: no weight may lie further out than this many std.", show_default=False),
    ] = None,
    select: Annotated[str, typer.Option(help="Codes or prefixes to judge by: INI,ACT301.")] = "",
    ignore: Annotated[str, typer.Option(help="Codes or prefixes to leave out; INI:head.* at these layers.")] = "",
    limit: Annotated[
        list[str] | None,
        typer.Option(help="A limit of your own: --limit INI201=3, or INI201:head.*=3 at these layers; repeatable."),
    ] = None,
    fail_on: Annotated[
        Literal["info", "warning", "error", "never"] | None,
        typer.Option(help="Least severity that gives exit code 1.", show_default="warning"),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            parser=_paths.file,
            help="TOML file with a table \\[tool.onesigma].",
            show_default="the nearest pyproject.toml",
        ),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(parser=_paths.file, help="File of accepted findings: only others are shown, and fail."),
    ] = None,
    write_baseline: Annotated[
        bool, typer.Option("--write-baseline", help="Write today's findings to --baseline: accept them.")
    ] = False,
    format: Annotated[Format, typer.Option(help="What is written to stdout.")] = "text",
    stats: Annotated[
        str | None,
        typer.Option(
            parser=_paths.source, help="Instead of a model: do these statistics (inputs.json, imagenet) fit the data?"
        ),
    ] = None,
    applied: Annotated[
        bool, typer.Option("--applied", help="With --stats: they should have been applied to the data, once.")
    ] = False,
    seed: Annotated[
        int,
        typer.Option(
            help="Of the model as it is built, of the rows that are looked at, and of new weights.",
            min=-(2**63),
            max=2**63 - 1,
        ),
    ] = 0,
) -> None:
    """Measure every layer of a model on your data and judge it; with --fix, repair a copy and prove it.

    Settings come from the table \\[tool.onesigma] of the nearest pyproject.toml (select, ignore, limits, fail-on,
    baseline, per-layer-ignores, per-layer-limits); what the command line says stands above them.

    The factory gets the sizes of the data by name where it asks for them: num_features and num_classes (or in_features,
    input_size, num_outputs, …). Nothing of the model or of the data is changed.

    [bold]Exit codes[/]  0 clean · 1 findings of --fail-on or worse · 2 could not run

    [bold]Examples[/]

        onesigma check my_model.py:build --data wine.csv --target quality
        onesigma check my_model.py:build --data wine.csv --target quality --fix --out fixed/
        onesigma check package.models:Net --data trips.parquet --target fare --task regression --format json
        onesigma check my_model.py:build --data wine.csv --select INI,ACT --limit INI201=3 --fail-on error
        onesigma check my_model.py:build --data wine.csv --ignore "INI:head.*,NRM606" --limit "ACT301:gate*=0.9"
        onesigma check my_model.py:build --data wine.csv --baseline onesigma-baseline.json --write-baseline
        onesigma check my_model.py:build --data wine.csv --baseline onesigma-baseline.json
        onesigma check weights.safetensors                    # nothing is run: NaN, statistics, dead and equal units
        onesigma check my_model.py:build --data wine.csv --audit gpt2 --truncated 3
        onesigma check --stats inputs.json new_trips.parquet
    """
    if stats is not None:
        raise typer.Exit(report_stats(stats, str(data or model), applied=applied))
    asked = settings(
        config=config, select=select, ignore=ignore, limits=limit or (), fail_on=fail_on, baseline=baseline
    )
    judging: dict[str, Any] = {"select": asked.select, "ignore": asked.ignore, "limits": asked.limits}
    if holds_weights(model):
        if data is not None or fix:
            raise ConfigError(
                f"{model} holds weights alone, which are only looked at; --data and --fix need a factory."
            )
        report = check_weights(model, **judging)
        meta = replace(report.meta, model=model, command=_command(), date=_now())
        report = _accepting(replace(report, meta=meta, fail_on=asked.fail_on), asked, write=write_baseline)
        _show(report, format=format)
        raise typer.Exit(report.exit_code)
    if data is None:
        raise ConfigError("--data is missing: the table to measure the model on, such as --data wine.csv.")
    _refuse_contradictions(fix=fix, out=out, norm=norm, unsafe_fixes=unsafe_fixes, audit=audit, truncated=truncated)
    refuse_nothing(asked.select, asked.ignore, audit=audit is not None)
    find_factory(model)
    problem = problem_from_file(data, target=target, task=task)
    # The same command gives the same network, and so the same report.
    torch.manual_seed(seed)
    with History() if audit is not None else nullcontext() as history:
        network = build_model(model, num_features=problem.num_features, num_classes=problem.num_outputs)
    done: Repair | None = None
    with fed(model, data=data, num_features=problem.num_features):
        if fix:
            with Console(stderr=True).status("measure") as status:
                done = repair(
                    network, problem, norm=norm, strip=unsafe_fixes, seed=seed, on_step=status.update,
                    source=str(data), **judging,
                )  # fmt: skip
            report = done.report
        else:
            report = check_table(network, problem, seed=seed, **judging)
            if audit is not None:
                sample = problem.sample(SAMPLE_ROWS, seed=seed).batch()
                report = audited(
                    report, network, sample, recipe=audit, truncated=truncated, history=history,
                    select=asked.select, ignore=asked.ignore,
                )  # fmt: skip
    report = _described(report, model=model, data=data, problem=problem, seed=seed, fail_on=asked.fail_on)
    report = _accepting(report, asked, write=write_baseline)
    _show(report, format=format)
    if done is not None and out is not None:
        written = write_repair(replace(done, report=report), out, spec=model, problem=problem, norm=norm)
        Console(stderr=format != "text").print(written)
    raise typer.Exit(report.exit_code)


def _refuse_contradictions(
    *, fix: bool, out: Path | None, norm: str | None, unsafe_fixes: bool, audit: str | None, truncated: float | None
) -> None:
    if fix and out is None:
        raise ConfigError("--fix needs a folder for what it makes: --out fixed/")
    if (norm or unsafe_fixes or out) and not fix:
        raise ConfigError("--out, --norm and --unsafe-fixes say what --fix does; add --fix.")
    if norm and not unsafe_fixes:
        raise ConfigError("--norm changes what the model computes; say that you want it: --norm before --unsafe-fixes.")
    if fix and audit is not None:
        raise ConfigError("--audit looks at the weights as they came, --fix draws new ones; ask for one of them.")
    if truncated is not None and audit is None:
        raise ConfigError("--truncated says what --audit asks of the weights; add --audit RECIPE.")
    if truncated is not None and not truncated > 0:
        raise ConfigError(f"--truncated: wanted a number of std above 0, got {truncated:g}; 3 is common.")
    if out is not None and out.is_file():
        raise OutputError(f"{out}: is a file, and --fix makes a folder; choose another --out.")


def _described(report: Report, *, model: str, data: Path, problem: Problem, seed: int, fail_on: FailOn) -> Report:
    meta = replace(
        report.meta,
        model=model,
        data=f"{data} ({len(problem.inputs)} rows, {problem.num_features} columns; {problem.describe()})",
        command=_command(),
        date=_now(),
        seed=seed,
    )
    return replace(report, meta=meta, fail_on=fail_on)


def _accepting(report: Report, asked: Config, *, write: bool) -> Report:
    """The report without what the baseline accepts; how much that is goes to stderr."""
    report, said = with_baseline(report, path=asked.baseline, write=write)
    if said:
        Console(stderr=True, soft_wrap=True, highlight=False).print(escape(said))
    return report


def _command() -> str:
    return shlex.join(["onesigma", *sys.argv[1:]])


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _show(report: Report, *, format: Format) -> None:
    if format == "text":
        Console().print(report)
        return
    form = {
        "json": report.to_json,
        "html": report.to_html,
        "sarif": report.to_sarif,
        "github": report.to_github,
        "junit": report.to_junit,
    }[format]
    typer.echo(form())
