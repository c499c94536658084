"""The page of scored masks: a table of metrics, and the cases, the worst first, with the contours of some."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxray.metrics.compute import case_dice
from voxray.reporting.html import template_environment
from voxray.reporting.run.cases import PlanePicture, draw_plane
from voxray.reporting.run.reproduce import shorten_paths
from voxray.reporting.text.metric_values import describe, metric_value
from voxray.reporting.text.numbers import decimals
from voxray.scans.geometry import voxel_to_world
from voxray.visualization.animation import TINT, Slices
from voxray.visualization.overlay import PLANES, center_of, crop_box, lighter
from voxray.visualization.style import class_color
from voxray.volume import Volume

DRAWN = 3  # of the worst cases
SCORE_METRICS = (
    *("dice", "hd95_mm", "surface_dice", "sensitivity"),
    *("lesion_recall", "lesion_precision", "lesion_f1", "lesions", "predicted_lesions"),
)
CASE_METRICS = ("dice", "hd95_mm", "surface_dice", "sensitivity", "lesion_f1")
CLASS_MEAN = "mean of the classes"

Masks = tuple[Volume, NDArray[np.uint8], NDArray[np.uint8]]
Case = tuple[str, Mapping[str, float], Callable[[], Masks]]


def score_rows(content: Mapping[str, Any], classes: Sequence[str]) -> list[tuple[str, str, str, str]]:
    """Metric, class, value and interval: each metric for each class, and the mean Dice of several classes."""
    rows = []
    for metric in SCORE_METRICS:
        keys = [f"{metric}/{name}" for name in classes]
        if describe(metric).class_mean and len(classes) > 1:
            keys.insert(0, metric)
        for key in keys:
            value = metric_value(key, content, ["background", *classes], content["tolerance_mm"])
            rows.append((describe(metric).label, key.partition("/")[2] or CLASS_MEAN, value.text, value.interval))
    return rows


def render_scores(
    content: Mapping[str, Any], classes: Sequence[str], cases: Sequence[Case], notes: Sequence[str]
) -> str:
    """The page as HTML.

    Parameters
    ----------
    content : mapping
        Of ``scores.json``.
    classes : sequence of str
        Names, without the background.
    cases : sequence of (name, metrics, function that reads the grid, the truth and the prediction)
    notes : sequence of str
    """
    dice = {name: case_dice(metrics) if metrics else math.nan for name, metrics, _ in cases}
    ranked = sorted(cases, key=lambda case: (math.isnan(dice[case[0]]), dice[case[0]], case[0]))
    columns = [f"{metric}/{name}" for metric in CASE_METRICS for name in classes]
    environment = template_environment()
    environment.filters["hide_paths"] = lambda text: shorten_paths(str(text))
    values = {
        "scans": len(cases),
        "classes": classes,
        "rows": score_rows(content, classes),
        "notes": notes,
        "columns": [(describe(key).label, key.partition("/")[2]) for key in columns],
        "cases": [
            (name, decimals(dice[name]), [decimals(metrics[key], describe(key).digits) for key in columns])
            for name, metrics, _ in ranked
        ],
        "legend": [
            (name, class_color(label), lighter(class_color(label), TINT)) for label, name in enumerate(classes, 1)
        ],
        "drawn": [(name, decimals(dice[name]), _draw(*read())) for name, _, read in ranked[:DRAWN]] if classes else [],
    }
    return environment.get_template("scores.html.jinja").render(values) + "\n"


def _draw(grid: Volume, truth: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> list[PlanePicture]:
    """The contours of both masks in the planes through the center of the truth, on gray."""
    box = crop_box((truth, prediction), grid.spacing_mm)
    corner = np.array([part.start for part in box], np.float64)
    blank = np.ones(truth[box].shape, np.uint8)
    slices = Slices(blank, truth[box], prediction[box], grid.spacing_mm, (0.0, 4.0))
    center = center_of(slices.truth, slices.prediction)
    world = voxel_to_world(grid.affine, (corner + center)[None])[0]
    planes = PLANES if truth.shape[2] > 1 else PLANES[:1]
    return [draw_plane(slices, plane, center[plane.cut], float(world[plane.cut])) for plane in planes]
