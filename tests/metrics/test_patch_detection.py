"""Patches of a segmentation that are found and missed."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from voxray.errors import ScanError
from voxray.metrics.patch_detection import occupied_patches, patch_in_scan, patch_metrics

CLASSES = ("background", "edema", "core")


@given(seed=st.integers(0, 2**32 - 1), patch=st.tuples(*[st.integers(1, 7)] * 3))
def test_a_patch_is_positive_where_truth_has_foreground(seed: int, patch: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(seed)
    shape = (9, 7, 5)
    truth, prediction = (
        rng.choice(3, size=shape, p=[0.97, 0.015, 0.015]).astype(np.uint8) for _ in ("truth", "prediction")
    )
    found = patch_metrics(truth, prediction, patch, CLASSES)
    x, y, z = (range(0, extent, size) for extent, size in zip(shape, patch, strict=True))
    boxes = [(slice(i, i + patch[0]), slice(j, j + patch[1]), slice(k, k + patch[2])) for i in x for j in y for k in z]
    for label, name in enumerate(CLASSES[1:], 1):
        true, predicted = ([bool((labels[box] == label).any()) for box in boxes] for labels in (truth, prediction))
        for positive, metric in ((True, "patch_sensitivity"), (False, "patch_specificity")):
            expected = sk.recall_score(true, predicted, pos_label=positive, zero_division=np.nan)
            assert found[f"{metric}/{name}"] == pytest.approx(expected, nan_ok=True)


def test_one_stray_voxel_makes_a_patch_positive_and_the_last_patch_may_be_smaller() -> None:
    mask = np.zeros((5, 4, 4), bool)
    mask[4, 0, 3] = True
    occupied = occupied_patches(mask, (2, 2, 2))
    assert occupied.shape == (3, 2, 2)
    assert np.argwhere(occupied).tolist() == [[2, 0, 1]]


def test_a_class_that_is_nowhere_or_everywhere_has_one_metric() -> None:
    nowhere, everywhere = np.zeros((4, 4, 4), int), np.ones((4, 4, 4), int)
    names = ("background", "a")
    metrics = patch_metrics(nowhere, nowhere, (2, 2, 2), names)
    assert math.isnan(metrics["patch_sensitivity/a"])
    assert metrics["patch_specificity/a"] == 1
    metrics = patch_metrics(everywhere, nowhere, (2, 2, 2), names)
    assert metrics["patch_sensitivity/a"] == 0
    assert math.isnan(metrics["patch_specificity/a"])


def test_a_patch_has_its_size_in_the_axes_and_the_spacing_of_the_scan() -> None:
    affine = np.array([[0, 0, 3.0, 0], [-1.0, 0, 0, 0], [0, 0.5, 0, 0], [0, 0, 0, 1]])  # i is y, j is z, k is x
    assert patch_in_scan((10, 20, 30), None, (99, 99, 99), affine) == (20, 30, 10)
    assert patch_in_scan((10, 20, 30), (1.5, 1.0, 1.0), (99, 99, 99), affine) == (20, 60, 5)
    assert patch_in_scan((10, 20, 1), (3.0, 1.0, 0.1), (7, 99, 99), affine) == (7, 1, 10)


def test_label_maps_of_different_shapes_are_refused() -> None:
    with pytest.raises(ScanError, match="shape"):
        patch_metrics(np.zeros((2, 2, 2), int), np.zeros((2, 2, 3), int), (1, 1, 1), CLASSES)


def test_patches_without_a_label_do_not_count_and_regions_are_unions() -> None:
    truth, prediction = np.zeros((8, 2, 2), np.uint8), np.zeros((8, 2, 2), np.uint8)
    truth[0], prediction[4] = 2, 1
    ignored = np.zeros(truth.shape, bool)
    ignored[4:6] = True
    names = ("background", "whole", "core")
    found = patch_metrics(truth, prediction, (2, 2, 2), names, regions=((1, 2), (2,)), ignored=ignored)
    assert found["patch_sensitivity/whole"] == found["patch_sensitivity/core"] == 0
    assert found["patch_specificity/whole"] == 1
    without = patch_metrics(truth, prediction, (2, 2, 2), names, regions=((1, 2), (2,)))
    assert without["patch_specificity/whole"] == pytest.approx(2 / 3)
