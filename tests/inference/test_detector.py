import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxray.inference.detector import Candidates, merge_findings, sort_findings

points = st.lists(
    st.tuples(
        st.tuples(*[st.floats(-30, 30)] * 3),
        st.one_of(st.floats(1, 20), st.just(math.nan)),
        st.one_of(st.floats(0, 1), st.just(math.nan)),
    ),
    max_size=30,
)


def classified(rows: list[tuple[tuple[float, ...], float, float]]) -> tuple[Candidates, np.ndarray]:
    centers = np.array([row[0] for row in rows]).reshape(-1, 3)
    return Candidates(centers, np.array([row[1] for row in rows])), np.array([row[2] for row in rows])


@given(points)
def test_of_findings_within_one_radius_the_most_probable_is_kept(
    rows: list[tuple[tuple[float, ...], float, float]],
) -> None:
    candidates, probabilities = classified(rows)
    kept = []
    for center, diameter, probability in sorted(rows, key=lambda row: -row[2] if row[2] == row[2] else math.inf):
        if not math.isfinite(probability):
            continue
        radii = [max(np.nan_to_num(diameter), np.nan_to_num(other)) / 2 for _, other, _ in kept]
        distances = [float(np.linalg.norm(np.subtract(center, other))) for other, _, _ in kept]
        if all(distance > radius for distance, radius in zip(distances, radii, strict=True)):
            kept.append((center, diameter, probability))
    findings = merge_findings(candidates, probabilities)
    np.testing.assert_array_equal(findings.probabilities, [row[2] for row in kept])
    np.testing.assert_array_equal(findings.centers_mm, np.array([row[0] for row in kept]).reshape(-1, 3))


@given(points)
def test_sorted_findings_are_all_candidates_the_most_probable_first(
    rows: list[tuple[tuple[float, ...], float, float]],
) -> None:
    candidates, probabilities = classified(rows)
    findings = sort_findings(candidates, probabilities)
    assert len(findings) == len(rows)
    known = findings.probabilities[np.isfinite(findings.probabilities)]
    assert (np.diff(known) <= 0).all()
    assert np.isnan(findings.probabilities[len(known) :]).all()


@pytest.mark.parametrize("count", [0, 1])
def test_a_scan_may_have_no_finding(count: int) -> None:
    candidates = Candidates(np.zeros((count, 3)), np.full(count, math.nan))
    assert len(merge_findings(candidates, np.full(count, math.nan))) == 0
