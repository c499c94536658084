"""Commands that run an experiment or one stage of it."""

from pathlib import Path
from typing import Annotated

import typer

from voxray.cli.data import print_plan
from voxray.cli.options import (
    DryRun,
    ExperimentFile,
    NoRay,
    RunPath,
    Settings,
    choose_executor,
    path_argument,
    read_experiment,
)
from voxray.cli.terminal import echo


def run(experiment: ExperimentFile, set_: Settings = None, dry_run: DryRun = False, no_ray: NoRay = False) -> None:
    """Ingest, train, evaluate and report; finished stages are reused.

    Example: voxray run configs/experiments/demo.toml --set training.epochs=5
    """
    from voxray.stages.outline import first_fold
    from voxray.stages.pipeline import run as run_stages

    checked = read_experiment(experiment, set_)
    print_plan(first_fold(checked)) if dry_run else run_stages(checked, choose_executor(no_ray), echo)


def ingest(
    experiment: ExperimentFile,
    set_: Settings = None,
    dry_run: DryRun = False,
    no_ray: NoRay = False,
    verify: Annotated[bool, typer.Option("--verify", help="Read every patch: checksums and near duplicates.")] = False,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair", help="Write those shards again that are missing or damaged, or whose scans have changed."
        ),
    ] = False,
) -> None:
    """Cut patches from the scans of an experiment and write them to its store.

    Example: voxray ingest configs/experiments/demo.toml --verify
    """
    from voxray.stages.ingest import ingest as write_store

    checked = read_experiment(experiment, set_)
    if dry_run:
        print_plan(checked)
    else:
        write_store(checked, choose_executor(no_ray), echo, verify=verify, repair=repair)


def train(experiment: ExperimentFile, set_: Settings = None, no_ray: NoRay = False) -> None:
    """Train the network of an experiment on its finished store.

    Example: voxray train configs/experiments/demo.toml --no-ray
    """
    from voxray.stages.train import train as train_network

    train_network(read_experiment(experiment, set_), choose_executor(no_ray), echo)


def evaluate(experiment: ExperimentFile, set_: Settings = None, no_ray: NoRay = False) -> None:
    """Choose the operating point on the validation split and measure the metrics of a trained model.

    Example: voxray evaluate configs/experiments/demo.toml --set evaluation.target_recall=0.95
    """
    from voxray.stages.evaluate import evaluate as evaluate_model

    evaluate_model(read_experiment(experiment, set_), choose_executor(no_ray), echo)


def report(experiment: ExperimentFile, set_: Settings = None) -> None:
    """Write the report of an evaluated run as one HTML file.

    Example: voxray report configs/experiments/demo.toml
    """
    from voxray.stages.report import report as write_page

    write_page(read_experiment(experiment, set_), echo)


def predict(
    run: RunPath,
    scans: Annotated[
        list[Path],
        typer.Argument(
            help="Scans of any size and spacing, and folders with scans below them.",
            parser=path_argument,
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", help="Folder of the predictions.", parser=path_argument, show_default=False)
    ],
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also write the probabilities of a segmentation.")
    ] = False,
    mask: Annotated[
        Path | None,
        typer.Option(
            "--mask",
            help="Mask that selects slices, for a classifier trained on slices selected by masks.",
            parser=path_argument,
            show_default=False,
        ),
    ] = None,
    candidates: Annotated[
        Path | None,
        typer.Option(
            "--candidates",
            help="List of points to classify (seriesuid, coordX, coordY, coordZ in mm, LPS), instead of proposals.",
            parser=path_argument,
            show_default=False,
        ),
    ] = None,
    with_: Annotated[
        list[Path] | None,
        typer.Option(
            "--with",
            help="Another run, whose probabilities are averaged with those of RUN; may be repeated.",
            parser=path_argument,
            show_default=False,
        ),
    ] = None,
    tta: Annotated[
        bool, typer.Option("--tta", help="Also predict mirrors, along the axes that training flipped, and average.")
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Make predictions again, and replace those of other runs, settings or scans."),
    ] = False,
    no_ray: NoRay = False,
) -> None:
    """Segment or classify whole scans, or find what a run was trained to tell from other candidates.

    A segmentation writes label maps as NIfTI, each in its scan's own geometry. A classifier prints the classes with
    their probabilities and writes them as JSON, with a picture of the saliency (Grad-CAM). A run on the candidates of
    a list (luna16) searches a chest CT for candidates, classifies them and writes the findings as CSV and JSON, with
    pictures and a page; the terminal shows the first ten.

    Results of a scan below a folder keep its subfolders. Re-run the same command to predict what is not there yet.

    A cross-validation predicts with the mean of its folds' probabilities, and --with adds other runs.

    Example: voxray predict runs/hippocampus_unet3d scan.nii.gz --out predictions
    """
    from voxray.prediction.files import Options
    from voxray.stages.predict import predict as predict_scans

    options = Options(out, probabilities, mask, candidates, others=tuple(with_ or ()), tta=tta, overwrite=overwrite)
    predict_scans(run, scans, options, choose_executor(no_ray), echo)
