"""The worst errors of a run."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from voxray.metrics.curves import Floats, Ints
from voxray.report.run.contents import RunContents, SplitPredictions
from voxray.report.text.metric_values import SPLIT_NAMES, count, decimals, minus
from voxray.visualization.slices import display_slices, encode_png, is_picture, shorten_id, shown_patches, slice_step

FLAT_CASES, DEEP_CASES = 12, 4
FLAT_PIXELS, DEEP_PIXELS = 192, 112
SLICES_A_LINE = 12


@dataclass(frozen=True)
class Slice:
    """One slice of a patch: a PNG data URI, its number, and whether it is the middle one."""

    uri: str
    number: int
    is_middle: bool


@dataclass(frozen=True)
class Case:
    """One patch that the model is wrong about.

    Attributes
    ----------
    scan_id, short_id : str
    position : str
        World millimeters; empty for a picture.
    verdict : str
        What it is, what it was called, and the probability.
    slices : tuple of Slice
    """

    scan_id: str
    short_id: str
    position: str
    verdict: str
    slices: tuple[Slice, ...]

    @property
    def columns(self) -> int:
        """Slices side by side: all of them, or as many as make lines of about equal length."""
        lines = -(-len(self.slices) // SLICES_A_LINE)
        return -(-len(self.slices) // max(lines, 1))


@dataclass(frozen=True)
class CaseGroup:
    """The hardest patches of one kind of mistake, and how many mistakes of that kind there are."""

    title: str
    summary: str
    total: int
    cases: tuple[Case, ...]


def find_worst(
    labels: Ints, predicted: Ints, probabilities: Floats, label: int | None, limit: int
) -> NDArray[np.int64]:
    """The mistakes with the lowest probability of the truth.

    Parameters
    ----------
    labels, called : ndarray of int, (n,)
    probabilities : ndarray, (n, classes)
    label : int, optional
        Mistakes about patches of this class only.
    limit : int

    Returns
    -------
    ndarray of int
        At most `limit` positions, the worst first; equal ones in their order.
    """
    wrong = labels != predicted
    mistakes = np.flatnonzero(wrong if label is None else wrong & (labels == label))
    given = probabilities[mistakes, labels[mistakes]]
    return mistakes[np.argsort(given, kind="stable")[:limit]].astype(np.int64)


def error_groups(run: RunContents) -> list[CaseGroup]:
    """For each split the false negatives and false positives, or all mistakes when there are more than two classes."""
    kinds: list[tuple[str, int | None]] = (
        [("Missed", 1), ("False alarms", 0)] if len(run.classes) == 2 else [("Mistakes", None)]
    )
    return [_group(run, split, title, label) for split in run.splits for title, label in kinds]


def is_one_image(run: RunContents) -> bool:
    """Whether a patch is looked at as one image, and not as several slices or channels."""
    info = run.store.info
    pictures = run.predictions[run.splits[0]].rows["path"].slice(0, 1).to_pylist()
    return info.size[2] == 1 and (info.channels == 1 or any(map(is_picture, pictures)))


def _group(run: RunContents, split: str, title: str, label: int | None) -> CaseGroup:
    predictions = run.predictions[split]
    labels, predicted = predictions.labels, predictions.predicted(run.threshold)
    limit = FLAT_CASES if is_one_image(run) else DEEP_CASES
    every = find_worst(labels, predicted, predictions.probabilities, label, len(labels))
    where = SPLIT_NAMES[split].lower()
    kind = "the truth" if label is None else run.classes[1]
    what = run.unit if label is None else f"{run.classes[label]} {run.unit}"
    verdict = "called wrong" if label is None else "missed" if label == 1 else f"called {kind}"
    summary = f"None: no {what} of the {where} split is {verdict}"
    if len(every):
        summary = f"{count(len(every), what)} of the {where} split {verdict}"
        shown = "" if len(every) <= limit else f"the first {limit} are shown, "
        summary += f"; {shown}{'highest' if label == 0 else 'lowest'} probability of {kind} first"
    cases = _cases(run, split, predictions, predicted, every[:limit])
    return CaseGroup(f"{title}, {where}", summary, len(every), cases)


def _cases(
    run: RunContents, split: str, predictions: SplitPredictions, predicted: Ints, chosen: NDArray[np.int64]
) -> tuple[Case, ...]:
    rows = predictions.rows.take(pa.array(chosen)).to_pylist()
    slots = np.array([row["slot"] for row in rows], dtype=np.int64)
    patches = torch.from_numpy(run.store.read_patches(split, slots).copy())
    scaled = shown_patches(patches, run.experiment.intensity).numpy()
    cases = []
    for row, position, patch in zip(rows, chosen.tolist(), scaled, strict=True):
        picture = is_picture(row["path"])
        where = "" if picture else minus(f"x {row['x_mm']:.1f}, y {row['y_mm']:.1f}, z {row['z_mm']:.1f} mm")
        verdict = _verdict(run, predictions.probabilities[position], row["label"], int(predicted[position]))
        cases.append(Case(row["scan_id"], shorten_id(row["scan_id"]), where, verdict, _slices(patch, picture)))
    return tuple(cases)


def _verdict(run: RunContents, probabilities: Floats, label: int, predicted: int) -> str:
    if len(run.classes) == 2:
        return decimals(float(probabilities[1]))
    truth, said = run.classes[label], run.classes[predicted]
    return f"{truth} {decimals(float(probabilities[label]))}, called {said} {decimals(float(probabilities[predicted]))}"


def _slices(scaled: NDArray[np.float32], picture: bool) -> tuple[Slice, ...]:
    pixels = display_slices(scaled, picture)
    depth = scaled.shape[3]
    middle, longest = depth // 2, FLAT_PIXELS if len(pixels) == 1 else DEEP_PIXELS
    if depth == 1:
        return tuple(Slice(encode_png(each, longest), number, False) for number, each in enumerate(pixels, 1))
    step = slice_step(depth)
    shown = range(middle % step, depth, step)
    return tuple(Slice(encode_png(pixels[z], longest), z + 1, z == middle) for z in shown)
