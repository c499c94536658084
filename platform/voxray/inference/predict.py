"""Loose scans → label maps, or verdicts with pictures, beside each other in a folder."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from voxray.errors import DataError, ScanError
from voxray.inference.classifier import Classifier
from voxray.inference.load import load_trained
from voxray.inference.segmenter import Segmenter
from voxray.models.spec.unet import UNet
from voxray.runs.folder import PredictionFolder
from voxray.scans.formats.channels import channel_files
from voxray.scans.formats.registry import split_suffix
from voxray.scans.read import open_file
from voxray.scans.write import write_nifti
from voxray.storage.atomic import write_bytes, write_json
from voxray.storage.paths import AnyPath
from voxray.visualization.saliency import saliency_picture


@dataclass(frozen=True)
class Options:
    """What is written of each scan, and where.

    Attributes
    ----------
    out : Place
        The folder.
    probabilities : bool
        Whether a segmentation writes them beside its label maps.
    mask : Place, optional
        Says which slices of the scan a classifier looks at, where its training chose them so.
    """

    out: AnyPath
    probabilities: bool = False
    mask: AnyPath | None = None


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
    """Segment one scan and write it; returns what came of it, in words.

    ``NAME_seg.nii.gz`` holds the label map in the scan's own geometry, ``NAME_prob.nii.gz`` the probabilities.
    """
    try:
        prediction = segmenter.predict(open_file(path), str(path))
    except ScanError as error:
        return f"left out: {error}"
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
    """Classify one scan and write what is found; returns it in words.

    ``NAME.json`` holds the probabilities and the verdict, ``NAME_evidence.png`` slices with what speaks for it.
    """
    classes = classifier.run.classes
    try:
        prediction = classifier.predict(
            open_file(path), None if mask is None else open_file(mask), str(path), name=path.name
        )
    except ScanError as error:
        return f"left out: {error}"
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
            "verdict": predicted,
            "threshold": classifier.run.threshold,
            "patches": len(images),
            "evidence": {"picture": files.saliency(name).name, "of": classes[label]},
        },
    )
    write_bytes(files.saliency(name), picture)
    return f"{shares}; {_verdict_words(classifier, predicted)}"


def _verdict_words(classifier: Classifier, predicted: str) -> str:
    if classifier.run.threshold is None:
        return f"called {predicted}, the most probable class"
    finding = classifier.run.classes[1]
    return f"called {predicted} ({finding} from {100 * classifier.run.threshold:.1f} % on, the operating point)"


def predict_here(
    run: AnyPath,
    paths: Sequence[AnyPath],
    options: Options,
    device: torch.device,
    on_progress: Callable[[int, int, str], None],
) -> Iterator[tuple[AnyPath, str]]:
    """Predict scans one after the other in this process."""
    predict = load_predictor(run, options, device)
    for number, path in enumerate(paths, 1):
        yield path, predict(path)
        on_progress(number, len(paths), scan_name(path))


def load_predictor(run: AnyPath, options: Options, device: torch.device) -> Callable[[AnyPath], str]:
    """The model of a run as a function: predicts a scan, writes what it finds, returns it in words."""
    trained = load_trained(run, device)
    if isinstance(trained.architecture, UNet):
        segmenter = Segmenter(trained)
        return lambda path: segment_file(segmenter, path, options.out, options.probabilities)
    classifier = Classifier(trained)
    return lambda path: classify_file(classifier, path, options.out, options.mask)
