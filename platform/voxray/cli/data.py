"""Commands that describe data, and the plan of a run."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from voxray.cli.options import (
    DryRun,
    ExperimentFile,
    NoRay,
    Settings,
    choose_executor,
    path_argument,
    read_experiment,
)
from voxray.cli.terminal import OUT, echo
from voxray.errors import ConfigError

if TYPE_CHECKING:
    from voxray.config.experiment import Experiment
    from voxray.planning.understand import TaskName


def inspect(
    source: Annotated[
        Path,
        typer.Argument(
            help="Folder or file of scans, or an experiment's TOML.", parser=path_argument, show_default=False
        ),
    ],
    voxels: Annotated[bool, typer.Option("--voxels", help="Read the voxels too, not only the headers.")] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for page, JSON and table.", parser=path_argument, show_default=False),
    ] = None,
    set_: Settings = None,
    no_ray: NoRay = False,
) -> None:
    """Check a data set before training on it; the exit code is 1 where it has errors.

    Example: voxray inspect data/luna16 --voxels --out inspection
    """
    from voxray.reporting.inspection.page import issues_table, summary_lines, summary_sentence
    from voxray.stages.inspect import inspect as inspect_data

    inspection = inspect_data(source, choose_executor(no_ray), echo, settings=set_ or (), out=out, voxels=voxels)
    if inspection.issues.num_rows:
        OUT.print(issues_table(inspection))
    for line in summary_lines(inspection):
        echo(line)
    echo(summary_sentence(inspection))
    if source.suffix != ".toml":
        echo(f"next: voxray plan {source} --out configs/{inspection.target.name}")
    if inspection.errors:
        raise SystemExit(1)


class Device(StrEnum):
    """What a plan trains on."""

    CPU = "cpu"
    GPU = "gpu"


class Task(StrEnum):
    """What a plan learns."""

    CLASSIFICATION = "classification"
    SEGMENTATION = "segmentation"

    @property
    def task_name(self) -> "TaskName":
        """As planning has it."""
        return "segmentation" if self is Task.SEGMENTATION else "classification"


def plan(
    source: Annotated[Path, typer.Argument(help="Folder or list of scans.", parser=path_argument, show_default=False)],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the experiment.", parser=path_argument, show_default=False)
    ] = None,
    task: Annotated[Task | None, typer.Option("--task", help="What is learned.", show_default=False)] = None,
    memory: Annotated[
        str | None, typer.Option("--memory", help="Of training: S, M, L, XL, or a size.", show_default=False)
    ] = None,
    device: Annotated[Device | None, typer.Option("--device", help="What trains.", show_default=False)] = None,
    minutes: Annotated[float, typer.Option("--minutes", min=1, help="Time of training.")] = 60,
    dry_run: DryRun = False,
    no_ray: NoRay = False,
) -> None:
    """Derive an experiment from a folder of scans: every scan is read once.

    Example: voxray plan data/Task04_Hippocampus --out configs/hippocampus
    """
    from voxray.planning.manifest import describe
    from voxray.planning.write import proposal_text, write_plan
    from voxray.stages.plan import plan as plan_experiments

    if out is None and not dry_run:
        raise ConfigError("--out", "missing", "Give the folder for the experiment, or --dry-run")
    gpu = None if device is None else device is Device.GPU
    executor = choose_executor(no_ray)
    planned = plan_experiments(
        source, executor, echo, task=None if task is None else task.task_name, memory=memory, gpu=gpu, minutes=minutes
    )
    for line in describe(planned.understood):
        echo(line)
    for proposal in planned.proposals:
        echo("")
        echo(proposal_text(planned, proposal))
    if out is not None and not dry_run:
        echo(f"next: voxray run {write_plan(planned, out)}")


def reveal(
    experiment: ExperimentFile,
    names: Annotated[list[str], typer.Argument(help="Pseudonyms of scans or patients.", show_default=False)],
    set_: Settings = None,
) -> None:
    """Print the real names behind pseudonyms; needs the key and the data set.

    Example: voxray reveal configs/experiments/demo.toml 4b1f0c2a9d6e8735
    """
    from voxray.datasets.pseudonyms import reveal as find_name

    checked = read_experiment(experiment, set_)
    for name in names:
        echo(f"{name}  {find_name(checked, name)}")


def print_plan(experiment: "Experiment") -> None:
    """Print what a run of an experiment would do."""
    from rich.table import Table

    from voxray.console.units import bytes_text
    from voxray.evaluation.hard_negatives import count_to_add
    from voxray.patches.plan import empty_classes
    from voxray.patches.population import dropped_notes
    from voxray.stages.outline import count_searched, plan_run, tested_part
    from voxray.training.memory_check import memory_bytes

    planned = plan_run(experiment)
    plan, manifest = planned.plan, planned.manifest
    # In a segmentation voxels have classes, patches have none.
    of_patches = () if plan.masks else plan.classes
    table = Table("split", "scans", "patients", *of_patches, "patches", "shards", title=f"plan of {experiment.name}")
    for split, shards in plan.shards.items():
        counts = [f"{plan.count(split, label):,}" for label in range(len(of_patches))]
        units = [f"{plan.unique(split, column):,}" for column in ("scan_id", "patient_id")]
        table.add_row(split, *units, *counts, f"{plan.count(split):,}", str(shards))
    OUT.print(table)
    size = "x".join(map(str, (planned.channels, *plan.size)))
    store_bytes = planned.channels * plan.patch_bytes * plan.table.num_rows
    echo(f"data      {manifest.scans.num_rows:,} scans, {manifest.samples.num_rows:,} samples in {manifest.root}")
    if plan.masks:
        echo(f"classes   {', '.join(plan.classes)}, of voxels")
    echo(f"patches   {size} {plan.dtype}, {bytes_text(store_bytes)} before compression")
    shard = f"up to {plan.patches_per_shard} patches in chunks of {plan.patches_per_chunk}"
    echo(f"shards    {shard} → {experiment.store_path}")
    rotated = planned.rotated_rows
    rotations = f", {rotated:,} of them rotations of positives" if rotated else ""
    crop = experiment.augment.crop
    kind = "rows" if crop is None else f"crops of {'x'.join(map(str, crop))}"
    echo(f"epoch     {planned.training_patches:,} training {kind}{rotations}; {plan.count('val'):,} validation patches")
    if experiment.detection.rounds > 1:
        more = count_to_add(plan.count("train") - plan.count("train", 0), plan.count("train", 0), experiment.patches)
        echo(f"rounds    2; up to {more:,} hard negatives join the training rows of the second one")
    if tested := tested_part(experiment):
        echo(f"fold      {tested}")
    if searched := count_searched(experiment, planned):
        scans = ", ".join(f"{count:,} of {split}" for split, count in searched.items())
        limit = f"at most {experiment.detection.max_proposals:,} proposals each"
        echo(f"search    whole scans after training, {scans}, {limit}")
    echo(f"model     {planned.cost.parameters:,} trainable parameters ({experiment.model.architecture})")
    there, kind = bytes_text(memory_bytes(planned.device)), "GPU" if planned.device.type == "cuda" else "CPU"
    batches = f"batches of {experiment.training.batch_size}, predicted for a {kind}; {there} are here"
    echo(f"memory    at most {bytes_text(planned.cost.peak_bytes)} to train in {batches}")
    for note in [*manifest.notes, *dropped_notes(plan.population, plan.classes), *empty_classes(plan)]:
        echo(f"note      {note}")
    if manifest.quarantine.num_rows:
        lost = sum(manifest.quarantine["samples"].to_pylist())
        echo(f"excluded  {manifest.quarantine.num_rows} entries with {lost:,} samples, before any voxel is read")
