"""Commands that look at data."""

from pathlib import Path
from typing import Annotated

import typer

from voxray.cli.options import ExperimentFile, NoRay, Settings, executor_of
from voxray.cli.terminal import OUT, echo, handle_errors, path_argument
from voxray.config.load import load_experiment


@handle_errors
def inspect(
    source: Annotated[
        Path,
        typer.Argument(
            help="Folder or file of scans, or an experiment's TOML.", parser=path_argument, show_default=False
        ),
    ],
    voxels: Annotated[bool, typer.Option("--voxels", help="Read everything, not headers alone.")] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for page, JSON and table.", parser=path_argument, show_default=False),
    ] = None,
    set_: Settings = None,
    no_ray: NoRay = False,
) -> None:
    """Look at a data set before training on it; exit code 1 where something is wrong."""
    from voxray.report.inspection.page import findings_table, outline_lines, verdict
    from voxray.stages.inspect import inspect as inspect_stage

    found = inspect_stage(source, executor_of(no_ray), echo, settings=set_ or (), out=out, voxels=voxels)
    if found.findings.num_rows:
        OUT.print(findings_table(found))
    for line in outline_lines(found):
        echo(line)
    echo(verdict(found))
    if found.errors:
        raise SystemExit(1)


@handle_errors
def reveal(
    experiment: ExperimentFile,
    names: Annotated[list[str], typer.Argument(help="Pseudonyms of scans or patients.", show_default=False)],
    set_: Settings = None,
) -> None:
    """Say whose pseudonyms these are; wants the key and the data set."""
    from voxray.datasets.pseudonyms import reveal as found

    spec = load_experiment(experiment, set_ or ())
    for name in names:
        echo(f"{name}  {found(spec, name)}")
