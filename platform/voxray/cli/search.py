"""The command that searches a space of architectures."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from voxray.cli.options import ExperimentFile, Settings, choose_executor, path_argument, read_experiment
from voxray.cli.terminal import OUT, echo
from voxray.console.units import parse_bytes, parse_count
from voxray.errors import ConfigError


class Minimized(StrEnum):
    """What a search may minimize beside its metric."""

    PARAMETERS = "parameters"


class SearchMethod(StrEnum):
    """How a search chooses its trials."""

    TPE = "tpe"
    RANDOM = "random"


def tune(
    experiment: ExperimentFile,
    space: Annotated[Path, typer.Option("--space", help="JSON file of the space.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="Folder of the search.", parser=path_argument, show_default=False)],
    metric: Annotated[str, typer.Option("--metric", help="Metric of validation, such as val/roc_auc.")] = "val/loss",
    trials: Annotated[int, typer.Option(min=1, help="Networks to train.")] = 50,
    search: Annotated[SearchMethod, typer.Option("--search", help="How networks are chosen.")] = SearchMethod.TPE,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the suggestions.")] = 0,
    max_parameters: Annotated[
        int | None,
        typer.Option(
            "--max-parameters", min=1, help="Reject networks with more trainable parameters.", show_default=False
        ),
    ] = None,
    max_memory: Annotated[
        str | None,
        typer.Option("--max-memory", help="Reject networks that need more, such as 8GiB.", show_default=False),
    ] = None,
    max_flops: Annotated[
        str | None,
        typer.Option("--max-flops", help="Reject networks with more per patch, such as 2G.", show_default=False),
    ] = None,
    start: Annotated[
        list[Path] | None,
        typer.Option("--start", help="Architecture to train first, beside the experiment's; may be repeated."),
    ] = None,
    minimize: Annotated[
        Minimized | None, typer.Option("--minimize", show_default=False, help="Second objective to minimize.")
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option("--folds", min=2, show_default=False, help="Folds of a trial; its value is their mean."),
    ] = None,
    set_: Settings = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what 1,000 samples of the space would cost, and stop.")
    ] = False,
) -> None:
    """Search a space of architectures for the best metric; re-run the same command to resume a search.

    Example: voxray tune configs/experiments/demo.toml --space configs/spaces/cnn2d.json --out runs/search --trials 50
    """
    if not isinstance(out, Path):
        raise ConfigError("--out", f"expected a folder on a disk, got '{out}'", "Name a folder that all nodes see")
    from voxray.search.constraints import Limits
    from voxray.stages.tune import TuneOptions, preview
    from voxray.stages.tune import tune as search_space

    memory = _optional(parse_bytes, max_memory, "--max-memory")
    flops = _optional(parse_count, max_flops, "--max-flops")
    options = TuneOptions(
        space=space,
        out=out.resolve(),
        metric=metric,
        trials=trials,
        seed=seed,
        method=search.value,
        limits=Limits(max_parameters, memory, flops),
        starts=tuple(start or ()),
        minimize=minimize.value if minimize else None,
        folds=folds,
    )
    checked = read_experiment(experiment, set_)
    if dry_run:
        preview(checked, options, OUT.print)
        return
    # Where there are folds, `voxray run` trains them all.
    stage = "run" if folds or checked.split.is_cross_validation else "train"
    command = ["voxray", stage, str(experiment), *(word for setting in set_ or () for word in ("--set", setting))]
    search_space(checked, options, choose_executor(no_ray=False), echo, command)


def _optional(parse: Callable[[str, str], int], text: str | None, option: str) -> int | None:
    return None if text is None else parse(text, option)
