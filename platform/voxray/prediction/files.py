"""Scans → files of their predictions in a folder: label maps, classes with a saliency map, or findings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from voxray.inference.classifier import Classifier, PatchesOfScan
from voxray.inference.detector import Detector, sort_findings
from voxray.inference.ensemble import PreparedScan, segment_scan
from voxray.inference.load import TrainedRun
from voxray.inference.predict import classify_patches, plain_name, scan_name
from voxray.inference.segmenter import Segmenter
from voxray.prediction.candidates import PointList, other_coordinates
from voxray.prediction.earlier import FILES, KEY, finished_files, prediction_key
from voxray.prediction.findings import write_findings
from voxray.prediction.scans import InputScan
from voxray.prediction.targets import DESCRIPTION
from voxray.reporting.text.numbers import probability_percent
from voxray.runs.folder import PredictionFolder
from voxray.scans.masks import count_classes, label_numbers
from voxray.scans.write import write_nifti
from voxray.storage.atomic import write_bytes, write_json
from voxray.storage.paths import AnyPath
from voxray.visualization.saliency import saliency_picture
from voxray.volume import Volume

PreparedPatches = Sequence[PatchesOfScan]


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
    settings: str = ""  # a name for all that predictions depend on beside their scan
    overwrite: bool = False  # whether predictions of other runs, settings or scans are replaced


def segment_file(runs: Sequence[TrainedRun], scan: InputScan, options: Options, prepared: PreparedScan) -> str:
    """Segment a scan and write the result; returns it in words.

    ``NAME_seg.nii.gz`` holds the label map in the scan's own geometry, ``NAME_prob.nii.gz`` the probabilities and
    ``NAME_seg.json`` what they belong to.
    """
    segmenters = [Segmenter(run) for run in runs]
    segmentation = segment_scan(segmenters, prepared, probabilities=options.probabilities, tta=options.tta)
    labels, files, name = segmentation.labels, PredictionFolder(options.out), scan.name
    written = [files.label_map(name)]
    write_nifti(written[0], labels, scan.path, DESCRIPTION)
    if segmentation.probabilities is not None:
        written.append(files.probabilities(name))
        write_nifti(written[1], segmentation.probabilities, scan.path, DESCRIPTION)
    classes = runs[0].classes
    counts = count_classes(label_numbers(labels, runs[0].labels, name), runs[0].labels)
    milliliters = abs(float(np.linalg.det(labels.affine[:3, :3]))) / 1000
    volumes = {name: count * milliliters for name, count in zip(classes[1:], counts[1:], strict=True)}
    rounded = {name: round(volume, 3) for name, volume in volumes.items()}
    write_json(files.record(name), {**made_by(scan, options), "volumes_ml": rounded, FILES: finished_files(written)})
    return f"{written[0]}: {', '.join(f'{name} {volume:.1f} ml' for name, volume in volumes.items())}"


def classify_file(runs: Sequence[TrainedRun], scan: InputScan, options: Options, prepared: PreparedPatches) -> str:
    """Classify a scan and write the result; returns it in words.

    ``NAME.json`` holds the probabilities and the predicted class, ``NAME_saliency.png`` slices with the Grad-CAM; of
    several networks that of the first one.
    """
    classes = runs[0].classes
    prediction = classify_patches(runs, prepared, str(scan.path), tta=options.tta)
    named = dict(zip(classes, prediction.probabilities.tolist(), strict=True))
    ranked = sorted(named.items(), key=lambda pair: -pair[1])
    shares = ", ".join(f"{name} {probability_percent(value)}" for name, value in ranked)
    predicted = classes[prediction.label]
    label, images, saliency = Classifier(runs[0]).saliency(prediction)
    picture, _ = saliency_picture(images, saliency, shares, classes[label])
    files = PredictionFolder(options.out)
    target = files.saliency(scan.name)
    write_bytes(target, picture)
    write_json(
        files.classification(scan.name),
        {
            **made_by(scan, options),
            "probabilities": named,
            "prediction": predicted,
            "threshold": prediction.threshold,
            "patches": len(images),
            "saliency": {"picture": target.name, "class": classes[label]},
            FILES: finished_files([target]),
        },
    )
    if prediction.threshold is None:
        return f"{shares}; predicted {predicted}, the most probable class"
    threshold = probability_percent(prediction.threshold)
    return f"{shares}; predicted {predicted} ({classes[1]} from {threshold}, the operating point)"


def find_file(runs: Sequence[TrainedRun], scan: InputScan, options: Options, volume: Volume) -> str:
    """Find candidates in a scan, classify them and write the findings; returns the first ten in words.

    With a list of candidates those of the scan are classified as an evaluation does it, and none is left out.
    """
    detector, where = Detector(runs, tta=options.tta), str(scan.path)
    if options.points is None:
        candidates = detector.propose(volume, where)
        findings = detector.merge(candidates, detector.score(volume, candidates, where))
        what = f"{len(candidates):,} proposals"
        if not len(candidates):
            what = "no lungs were found, " + ("or nothing in them, " if detector.proposing else "")
            what += "so no candidates: is it a chest CT in HU, with the whole chest in view?"
    else:
        candidates = options.points.points_of(plain_name(scan.path))
        findings = sort_findings(candidates, detector.classify(volume, candidates, where))
        what = f"{len(candidates):,} candidates of {options.points.name}"
        outside = int(np.isnan(findings.probabilities).sum())
        if outside:
            what += f", {outside:,} outside the scan"
            if 2 * outside > len(candidates):
                what += f" (are they world millimeters, LPS?{other_coordinates(volume, candidates.centers_mm)})"
    count = f"{findings.count_known():,} findings"
    subtitle = [f"run {runs[0].experiment.name}", what, count]
    files, searched = PredictionFolder(options.out), options.candidates is None
    record = made_by(scan, options)
    lines = write_findings(files, scan.name, findings, volume, detector, subtitle, record, searched=searched)
    return "\n  ".join([f"{what}, {count}", *lines])


def made_by(scan: InputScan, options: Options) -> dict[str, Any]:
    """The record of a prediction: what it belongs to. It is unfinished without the states of its files."""
    key = prediction_key(options.settings, scan.path)
    return {"scan": scan_name(scan.path), "members": list(options.members), "tta": options.tta, KEY: key}
