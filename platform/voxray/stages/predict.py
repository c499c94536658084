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
from voxray.prediction.earlier import is_finished, record_file, settings_key
from voxray.prediction.files import Options
from voxray.prediction.predictor import SKIPPED, answer_kind
from voxray.prediction.scans import InputScan, find_scans
from voxray.prediction.targets import check_targets, target_files
from voxray.runs.folder import PredictionFolder, RunFolder
from voxray.runs.read import read_run_experiment
from voxray.runs.status import reported
from voxray.scans.formats.channels import channel_files
from voxray.stages.common import OnStatus
from voxray.storage.paths import AnyPath
from voxray.training.checkpoint import read_metadata

SHOWN = 3  # problems in a message
REMEDY = "Give another folder with --out, or make them again with --overwrite"


def predict(run: AnyPath, given: Sequence[AnyPath], options: Options, executor: Executor, on_status: OnStatus) -> None:
    """Predict scans and write the predictions; those that are there already are kept.

    Parameters
    ----------
    run : path
    given : sequence of path
        Scans, and folders with scans.
    options : Options
    executor : Executor
    on_status : callable

    Raises
    ------
    NotReadyError
        The run has not been trained.
    ConfigError
        A file would be overwritten that no prediction wrote, or one that belongs to another run, settings or scan.
    DataError
        The list of candidates cannot be used, or a folder holds no scan.
    WorkError
        Scans were skipped, after all others were predicted.
    """
    folders = [folder for path in (run, *options.others) for folder in trained_folders(path)]
    check_members(folders)
    kind, channels = _answer(RunFolder(folders[0]), options)
    options = _resolved(options, folders)
    scans, notes = find_scans(given, options.out, channels)
    if options.mask is not None and len(scans) > 1:
        raise DataError("--mask", f"expected one scan, got {len(scans)} scans", "Predict the scans one by one")
    todo = _to_predict(kind, scans, options)
    if options.candidates is not None:
        points, more = read_points(options.candidates, [plain_name(scan.path) for scan in scans])
        options, notes = replace(options, points=points), [*notes, *more]
    for note in (*notes, *_notes(folders, tta=options.tta)):
        on_status(f"note: {note}")
    if kept := len(scans) - len(todo):
        on_status(f"predict: {kept} of {len(scans)} scans are kept: predicted before by this run with these settings")
    _remove_unfinished(options.out, todo)
    skipped = 0
    with reported(RunFolder(options.out), "predict", "scans") as on_progress:
        outcomes = executor.predict_scans(run.resolve(), todo, options, on_progress) if todo else ()
        for scan, outcome in outcomes:
            on_status(f"predict: {scan_name(scan.path)}: {outcome}")
            skipped += outcome.startswith(SKIPPED)
        if skipped:
            raise WorkError("predict", f"{skipped} of {len(todo)} scans were skipped", "See the reasons above")


def _answer(folder: RunFolder, options: Options) -> tuple[str, int]:
    """What a run answers with, and the channels of its scans; ConfigError where options do not fit."""
    experiment, metadata = read_run_experiment(folder), read_metadata(folder.model)
    kind = answer_kind(metadata["task"], experiment)
    if kind == "findings" and options.candidates is None and experiment.detection.proposals == "list":
        raise ConfigError("--candidates", "this run classifies the points of a list only, got none", NEEDS_A_LIST)
    if options.candidates is not None and kind != "findings":
        raise ConfigError("--candidates", "this run classifies no candidates", "Leave it out")
    return kind, int(metadata["input_shape"][0])


def _resolved(options: Options, folders: Sequence[AnyPath]) -> Options:
    """Options with absolute paths, the names of all networks and the name of the settings."""
    mask, candidates = options.mask and options.mask.resolve(), options.candidates and options.candidates.resolve()
    inputs = [path for path in (mask, candidates) if path is not None]
    settings = {"probabilities": options.probabilities, "tta": options.tta}
    return replace(
        options,
        out=options.out.resolve(),
        mask=mask,
        candidates=candidates,
        others=tuple(path.resolve() for path in options.others),
        members=tuple(map(str, folders)),
        settings=settings_key(folders, inputs, settings),
    )


def _to_predict(kind: str, scans: Sequence[InputScan], options: Options) -> list[InputScan]:
    """The scans whose predictions are not there yet.

    Raises
    ------
    ConfigError
        Files would be overwritten that no prediction wrote, or without `overwrite` those of other predictions.
    """
    folder = PredictionFolder(options.out)
    given = [path for path in (options.mask, options.candidates) if path is not None]
    inputs = [file for scan in scans for file in channel_files(scan.path)] + given
    check_targets(folder, kind, [scan.name for scan in scans], inputs, probabilities=options.probabilities)
    if options.overwrite:
        return list(scans)
    todo, problems = [], []
    for scan in scans:
        targets = [file for file, _ in target_files(folder, kind, scan.name, options.probabilities)]
        finished, problem = is_finished(record_file(folder, kind, scan.name), options.settings, scan, targets)
        problems += [problem] if problem else []
        todo += [] if finished else [scan]
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        where, _, problem = "; ".join(problems[:SHOWN]).partition(": ")
        raise ConfigError(where, problem + more, REMEDY)
    return todo


def _remove_unfinished(out: AnyPath, scans: Sequence[InputScan]) -> None:
    """Remove what killed processes left half-written, in the folders of the results."""
    for folder in {(out / scan.name).parent for scan in scans}:
        PredictionFolder(folder).remove_unfinished()


def _notes(folders: Sequence[AnyPath], *, tta: bool) -> Iterator[str]:
    """Which networks are averaged, and which mirrors."""
    if len(folders) > 1:
        yield f"predictions are the mean of {len(folders)} networks: {', '.join(map(str, folders))}"
    if tta:
        axes = axes_in_words([read_run_experiment(RunFolder(folder)) for folder in folders])
        yield f"predictions are the mean over scans mirrored along {axes}" if axes else NO_EFFECT
