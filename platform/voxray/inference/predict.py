"""A scan → its prediction by one or several trained runs, in memory."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from voxray.errors import ScanError, VoxrayError
from voxray.inference.classifier import Classifier, PatchesOfScan, Prediction, predict_label
from voxray.inference.detector import Detector, Findings, classifies_candidates
from voxray.inference.ensemble import Segmentation, prepare_scan, segment_scan
from voxray.inference.load import TrainedRun
from voxray.inference.segmenter import Segmenter
from voxray.scans.formats.channels import channel_files
from voxray.scans.formats.registry import split_suffix
from voxray.storage.paths import AnyPath
from voxray.volume import Volume


def plain_name(path: AnyPath) -> str:
    """A scan's name without its suffix, ``.nii.gz`` as a whole."""
    return split_suffix(scan_name(path))[0]


def scan_name(path: AnyPath) -> str:
    """The name of a scan's file; of the first one where it has several."""
    return channel_files(path)[0].name


@contextmanager
def errors_of_scan(path: AnyPath) -> Iterator[None]:
    """Turn every unforeseen exception of the work on one scan into ScanError."""
    try:
        yield
    except VoxrayError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".strip().partition("\n")[0].removesuffix(": ")
        raise ScanError(str(path), f"cannot be predicted: {reason}", "Check it with voxray inspect") from error


def predict_volume(
    runs: Sequence[TrainedRun], volume: Volume, mask: Volume | None, *, probabilities: bool = False, tta: bool = False
) -> Prediction | Segmentation | Findings:
    """Predict a scan with a trained run, or by the mean of several runs' probabilities.

    Parameters
    ----------
    runs : sequence of TrainedRun
        Of the same task and classes.
    volume : Volume
    mask : Volume, optional
        Chooses the slices of a classifier that was trained so.
    probabilities : bool
        Whether a segmentation has its probabilities.
    tta : bool
        Whether the mean is also over mirrors along the axes that each run's training flipped.

    Raises
    ------
    ConfigError
        The runs answer no question about a whole scan.
    ScanError
        The scan cannot be used.
    """
    where = volume.name or "volume"
    if runs[0].task == "classification" and classifies_candidates(runs[0].experiment):
        return Detector(runs, tta=tta).find(volume, where)
    if runs[0].task == "classification":
        return classify(runs, volume, mask, where, tta=tta)
    return segment(runs, volume, where, probabilities=probabilities, tta=tta)


def classify(
    runs: Sequence[TrainedRun], volume: Volume, mask: Volume | None, where: str, *, tta: bool = False
) -> Prediction:
    """The mean of the runs' probabilities, and the class at the mean of their operating points."""
    return classify_patches(runs, prepare_patches(runs, volume, mask, where), where, tta=tta)


def prepare_patches(
    runs: Sequence[TrainedRun], volume: Volume, mask: Volume | None, where: str
) -> tuple[PatchesOfScan, ...]:
    """What the classifier of each run sees of a scan."""
    return tuple(Classifier(run).prepare(volume, mask, where) for run in runs)


def classify_patches(
    runs: Sequence[TrainedRun], prepared: Sequence[PatchesOfScan], where: str, *, tta: bool = False
) -> Prediction:
    """As `classify`, for a scan whose patches are cut."""
    pairs = zip(runs, prepared, strict=True)
    predictions = [Classifier(run).predict(patches, where, tta=tta) for run, patches in pairs]
    probabilities = np.mean([prediction.probabilities for prediction in predictions], axis=0)
    threshold = mean_threshold(runs)
    return Prediction(probabilities, predict_label(probabilities, threshold), threshold, predictions[0].inputs)


def mean_threshold(runs: Sequence[TrainedRun]) -> float | None:
    """The operating point for scans, of several runs the mean; None where one has none."""
    thresholds = [run.scan_threshold for run in runs if run.scan_threshold is not None]
    return float(np.mean(thresholds)) if len(thresholds) == len(runs) else None


def segment(
    runs: Sequence[TrainedRun], volume: Volume, where: str, *, probabilities: bool = False, tta: bool = False
) -> Segmentation:
    """The classes of a scan's voxels by the mean of the runs' probabilities, which are returned where asked for."""
    segmenters = [Segmenter(run) for run in runs]
    return segment_scan(segmenters, prepare_scan(segmenters, volume, where), probabilities=probabilities, tta=tta)
