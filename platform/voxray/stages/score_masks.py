"""Score masks: label maps of any program against the truth, one case after another."""

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxray.console.progress import OnProgress
from voxray.errors import ScanError
from voxray.metrics.compute import mean_metrics, scan_metrics, without_nan
from voxray.metrics.intervals import scan_intervals
from voxray.metrics.proportions import Interval
from voxray.metrics.segmentation import TOLERANCE_MM
from voxray.planning.found import some
from voxray.planning.mask_pairs import MaskPair, PairedMasks, check_grids, pair_masks, raise_problems
from voxray.runs.folder import ScoreFolder
from voxray.scans.read import open_scan
from voxray.storage.atomic import write_bytes, write_json
from voxray.storage.paths import AnyPath

FULL = 255  # of masks that are pictures in black and white
MOST_LABELS = 65_535
Labels = NDArray[Any]


@dataclass(frozen=True)
class ScoredCase:
    """The metrics of a case as ``<metric>/<class>``."""

    pair: MaskPair
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class MaskScore:
    """Metrics of all cases.

    Attributes
    ----------
    cases : sequence of ScoredCase
    classes : mapping of int to str
        The labels and their names.
    means : dict
        As in ``metrics.json``: ``dice``, ``dice/liver``, …
    intervals : dict
        Over cases.
    paired : PairedMasks
    tolerance_mm : float
        Of surface Dice.
    """

    cases: Sequence[ScoredCase]
    classes: Mapping[int, str]
    means: Mapping[str, float]
    intervals: Mapping[str, Interval | None]
    paired: PairedMasks
    tolerance_mm: float

    def content(self) -> dict[str, Any]:
        """All values, for JSON."""
        return without_nan(
            {
                **self.means,
                "intervals": self.intervals,
                "scans": len(self.cases),
                "classes": {name: label for label, name in self.classes.items()},
                "tolerance_mm": self.tolerance_mm,
                "without_prediction": list(self.paired.only_truth),
                "without_truth": list(self.paired.only_prediction),
                "cases": {case.pair.name: dict(case.metrics) for case in self.cases},
            }
        )


class _Seen:
    """What the masks hold, for notes: label → cases, on each side."""

    def __init__(self) -> None:
        self.truth: dict[int, list[str]] = {}
        self.prediction: dict[int, list[str]] = {}
        self.empty: dict[str, list[str]] = {"truth": [], "prediction": [], "truth and prediction": []}
        self.full: list[str] = []

    def add(self, name: str, truth: Sequence[int], prediction: Sequence[int]) -> None:
        for side, labels in ((self.truth, truth), (self.prediction, prediction)):
            for label in labels:
                side.setdefault(label, []).append(name)
        if not len(truth) or not len(prediction):
            which = "prediction" if len(truth) else "truth" if len(prediction) else "truth and prediction"
            self.empty[which].append(name)


def score_masks(
    prediction: AnyPath,
    truth: AnyPath,
    names: Mapping[int, str] | None = None,
    tolerance_mm: float = TOLERANCE_MM,
    on_progress: OnProgress = lambda done, total, name: None,
) -> tuple[MaskScore, list[str]]:
    """Compare masks; one case is in memory at a time.

    Parameters
    ----------
    prediction, truth : path
        Two folders or two files.
    names : mapping of int to str, optional
        Names of the labels; others are then errors. By default each label that occurs is named by its number.
    tolerance_mm : float
        Of surface Dice.
    on_progress : callable

    Returns
    -------
    score : MaskScore
    notes : list of str
        What is doubtful, with names.

    Raises
    ------
    DataError
        No pairs, other grids, values that are no labels: all problems together.
    """
    paired = pair_masks(prediction, truth)
    check_grids(paired.pairs)
    seen, problems = _Seen(), []
    compared: list[tuple[MaskPair, dict[int, dict[str, float]]]] = []
    for number, pair in enumerate(paired.pairs, 1):
        try:
            compared.append((pair, _compare(pair, seen, names, tolerance_mm)))
        except ScanError as error:
            problems.append(f"{error.where}: {error.problem}")
        on_progress(number, len(paired.pairs), pair.name)
    if problems:
        raise_problems(problems, "Correct the masks" if names is None else "Correct the masks or --classes")
    classes = dict(names) if names else {label: str(label) for label in sorted({*seen.truth, *seen.prediction})}
    nothing = _of_label(np.zeros((1, 1, 1), np.uint8), np.zeros((1, 1, 1), np.uint8), (1, 1, 1), tolerance_mm)
    cases = [
        ScoredCase(pair, _by_metric({name: of_labels.get(label, nothing) for label, name in classes.items()}))
        for pair, of_labels in compared
    ]
    metrics = [case.metrics for case in cases]
    patients = [case.pair.name for case in cases]
    if classes:
        means, intervals = mean_metrics(metrics), scan_intervals(metrics, patients)
    else:
        means, intervals = {}, {}
    return MaskScore(cases, classes, means, intervals, paired, tolerance_mm), _notes(paired, seen, classes)


def _compare(
    pair: MaskPair, seen: _Seen, names: Mapping[int, str] | None, tolerance_mm: float
) -> dict[int, dict[str, float]]:
    """The metrics of each label that one of both masks has."""
    first = open_scan(pair.truth)
    truth, prediction = (
        _labels(first.array[0], pair.truth, seen),
        _labels(open_scan(pair.prediction).array[0], pair.prediction, seen),
    )
    true, predicted = _present(truth), _present(prediction)
    seen.add(pair.name, true, predicted)
    unknown = [label for label in {*true, *predicted} if names is not None and label not in names]
    if unknown:
        raise ScanError(
            str(pair.truth),
            f"it or {pair.prediction} has labels without a name: {some([str(each) for each in unknown])}",
        )
    labels = sorted({*true, *predicted})
    codes = [_numbered(each, labels) for each in (truth, prediction)]
    found = scan_metrics(codes[0], codes[1], first.spacing_mm, ["", *map(str, labels)], tolerance_mm)
    return {
        label: {key.rpartition("/")[0]: value for key, value in found.items() if key.rpartition("/")[2] == str(label)}
        for label in labels
    }


def _of_label(truth: Labels, prediction: Labels, spacing_mm: Sequence[float], tolerance_mm: float) -> dict[str, float]:
    found = scan_metrics(truth, prediction, spacing_mm, ["", "1"], tolerance_mm)
    return {key.rpartition("/")[0]: value for key, value in found.items()}


def _by_metric(of_classes: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """``<metric>/<class>``, all classes of a metric together."""
    metrics = next(iter(of_classes.values()), {})
    return {f"{metric}/{name}": values[metric] for metric in metrics for name, values in of_classes.items()}


def _labels(values: Labels, path: AnyPath, seen: _Seen) -> Labels:
    """The values of a mask as whole numbers from 0 on; where 255 is the only label, it is 1."""
    odd = values[:0] if values.dtype.kind in "iub" else values[~(np.isfinite(values) & (values == np.rint(values)))]
    if odd.size:
        raise ScanError(str(path), f"expected whole numbers as labels, got {odd[0]:.6g}")
    if values.size and (values.min() < 0 or values.max() > MOST_LABELS):
        raise ScanError(str(path), f"expected labels from 0 to {MOST_LABELS}, got {values.min()} to {values.max()}")
    labels = values.astype(np.uint16)
    if _present(labels) == [FULL]:
        seen.full.append(str(path))
        return np.asarray(labels == FULL, np.uint16)
    return labels


def _present(labels: Labels) -> list[int]:
    """The labels of a mask, without the background; a plane at a time, because counting takes memory."""
    counts = np.zeros(MOST_LABELS + 1, np.int64)
    for plane in labels:
        counts += np.bincount(plane.ravel(), minlength=len(counts))
    return [int(label) for label in np.flatnonzero(counts) if label]


def _numbered(labels: Labels, known: Sequence[int]) -> Labels:
    """The labels as 1, 2, … in the order of `known`, which has all of them."""
    numbers = np.zeros(MOST_LABELS + 1, np.uint16)
    numbers[list(known)] = np.arange(1, len(known) + 1)
    return np.asarray(numbers[labels])


def _notes(paired: PairedMasks, seen: _Seen, classes: Mapping[int, str]) -> list[str]:
    notes = []
    for files, problem in (
        (paired.only_truth, "have no prediction and do not count"),
        (paired.only_prediction, "have no truth and do not count"),
    ):
        if files:
            what = "masks of the truth" if files is paired.only_truth else "predictions"
            notes.append(f"{len(files):,} {what} {problem}: {some(files)}")
    for which, cases in seen.empty.items():
        if cases:
            rule = "Dice is undefined" if "and" in which else "Dice is 0"
            notes.append(f"{len(cases):,} cases have no label in {which}, {rule}: {some(cases)}")
    for side, other, here, there in (
        (seen.truth, seen.prediction, "truth", "prediction"),
        (seen.prediction, seen.truth, "prediction", "truth"),
    ):
        for label in sorted(side.keys() - other.keys()):
            name = classes.get(label, str(label))
            notes.append(f"label {name} is in no {there}, and in the {here} of {some(side[label])}")
    if seen.full:
        notes.append(f"{len(seen.full):,} masks hold only 0 and 255, read as 0 and 1: {some(seen.full)}")
    return notes


def write_score(folder: AnyPath, score: MaskScore, notes: Sequence[str]) -> AnyPath:
    """Write the table of cases, the values and the page; returns the page."""
    from voxray.reporting.scoring.page import render_scores  # imports matplotlib, which takes a second

    files = ScoreFolder(folder)
    write_bytes(files.cases, _csv(score).encode())
    write_json(files.scores, score.content())
    rows = [(case.pair.name, case.metrics, _reader(case.pair, list(score.classes))) for case in score.cases]
    page = render_scores(score.content(), list(score.classes.values()), rows, notes)
    write_bytes(files.page, page.encode())
    return files.page


def _csv(score: MaskScore) -> str:
    """A row for each case and class; undefined values are empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    keys = list(score.cases[0].metrics) if score.cases else []
    metrics = list(dict.fromkeys(key.partition("/")[0] for key in keys))
    writer.writerow(["case", "class", "label", *metrics])
    for case in score.cases:
        for label, name in score.classes.items():
            values = [case.metrics[f"{metric}/{name}"] for metric in metrics]
            writer.writerow([case.pair.name, name, label, *("" if math.isnan(value) else value for value in values)])
    return text.getvalue()


def _reader(pair: MaskPair, labels: Sequence[int]) -> Callable[[], tuple[Any, Labels, Labels]]:
    """A function that reads a case again, for its picture: a volume of the grid, and both masks as 0, 1, …"""

    def read() -> tuple[Any, Labels, Labels]:
        volume = open_scan(pair.truth)
        scans = (volume, pair.truth), (open_scan(pair.prediction), pair.prediction)
        masks = (_labels(scan.array[0], path, _Seen()) for scan, path in scans)
        truth, prediction = (np.minimum(_numbered(mask, labels), 255).astype(np.uint8) for mask in masks)
        return volume, truth, prediction

    return read
