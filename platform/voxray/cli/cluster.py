"""Commands about jobs, their state and their dashboards."""

import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from voxray.cli.options import ExperimentFile, RunPath, Settings, read_experiment
from voxray.cli.terminal import echo


def dashboard(experiment: ExperimentFile, set_: Settings = None) -> None:
    """Write the W&B workspace of an experiment's project; offline, print what it would contain.

    Example: voxray dashboard configs/experiments/demo.toml
    """
    from voxray.tracking.wandb_run import choose_mode, default_entity
    from voxray.tracking.workspace import build_workspace, describe_workspace

    spec = read_experiment(experiment, set_)
    tracking = spec.tracking
    online = choose_mode(tracking.mode) == "online"
    workspace = build_workspace(default_entity() if online else "you", tracking.project, spec.training.monitor)
    if online:
        workspace.save()
        echo(f"dashboard: {workspace.url}")
        return
    echo(f"dashboard: W&B is offline; online, project '{tracking.project}' would get the workspace '{workspace.name}':")
    for line in describe_workspace(workspace):
        echo(f"  {line}")


def status(run: RunPath) -> None:
    """Show the stage, rate, time left and failures of a run.

    Example: voxray status runs/demo
    """
    from voxray.runs.status import status_lines

    for line in status_lines(run, time.time()):
        echo(line)


def submit(
    command: Annotated[str, typer.Argument(help="ingest, train, evaluate, run, predict or tune.", show_default=False)],
    subject: Annotated[str, typer.Argument(help="The command's first argument.", show_default=False)],
    options: Annotated[list[str] | None, typer.Argument(help="The command's options.", show_default=False)] = None,
    set_: Settings = None,
    address: Annotated[
        str | None,
        typer.Option("--address", help="Address of the dashboard, else RAY_ADDRESS.", show_default=False),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the command and stop.")] = False,
) -> None:
    """Submit a command as a job to a Ray cluster, from the project's folder: prints and runs `ray job submit`.

    Example: voxray submit train configs/experiments/demo.toml --address http://head:8265 --set out=/shared/demo
    """
    from voxray.executors.ray.submit import job_command

    words = job_command(command, subject, options or [], set_ or [], address)
    echo(shlex.join(words))
    if not dry_run:
        # Ray's program of this environment, activated or not.
        program = Path(sys.executable).with_name(words[0])
        raise SystemExit(subprocess.run([program, *words[1:]], check=False).returncode)
