"""Commands about jobs, their state and their dashboards."""

import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from voxray.cli.options import ExperimentFile, Settings
from voxray.cli.terminal import echo, handle_errors, path_argument
from voxray.config.load import load_experiment


@handle_errors
def dashboard(experiment: ExperimentFile, set_: Settings = None) -> None:
    """Write the W&B workspace of the experiment's project; offline, say what it would hold."""
    from voxray.tracking.wandb_run import choose_mode, own_entity
    from voxray.tracking.workspace import build_workspace, describe_workspace

    tracking = load_experiment(experiment, set_ or ()).tracking
    online = choose_mode(tracking.mode) == "online"
    workspace = build_workspace(own_entity() if online else "you", tracking.project)
    if online:
        workspace.save()
        echo(f"dashboard: {workspace.url}")
        return
    echo(f"dashboard: W&B is offline. Online, project '{tracking.project}' would get the workspace '{workspace.name}':")
    for line in describe_workspace(workspace):
        echo(f"  {line}")


@handle_errors
def status(
    run: Annotated[Path, typer.Argument(help="Folder of a run.", parser=path_argument, show_default=False)],
) -> None:
    """Show what a run is doing: stage, rate, time left, failures."""
    from voxray.runs.status import status_lines

    for line in status_lines(run, time.time()):
        echo(line)


@handle_errors
def submit(
    command: Annotated[str, typer.Argument(help="ingest, train, tune, evaluate, predict or run.", show_default=False)],
    experiment: Annotated[str, typer.Argument(help="As for the command itself.", show_default=False)],
    options: Annotated[list[str] | None, typer.Argument(help="As for the command itself.", show_default=False)] = None,
    set_: Settings = None,
    address: Annotated[
        str | None, typer.Option("--address", help="Of the cluster's dashboard, else RAY_ADDRESS.", show_default=False)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the command and stop.")] = False,
) -> None:
    """Run a command as a job of a Ray cluster, from the project's folder: prints and runs `ray job submit`."""
    from voxray.executors.ray.submit import job_command

    words = job_command(command, experiment, options or [], set_ or [], address)
    echo(shlex.join(words))
    if not dry_run:
        # Ray's program of this environment, activated or not.
        program = Path(sys.executable).with_name(words[0])
        raise SystemExit(subprocess.run([program, *words[1:]], check=False).returncode)
