"""Commands that run an experiment or a part of it."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from voxray.cli.options import DryRun, ExperimentFile, NoRay, Settings, executor_of
from voxray.cli.terminal import OUT, echo, handle_errors, path_argument
from voxray.config.experiment import Experiment
from voxray.config.load import load_experiment
from voxray.console.units import bytes_text


@handle_errors
def run(experiment: ExperimentFile, set_: Settings = None, dry_run: DryRun = False, no_ray: NoRay = False) -> None:
    """Ingest, train, evaluate and report; what is finished is reused."""
    from voxray.stages.pipeline import run as run_stage

    spec = load_experiment(experiment, set_ or ())
    _print_outline(spec) if dry_run else run_stage(spec, executor_of(no_ray), echo)


@handle_errors
def ingest(
    experiment: ExperimentFile,
    set_: Settings = None,
    dry_run: DryRun = False,
    no_ray: NoRay = False,
    verify: Annotated[bool, typer.Option("--verify", help="Then read every patch and compare checksums.")] = False,
) -> None:
    """Stream scans into the patch store."""
    from voxray.stages.ingest import ingest as ingest_stage

    spec = load_experiment(experiment, set_ or ())
    _print_outline(spec) if dry_run else ingest_stage(spec, executor_of(no_ray), echo, verify=verify)


@handle_errors
def train(experiment: ExperimentFile, set_: Settings = None, no_ray: NoRay = False) -> None:
    """Train on a finished store."""
    from voxray.stages.train import train as train_stage

    train_stage(load_experiment(experiment, set_ or ()), executor_of(no_ray), echo)


@handle_errors
def evaluate(experiment: ExperimentFile, set_: Settings = None, no_ray: NoRay = False) -> None:
    """Choose the operating point on validation and measure."""
    from voxray.stages.evaluate import evaluate as evaluate_stage

    evaluate_stage(load_experiment(experiment, set_ or ()), executor_of(no_ray), echo)


@handle_errors
def report(experiment: ExperimentFile, set_: Settings = None) -> None:
    """Write report.html."""
    from voxray.stages.report import report as report_stage

    report_stage(load_experiment(experiment, set_ or ()), echo)


@handle_errors
def predict(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.", parser=path_argument, show_default=False)],
    scans: Annotated[
        list[Path], typer.Argument(help="Scans of any size and spacing.", parser=path_argument, show_default=False)
    ],
    out: Annotated[
        Path, typer.Option("--out", help="Folder for what is found.", parser=path_argument, show_default=False)
    ],
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Of a segmentation: write them too.")] = False,
    mask: Annotated[
        Path | None,
        typer.Option(
            "--mask", help="Which slices to look at, where the training chose them by masks.", parser=path_argument
        ),
    ] = None,
    no_ray: NoRay = False,
) -> None:
    """Segment or classify whole scans.

    A segmentation writes label maps, NIfTI in each scan's own geometry; a classifier prints the classes with their
    probabilities and writes them as JSON, with a picture of where the evidence lies.
    """
    from voxray.inference.predict import Options
    from voxray.stages.predict import predict as predict_stage

    predict_stage(run, scans, Options(out, probabilities, mask), executor_of(no_ray), echo)


def _print_outline(experiment: Experiment) -> None:
    from voxray.patches.plan import empty_classes
    from voxray.stages.outline import plan_run
    from voxray.training.memory_check import memory_bytes

    planned = plan_run(experiment)
    plan, manifest = planned.plan, planned.manifest
    # Where voxels have classes, a patch has none of its own.
    of_patches = () if plan.masks else plan.classes
    table = Table("split", "scans", "patients", *of_patches, "patches", "shards", title=f"plan of {experiment.name}")
    for split, shards in plan.shards.items():
        counts = [f"{plan.count(split, label):,}" for label in range(len(of_patches))]
        units = [f"{plan.unique(split, column):,}" for column in ("scan_id", "patient_id")]
        table.add_row(split, *units, *counts, f"{plan.count(split):,}", str(shards))
    OUT.print(table)
    turned = planned.rotated_rows
    size = "x".join(map(str, (planned.channels, *plan.size)))
    everything = planned.channels * plan.patch_bytes * plan.table.num_rows
    echo(f"data      {manifest.scans.num_rows:,} scans, {manifest.samples.num_rows:,} samples in {manifest.root}")
    if plan.masks:
        echo(f"classes   {', '.join(plan.classes)}, of voxels")
    echo(f"patches   {size} {plan.dtype}, {bytes_text(everything)} before compression")
    shard = f"up to {plan.patches_per_shard} patches in chunks of {plan.patches_per_chunk}"
    echo(f"shards    {shard} → {experiment.store_path}")
    rotations = f", {turned:,} of them rotations of positives" if turned else ""
    echo(f"epoch     {planned.training_rows:,} training rows{rotations}")
    echo(f"model     {planned.cost.parameters:,} trainable parameters ({experiment.model.architecture})")
    there, kind = bytes_text(memory_bytes(planned.device)), "GPU" if planned.device.type == "cuda" else "CPU"
    batches = f"batches of {experiment.training.batch_size}, predicted for a {kind}; {there} are here"
    echo(f"memory    at most {bytes_text(planned.cost.peak_bytes)} to train in {batches}")
    for note in [*manifest.notes, *empty_classes(plan)]:
        echo(f"note      {note}")
    if manifest.quarantine.num_rows:
        lost = sum(manifest.quarantine["samples"].to_pylist())
        echo(f"aside     {manifest.quarantine.num_rows} entries with {lost:,} samples, known before reading a voxel")
