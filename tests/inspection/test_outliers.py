import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import median_abs_deviation

from voxray.inspection.outliers import find_outliers, robust_z
from voxray.inspection.scan_stats import RANKS, SCAN_STATS

numbers = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40)


def stats_of(spacing: list[float | None], extent: int = 64, high: list[float] | None = None) -> pa.Table:
    """Scans that differ along z, or in their brightest voxels, only."""
    rows = []
    for number, z_mm in enumerate(spacing):
        row = dict.fromkeys(SCAN_STATS.names) | {"number": number, "issues": []}
        if z_mm is not None:
            row |= {f"{axis}_extent": extent for axis in "xyz"} | {f"{axis}_spacing_mm": 1.0 for axis in "xyz"}
            row |= {"z_spacing_mm": z_mm, "channels": 1}
        if high is not None:
            row["percentiles"] = [np.linspace(0, high[number], len(RANKS)).tolist()]
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=SCAN_STATS)


@given(numbers)
def test_robust_z_is_the_distance_in_normalized_median_deviations(values: list[float]) -> None:
    array = np.array(values)
    unit = max(median_abs_deviation(array, scale="normal"), 0.01)
    np.testing.assert_allclose(robust_z(array, 0.01), (array - np.median(array)) / unit, rtol=1e-4)


@given(numbers, st.floats(-100, 100), st.floats(0.01, 100))
def test_robust_z_depends_on_neither_offset_nor_unit(values: list[float], offset: float, scale: float) -> None:
    array = np.array(values)
    moved = robust_z(scale * array + offset, 0.5 * scale)
    np.testing.assert_allclose(moved, robust_z(array, 0.5), rtol=1e-6, atol=1e-3)


def test_scans_without_a_value_are_not_far_away() -> None:
    assert robust_z(np.array([1.0, np.nan, 2.0, 1.0]), 0.1)[1] == 0
    assert robust_z(np.array([np.nan]), 0.1).tolist() == [0]


def test_one_scan_of_another_spacing_is_an_outlier_and_rounding_is_none() -> None:
    almost = [1.0 + 1e-4 * (number % 3) for number in range(20)]
    assert find_outliers(stats_of(almost)) == []
    issues = find_outliers(stats_of([*almost, 2.5, None]))
    assert [(row["kind"], row["number"]) for row in issues] == [("spacing", 20)]
    assert issues[0]["detail"] == "along z 2.5 mm, median 1 mm"


def test_a_second_group_of_scans_is_one_issue_and_not_many() -> None:
    issues = find_outliers(stats_of([1.0] * 20 + [3.0] * 6))
    assert [(row["kind"], row["number"]) for row in issues] == [("mixed", None)]
    assert issues[0]["detail"] == "6 of 26 scans are far from the median spacing: along z from 1 to 3 mm, median 1 mm"


def test_few_scans_have_no_outliers() -> None:
    assert find_outliers(stats_of([1.0] * 6 + [30.0])) == []


@pytest.mark.parametrize("factor", [1.0, -1.0, 1e6])
def test_brightness_is_compared_with_the_usual_width(factor: float) -> None:
    high = [factor * (100.0 + number % 5) for number in range(30)]
    assert find_outliers(stats_of([1.0] * 30, high=high)) == []
    issues = find_outliers(stats_of([1.0] * 30, high=[*high[:-1], 40 * high[-1]]))
    assert [(row["kind"], row["number"]) for row in issues] == [("intensity", 29)]
