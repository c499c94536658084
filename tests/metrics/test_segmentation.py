import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import compute_dice, compute_hausdorff_distance, compute_surface_dice
from scipy.ndimage import distance_transform_edt, gaussian_filter
from sklearn import metrics as sk

from voxray.errors import ScanError
from voxray.metrics.compute import case_dice, mean_metrics, scan_metrics, voxel_metrics
from voxray.metrics.registry import METRICS
from voxray.metrics.segmentation import ClassVoxels, class_voxels

CLASSES = ("background", "edema", "core")
# MONAI calls itself with an argument that it has deprecated.
monai_calls = pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
SPACINGS = [(1.0, 1.0, 1.0), (0.7, 0.9, 3.0), (2.5, 0.5, 1.1)]


def blobs(seed: int, shape: tuple[int, ...] = (14, 17, 11), smooth: float = 1.5) -> np.ndarray:
    """A label map of smooth random parts, some of which touch the border."""
    field = gaussian_filter(np.random.default_rng(seed).normal(size=shape), smooth)
    return np.digitize(field / field.std(), [0.4, 1.2]).astype(np.uint8)


def alike(seed: int, shape: tuple[int, ...] = (14, 17, 11)) -> tuple[np.ndarray, np.ndarray]:
    """Two label maps that agree in much, as truth and prediction do."""
    rng = np.random.default_rng(seed)
    base = rng.normal(size=shape)
    fields = [gaussian_filter(base + 0.4 * rng.normal(size=shape), 1.5) for _ in range(2)]
    first, second = (np.digitize(field / field.std(), [0.4, 1.2]).astype(np.uint8) for field in fields)
    return first, second


def one_hot(labels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack([labels == label for label in range(len(CLASSES))])[None].astype(np.float32))


def dense_distances(start: np.ndarray, goal: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """Distances between surfaces by a transform of the whole scan, found by looking at each voxel's neighbors."""

    def surface(mask: np.ndarray) -> np.ndarray:
        padded = np.pad(mask, 1)
        inner = np.ones_like(mask)
        for axis in range(mask.ndim):
            for step in (-1, 1):
                inner &= np.roll(padded, step, axis)[(slice(1, -1),) * mask.ndim]
        return mask & ~inner

    return np.asarray(distance_transform_edt(~surface(goal), sampling=spacing))[surface(start)]


@monai_calls
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", range(4))
def test_figures_are_those_of_monai(seed: int, spacing: tuple[float, float, float]) -> None:
    truth, prediction = alike(seed) if seed % 2 else (blobs(seed), blobs(seed + 100))
    found = scan_metrics(truth, prediction, spacing, CLASSES, tolerance_mm=1.5)
    pair = one_hot(prediction), one_hot(truth)
    expected = {
        "dice": compute_dice(*pair, include_background=False),
        "hd95_mm": compute_hausdorff_distance(*pair, percentile=95, spacing=spacing),
        "surface_dice": compute_surface_dice(*pair, [1.5, 1.5], spacing=spacing),
    }
    for name, values in expected.items():
        for each, value in zip(CLASSES[1:], np.asarray(values)[0], strict=True):
            assert found[f"{name}/{each}"] == pytest.approx(float(value), rel=1e-5), name


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", range(4))
def test_surface_figures_are_those_of_a_dense_distance_transform(
    seed: int, spacing: tuple[float, float, float]
) -> None:
    truth, prediction = alike(seed, (12, 9, 13))
    found = scan_metrics(truth, prediction, spacing, CLASSES, tolerance_mm=0.8)
    for label, each in enumerate(CLASSES[1:], 1):
        there = dense_distances(prediction == label, truth == label, spacing)
        back = dense_distances(truth == label, prediction == label, spacing)
        percentiles = np.percentile(there, 95), np.percentile(back, 95)
        assert found[f"hd95_mm/{each}"] == pytest.approx(max(percentiles))
        near = np.mean(np.concatenate([there, back]) <= 0.8)
        assert found[f"surface_dice/{each}"] == pytest.approx(near)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_overlap_figures_are_those_of_scikit_learn(first: int, second: int) -> None:
    truth, prediction = blobs(first, (6, 5, 4)), blobs(second, (6, 5, 4))
    found = scan_metrics(truth, prediction, (1, 1, 1), CLASSES)
    for label, each in enumerate(CLASSES[1:], 1):
        pair = (truth == label).ravel(), (prediction == label).ravel()
        figures = {
            "dice": sk.f1_score(*pair, zero_division=np.nan),
            "sensitivity": sk.recall_score(*pair, zero_division=np.nan),
            "specificity": sk.recall_score(*pair, pos_label=False, zero_division=np.nan),
        }
        for name, value in figures.items():
            assert found[f"{name}/{each}"] == pytest.approx(value, nan_ok=True)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.integers(0, 14))
def test_counts_of_parts_add_up_to_the_counts_of_the_whole(seed: int, cut: int) -> None:
    truth, prediction = blobs(seed), blobs(seed + 1)
    ends = (slice(None, cut), slice(cut, None))
    parts = [class_voxels(truth[part], prediction[part], (1, 1, 1), 3) for part in ends]
    whole, total = class_voxels(truth, prediction, (1, 1, 1), 3), []
    for first, second, both in zip(*parts, whole, strict=True):
        names = ("tp", "fp", "fn", "tn")
        total.append(ClassVoxels(*(getattr(first, name) + getattr(second, name) for name in names)))
        assert [getattr(total[-1], name) for name in names] == [getattr(both, name) for name in names]
        assert both.tp + both.fp + both.fn + both.tn == truth.size
    metrics = scan_metrics(truth, prediction, (1, 1, 1), CLASSES)
    for name in ("dice", "sensitivity", "specificity", "volume_error"):
        for class_name, voxels in zip(CLASSES[1:], total, strict=True):
            assert METRICS[name].function(voxels) == pytest.approx(metrics[f"{name}/{class_name}"], nan_ok=True)
    assert voxel_metrics(total, CLASSES, per_epoch=True).items() <= metrics.items()


def test_distances_grow_with_the_spacing_and_a_shift_by_one_slice_is_as_far_as_the_slices_are() -> None:
    truth = np.zeros((20, 20, 20), np.int16)
    truth[5:15, 5:15, 5:15] = 1
    moved = np.roll(truth, 2, axis=2)
    figures = scan_metrics(truth, moved, (0.7, 0.7, 2.5), ("background", "a"), tolerance_mm=5.0)
    assert figures["hd95_mm/a"] == pytest.approx(5.0)
    assert figures["surface_dice/a"] == 1
    assert figures["dice/a"] == pytest.approx(0.8)
    closer = scan_metrics(truth, moved, (0.7, 0.7, 2.5), ("background", "a"), tolerance_mm=4.9)
    assert closer["surface_dice/a"] < 1


def test_a_distance_that_is_the_tolerance_but_for_rounding_is_within_it() -> None:
    truth, prediction = np.zeros((2, 9, 1, 1), np.uint8)
    truth[0], prediction[3] = 1, 1
    figures = scan_metrics(truth, prediction, (0.1, 1, 1), ("background", "a"), tolerance_mm=0.3)
    assert figures["surface_dice/a"] == 1


@monai_calls
def test_a_single_slice_is_measured_in_its_plane() -> None:
    truth, prediction = alike(3, (24, 30, 1))
    found = scan_metrics(truth, prediction, (0.5, 1.5, 4.0), CLASSES, tolerance_mm=1.0)
    pair = one_hot(prediction)[..., 0], one_hot(truth)[..., 0]
    distances = np.asarray(compute_hausdorff_distance(*pair, percentile=95, spacing=(0.5, 1.5)))[0]
    surfaces = np.asarray(compute_surface_dice(*pair, [1.0, 1.0], spacing=(0.5, 1.5)))[0]
    for number, each in enumerate(CLASSES[1:]):
        assert found[f"hd95_mm/{each}"] == pytest.approx(float(distances[number]), rel=1e-5)
        assert found[f"surface_dice/{each}"] == pytest.approx(float(surfaces[number]), rel=1e-5)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 6, 1), (5, 1, 4)])
def test_the_same_map_twice_is_perfect_whatever_its_shape(shape: tuple[int, ...]) -> None:
    figures = scan_metrics(np.ones(shape, int), np.ones(shape, int), (1, 2, 3), ("background", "a"))
    perfect = {"dice": 1, "surface_dice": 1, "sensitivity": 1, "hd95_mm": 0, "volume_error": 0, "missed": 0}
    perfect |= dict.fromkeys(("lesion_recall", "lesion_precision", "lesion_f1", "lesions", "predicted_lesions"), 1)
    assert figures == pytest.approx(
        {f"{name}/a": v for name, v in perfect.items()} | {"specificity/a": math.nan}, nan_ok=True
    )


@pytest.mark.parametrize(
    ("true", "predicted", "expected"),
    [
        (0, 0, {"dice": math.nan, "sensitivity": math.nan, "specificity": 1, "volume_error": math.nan, "missed": 0}),
        (0, 8, {"dice": 0, "sensitivity": math.nan, "specificity": 0.992, "volume_error": math.nan, "missed": 1}),
        (8, 0, {"dice": 0, "sensitivity": 0, "specificity": 1, "volume_error": 1, "missed": 1}),
    ],
)
def test_empty_masks_follow_the_one_rule(true: int, predicted: int, expected: dict[str, float]) -> None:
    maps = []
    for voxels in (true, predicted):
        maps.append(np.zeros(1000, np.int64))
        maps[-1][:voxels] = 1
    truth, prediction = (each.reshape(10, 10, 10) for each in maps)
    expected |= {"hd95_mm": math.nan, "surface_dice": expected["dice"], "lesion_f1": expected["dice"]}
    expected |= {"lesions": float(true > 0), "predicted_lesions": float(predicted > 0)}
    expected |= {
        "lesion_recall": 0 if true else math.nan,
        "lesion_precision": 0 if predicted else math.nan,
    }
    figures = scan_metrics(truth, prediction, (1, 1, 1), ("background", "a"))
    assert figures == pytest.approx({f"{name}/a": value for name, value in expected.items()}, nan_ok=True)


def test_volume_error_is_a_share_of_the_true_volume_in_either_direction() -> None:
    truth = np.zeros((10, 1, 1), np.uint8)
    truth[:4] = 1
    for voxels in (3, 5):
        prediction = np.zeros_like(truth)
        prediction[:voxels] = 1
        assert scan_metrics(truth, prediction, (1, 1, 1), ("background", "a"))["volume_error/a"] == 0.25


def test_means_leave_out_what_has_no_value_and_count_what_was_missed() -> None:
    cases = [
        {"dice/a": 0.5, "dice/b": math.nan, "hd95_mm/a": 3.0, "hd95_mm/b": math.nan, "missed/a": 0.0, "missed/b": 0.0},
        {"dice/a": 0.9, "dice/b": 0.0, "hd95_mm/a": 5.0, "hd95_mm/b": math.nan, "missed/a": 0.0, "missed/b": 1.0},
        {"dice/a": 0.7, "dice/b": 0.8, "hd95_mm/a": math.nan, "hd95_mm/b": math.nan, "missed/a": 1.0, "missed/b": 1.0},
    ]
    expected = {"dice/a": 0.7, "dice/b": 0.4, "hd95_mm/a": 4, "hd95_mm/b": math.nan, "missed/a": 1, "missed/b": 2}
    assert mean_metrics(cases) == pytest.approx({"dice": 0.55, **expected}, nan_ok=True)
    assert mean_metrics([]) == {}


def test_an_empty_class_neither_rewards_nor_hides() -> None:
    nothing, something = np.zeros((6, 6, 6), np.uint8), np.zeros((6, 6, 6), np.uint8)
    something[2:4, 2:4, 2:4] = 1
    names = ("background", "a")
    good = scan_metrics(something, something, (1, 1, 1), names)
    silent = scan_metrics(nothing, nothing, (1, 1, 1), names)
    invented = scan_metrics(nothing, something, (1, 1, 1), names)
    assert mean_metrics([good, silent])["dice"] == 1
    assert mean_metrics([good, invented])["dice"] == 0.5
    assert mean_metrics([good, invented])["missed/a"] == 1
    assert math.isnan(mean_metrics([silent])["dice"])


def test_the_dice_of_a_case_is_the_mean_over_the_classes_that_it_has() -> None:
    assert case_dice({"dice/a": 0.9, "dice/b": 0.7}) == pytest.approx(0.8)
    assert case_dice({"dice/a": 0.2, "dice/b": math.nan}) == pytest.approx(0.2)
    assert math.isnan(case_dice({"dice/a": math.nan, "dice/b": math.nan}))


@pytest.mark.parametrize(
    ("truth", "prediction", "spacing", "said"),
    [
        (np.zeros((2, 2, 2), int), np.zeros((2, 2, 3), int), (1, 1, 1), "shape"),
        (np.full((2, 2, 2), 3), np.zeros((2, 2, 2), int), (1, 1, 1), "truth: holds the value 3"),
        (np.zeros((2, 2, 2), int), np.full((2, 2, 2), -1), (1, 1, 1), "prediction: holds the value -1"),
        (np.zeros((2, 2, 2)), np.zeros((2, 2, 2), int), (1, 1, 1), "whole numbers"),
        (np.zeros((2, 2, 2), int), np.zeros((2, 2, 2), int), (1, 1, 0), "spacing_mm"),
        (np.zeros((2, 2, 2), int), np.zeros((2, 2, 2), int), (1, 1), "spacing_mm"),
    ],
)
def test_maps_that_cannot_be_compared_are_refused_by_name(
    truth: np.ndarray, prediction: np.ndarray, spacing: tuple[float, ...], said: str
) -> None:
    with pytest.raises(ScanError, match=said):
        scan_metrics(truth, prediction, spacing, CLASSES)


@pytest.mark.parametrize("seed", range(3))
def test_ignored_voxels_count_in_no_metric(seed: int) -> None:
    truth, prediction = alike(seed)
    ignored = blobs(seed + 50) > 0
    noisy = np.where(ignored, np.random.default_rng(seed).integers(0, 3, truth.shape), prediction)
    found = scan_metrics(np.where(ignored, 255, truth), noisy, (1, 1, 2), CLASSES, ignored=ignored)
    assert found == scan_metrics(truth, prediction, (1, 1, 2), CLASSES, ignored=ignored)
    for label, name in enumerate(CLASSES[1:], 1):
        true, predicted = (truth == label)[~ignored], (prediction == label)[~ignored]
        assert found[f"dice/{name}"] == pytest.approx(sk.f1_score(true, predicted))
        assert found[f"sensitivity/{name}"] == pytest.approx(sk.recall_score(true, predicted))
        assert found[f"specificity/{name}"] == pytest.approx(sk.recall_score(~true, ~predicted))
        assert found[f"volume_error/{name}"] == pytest.approx(abs(predicted.sum() - true.sum()) / true.sum())


def test_a_surface_does_not_end_where_labels_end() -> None:
    """Two bars of 9 and 7 voxels, whose middle is unknown: their ends are 1 mm apart, and nothing else is."""
    truth, prediction = np.zeros((12, 3, 3), np.uint8), np.zeros((12, 3, 3), np.uint8)
    truth[1:10], prediction[2:9] = 1, 1
    whole = scan_metrics(truth, prediction, (1, 1, 1), ("background", "a"), tolerance_mm=0.5)
    ignored = np.zeros(truth.shape, bool)
    ignored[4:7] = True
    cut = scan_metrics(truth, prediction, (1, 1, 1), ("background", "a"), tolerance_mm=0.5, ignored=ignored)
    assert whole["hd95_mm/a"] == cut["hd95_mm/a"] == 1
    sides = class_voxels(truth, prediction, (1, 1, 1), 2, 0.5, ignored=ignored)[0].distances
    # Slices 1, 2, 3 and 7, 8, 9 of the truth; 2, 3 and 7, 8 of the prediction; the middle of the ends is of a surface.
    assert [len(distances) for distances in sides] == [2 * (9 + 8), 2 * (9 + 8 + 8)]


def test_a_class_of_which_no_surface_is_known_has_no_distance() -> None:
    truth, prediction = np.zeros((9, 9, 9), np.uint8), np.zeros((9, 9, 9), np.uint8)
    truth[4, 4, 4], prediction[3:6, 3:6, 3:6] = 1, 1
    ignored = np.zeros(truth.shape, bool)
    ignored[3:6, 3:6, 3:6], ignored[4, 4, 4] = True, False
    found = scan_metrics(truth, prediction, (1, 1, 1), ("background", "a"), ignored=ignored)
    assert found["dice/a"] == 1
    assert math.isnan(found["hd95_mm/a"])
    assert math.isnan(found["surface_dice/a"])


@pytest.mark.parametrize("seed", range(3))
def test_metrics_of_regions_are_those_of_their_unions(seed: int) -> None:
    truth, prediction = alike(seed)
    regions = ((1, 2), (2,))
    found = scan_metrics(truth, prediction, (1, 1, 2), ("background", "whole", "core"), regions=regions)
    for name, numbers in zip(("whole", "core"), regions, strict=True):
        pair = [np.isin(labels, numbers).astype(np.uint8) for labels in (truth, prediction)]
        alone = scan_metrics(*pair, (1, 1, 2), ("background", name))
        assert {key: found[key] for key in alone} == pytest.approx(alone, nan_ok=True)
