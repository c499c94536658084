"""Prediction: from scans to label maps or classes, with a trained run."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from voxray.errors import ConfigError, DataError, WorkError
from voxray.executors.base import Executor
from voxray.inference.detector import NEEDS_A_LIST
from voxray.inference.load import check_members, trained_folders
from voxray.inference.mirrors import NO_EFFECT, axes_in_words
from voxray.inference.predict import plain_name, scan_name
from voxray.prediction.candidates import read_points
from voxray.prediction.files import SKIPPED, Options, answer_kind, check_scans
from voxray.prediction.targets import check_targets
from voxray.runs.folder import PredictionFolder, RunFolder
from voxray.runs.read import read_run_experiment
from voxray.runs.status import reported
from voxray.scans.formats.channels import channel_files
from voxray.stages.common import OnStatus
from voxray.storage.paths import AnyPath
from voxray.training.checkpoint import read_metadata


def predict(run: AnyPath, scans: Sequence[AnyPath], options: Options, executor: Executor, on_status: OnStatus) -> None:
    """Predict scans and write the predictions.

    Raises
    ------
    NotReadyError
        The run has not been trained.
    ConfigError
        A file would be overwritten that no prediction wrote.
    DataError
        The list of candidates cannot be used.
    WorkError
        Scans were skipped, after all others were predicted.
    """
    check_scans(scans)
    if options.mask is not None and len(scans) > 1:
        raise DataError("--mask", f"expected one scan, got {len(scans)} scans", "Predict the scans one by one")
    folders = [folder for path in (run, *options.others) for folder in trained_folders(path)]
    check_members(folders)
    absolute = [path.absolute() for path in scans]
    mask, candidates = options.mask and options.mask.resolve(), options.candidates and options.candidates.resolve()
    others, members = tuple(path.resolve() for path in options.others), tuple(map(str, folders))
    options = replace(
        options, out=options.out.resolve(), mask=mask, candidates=candidates, others=others, members=members
    )
    _check_targets(run, absolute, options)
    if options.candidates is not None:
        points, notes = read_points(options.candidates, [plain_name(path) for path in absolute])
        options = replace(options, points=points)
        for note in notes:
            on_status(f"note: {note}")
    for note in _notes(folders, tta=options.tta):
        on_status(f"note: {note}")
    PredictionFolder(options.out).remove_unfinished()
    skipped = 0
    with reported(RunFolder(options.out), "predict", "scans") as on_progress:
        for path, outcome in executor.predict_scans(run.resolve(), absolute, options, on_progress):
            on_status(f"predict: {scan_name(path)}: {outcome}")
            skipped += outcome.startswith(SKIPPED)
        if skipped:
            raise WorkError("predict", f"{skipped} of {len(scans)} scans were skipped", "See the reasons above")


def _notes(folders: Sequence[AnyPath], *, tta: bool) -> Iterator[str]:
    """Which networks are averaged, and which mirrors."""
    if len(folders) > 1:
        yield f"predictions are the mean of {len(folders)} networks: {', '.join(map(str, folders))}"
    if tta:
        axes = axes_in_words([read_run_experiment(RunFolder(folder)) for folder in folders])
        yield f"predictions are the mean over scans mirrored along {axes}" if axes else NO_EFFECT


def _check_targets(run: AnyPath, scans: Sequence[AnyPath], options: Options) -> None:
    first = RunFolder(trained_folders(run)[0])
    experiment = read_run_experiment(first)
    kind = answer_kind(read_metadata(first.model).get("task", ""), experiment)
    if kind == "findings" and options.candidates is None and experiment.detection.proposals == "list":
        raise ConfigError("--candidates", "this run classifies the points of a list only, got none", NEEDS_A_LIST)
    if options.candidates is not None and kind != "findings":
        raise ConfigError("--candidates", "this run classifies no candidates", "Leave it out")
    given = [path for path in (options.mask, options.candidates) if path is not None]
    inputs = [file for path in scans for file in channel_files(path)] + given
    names = [plain_name(path) for path in scans]
    check_targets(PredictionFolder(options.out), kind, names, inputs, probabilities=options.probabilities)
