"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

ExperimentFile = Annotated[Path, typer.Argument(help="TOML file of the experiment.", show_default=False)]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="key.path=value, such as training.epochs=5; may be repeated.", show_default=False),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")]
NoRay = Annotated[bool, typer.Option("--no-ray", help="Work in this process, without Ray.")]
