"""``voxray …``: options in, one line an outcome out. Exit code 2 for a user's mistake, 1 for failed work."""

import json
import shlex
import subprocess
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from voxray.cli_phantom import phantom
from voxray.config.architecture import architecture_schema, load_architecture
from voxray.config.experiment import Experiment, TrainingSpec, load_experiment
from voxray.config.space_schema import space_schema
from voxray.errors import ConfigError
from voxray.models.shapes import infer_shapes, parse_input
from voxray.terminal import OUT, explained, place_argument, say
from voxray.units import bytes_text, count_text, parse_bytes, parse_count

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(phantom, name="phantom")

ExperimentFile = Annotated[Path, typer.Argument(help="TOML file of the experiment.", show_default=False)]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="key.path=value, such as training.epochs=5; may be repeated.", show_default=False),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")]
NoRay = Annotated[bool, typer.Option("--no-ray", help="Work in this process, without Ray.")]


class SchemaKind(StrEnum):
    """Files that have a schema."""

    ARCHITECTURE = "architecture"
    SPACE = "space"


@app.command()
@explained
def run(experiment: ExperimentFile, set_: Settings = None, dry_run: DryRun = False, no_ray: NoRay = False) -> None:
    """Ingest, train, evaluate and report; what is finished is reused."""
    from voxray import stages

    spec = load_experiment(experiment, set_ or ())
    _print_outline(spec) if dry_run else stages.run(spec, say, with_ray=not no_ray)


@app.command()
@explained
def ingest(
    experiment: ExperimentFile,
    set_: Settings = None,
    dry_run: DryRun = False,
    no_ray: NoRay = False,
    verify: Annotated[bool, typer.Option("--verify", help="Then read every patch and compare checksums.")] = False,
) -> None:
    """Stream scans into the patch store."""
    from voxray import stages

    spec = load_experiment(experiment, set_ or ())
    _print_outline(spec) if dry_run else stages.ingest(spec, say, with_ray=not no_ray, verify=verify)


@app.command()
@explained
def train(experiment: ExperimentFile, set_: Settings = None, no_ray: NoRay = False) -> None:
    """Train on a finished store."""
    from voxray import stages

    stages.train(load_experiment(experiment, set_ or ()), say, with_ray=not no_ray)


class Minimized(StrEnum):
    """What a search may look for little of, beside its figure."""

    PARAMETERS = "parameters"


class SearchMethod(StrEnum):
    """How a search chooses what to try."""

    TPE = "tpe"
    RANDOM = "random"


@app.command()
@explained
def tune(
    experiment: ExperimentFile,
    space: Annotated[Path, typer.Option("--space", help="JSON file of the space.", show_default=False)],
    out: Annotated[
        Path, typer.Option("--out", help="Folder of the search.", parser=place_argument, show_default=False)
    ],
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
    from voxray.search.candidates import Limits
    from voxray.tune import TuneOptions, preview
    from voxray.tune import tune as search_space

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
    search_space(spec, options, say, command)


@app.command()
@explained
def dashboard(experiment: ExperimentFile, set_: Settings = None) -> None:
    """Write the W&B workspace of the experiment's project; offline, say what it would hold."""
    from voxray.dashboard import build_workspace, describe_workspace
    from voxray.tracking import choose_mode, own_entity

    tracking = load_experiment(experiment, set_ or ()).tracking
    online = choose_mode(tracking.mode) == "online"
    workspace = build_workspace(own_entity() if online else "you", tracking.project)
    if online:
        workspace.save()
        say(f"dashboard: {workspace.url}")
        return
    say(f"dashboard: W&B is offline. Online, project '{tracking.project}' would get the workspace '{workspace.name}':")
    for line in describe_workspace(workspace):
        say(f"  {line}")


@app.command()
@explained
def evaluate(experiment: ExperimentFile, set_: Settings = None, no_ray: NoRay = False) -> None:
    """Choose the operating point on validation and measure."""
    from voxray import stages

    stages.evaluate(load_experiment(experiment, set_ or ()), say, with_ray=not no_ray)


@app.command()
@explained
def report(experiment: ExperimentFile, set_: Settings = None) -> None:
    """Write report.html."""
    from voxray import stages

    stages.report(load_experiment(experiment, set_ or ()), say)


@app.command()
@explained
def predict(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.", parser=place_argument, show_default=False)],
    scans: Annotated[
        list[Path], typer.Argument(help="Scans of any size and spacing.", parser=place_argument, show_default=False)
    ],
    out: Annotated[
        Path, typer.Option("--out", help="Folder for what is found.", parser=place_argument, show_default=False)
    ],
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Of a segmentation: write them too.")] = False,
    mask: Annotated[
        Path | None,
        typer.Option(
            "--mask", help="Which slices to look at, where the training chose them by masks.", parser=place_argument
        ),
    ] = None,
    no_ray: NoRay = False,
) -> None:
    """Segment or classify whole scans.

    A segmentation writes label maps, NIfTI in each scan's own geometry; a classifier prints the classes with their
    probabilities and writes them as JSON, with a picture of where the evidence lies.
    """
    from voxray import stages
    from voxray.runs.predict import Options

    stages.predict(run, scans, Options(out, probabilities, mask), say, with_ray=not no_ray)


@app.command()
@explained
def inspect(
    source: Annotated[
        Path,
        typer.Argument(
            help="Folder or file of scans, or an experiment's TOML.", parser=place_argument, show_default=False
        ),
    ],
    voxels: Annotated[bool, typer.Option("--voxels", help="Read everything, not headers alone.")] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for page, JSON and table.", parser=place_argument, show_default=False),
    ] = None,
    set_: Settings = None,
    no_ray: NoRay = False,
) -> None:
    """Look at a data set before training on it; exit code 1 where something is wrong."""
    from voxray import stages
    from voxray.report.inspection import findings_table, outline_lines, verdict

    found = stages.inspect(source, say, settings=set_ or (), out=out, voxels=voxels, with_ray=not no_ray)
    if found.findings.num_rows:
        OUT.print(findings_table(found))
    for line in outline_lines(found):
        say(line)
    say(verdict(found))
    if found.errors:
        raise SystemExit(1)


@app.command()
@explained
def status(
    run: Annotated[Path, typer.Argument(help="Folder of a run.", parser=place_argument, show_default=False)],
) -> None:
    """Show what a run is doing: stage, rate, time left, failures."""
    from voxray.runs.status import status_lines

    for line in status_lines(run, time.time()):
        say(line)


@app.command(context_settings={"ignore_unknown_options": True})
@explained
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
    from voxray.on_ray.submit import job_command

    words = job_command(command, experiment, options or [], set_ or [], address)
    say(shlex.join(words))
    if not dry_run:
        # Ray's program of this environment, activated or not.
        program = Path(sys.executable).with_name(words[0])
        raise SystemExit(subprocess.run([program, *words[1:]], check=False).returncode)


@app.command()
@explained
def reveal(
    experiment: ExperimentFile,
    names: Annotated[list[str], typer.Argument(help="Pseudonyms of scans or patients.", show_default=False)],
    set_: Settings = None,
) -> None:
    """Say whose pseudonyms these are; wants the key and the data set."""
    from voxray.datasets.pseudonyms import reveal as found

    spec = load_experiment(experiment, set_ or ())
    for name in names:
        say(f"{name}  {found(spec, name)}")


@app.command()
@explained
def describe(
    architecture: Annotated[Path, typer.Argument(help="JSON file.", show_default=False)],
    input_: Annotated[str, typer.Option("--input", help="Channels and voxels, such as 1x64x64x10.")],
    classes: Annotated[int, typer.Option("--classes", min=2, help="Classes, with the background if any.")] = 2,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Patches in a batch, for the memory of training.")] = 32,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the layers of an architecture with shapes and parameters, and what it costs."""
    from voxray.models.cost import estimate_cost

    shape, spec = parse_input(input_), load_architecture(architecture)
    lines = infer_shapes(spec, shape, classes, str(architecture))
    training = TrainingSpec(batch_size=batch)
    on_cpu, on_gpu = (
        estimate_cost(spec, shape, classes, training, str(architecture), gpu=gpu) for gpu in (False, True)
    )
    total = on_cpu.parameters
    if as_json:
        content = {
            "parameters": total,
            "forward_flops": on_cpu.forward_flops,
            "training_flops": on_cpu.training_flops,
            "memory_bytes": {"batch": batch, "cpu": on_cpu.peak_bytes, "gpu": on_gpu.peak_bytes},
            "input": shape,
            "layers": [vars(line) for line in lines],
        }
        sys.stdout.write(json.dumps(content, indent=2) + "\n")
        return
    table = Table("layer", "type", "", "output", "parameters", title=str(architecture))
    for line in lines:
        # As text, because rich takes brackets for its own.
        table.add_row(Text(line.place), line.type, line.detail, "x".join(map(str, line.output)), f"{line.parameters:,}")
    OUT.print(table)
    say(f"{len(lines)} layers, {total:,} trainable parameters, {bytes_text(4 * total)} as float32")
    say(f"a patch: {count_text(on_cpu.forward_flops)}FLOP to predict, {count_text(on_cpu.training_flops)}FLOP to train")
    memory = f"{bytes_text(on_cpu.peak_bytes)} on a CPU, {bytes_text(on_gpu.peak_bytes)} on a GPU in bfloat16"
    say(f"training with Adam, batches of {batch}: at most {memory}")


@app.command()
@explained
def schema(
    kind: Annotated[SchemaKind, typer.Argument(help="Of which files.")] = SchemaKind.ARCHITECTURE,
) -> None:
    """Print the JSON Schema of architecture files or of space files."""
    content = space_schema() if kind is SchemaKind.SPACE else architecture_schema()
    sys.stdout.write(json.dumps(content, indent=2) + "\n")


def main(arguments: list[str] | None = None) -> None:
    """Entry point; `arguments` default to those of the process."""
    app(args=arguments)


def _print_outline(experiment: Experiment) -> None:
    from voxray import stages
    from voxray.patches.plan import empty_classes
    from voxray.runs.machine import memory_bytes

    planned = stages.outline(experiment)
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
    say(f"data      {manifest.scans.num_rows:,} scans, {manifest.samples.num_rows:,} samples in {manifest.root}")
    if plan.masks:
        say(f"classes   {', '.join(plan.classes)}, of voxels")
    say(f"patches   {size} {plan.dtype}, {bytes_text(everything)} before compression")
    shard = f"up to {plan.patches_per_shard} patches in chunks of {plan.patches_per_chunk}"
    say(f"shards    {shard} → {experiment.store_path}")
    rotations = f", {turned:,} of them rotations of positives" if turned else ""
    say(f"epoch     {planned.training_rows:,} training rows{rotations}")
    say(f"model     {planned.cost.parameters:,} trainable parameters ({experiment.model.architecture})")
    there, kind = bytes_text(memory_bytes(planned.device)), "GPU" if planned.device.type == "cuda" else "CPU"
    batches = f"batches of {experiment.training.batch_size}, predicted for a {kind}; {there} are here"
    say(f"memory    at most {bytes_text(planned.cost.peak_bytes)} to train in {batches}")
    for note in [*manifest.notes, *empty_classes(plan)]:
        say(f"note      {note}")
    if manifest.quarantine.num_rows:
        lost = sum(manifest.quarantine["samples"].to_pylist())
        say(f"aside     {manifest.quarantine.num_rows} entries with {lost:,} samples, known before reading a voxel")
