"""The media of an evaluated run at W&B: plots, and pictures of the worst errors of the best weights.

Scans are pseudonymous there, even where the run itself names them.
"""

from collections.abc import Iterator

import numpy as np
import torch

from voxray.privacy import pseudonym
from voxray.reporting.charts.froc_curve import DrawnCurve
from voxray.reporting.run.cases import choose_cases, gray_levels, read_case
from voxray.reporting.run.contents import RunContents
from voxray.reporting.text.numbers import probability_percent
from voxray.runs.folder import RunFolder
from voxray.tracking.wandb_run import Picture, Tracker
from voxray.visualization.overlay import AXIAL, center_of, take_plane, to_gray
from voxray.visualization.slices import display_slices, is_picture, to_display_range

SPLIT = "val"
PICTURES = 8


def log_evaluation(tracker: Tracker, run: RunContents) -> None:
    """Log the metrics of an evaluation, and plots and pictures of the validation split, to an entered tracker."""
    tracker.log_summary(run.metrics)
    if tracker.run is None:
        return
    if run.cases:
        tracker.log_pictures(f"{SPLIT}/cases", list(_overlays(run)), run.classes)
        return
    predictions = run.predictions[SPLIT]
    predicted = predictions.predicted(run.threshold)
    tracker.log_predictions(predictions.labels, predicted, predictions.probabilities, run.classes)
    for split, detection in run.detection.items():
        curves = {"list": detection.froc, "whole scans": detection.findings_froc}
        drawn = {name: DrawnCurve(table, {}) for name, table in curves.items() if table is not None}
        if drawn:
            columns = ("false_positives_per_scan", "sensitivity")
            named = {name: (curve.column(columns[0]), curve.column(columns[1])) for name, curve in drawn.items()}
            tracker.log_froc(f"{split}/froc", named)
    tracker.log_pictures(f"{SPLIT}/patches", list(_worst_patches(run)), run.classes)


def _overlays(run: RunContents) -> Iterator[Picture]:
    """Best, median and worst scan, each in the axial plane through the center of its ground truth."""
    key = RunFolder(run.folder).pseudonym_key()
    for title, case in choose_cases(run.cases[SPLIT]):
        scan, truth, prediction = read_case(run, case)
        z = center_of(truth, prediction)[AXIAL.cut]
        gray = to_gray(take_plane(scan.array[0], AXIAL, z), *gray_levels(run, scan))
        masks = {"truth": take_plane(truth, AXIAL, z), "prediction": take_plane(prediction, AXIAL, z)}
        name = case["scan_id"] if run.store.info.private else pseudonym(key, "scan", case["scan_id"])
        yield Picture(f"{title}: {name}, mean Dice {case['dice']:.3f}, slice {z + 1}", gray, masks)


def _worst_patches(run: RunContents) -> Iterator[Picture]:
    """Middle slices of the patches with the lowest probability of the true class."""
    predictions = run.predictions[SPLIT]
    chosen = np.argsort(predictions.truth_probabilities(), kind="stable")[:PICTURES]
    predicted = predictions.predicted(run.threshold)
    rows = predictions.rows.take(chosen).to_pylist()
    patches = run.store.read_patches(SPLIT, np.array([row["slot"] for row in rows], dtype=np.int64))
    scaled = to_display_range(torch.from_numpy(patches), run.experiment.intensity).numpy()
    for index, row, patch in zip(chosen.tolist(), rows, scaled, strict=True):
        slices = display_slices(patch, is_picture(row["path"]))
        label = predicted[index]
        share = float(predictions.probabilities[index][label])
        caption = f"true {run.classes[row['label']]}, predicted {run.classes[label]} ({probability_percent(share)})"
        yield Picture(caption, slices[len(slices) // 2])
