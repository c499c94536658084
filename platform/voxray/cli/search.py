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


class SearchMethod(StrEnum):
    """How a search chooses its trials."""

    TPE = "tpe"
    RANDOM = "random"


class Cost(StrEnum):
    """What a network costs."""

    PARAMETERS = "parameters"
    MEMORY = "memory"
    FLOPS = "flops"
    SECONDS = "seconds"


class Rule(StrEnum):
    """How a search prunes its trials."""

    ASHA = "asha"
    MEDIAN = "median"
    NONE = "none"


SpaceFile = Annotated[Path, typer.Option("--space", help="JSON file of the space.", show_default=False)]
SearchPath = Annotated[
    Path, typer.Option("--out", help="Folder of the search.", parser=path_argument, show_default=False)
]
MetricName = Annotated[
    str | None,
    typer.Option(
        "--metric", show_default="val/ and training.monitor", help="Metric of validation, such as val/roc_auc."
    ),
]
Trials = Annotated[int, typer.Option(min=1, help="Networks to train.")]
Method = Annotated[SearchMethod, typer.Option("--search", help="How networks are chosen.")]
Scheduler = Annotated[Rule, typer.Option("--scheduler", help="How poor trials are pruned.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the suggestions.")]
MaxParameters = Annotated[
    int | None,
    typer.Option("--max-parameters", min=1, help="Reject networks with more trainable parameters.", show_default=False),
]
MaxMemory = Annotated[
    str | None, typer.Option("--max-memory", help="Reject networks that need more, such as 8GiB.", show_default=False)
]
MaxFlops = Annotated[
    str | None,
    typer.Option("--max-flops", help="Reject networks with more per patch, such as 2G.", show_default=False),
]
Starts = Annotated[
    list[Path] | None,
    typer.Option("--start", help="Architecture to train first, beside the experiment's; may be repeated."),
]
Minimized = Annotated[Cost | None, typer.Option("--minimize", show_default=False, help="Second objective to minimize.")]
Preferred = Annotated[
    Cost | None,
    typer.Option(
        "--prefer", show_default=False, help="Choose the network with the least, of those within chance of the best."
    ),
]
Folds = Annotated[
    int | None, typer.Option("--folds", min=2, show_default=False, help="Folds of a trial; its value is their mean.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what 1,000 samples of the space would cost, and stop.")]


def tune(
    experiment: ExperimentFile,
    space: SpaceFile,
    out: SearchPath,
    metric: MetricName = None,
    trials: Trials = 50,
    search: Method = SearchMethod.TPE,
    scheduler: Scheduler = Rule.ASHA,
    seed: Seed = 0,
    max_parameters: MaxParameters = None,
    max_memory: MaxMemory = None,
    max_flops: MaxFlops = None,
    start: Starts = None,
    minimize: Minimized = None,
    prefer: Preferred = None,
    folds: Folds = None,
    set_: Settings = None,
    dry_run: DryRun = False,
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
        prefer=prefer.value if prefer else None,
        scheduler=scheduler.value,
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
