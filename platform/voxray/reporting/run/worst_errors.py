"""The patches that a run displays: its worst errors, and correct positives beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from voxray.errors import StoreError
from voxray.metrics.curves import Floats, Ints
from voxray.reporting.run.contents import RunContents
from voxray.reporting.text.numbers import SPLIT_NAMES, count, decimals, probability
from voxray.visualization.slices import display_slices, encode_png, is_picture, shorten_id, slice_step, to_display_range

FLAT_CASES, DEEP_CASES = 12, 4
FLAT_PIXELS, DEEP_PIXELS = 192, 112
SLICES_PER_LINE = 12


@dataclass(frozen=True)
class Slice:
    """One slice of a patch: a PNG data URI, its number, and whether it is the middle one."""

    uri: str
    number: int
    is_middle: bool


@dataclass(frozen=True)
class ErrorCase:
    """One displayed patch."""

    scan_id: str
    short_id: str
    position: str  # in world millimeters; empty for a picture
    scores: str  # the probability, with more than two classes also the true and the predicted class
    slices: tuple[Slice, ...]

    @property
    def columns(self) -> int:
        """Slices per line: all of them, or as many as give lines of about equal length."""
        lines = -(-len(self.slices) // SLICES_PER_LINE)
        return -(-len(self.slices) // max(lines, 1))


@dataclass(frozen=True)
class ErrorGroup:
    """Patches of one kind, such as the worst false negatives, and the number of all patches of that kind."""

    title: str
    summary: str
    total: int
    cases: tuple[ErrorCase, ...]


def find_worst(
    labels: Ints, predicted: Ints, probabilities: Floats, label: int | None, limit: int
) -> NDArray[np.int64]:
    """At most `limit` positions of errors, those with the lowest probability of the true class first.

    Labels and predictions are (n,), probabilities (n, classes). A `label` selects the errors on patches of this class.
    """
    wrong = labels != predicted
    errors = np.flatnonzero(wrong if label is None else wrong & (labels == label))
    scores = probabilities[errors, labels[errors]]
    return errors[np.argsort(scores, kind="stable")[:limit]].astype(np.int64)


def choose_correct(
    labels: Ints, predicted: Ints, probabilities: Floats, classes: int, limit: int
) -> tuple[NDArray[np.int64], int]:
    """At most `limit` positions of correct predictions, and the number of those that could be chosen.

    With two classes they are positives, evenly spaced from the highest to the lowest probability. With more, they are
    one of each class, that with the median probability.
    """
    correct = np.flatnonzero((labels == predicted) & ((labels == 1) | (classes > 2)))
    scores = probabilities[correct, labels[correct]]
    ranked = correct[np.argsort(-scores, kind="stable")].astype(np.int64)
    if classes == 2:
        spaced = np.linspace(0, len(ranked) - 1, min(limit, len(ranked))).round().astype(np.int64)
        return ranked[spaced], len(ranked)
    members = [ranked[labels[ranked] == label] for label in range(classes)]
    medians = [member[(len(member) - 1) // 2] for member in members if len(member)]
    return np.array(medians[:limit], np.int64), len(ranked)


def error_groups(run: RunContents) -> list[ErrorGroup]:
    """For each split the false negatives and false positives, or all errors with more than two classes.

    The correct positives of the first split come after its errors.
    """
    labels = (1, 0) if len(run.classes) == 2 else (None,)
    groups = {split: [_group(run, split, label) for label in labels] for split in run.splits}
    first = run.splits[0]
    groups[first].append(_correct_group(run, first))
    return [group for split in run.splits for group in groups[split]]


def is_one_image(run: RunContents) -> bool:
    """Whether a patch is displayed as one image, not as several slices or channels."""
    info = run.store.info
    paths = run.predictions[run.splits[0]].rows["path"].slice(0, 1).to_pylist()
    return info.size[2] == 1 and (info.channels == 1 or any(map(is_picture, paths)))


def _group(run: RunContents, split: str, label: int | None) -> ErrorGroup:
    predictions = run.predictions[split]
    predicted = predictions.predicted(run.threshold)
    limit = FLAT_CASES if is_one_image(run) else DEEP_CASES
    errors = find_worst(predictions.labels, predicted, predictions.probabilities, label, len(predicted))
    where = SPLIT_NAMES[split].lower()
    if label is None:
        title, patches, error = "Misclassified", run.level, "misclassified"
        order = "lowest probability of the true class"
    else:
        title, patches = "False negatives" if label else "False positives", f"{run.classes[label]} {run.level}"
        error = f"predicted as {run.classes[1 - label]}"
        order = f"{'lowest' if label else 'highest'} probability of {run.classes[1]}"
    summary = f"None: no {patches} of the {where} split is {error}"
    if len(errors):
        limited = "" if len(errors) <= limit else f"the first {limit} are displayed, "
        summary = f"{count(len(errors), patches)} of the {where} split {error}; {limited}{order} first"
    cases = _cases(run, split, predicted, errors[:limit])
    return ErrorGroup(f"{title}, {where}", summary, len(errors), cases)


def _correct_group(run: RunContents, split: str) -> ErrorGroup:
    predictions = run.predictions[split]
    predicted = predictions.predicted(run.threshold)
    limit = FLAT_CASES if is_one_image(run) else DEEP_CASES
    labels, two = predictions.labels, len(run.classes) == 2
    chosen, total = choose_correct(labels, predicted, predictions.probabilities, len(run.classes), limit)
    where, name = SPLIT_NAMES[split].lower(), f"{run.classes[1]} {run.level}" if two else run.level
    of = f"{total:,} of {count(int((labels == 1).sum()) if two else len(labels), name)} of the {where} split"
    order = "evenly spaced from the highest to the lowest probability" if two else "the median of each class"
    some = f"; {order}" if len(chosen) == total else f"; {len(chosen)} are displayed, {order}"
    summary = f"{of} predicted correctly{some if total else ''}"
    title = f"Correct {'positives' if two else 'predictions'}, {where}"
    return ErrorGroup(title, summary, total, _cases(run, split, predicted, chosen))


def _cases(run: RunContents, split: str, predicted: Ints, chosen: NDArray[np.int64]) -> tuple[ErrorCase, ...]:
    predictions = run.predictions[split]
    rows = predictions.rows.take(pa.array(chosen)).to_pylist()
    scores = [
        _scores(run, predictions.probabilities[index], row["label"], int(predicted[index]))
        for row, index in zip(rows, chosen.tolist(), strict=True)
    ]
    return patch_cases(run, split, rows, scores)


def patch_cases(
    run: RunContents, split: str, rows: Sequence[Mapping[str, Any]], scores: Sequence[str]
) -> tuple[ErrorCase, ...]:
    """Patches with their slices, from rows of the index; none where they cannot be read, which the page says."""
    slots = np.array([row["slot"] for row in rows], dtype=np.int64)
    try:
        patches = torch.from_numpy(run.store.read_patches(split, slots).copy())
    except StoreError:
        return ()
    scaled = to_display_range(patches, run.experiment.intensity).numpy()
    cases = []
    for row, text, patch in zip(rows, scores, scaled, strict=True):
        picture = is_picture(row["path"])
        point = ", ".join(f"{axis} {_tenths(row[f'{axis}_mm'])}" for axis in "xyz")
        position = "" if picture else f"{point} mm"
        cases.append(ErrorCase(row["scan_id"], shorten_id(row["scan_id"]), position, text, _slices(patch, picture)))
    return tuple(cases)


def _tenths(value: float) -> str:
    """A number with one decimal place; adding 0 makes −0 a 0."""
    return decimals(round(value, 1) + 0.0, 1)


def _scores(run: RunContents, probabilities: Floats, label: int, predicted: int) -> str:
    if len(run.classes) == 2:
        return probability(float(probabilities[1]))
    true, wrong = (f"{run.classes[index]} {probability(float(probabilities[index]))}" for index in (label, predicted))
    return true if label == predicted else f"{true}, predicted {wrong}"


def _slices(scaled: NDArray[np.float32], picture: bool) -> tuple[Slice, ...]:
    images = display_slices(scaled, picture)
    depth = scaled.shape[3]
    middle, longest = depth // 2, FLAT_PIXELS if len(images) == 1 else DEEP_PIXELS
    if depth == 1:
        return tuple(Slice(encode_png(image, longest), number, False) for number, image in enumerate(images, 1))
    step = slice_step(depth)
    return tuple(Slice(encode_png(images[z], longest), z + 1, z == middle) for z in range(middle % step, depth, step))
