"""The score of candidates against a slow implementation of LUNA16's rules, candidate by candidate."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from voxray.metrics import detection, detection_score
from voxray.metrics.detection import GRID, RATES, Annotations, Candidates, match_candidates, most_probable
from voxray.metrics.detection_score import MIN_SCANS, ratio_interval, resample_sensitivities, score_candidates
from voxray.metrics.registry import find_metric

NONE = Annotations(np.empty(0, int), np.empty((0, 3)), np.empty(0))


@dataclass
class Slow:
    """What the rules give, without arrays."""

    cpm: float
    sensitivities: list[float]
    dropped: int
    found: list[bool]


def slow_score(candidates: Candidates, nodules: Annotations, excluded: Annotations, scans: int) -> Slow:
    """LUNA16's rules, one sentence after the other."""
    marks = list(zip(candidates.scans, candidates.points_mm, candidates.probabilities, strict=True))

    def hits(scan: int, point: np.ndarray, annotations: Annotations) -> list[int]:
        numbers = []
        for number, (other, center, diameter) in enumerate(
            zip(annotations.scans, annotations.points_mm, annotations.diameters_mm, strict=True)
        ):
            radius = (10.0 if diameter < 0 else diameter) / 2
            distance = sum((a - b) ** 2 for a, b in zip(point.tolist(), center.tolist(), strict=True))
            if other == scan and distance < radius**2:
                numbers.append(number)
        return numbers

    best: dict[int, float] = {}
    false, dropped = [], 0
    for scan, point, probability in marks:
        hit = hits(scan, point, nodules)
        for number in hit:
            best[number] = max(best.get(number, -math.inf), probability)
        if not hit and hits(scan, point, excluded):
            dropped += 1
        elif not hit:
            false.append(probability)
    x, y = [0.0], [0.0]
    for threshold in sorted({*best.values(), *false}, reverse=True):
        count = sum(value >= threshold for value in false)
        x.append(count / len(false) * len(false) / scans if false else 0.0)
        y.append(sum(value >= threshold for value in best.values()) / len(nodules))
    values = [slow_interpolation(rate, x, y) for rate in (0.125, 0.25, 0.5, 1, 2, 4, 8)]
    return Slow(sum(values) / 7, values, dropped, [number in best for number in range(len(nodules))])


def slow_interpolation(rate: float, x: list[float], y: list[float]) -> float:
    """The height of the curve; of a vertical step its upper end."""
    left = max(number for number, value in enumerate(x) if value <= rate)
    if left + 1 == len(x):
        return y[left]
    return y[left] + (y[left + 1] - y[left]) / (x[left + 1] - x[left]) * (rate - x[left])


def draw_lists(seed: int, scans: int, digits: int) -> tuple[Candidates, Annotations, Annotations]:
    """Lists with several hits of a nodule, nodules that overlap, points on a sphere, ties and scans without points."""
    rng = np.random.default_rng(seed)
    used = rng.permutation(scans)[: max(1, scans * 3 // 4)]

    def annotations(count: int, diameters: list[float]) -> Annotations:
        points = np.round(rng.normal(0, 12, (count, 3)))
        return Annotations(rng.choice(used, count), points, rng.choice(diameters, count))

    nodules = annotations(scans * 2, [4.0, 8.0, 14.0, 0.0, -1.0])
    excluded = annotations(scans * 3, [-1.0, -1.0, 6.0])
    numbers = rng.integers(0, len(nodules), scans * 3)
    near = nodules.points_mm[numbers] + rng.integers(-4, 5, (len(numbers), 3))
    far = np.round(rng.normal(0, 12, (scans * 12, 3)))
    owners = np.concatenate([nodules.scans[numbers], rng.choice(used, len(far))])
    probabilities = np.round(rng.random(len(owners)), digits)
    return Candidates(owners, np.concatenate([near, far]), probabilities), nodules, excluded


@pytest.mark.parametrize("digits", [1, 2, 15])
@pytest.mark.parametrize("scans", [1, 3, 8, 24])
def test_the_score_is_that_of_the_rules_applied_one_by_one(scans: int, digits: int) -> None:
    for seed in range(3):
        candidates, nodules, excluded = draw_lists(seed, scans, digits)
        slow = slow_score(candidates, nodules, excluded, scans)
        score = score_candidates(candidates, nodules, excluded, scans, resamples=0)
        assert list(score.sensitivity_at.values()) == pytest.approx(slow.sensitivities, abs=1e-12)
        assert score.cpm == pytest.approx(slow.cpm, abs=1e-12)
        assert score.dropped_as_excluded == slow.dropped
        assert score.matches.found.tolist() == slow.found


def test_a_point_on_the_sphere_of_a_nodule_is_no_hit() -> None:
    nodule = Annotations(np.array([0]), np.zeros((1, 3)), np.array([10.0]))
    points = np.array([[3.0, 4, 0], [3, 3.999999, 0], [0, 0, -5], [0, 0, -4.9]])
    candidates = Candidates(np.zeros(4, int), points, np.ones(4))
    assert (~match_candidates(candidates, nodule, NONE).false_positive).tolist() == [False, True, False, True]


def test_a_nodule_is_found_by_its_most_probable_hit_and_the_others_do_not_count() -> None:
    nodule = Annotations(np.array([1]), np.zeros((1, 3)), np.array([10.0]))
    points = np.array([[0.0, 0, 1], [0, 0, 2], [0, 0, 3], [0, 0, 2]])
    candidates = Candidates(np.array([1, 1, 1, 0]), points, np.array([0.2, 0.9, 0.5, 0.99]))
    matches = match_candidates(candidates, nodule, NONE)
    assert matches.found_by.tolist() == [1]
    assert matches.false_positive.tolist() == [False, False, False, True]


def test_a_candidate_that_hits_a_nodule_and_an_excluded_finding_counts_for_the_nodule() -> None:
    annotation = Annotations(np.array([0]), np.zeros((1, 3)), np.array([-1.0]))
    candidates = Candidates(np.array([0]), np.zeros((1, 3)), np.array([0.5]))
    score = score_candidates(candidates, annotation, annotation, 1)
    assert (score.cpm, score.dropped_as_excluded) == (1.0, 0)
    assert score_candidates(candidates, NONE, annotation, 1).dropped_as_excluded == 1


def test_the_result_does_not_depend_on_how_many_distances_are_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    lists = draw_lists(0, 5, 1)
    whole = match_candidates(*lists)
    monkeypatch.setattr(detection, "BLOCK_PAIRS", 40)
    parts = match_candidates(*lists)
    assert parts.found_by.tolist() == whole.found_by.tolist()
    assert parts.false_positive.tolist() == whole.false_positive.tolist()
    assert parts.excluded.tolist() == whole.excluded.tolist()


def ranked(found_after: list[int], false_positives: int, scans: int) -> tuple[Candidates, Annotations]:
    """Candidates in order of probability: a nodule is found after so many false positives."""
    count = len(found_after)
    nodules = Annotations(np.zeros(count, int), np.zeros((count, 3)), np.full(count, 2.0))
    nodules.points_mm[:, 0] = 10 * np.arange(count)
    far = np.full((false_positives, 3), 500.0)
    order = np.concatenate([np.array(found_after) - 0.5, np.arange(false_positives)])
    owners = np.concatenate([nodules.scans, np.arange(false_positives) % scans])
    return Candidates(owners, np.concatenate([nodules.points_mm, far]), -order), nodules


@pytest.mark.parametrize(("false_positives", "end"), [(888, "upper"), (155, "lower")])
def test_a_step_exactly_at_a_rate_counts_as_the_challenge_rounds_it(false_positives: int, end: str) -> None:
    # 111 false positives in 888 scans are 1/8 a scan; after them half of the nodules are found.
    candidates, nodules = ranked([0, 111], false_positives, 888)
    assert (111 / false_positives * false_positives / 888 > 0.125) == (end == "lower")
    score = score_candidates(candidates, nodules, NONE, 888, resamples=0)
    assert score.sensitivity_at["0.125"] == pytest.approx(1.0 if end == "upper" else 0.5, abs=1e-9)


def test_sensitivity_is_interpolated_between_points_and_constant_after_the_last() -> None:
    # One scan: nodules at 0, 3 and 6 false positives, where the middle one is as probable as two false positives.
    candidates, nodules = ranked([0, 3, 6], 7, 1)
    candidates.probabilities[[4, 5]] = candidates.probabilities[1]
    score = score_candidates(candidates, nodules, NONE, 1, resamples=0)
    assert list(score.sensitivity_at.values()) == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1 / 3, 1 / 2, 2 / 3, 1.0])


def test_lists_without_candidates_nodules_or_false_positives_have_a_defined_score() -> None:
    candidates, nodules = ranked([0, 0, 0], 0, 1)
    none = candidates.select(np.empty(0, int))
    assert score_candidates(candidates, nodules, NONE, 20).cpm == 1.0
    assert score_candidates(none, nodules, NONE, 20).cpm == 0.0
    assert math.isnan(score_candidates(candidates, NONE, NONE, 20).cpm)
    assert math.isnan(score_candidates(none, NONE, NONE, 20).matches.sensitivity)


@given(
    probabilities=st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5]), max_size=30),
    scans=st.integers(1, 4),
    marks=st.integers(1, 6),
)
def test_at_most_so_many_marks_of_a_scan_are_kept_and_no_tie_is_broken(
    probabilities: list[float], scans: int, marks: int
) -> None:
    owners = np.arange(len(probabilities)) * 7 % scans
    candidates = Candidates(owners, np.zeros((len(owners), 3)), np.array(probabilities))
    kept = set(most_probable(candidates, marks).tolist())
    for scan in range(scans):
        rows = np.flatnonzero(owners == scan)
        ordered = sorted((probabilities[row] for row in rows), reverse=True)
        limit = ordered[marks] if len(ordered) > marks else -math.inf
        assert kept & set(rows.tolist()) == {row for row in rows.tolist() if probabilities[row] > limit}


def test_a_resample_is_the_score_of_the_scans_that_were_drawn() -> None:
    scans = 24
    candidates, nodules, excluded = draw_lists(1, scans, 2)
    matches = match_candidates(candidates, nodules, excluded)
    draws = resample_sensitivities(detection.Entries.of(candidates, nodules, matches), np.arange(scans), 20, 5)
    times = np.random.default_rng(5).multinomial(scans, np.full(scans, 1 / scans), 20)
    for drawn, sensitivities in zip(times, draws, strict=True):
        # Each scan is copied as often as it was drawn.
        copies = [number for number, count in enumerate(drawn) for _ in range(count)]

        def copied(rows: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
            return np.repeat(np.arange(scans), [len(part) for part in rows]), np.concatenate(rows)

        marks = [np.flatnonzero(candidates.scans == scan) for scan in copies]
        true = [np.flatnonzero(nodules.scans == scan) for scan in copies]
        other = [np.flatnonzero(excluded.scans == scan) for scan in copies]
        (owner, row), (of_true, at_true), (of_other, at_other) = copied(marks), copied(true), copied(other)
        score = score_candidates(
            Candidates(owner, candidates.points_mm[row], candidates.probabilities[row]),
            Annotations(of_true, nodules.points_mm[at_true], nodules.diameters_mm[at_true]),
            Annotations(of_other, excluded.points_mm[at_other], excluded.diameters_mm[at_other]),
            scans,
            resamples=0,
        )
        np.testing.assert_allclose(sensitivities, score.curve.sensitivity_at(GRID), rtol=0, atol=1e-12)


def test_a_resample_needs_the_most_probable_false_positives_only() -> None:
    scans = 20
    candidates, nodules, excluded = draw_lists(2, scans, 3)
    more = Candidates(*(np.concatenate([part] * 4) for part in vars(candidates).values()))
    entries = detection.Entries.of(more, nodules, match_candidates(more, nodules, excluded))
    top = entries.down_to(200)
    assert 200 < (~top.positive).sum() < (~entries.positive).sum()
    assert top.probabilities.min() >= np.sort(entries.probabilities[~entries.positive])[::-1][200]
    draws = resample_sensitivities(entries, np.arange(scans), 5, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detection_score, "_first_entries", lambda entries, *_: entries)
        np.testing.assert_array_equal(draws, resample_sensitivities(entries, np.arange(scans), 5, 0))


def test_intervals_hold_the_values_and_are_withheld_from_few_scans() -> None:
    candidates, nodules, excluded = draw_lists(0, 60, 6)
    score = score_candidates(candidates, nodules, excluded, 60)
    assert score.cpm_interval is not None
    assert score.cpm_interval[0] < score.cpm < score.cpm_interval[1]
    for name, value in score.sensitivity_at.items():
        low, high = score.sensitivity_intervals[name] or (math.nan, math.nan)
        assert low <= value <= high
    few = np.unique(nodules.scans)[: MIN_SCANS - 1]
    rows = np.isin(nodules.scans, few)
    some = Annotations(nodules.scans[rows], nodules.points_mm[rows], nodules.diameters_mm[rows])
    withheld = score_candidates(candidates, some, excluded, 60)
    assert withheld.cpm_interval is withheld.band is None
    assert set(withheld.sensitivity_intervals.values()) == {None}


def test_where_no_resample_differs_the_interval_is_that_of_a_share_of_patients() -> None:
    nodules = Annotations(np.arange(30), np.zeros((30, 3)), np.full(30, 5.0))
    perfect = score_candidates(Candidates(nodules.scans, nodules.points_mm, np.ones(30)), nodules, NONE, 30)
    assert perfect.cpm == 1.0
    low = 30 / (30 + stats.t.ppf(0.975, 29) ** 2)
    assert perfect.cpm_interval == (pytest.approx(low), 1)
    assert set(perfect.sensitivity_intervals.values()) == {perfect.cpm_interval}
    ones, patients = np.ones(30), np.arange(30)
    assert ratio_interval(ones, ones, patients, is_share=True) == perfect.cpm_interval
    assert ratio_interval(ones, ones, patients, is_share=False) is None
    # Exact: no event in 30 patients has a probability of .025 at this mean.
    none = ratio_interval(np.zeros(30), ones, patients, is_share=False)
    assert none == (0, pytest.approx(stats.chi2.ppf(0.975, 2) / 2 / 30))


def test_scans_of_a_patient_are_drawn_together_and_count_once() -> None:
    candidates, nodules, _ = draw_lists(0, 60, 6)
    four = 60 * np.arange(4)

    def copies(scans: np.ndarray) -> np.ndarray:
        return np.concatenate([scans + shift for shift in four])

    again = Candidates(
        copies(candidates.scans), np.tile(candidates.points_mm, (4, 1)), np.tile(candidates.probabilities, 4)
    )
    truth = Annotations(copies(nodules.scans), np.tile(nodules.points_mm, (4, 1)), np.tile(nodules.diameters_mm, 4))
    patients = np.tile(np.arange(60), 4)
    one = score_candidates(candidates, nodules, NONE, 60)
    many = score_candidates(again, truth, NONE, 240, patients=patients)
    assert many.cpm_interval == pytest.approx(one.cpm_interval)
    alone = score_candidates(again, truth, NONE, 240).cpm_interval
    assert alone is not None
    assert many.cpm_interval is not None
    assert np.ptp(alone) < 0.7 * np.ptp(many.cpm_interval)
    few = score_candidates(again, truth, NONE, 240, patients=patients % (MIN_SCANS - 1))
    assert few.cpm_interval is few.band is None


@settings(max_examples=25)
@given(seed=st.integers(0, 1000))
def test_a_score_depends_on_the_order_of_probabilities_only(seed: int) -> None:
    candidates, nodules, excluded = draw_lists(seed, 6, 1)
    logits = Candidates(candidates.scans, candidates.points_mm, np.exp(3 * candidates.probabilities) - 50)
    shuffled = candidates.select(np.random.default_rng(seed).permutation(len(candidates)))
    values = [score_candidates(each, nodules, excluded, 6).sensitivity_at for each in (candidates, logits, shuffled)]
    assert values[0] == values[1] == values[2]


def test_the_rates_are_those_of_the_challenge() -> None:
    assert RATES == (0.125, 0.25, 0.5, 1, 2, 4, 8)
    assert [detection.rate_name(rate) for rate in RATES] == ["0.125", "0.25", "0.5", "1", "2", "4", "8"]


@pytest.mark.parametrize("key", ["cpm", "val/cpm", "val_cpm", "sensitivity_at/0.125", "final/test/sensitivity_at/8"])
def test_the_metrics_of_detection_are_found_by_their_keys(key: str) -> None:
    assert find_metric(key).tasks == ("detection",)
    assert find_metric(key).higher_is_better
