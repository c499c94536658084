"""The command line application."""

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from voxray.cli import cluster, data, model, phantom, run, score, search
from voxray.cli.terminal import echo, handle_errors

COMMANDS = (
    *(run.run, run.ingest, run.train, run.evaluate, run.report, run.predict, search.tune),
    *(data.inspect, data.plan, data.reveal, score.score, model.describe, model.schema),
    *(cluster.status, cluster.dashboard, cluster.submit),
)
HELP = """Train networks on medical scans: from folders of scans to a patch store, a model, metrics and a report.

\b
Examples:
  voxray phantom luna16 scans                          write a small data set
  voxray inspect scans                                 check a data set
  voxray plan scans --out configs/mine                 derive an experiment from a data set
  voxray run configs/experiments/demo.toml             ingest, train, evaluate, report
  voxray predict runs/mosmed_cnn3d CT.nii.gz --out .   classify a new scan
"""

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=HELP)
for command in COMMANDS:
    # What follows the command of a job is for the job.
    settings = {"ignore_unknown_options": True} if command is cluster.submit else None
    app.command(context_settings=settings)(handle_errors(command))
phantoms = typer.Typer(no_args_is_help=True, help="Write a synthetic data set in a public layout.")
for write_phantom in phantom.COMMANDS:
    phantoms.command()(handle_errors(write_phantom))
app.add_typer(phantoms, name="phantom")


def _print_version(requested: bool) -> None:
    if requested:
        from voxray import __version__

        echo(f"voxray {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of the program itself."""


def main(arguments: list[str] | None = None) -> None:
    """Run a command; `arguments` default to those of the process."""
    # Without a home that can be written, matplotlib works in a temporary folder, and would say so at each start.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    app(args=arguments, prog_name="voxray")


def run_job(file: str) -> None:
    """Run the command that a file of ``jobs/`` is named after, with the options of the process."""
    main([Path(file).stem, *sys.argv[1:]])
