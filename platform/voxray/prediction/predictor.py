"""Trained networks that predict many scans and write the results: label maps, classes or findings."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from voxray.config.experiment import Experiment
from voxray.console.progress import OnProgress
from voxray.errors import VoxrayError, WorkError
from voxray.inference.classifier import Classifier
from voxray.inference.detector import Detector, classifies_candidates
from voxray.inference.ensemble import prepare_scan
from voxray.inference.load import TrainedRun, load_members
from voxray.inference.predict import errors_of_scan, prepare_patches, scan_name
from voxray.inference.read_ahead import read_ahead
from voxray.inference.segmenter import Segmenter
from voxray.prediction.earlier import record_file
from voxray.prediction.files import Options, classify_file, find_file, made_by, segment_file
from voxray.prediction.scans import InputScan
from voxray.runs.folder import PredictionFolder
from voxray.scans.read import open_file
from voxray.storage.atomic import write_json
from voxray.storage.paths import AnyPath

SKIPPED = "skipped"  # the first word of an outcome without a prediction


class Predictor:
    """Predicts scans with the mean of the probabilities of all networks, of folds and of several runs.

    A scan that fails is skipped, whatever the error, so that the others are predicted.
    """

    def __init__(self, run: AnyPath, options: Options, device: torch.device) -> None:
        self.runs, self.options = load_members([run, *options.others], device), options
        check_task(self.runs[0])
        self.kind = answer_kind(self.runs[0].task, self.runs[0].experiment)

    def prepare(self, scan: InputScan) -> Any:
        """Read a scan and bring it to the grids of the networks, without them; or the error that it ends with."""
        try:
            with errors_of_scan(scan.path):
                return KINDS[self.kind].prepare(self.runs, scan, self.options)
        except VoxrayError as error:
            return error

    def finish(self, scan: InputScan, prepared: Any) -> str:
        """Predict a prepared scan and write the result; returns it in words."""
        record = record_file(PredictionFolder(self.options.out), self.kind, scan.name)
        try:
            if isinstance(prepared, VoxrayError):
                return f"{SKIPPED}: {prepared}"
            with errors_of_scan(scan.path):
                # From here on, no file of an earlier prediction counts as one of the record.
                write_json(record, made_by(scan, self.options))
                return KINDS[self.kind].write(self.runs, scan, self.options, prepared)
        except WorkError:  # of the disk that is written to
            raise
        except VoxrayError as error:
            record.unlink(missing_ok=True)
            return f"{SKIPPED}: {error}"


def predict_here(
    run: AnyPath, scans: Sequence[InputScan], options: Options, device: torch.device, on_progress: OnProgress
) -> Iterator[tuple[InputScan, str]]:
    """Predict scans one after another in this process; the next one is read and resampled meanwhile."""
    predictor = Predictor(run, options, device)
    for number, (scan, prepared) in enumerate(read_ahead(scans, predictor.prepare), 1):
        yield scan, predictor.finish(scan, prepared)
        on_progress(number, len(scans), scan_name(scan.path))


def answer_kind(task: str, experiment: Experiment) -> str:
    """What a run of a task says of a whole scan: segmentation, findings or classification."""
    if task == "segmentation":
        return task
    return "findings" if classifies_candidates(experiment) else "classification"


def check_task(run: TrainedRun) -> None:
    """Raise ConfigError where a run cannot predict whole scans."""
    KINDS[answer_kind(run.task, run.experiment)].check(run)


def _prepare_segmentation(runs: Sequence[TrainedRun], scan: InputScan, _: Options) -> Any:
    return prepare_scan([Segmenter(run) for run in runs], open_file(scan.path), str(scan.path))


def _prepare_classification(runs: Sequence[TrainedRun], scan: InputScan, options: Options) -> Any:
    mask = None if options.mask is None else open_file(options.mask)
    return prepare_patches(runs, open_file(scan.path), mask, str(scan.path))


def _prepare_findings(_: Sequence[TrainedRun], scan: InputScan, __: Options) -> Any:
    return open_file(scan.path)


@dataclass(frozen=True)
class _Kind:
    """How a kind of answer is made: whether a run can give it, what is done without a network, and the rest."""

    check: Callable[[TrainedRun], object]
    prepare: Callable[[Sequence[TrainedRun], InputScan, Options], Any]
    write: Callable[[Sequence[TrainedRun], InputScan, Options, Any], str]


KINDS = {
    "segmentation": _Kind(Segmenter, _prepare_segmentation, segment_file),
    "findings": _Kind(lambda run: Detector([run]), _prepare_findings, find_file),
    "classification": _Kind(Classifier, _prepare_classification, classify_file),
}
