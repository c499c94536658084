"""Lesions that a segmentation finds and invents."""

import math
from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxray.metrics.compute import mean_metrics, scan_metrics
from voxray.metrics.intervals import scan_intervals

CLASSES = ("background", "edema", "core")
SHAPE = (7, 6, 5)


def components(labels: np.ndarray, label: int) -> Iterator[set[tuple[int, ...]]]:
    """Sets of voxels that are connected by faces, edges or corners, found by walking from voxel to voxel."""
    rest = {tuple(map(int, voxel)) for voxel in np.argwhere(labels == label)}
    while rest:
        front = [rest.pop()]
        found = set(front)
        while front:
            here = front.pop()
            for step in product((-1, 0, 1), repeat=labels.ndim):
                there = tuple(a + b for a, b in zip(here, step, strict=True))
                if there in rest:
                    rest.remove(there)
                    found.add(there)
                    front.append(there)
        yield found


def brute_force(pairs: list[tuple[np.ndarray, np.ndarray]], label: int) -> dict[str, float]:
    """Recall, precision and F1 of all lesions of several scans."""
    true = found = predicted = right = 0
    for truth, prediction in pairs:
        lesions, guesses = list(components(truth, label)), list(components(prediction, label))
        true, predicted = true + len(lesions), predicted + len(guesses)
        found += sum(any(lesion & guess for guess in guesses) for lesion in lesions)
        right += sum(any(lesion & guess for lesion in lesions) for guess in guesses)
    recall, precision = (a / b if b else math.nan for a, b in ((found, true), (right, predicted)))
    both = np.nan_to_num([recall, precision])
    f1 = 2 * both.prod() / both.sum() if both.sum() else (0.0 if true or predicted else math.nan)
    return {"recall": recall, "precision": precision, "f1": f1, "true": true, "predicted": predicted}


def random_maps(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    shares = rng.choice([0.0, 0.03, 0.15], 2)
    first, second = (rng.choice(3, size=SHAPE, p=[1 - s, s / 2, s / 2]).astype(np.uint8) for s in shares)
    return first, second


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=4))
def test_lesions_of_all_scans_are_counted_together(seeds: list[int]) -> None:
    pairs = [random_maps(seed) for seed in seeds]
    means = mean_metrics([scan_metrics(*pair, (1, 1, 2), CLASSES) for pair in pairs])
    for label, name in enumerate(CLASSES[1:], 1):
        expected = brute_force(pairs, label)
        got = {key: means[f"lesion_{key}/{name}"] for key in ("recall", "precision", "f1")}
        got |= {"true": means[f"lesions/{name}"], "predicted": means[f"predicted_lesions/{name}"]}
        assert got == pytest.approx(expected, nan_ok=True)


def test_a_lesion_is_found_whatever_its_size_and_intervals_come_from_patients() -> None:
    truth, prediction = np.zeros((2, 12, 12, 3), np.uint8)
    truth[:6, :6], truth[9, 9, 1], truth[9, 0, 1] = 1, 1, 1
    prediction[5, 5, 2], prediction[9, 9, 1], prediction[0, 11, 0] = 1, 1, 1
    scans = [scan_metrics(truth, prediction, (1, 1, 1), ("background", "a"))] * 6
    means, intervals = mean_metrics(scans), scan_intervals(scans, list("abcdef"))
    assert means["lesions/a"] == means["predicted_lesions/a"] == 18
    assert [means[f"lesion_{key}/a"] for key in ("recall", "precision", "f1")] == pytest.approx([2 / 3] * 3)
    for key in ("recall", "precision", "f1"):
        low, high = intervals[f"lesion_{key}/a"]
        assert low < 2 / 3 < high
    assert "lesions/a" not in intervals
    assert scan_intervals(scans[:4], list("abcd"))["lesion_f1/a"] is None
