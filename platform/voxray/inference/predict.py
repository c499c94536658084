"""Scans → files of their predictions in a folder: label maps, or probabilities with a picture of the saliency."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from voxray.console.progress import OnProgress
from voxray.errors import DataError, ScanError, VoxrayError, WorkError
from voxray.inference.classifier import Classifier, Prediction, predict_label
from voxray.inference.load import TrainedRun, load_trained, trained_folders
from voxray.inference.segmenter import Segmentation, Segmenter
from voxray.inference.targets import DESCRIPTION
from voxray.models.outputs import label_maps
from voxray.runs.folder import PredictionFolder
from voxray.scans.formats.channels import channel_files
from voxray.scans.formats.registry import split_suffix
from voxray.scans.read import open_file
from voxray.scans.write import write_nifti
from voxray.storage.atomic import write_bytes, write_json
from voxray.storage.paths import AnyPath
from voxray.visualization.saliency import saliency_picture
from voxray.volume import Volume

SKIPPED = "skipped"  # the first word of an outcome without a prediction


@dataclass(frozen=True)
class Options:
    """What is written for each scan, and where."""

    out: AnyPath  # the folder
    probabilities: bool = False  # also written by a segmentation
    mask: AnyPath | None = None  # chooses a classifier's slices, where those of its training were chosen by masks


def check_scans(paths: Sequence[AnyPath]) -> None:
    """Raise DataError where two scans would be written to one file."""
    names: dict[str, AnyPath] = {}
    for path in paths:
        first = names.setdefault(plain_name(path), path)
        if first != path:
            problem = f"would be written to the same file as {first}"
            raise DataError(str(path), problem, "Predict them into two folders")


def plain_name(path: AnyPath) -> str:
    """A scan's name without its suffix, ``.nii.gz`` as a whole."""
    return split_suffix(scan_name(path))[0]


def scan_name(path: AnyPath) -> str:
    """The name of a scan's file; of the first one where it has several."""
    return channel_files(path)[0].name


def segment_file(runs: Sequence[TrainedRun], path: AnyPath, options: Options) -> str:
    """Segment a scan and write the result; returns it in words.

    ``NAME_seg.nii.gz`` holds the label map in the scan's own geometry, ``NAME_prob.nii.gz`` the probabilities.
    """
    segmentation = segment(runs, open_file(path), str(path))
    labels, files, name = segmentation.labels, PredictionFolder(options.out), plain_name(path)
    write_nifti(files.label_map(name), labels, path, DESCRIPTION)
    if options.probabilities:
        write_nifti(files.probabilities(name), segmentation.probabilities, path, DESCRIPTION)
    classes = runs[0].classes
    counts = np.bincount(labels.array.ravel(), minlength=len(classes))
    milliliters = abs(float(np.linalg.det(labels.affine[:3, :3]))) / 1000
    named = zip(classes[1:], counts[1:].tolist(), strict=True)
    return f"{files.label_map(name)}: {', '.join(f'{name} {count * milliliters:.1f} ml' for name, count in named)}"


def classify_file(runs: Sequence[TrainedRun], path: AnyPath, options: Options) -> str:
    """Classify a scan and write the result; returns it in words.

    ``NAME.json`` holds the probabilities and the predicted class, ``NAME_saliency.png`` slices with the Grad-CAM; of a
    cross-validation that of the first fold.
    """
    classes, threshold = runs[0].classes, mean_threshold(runs)
    mask = None if options.mask is None else open_file(options.mask)
    prediction = classify(runs, open_file(path), mask, str(path))
    named = dict(zip(classes, prediction.probabilities.tolist(), strict=True))
    ranked = sorted(named.items(), key=lambda pair: -pair[1])
    shares = ", ".join(f"{name} {100 * value:.1f} %" for name, value in ranked)
    predicted = classes[prediction.label]
    label, images, saliency = Classifier(runs[0]).saliency(prediction)
    picture, _ = saliency_picture(images, saliency, shares, classes[label])
    name, files = plain_name(path), PredictionFolder(options.out)
    write_json(
        files.classification(name),
        {
            "scan": scan_name(path),
            "probabilities": named,
            "prediction": predicted,
            "threshold": threshold,
            "patches": len(images),
            "saliency": {"picture": files.saliency(name).name, "class": classes[label]},
        },
    )
    write_bytes(files.saliency(name), picture)
    if threshold is None:
        return f"{shares}; predicted {predicted}, the most probable class"
    return f"{shares}; predicted {predicted} ({classes[1]} from {100 * threshold:.1f} %, the operating point)"


def predict_here(
    run: AnyPath,
    paths: Sequence[AnyPath],
    options: Options,
    device: torch.device,
    on_progress: OnProgress,
) -> Iterator[tuple[AnyPath, str]]:
    """Predict scans one after another in this process."""
    predict = load_predictor(run, options, device)
    for number, path in enumerate(paths, 1):
        yield path, predict(path)
        on_progress(number, len(paths), scan_name(path))


def load_predictor(run: AnyPath, options: Options, device: torch.device) -> Callable[[AnyPath], str]:
    """A function that predicts a scan with a run's model, writes the result and returns it in words.

    Of a cross-validation, the probabilities of all folds are averaged. A scan that fails is skipped, whatever the
    error, so that the others are predicted.
    """
    runs = [load_trained(folder, device) for folder in trained_folders(run)]
    check_task(runs[0])
    write_result = segment_file if runs[0].task == "segmentation" else classify_file

    def predict_file(path: AnyPath) -> str:
        try:
            with errors_of_scan(path):
                return write_result(runs, path, options)
        except WorkError:  # of the disk that is written to
            raise
        except VoxrayError as error:
            return f"{SKIPPED}: {error}"

    return predict_file


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


def check_task(run: TrainedRun) -> None:
    """Raise ConfigError where a run predicts no whole scans."""
    if run.task == "segmentation":
        Segmenter(run)
    else:
        Classifier(run)


def predict_volume(runs: Sequence[TrainedRun], volume: Volume, mask: Volume | None) -> Prediction | Segmentation:
    """Predict a scan with a trained run, or by the mean of several runs' probabilities.

    Parameters
    ----------
    runs : sequence of TrainedRun
        Of the same task and classes.

    Raises
    ------
    ConfigError
        The runs classify no whole scans.
    ScanError
        The scan cannot be used.
    """
    where = volume.name or "volume"
    return classify(runs, volume, mask, where) if runs[0].task == "classification" else segment(runs, volume, where)


def classify(runs: Sequence[TrainedRun], volume: Volume, mask: Volume | None, where: str) -> Prediction:
    """The mean of the runs' probabilities, and the class at the mean of their operating points."""
    predictions = [Classifier(run).predict(volume, mask, where) for run in runs]
    probabilities = np.mean([prediction.probabilities for prediction in predictions], axis=0)
    return Prediction(probabilities, predict_label(probabilities, mean_threshold(runs)), predictions[0].inputs)


def mean_threshold(runs: Sequence[TrainedRun]) -> float | None:
    """The operating point for scans, of several runs the mean; None where one has none."""
    thresholds = [run.scan_threshold for run in runs if run.scan_threshold is not None]
    return float(np.mean(thresholds)) if len(thresholds) == len(runs) else None


def segment(runs: Sequence[TrainedRun], volume: Volume, where: str) -> Segmentation:
    """The mean of the runs' segmentations, of which one is in memory at a time."""
    segmenters = [Segmenter(run) for run in runs]
    first = segmenters[0].predict(volume, where)
    if len(runs) == 1:
        return first
    mean = np.array(first.probabilities.array, np.float32)
    for segmenter in segmenters[1:]:
        mean += np.asarray(segmenter.predict(volume, where).probabilities.array)
    mean /= len(runs)
    labels = label_maps(torch.from_numpy(mean)[None], segmenters[0].network.output.activation).numpy()
    return Segmentation(Volume(labels, first.labels.affine), Volume(mean, first.labels.affine))
