"""Images that are almost the same: shifted, re-encoded or resized copies, found in time linear in their number.

Images that merely show the same kind of thing, such as two chests, agree in their coarse structure. Copies agree in
their detail: what is left of an image without its blurred version. The correlation of two details where the images
overlap, at the best shift, tells them apart. Where all images of a data set are alike, a copy has to stand out from
them.

No pair is compared without a reason. Each image has a few landmarks, the peaks of its detail; a copy has the same
landmarks, wherever it is shifted. The surroundings of each are described by a few numbers (their principal components
with unit variance), and those alike are found by locality-sensitive hashing: random hyperplanes sort the landmarks so
that neighbors are alike, several times. Two landmarks that are alike imply a shift; the images are correlated at it.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, maximum_filter

from voxray.inspection.outliers import median_and_deviation
from voxray.inspection.signatures import Signature, common_grid

ALIKE = 0.85  # correlation of details; of the real data sets in docs/inspect.md, unrelated images stay below
STANDS_OUT = 6.0  # robust standard deviations of the correlation of unrelated images, after Fisher's transformation
PAIRS, FEWEST_IMAGES = 2_000, 8  # drawn to know that correlation, and for which it is known
OVERLAP = 0.4  # share of an image that its copy has to show
BLUR, PEAK = 2.0, 1.0  # cells
FAINTEST = 1.0  # gray levels of 255, of a peak
LANDMARKS, NUMBERS = 12, 32  # of an image at most, and of a landmark's description
WINDOW = 6  # a landmark's surroundings reach a sixth of the image in each direction
DESCRIBED_ALIKE = 0.7  # cosine
TABLES, NEIGHBORS, PER_BUCKET = 16, 16, 16
SAMPLE, BLOCK = 20_000, 512  # landmarks to learn from, images at a time
SEED = 0

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


class NearPair(NamedTuple):
    """Two images that are almost the same: their numbers, and the correlation of their details."""

    first: int
    second: int
    correlation: float


class Landmarks(NamedTuple):
    """Landmarks of images: the image of each (n,), its cell (n, 3) and its description (n, numbers)."""

    images: Ints
    cells: Ints
    described: Floats


def find_near_duplicates(signatures: list[Signature], groups: NDArray[np.int64]) -> list[NearPair]:
    """Pairs of images of different groups that are almost the same, those most alike first.

    Parameters
    ----------
    signatures : list of ndarray of uint8, (x, y, z)
        See `voxray.inspection.signatures.signature`.
    groups : ndarray, (n,)
        Such as splits; within a group nothing is compared.
    """
    if len(np.unique(groups)) < 2:
        return []
    images = common_grid(signatures)
    landmarks = _find_landmarks(images)
    if len(landmarks.images) < 2:
        return []
    candidates = _candidates(landmarks, groups)
    best: dict[tuple[int, int], float] = {}
    least = max(ALIKE, _least_that_stands_out(images, groups))
    for first, second, correlation in _correlate(images, candidates, least):
        best[first, second] = max(correlation, best.get((first, second), least))
    pairs = [NearPair(*numbers, correlation) for numbers, correlation in best.items()]
    return sorted(pairs, key=lambda pair: (-pair.correlation, pair))


def _least_that_stands_out(images: NDArray[np.uint8], groups: NDArray[np.int64]) -> float:
    """The correlation above which images are no more alike by chance than those of a data set are; 0 for a few images.

    By Fisher's transformation, median and median absolute deviation over pairs of different groups as they are.
    """
    if len(images) < FEWEST_IMAGES:
        return 0.0
    pairs = np.random.default_rng(SEED).integers(0, len(images), (PAIRS, 2))
    first, second = pairs[groups[pairs[:, 0]] != groups[pairs[:, 1]]].T
    correlations = _correlations(_all_details(images[first]), _all_details(images[second])).astype(np.float64)
    median, deviation = median_and_deviation(np.arctanh(np.clip(correlations, -1 + 1e-6, 1 - 1e-6)))
    return float(np.tanh(median + STANDS_OUT * deviation))


def _details(images: NDArray[np.uint8]) -> Floats:
    """Images (n, x, y, z) without their blurred version."""
    values = images.astype(np.float32)
    widths = [BLUR if size > 1 else 0 for size in images.shape[1:]]
    return np.asarray(values - gaussian_filter(values, (0, *widths), mode="nearest"))


def _find_landmarks(images: NDArray[np.uint8]) -> Landmarks:
    reach = np.array([size // WINDOW for size in images.shape[1:]])
    rng = np.random.default_rng(SEED)
    some = rng.permutation(len(images))[: -(-SAMPLE // LANDMARKS)]
    mean, axes = _principal_axes(np.concatenate([windows for _, _, windows in _windows(images[some], reach)]))
    found: list[tuple[Ints, Ints, Floats]] = []
    for owners, cells, windows in _windows(images, reach):
        numbers = (windows - mean) @ axes
        found.append((owners, cells, numbers / (np.linalg.norm(numbers, axis=1, keepdims=True) + 1e-9)))
    return Landmarks(*map(np.concatenate, zip(*found, strict=True)))


def _windows(images: NDArray[np.uint8], reach: Ints) -> Iterator[tuple[Ints, Ints, Floats]]:
    """Landmarks of some images at a time: image, cell, and the detail around it, centered and of unit length."""
    inner = tuple(slice(far, size - far) for far, size in zip(reach, images.shape[1:], strict=True))
    around = np.stack(np.meshgrid(*(np.arange(-far, far + 1) for far in reach), indexing="ij"), -1).reshape(-1, 3)
    for start in range(0, len(images), BLOCK):
        details = _details(images[start : start + BLOCK])
        owners, cells = _peaks(details, inner)
        places = cells[:, None] + around
        windows = details[owners[:, None], places[..., 0], places[..., 1], places[..., 2]]
        yield owners + start, cells, _unit(windows)


def _peaks(details: Floats, inner: tuple[slice, ...]) -> tuple[Ints, Ints]:
    """The highest local peaks of each image, bright or dark: image and cell of each."""
    sizes = details.shape[1:]
    strength = np.abs(gaussian_filter(details, (0, *(PEAK if size > 1 else 0 for size in sizes)), mode="nearest"))
    is_peak = strength == maximum_filter(strength, (1, *(3 if size > 1 else 1 for size in sizes)))
    scores = np.zeros_like(strength)
    within = (slice(None), *inner)
    scores[within] = np.where(is_peak[within], strength[within], 0)
    scores = scores.reshape(len(details), -1)
    count = min(LANDMARKS, scores.shape[1])
    highest = np.argpartition(scores, -count, axis=1)[:, -count:]
    owners, ranks = np.nonzero(np.take_along_axis(scores, highest, axis=1) > FAINTEST)
    return owners, np.stack(np.unravel_index(highest[owners, ranks], sizes), axis=1)


def _principal_axes(windows: Floats) -> tuple[Floats, Floats]:
    """Mean (cells,) and axes (cells, numbers) that give a description of unit variance."""
    mean = windows.mean(axis=0) if len(windows) else np.zeros(windows.shape[1], np.float32)
    variances, axes = np.linalg.eigh((windows - mean).T @ (windows - mean) / max(len(windows), 1))
    # Ascending; the smallest are noise.
    strongest = slice(-1, -1 - min(NUMBERS, len(variances)), -1)
    return mean, np.asarray(axes[:, strongest] / np.sqrt(np.maximum(variances[strongest], 1e-6)), np.float32)


def _candidates(landmarks: Landmarks, groups: Ints) -> Ints:
    """Rows of (first image, second image, shift along x, y, z) that two landmarks alike imply, each once."""
    count = len(landmarks.images)
    bits = max(1, int(np.ceil(np.log2(count / PER_BUCKET))))
    rng = np.random.default_rng(SEED)
    group, pairs = groups[landmarks.images], []
    for _ in range(TABLES):
        sides = landmarks.described @ rng.standard_normal((landmarks.described.shape[1], bits + 1)).astype(np.float32)
        bucket = (sides[:, :-1] > 0) @ (1 << np.arange(bits))
        order = np.lexsort((sides[:, -1], bucket))
        for distance in range(1, min(NEIGHBORS, count - 1) + 1):
            here, there = order[:-distance], order[distance:]
            other = group[here] != group[there]
            here, there = here[other], there[other]
            cosines = np.einsum("ij,ij->i", landmarks.described[here], landmarks.described[there])
            alike = cosines > DESCRIBED_ALIKE
            pairs.append(np.sort(np.stack([here[alike], there[alike]], axis=1), axis=1))
    first, second = np.unique(np.concatenate(pairs), axis=0).T
    shifts = landmarks.cells[first] - landmarks.cells[second]
    return np.unique(np.column_stack([landmarks.images[first], landmarks.images[second], shifts]), axis=0)


def _correlate(images: NDArray[np.uint8], candidates: Ints, least: float) -> Iterator[tuple[int, int, float]]:
    """Candidates whose details correlate by `least` or more."""
    sizes = np.array(images.shape[1:])
    candidates = candidates[np.prod(1 - np.abs(candidates[:, 2:]) / sizes, axis=1) >= OVERLAP]
    used, places = np.unique(candidates[:, :2], return_inverse=True)
    details = _all_details(images[used])
    shifts, which = np.unique(candidates[:, 2:], axis=0, return_inverse=True)
    order = np.argsort(which.ravel(), kind="stable")
    bounds = np.searchsorted(which.ravel()[order], np.arange(len(shifts) + 1))
    for number, shift in enumerate(shifts):
        rows = order[bounds[number] : bounds[number + 1]]
        there = tuple(slice(max(0, -far), size - max(0, far)) for far, size in zip(shift, sizes, strict=True))
        here = tuple(slice(max(0, far), size - max(0, -far)) for far, size in zip(shift, sizes, strict=True))
        for start in range(0, len(rows), BLOCK):
            some = rows[start : start + BLOCK]
            first, second = places.reshape(-1, 2)[some].T
            correlations = _correlations(details[(first, *here)], details[(second, *there)])
            for row in np.flatnonzero(correlations >= least):
                yield (*candidates[some[row], :2].tolist(), float(correlations[row]))


def _all_details(images: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Details of all images, each scaled to the range of a byte."""
    details = np.empty(images.shape, np.int8)
    for start in range(0, len(images), BLOCK):
        block = _details(images[start : start + BLOCK])
        largest = np.abs(block).max(axis=(1, 2, 3), keepdims=True)
        details[start : start + BLOCK] = (127 * block / np.maximum(largest, 1e-9)).round()
    return details


def _correlations(first: NDArray[np.int8], second: NDArray[np.int8]) -> Floats:
    """Correlation of each image of one stack with that of the other."""
    pair = [_unit(stack.reshape(len(stack), -1).astype(np.float32)) for stack in (first, second)]
    return np.asarray(np.einsum("ij,ij->i", *pair))


def _unit(rows: Floats) -> Floats:
    """Rows with mean 0 and length 1."""
    centered = rows - rows.mean(axis=1, keepdims=True)
    return np.asarray(centered / (np.linalg.norm(centered, axis=1, keepdims=True) + 1e-9), np.float32)
