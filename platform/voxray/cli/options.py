"""Options that several commands share, and what they choose.

Commands import what they need when they run: PyTorch and Ray take seconds, which the help need not wait for.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from voxray.errors import ConfigError
from voxray.storage.paths import AnyPath, to_path

if TYPE_CHECKING:
    from voxray.config.experiment import Experiment
    from voxray.executors.base import Executor


def path_argument(text: str) -> AnyPath:
    """A path or URL of the command line."""
    try:
        return to_path(text)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from None


ExperimentFile = Annotated[Path, typer.Argument(help="TOML file of the experiment.", show_default=False)]
RunPath = Annotated[Path, typer.Argument(help="Folder of a run.", parser=path_argument, show_default=False)]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="key.path=value, such as training.epochs=5; may be repeated.", show_default=False),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")]
NoRay = Annotated[bool, typer.Option("--no-ray", help="Work in this process, without Ray.")]


def read_experiment(path: Path, settings: list[str] | None) -> "Experiment":
    """The experiment of a file, with the values of ``--set``."""
    from voxray.datasets.layouts import load_checked_experiment

    return load_checked_experiment(path, settings or ())


def choose_executor(no_ray: bool) -> "Executor":
    """This process or Ray."""
    from voxray.executors import get_executor

    return get_executor("local" if no_ray else "ray")
