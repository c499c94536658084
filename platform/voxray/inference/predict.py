"""Scans → files of their predictions in a folder: label maps, or probabilities with a picture of the saliency."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from voxray.console.progress import OnProgress
from voxray.errors import DataError, ScanError
from voxray.inference.classifier import Classifier, Prediction, predict_label
from voxray.inference.load import TrainedRun, load_trained
from voxray.inference.segmenter import Segmentation, Segmenter
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


def segment_file(segmenter: Segmenter, path: AnyPath, out: AnyPath, probabilities: bool) -> str:
    """Segment a scan and write the result; returns it in words.

    ``NAME_seg.nii.gz`` holds the label map in the scan's own geometry, ``NAME_prob.nii.gz`` the probabilities.
    """
    try:
        prediction = segmenter.predict(open_file(path), str(path))
    except ScanError as error:
        return f"{SKIPPED}: {error}"
    labels = prediction.labels
    target = PredictionFolder(out).label_map(plain_name(path))
    write_nifti(target, labels)
    if probabilities:
        write_nifti(PredictionFolder(out).probabilities(plain_name(path)), prediction.probabilities)
    classes = segmenter.run.classes
    counts = np.bincount(labels.array.ravel(), minlength=len(classes))
    milliliters = abs(float(np.linalg.det(labels.affine[:3, :3]))) / 1000
    named = zip(classes[1:], counts[1:].tolist(), strict=True)
    return f"{target}: {', '.join(f'{name} {count * milliliters:.1f} ml' for name, count in named)}"


def classify_file(classifier: Classifier, path: AnyPath, out: AnyPath, mask: AnyPath | None) -> str:
    """Classify a scan and write the result; returns it in words.

    ``NAME.json`` holds the probabilities and the predicted class, ``NAME_saliency.png`` slices with the Grad-CAM.
    """
    classes = classifier.run.classes
    try:
        prediction = classifier.predict(
            open_file(path), None if mask is None else open_file(mask), str(path), name=path.name
        )
    except ScanError as error:
        return f"{SKIPPED}: {error}"
    named = dict(zip(classes, prediction.probabilities.tolist(), strict=True))
    ranked = sorted(named.items(), key=lambda pair: -pair[1])
    shares = ", ".join(f"{name} {100 * value:.1f} %" for name, value in ranked)
    predicted = classes[prediction.label]
    label, images, saliency = classifier.saliency(prediction)
    picture, _ = saliency_picture(images, saliency, shares, classes[label])
    name, files = plain_name(path), PredictionFolder(out)
    write_json(
        files.classification(name),
        {
            "scan": scan_name(path),
            "probabilities": named,
            "prediction": predicted,
            "threshold": classifier.run.threshold,
            "patches": len(images),
            "saliency": {"picture": files.saliency(name).name, "class": classes[label]},
        },
    )
    write_bytes(files.saliency(name), picture)
    if classifier.run.threshold is None:
        return f"{shares}; predicted {predicted}, the most probable class"
    threshold = f"{classes[1]} from {100 * classifier.run.threshold:.1f} %, the operating point"
    return f"{shares}; predicted {predicted} ({threshold})"


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
    """A function that predicts a scan with a run's model, writes the result and returns it in words."""
    trained = load_trained(run, device)
    if trained.task == "segmentation":
        segmenter = Segmenter(trained)
        return lambda path: segment_file(segmenter, path, options.out, options.probabilities)
    classifier = Classifier(trained)
    return lambda path: classify_file(classifier, path, options.out, options.mask)


def predict_volume(
    runs: Sequence[TrainedRun], volume: Volume, mask: Volume | None, threshold: float | None
) -> Prediction | Segmentation:
    """Predict a scan with a trained run, or by the mean of several runs' probabilities.

    Parameters
    ----------
    runs : sequence of TrainedRun
        Of the same task and classes.
    threshold : float, optional
        Operating point of the mean; a single run has its own.

    Raises
    ------
    ConfigError
        The runs classify no whole scans.
    ScanError
        The scan cannot be used.
    """
    where = volume.name or "volume"
    if runs[0].task == "classification":
        return _classify([Classifier(run).predict(volume, mask, where, volume.name) for run in runs], threshold)
    segmenters = [Segmenter(run) for run in runs]
    return _segment((segmenter.predict(volume, where) for segmenter in segmenters), segmenters)


def _classify(predictions: Sequence[Prediction], threshold: float | None) -> Prediction:
    first, *others = predictions
    if not others:
        return first
    probabilities = np.mean([prediction.probabilities for prediction in predictions], axis=0)
    return Prediction(probabilities, predict_label(probabilities, threshold), first.inputs)


def _segment(segmentations: Iterator[Segmentation], segmenters: Sequence[Segmenter]) -> Segmentation:
    """The mean of segmentations, of which one is in memory at a time."""
    first = next(segmentations)
    if len(segmenters) == 1:
        return first
    mean = np.array(first.probabilities.array, np.float32)
    for segmentation in segmentations:
        mean += np.asarray(segmentation.probabilities.array)
    mean /= len(segmenters)
    labels = label_maps(torch.from_numpy(mean)[None], segmenters[0].network.output.activation).numpy()
    return Segmentation(Volume(labels, first.labels.affine), Volume(mean, first.labels.affine))
