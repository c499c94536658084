"""The command that searches a space of architectures."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from voxray.cli.options import ExperimentFile, Settings, executor_of
from voxray.cli.terminal import OUT, echo, handle_errors, path_argument
from voxray.config.load import load_experiment
from voxray.console.units import parse_bytes, parse_count
from voxray.errors import ConfigError


class Minimized(StrEnum):
    """What a search may look for little of, beside its figure."""

    PARAMETERS = "parameters"


class SearchMethod(StrEnum):
    """How a search chooses what to try."""

    TPE = "tpe"
    RANDOM = "random"


@handle_errors
def tune(
    experiment: ExperimentFile,
    space: Annotated[Path, typer.Option("--space", help="JSON file of the space.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="Folder of the search.", parser=path_argument, show_default=False)],
    metric: Annotated[str, typer.Option("--metric", help="Figure of validation, such as val/roc_auc.")] = "val/loss",
    trials: Annotated[int, typer.Option(min=1, help="How many networks are tried.")] = 50,
    search: Annotated[SearchMethod, typer.Option("--search", help="How they are chosen.")] = SearchMethod.TPE,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    max_parameters: Annotated[int | None, typer.Option(min=1, show_default=False, help="Larger are refused.")] = None,
    max_memory: Annotated[
        str | None, typer.Option("--max-memory", help="Of training, such as 8GiB.", show_default=False)
    ] = None,
    max_flops: Annotated[
        str | None, typer.Option("--max-flops", help="Of a patch through the network, such as 2G.", show_default=False)
    ] = None,
    start: Annotated[
        list[Path] | None,
        typer.Option("--start", help="Architecture to try first, beside the experiment's; may be repeated."),
    ] = None,
    minimize: Annotated[
        Minimized | None, typer.Option("--minimize", show_default=False, help="What else to look for little of.")
    ] = None,
    folds: Annotated[
        int | None, typer.Option("--folds", min=2, show_default=False, help="A trial is the mean over so many.")
    ] = None,
    set_: Settings = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what 1,000 samples of the space would cost, and stop.")
    ] = False,
) -> None:
    """Search a space of architectures; the same command goes on with an interrupted search."""
    if not isinstance(out, Path):
        raise ConfigError(
            "--out", f"a search keeps its book on a disk, got '{out}'", "Name a folder that all nodes see"
        )
    from voxray.config.folds import fold_experiments
    from voxray.search.constraints import Limits
    from voxray.stages.tune import TuneOptions, preview
    from voxray.stages.tune import tune as search_space

    limits = Limits(
        max_parameters,
        None if max_memory is None else parse_bytes(max_memory, "--max-memory"),
        None if max_flops is None else parse_count(max_flops, "--max-flops"),
    )
    options = TuneOptions(
        space=space,
        out=out.resolve(),
        metric=metric,
        trials=trials,
        seed=seed,
        method=search.value,
        limits=limits,
        starts=tuple(start or ()),
        minimize=minimize.value if minimize else None,
        folds=folds,
    )
    spec = load_experiment(experiment, set_ or ())
    if dry_run:
        preview(spec, options, OUT.print)
        return
    # Where the experiment has folds itself, a run trains them all.
    stage = "run" if len(fold_experiments(spec)) > 1 else "train"
    command = ["voxray", stage, str(experiment), *(word for each in set_ or () for word in ("--set", each))]
    search_space(spec, options, executor_of(no_ray=False), echo, command)
