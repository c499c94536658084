"""Options that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from voxray.executors.base import Executor

ExperimentFile = Annotated[Path, typer.Argument(help="TOML file of the experiment.", show_default=False)]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="key.path=value, such as training.epochs=5; may be repeated.", show_default=False),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")]
NoRay = Annotated[bool, typer.Option("--no-ray", help="Work in this process, without Ray.")]


def executor_of(no_ray: bool) -> "Executor":
    """The executor that the options choose; imported here, because PyTorch and Ray take seconds."""
    from voxray.executors import get_executor

    return get_executor("local" if no_ray else "ray")
