"""Scans → files of their predictions in a folder: label maps, classes with a saliency map, or findings."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from voxray.config.experiment import Experiment
from voxray.console.progress import OnProgress
from voxray.errors import DataError, VoxrayError, WorkError
from voxray.inference.classifier import Classifier
from voxray.inference.detector import Detector, classifies_candidates, sort_findings
from voxray.inference.load import TrainedRun, load_members
from voxray.inference.predict import classify, errors_of_scan, plain_name, scan_name, segment
from voxray.inference.segmenter import Segmenter
from voxray.prediction.candidates import PointList, other_coordinates
from voxray.prediction.findings import write_findings
from voxray.prediction.targets import DESCRIPTION
from voxray.reporting.text.numbers import probability_percent
from voxray.runs.folder import PredictionFolder
from voxray.scans.read import open_file
from voxray.scans.write import write_nifti
from voxray.storage.atomic import write_bytes, write_json
from voxray.storage.paths import AnyPath
from voxray.visualization.saliency import saliency_picture

SKIPPED = "skipped"  # the first word of an outcome without a prediction


@dataclass(frozen=True)
class Options:
    """What is written for each scan, and where."""

    out: AnyPath  # the folder
    probabilities: bool = False  # also written by a segmentation
    mask: AnyPath | None = None  # chooses a classifier's slices, where those of its training were chosen by masks
    candidates: AnyPath | None = None  # a list of points to classify, instead of proposals
    points: PointList | None = None  # those of the list, which is read once for all scans
    others: tuple[AnyPath, ...] = ()  # runs whose probabilities are averaged with those of the first one
    tta: bool = False  # whether the mean is also over mirrors along the axes that training flipped
    members: tuple[str, ...] = ()  # names of all networks, in the results


def check_scans(paths: Sequence[AnyPath]) -> None:
    """Raise DataError where two scans would be written to one file."""
    names: dict[str, AnyPath] = {}
    for path in paths:
        first = names.setdefault(plain_name(path), path)
        if first != path:
            problem = f"would be written to the same file as {first}"
            raise DataError(str(path), problem, "Predict them into two folders")


def segment_file(runs: Sequence[TrainedRun], path: AnyPath, options: Options) -> str:
    """Segment a scan and write the result; returns it in words.

    ``NAME_seg.nii.gz`` holds the label map in the scan's own geometry, ``NAME_prob.nii.gz`` the probabilities.
    """
    segmentation = segment(runs, open_file(path), str(path), probabilities=options.probabilities, tta=options.tta)
    labels, files, name = segmentation.labels, PredictionFolder(options.out), plain_name(path)
    write_nifti(files.label_map(name), labels, path, DESCRIPTION)
    if segmentation.probabilities is not None:
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
    classes = runs[0].classes
    mask = None if options.mask is None else open_file(options.mask)
    prediction = classify(runs, open_file(path), mask, str(path), tta=options.tta)
    named = dict(zip(classes, prediction.probabilities.tolist(), strict=True))
    ranked = sorted(named.items(), key=lambda pair: -pair[1])
    shares = ", ".join(f"{name} {probability_percent(value)}" for name, value in ranked)
    predicted = classes[prediction.label]
    label, images, saliency = Classifier(runs[0]).saliency(prediction)
    picture, _ = saliency_picture(images, saliency, shares, classes[label])
    name, files = plain_name(path), PredictionFolder(options.out)
    write_json(
        files.classification(name),
        {
            "scan": scan_name(path),
            "members": list(options.members),
            "tta": options.tta,
            "probabilities": named,
            "prediction": predicted,
            "threshold": prediction.threshold,
            "patches": len(images),
            "saliency": {"picture": files.saliency(name).name, "class": classes[label]},
        },
    )
    write_bytes(files.saliency(name), picture)
    if prediction.threshold is None:
        return f"{shares}; predicted {predicted}, the most probable class"
    threshold = probability_percent(prediction.threshold)
    return f"{shares}; predicted {predicted} ({classes[1]} from {threshold}, the operating point)"


def find_file(runs: Sequence[TrainedRun], path: AnyPath, options: Options) -> str:
    """Find candidates in a scan, classify them and write the findings; returns the first ten in words.

    With a list of candidates those of the scan are classified, none is left out.
    """
    detector, volume, name = Detector(runs, tta=options.tta), open_file(path), plain_name(path)
    if options.points is None:
        candidates = detector.propose(volume, str(path))
        findings = detector.merge(candidates, detector.score(volume, candidates, str(path)))
        what = f"{len(candidates):,} proposals"
        if not len(candidates):
            what = "no lungs were found, " + ("or nothing in them, " if detector.proposing else "")
            what += "so no candidates: is it a chest CT in HU, with the whole chest in view?"
    else:
        candidates = options.points.points_of(name)
        findings = sort_findings(candidates, detector.score(volume, candidates, str(path)))
        what = f"{len(candidates):,} candidates of {options.points.name}"
        outside = int(np.isnan(findings.probabilities).sum())
        if outside:
            what += f", {outside:,} outside the scan"
            if 2 * outside > len(candidates):
                what += f" (are they world millimeters, LPS?{other_coordinates(volume, candidates.centers_mm)})"
    subtitle = [f"run {runs[0].experiment.name}", what, f"{len(findings):,} findings"]
    files, searched = PredictionFolder(options.out), options.candidates is None
    made_by = {"members": list(options.members), "tta": options.tta}
    lines = write_findings(files, name, findings, volume, detector, subtitle, made_by, searched=searched)
    return "\n  ".join([f"{what}, {len(findings):,} findings", *lines])


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

    The probabilities of all networks, of folds and of several runs, are averaged. A scan that fails is skipped,
    whatever the error, so that the others are predicted.
    """
    runs = load_members([run, *options.others], device)
    check_task(runs[0])
    write_result = WRITERS[answer_kind(runs[0].task, runs[0].experiment)]

    def predict_file(path: AnyPath) -> str:
        try:
            with errors_of_scan(path):
                return write_result(runs, path, options)
        except WorkError:  # of the disk that is written to
            raise
        except VoxrayError as error:
            return f"{SKIPPED}: {error}"

    return predict_file


def answer_kind(task: str, experiment: Experiment) -> str:
    """What a run of a task says of a whole scan: segmentation, findings or classification."""
    if task == "segmentation":
        return task
    return "findings" if classifies_candidates(experiment) else "classification"


def check_task(run: TrainedRun) -> None:
    """Raise ConfigError where a run cannot predict whole scans."""
    CHECKS[answer_kind(run.task, run.experiment)](run)


CHECKS: dict[str, Callable[[TrainedRun], object]] = {
    "segmentation": Segmenter,
    "findings": lambda run: Detector([run]),
    "classification": Classifier,
}
WRITERS = {"segmentation": segment_file, "findings": find_file, "classification": classify_file}
