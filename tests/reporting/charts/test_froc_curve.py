import re

import numpy as np

from voxray.metrics.detection import Annotations, Candidates
from voxray.metrics.detection_score import DetectionScore, score_candidates
from voxray.reporting.charts.froc_curve import froc_chart


def detector(scans: int, nodules: int, seed: int) -> DetectionScore:
    """A list that hits nodules with higher probabilities than other points."""
    rng = np.random.default_rng(seed)
    truth = Annotations(rng.integers(0, scans, nodules), np.zeros((nodules, 3)), np.full(nodules, 6.0))
    owners = np.concatenate([truth.scans, np.repeat(np.arange(scans), 20)])
    points = np.concatenate([truth.points_mm, np.full((scans * 20, 3), 50.0)])
    probabilities = np.concatenate([rng.beta(4, 1, nodules), rng.beta(1, 2, scans * 20)])
    none = Annotations(np.empty(0, int), np.empty((0, 3)), np.empty(0))
    return score_candidates(Candidates(owners, points, probabilities), truth, none, scans)


def test_each_split_has_a_curve_with_its_cpm_and_a_band() -> None:
    scores = {"val": detector(40, 50, 0), "test": detector(40, 50, 1)}
    svg = froc_chart(scores)
    texts = re.findall(r">([^<>\n]+)</text>", svg)
    for split, name in (("val", "validation"), ("test", "test")):
        low, high = scores[split].cpm_interval or (0, 0)
        assert f"{name}, CPM {scores[split].cpm:.3f} [{low:.3f}, {high:.3f}]" in texts
    assert {"0.125", "0.25", "0.5", "1", "2", "4", "8"} <= set(texts)
    assert svg.count('id="froc-FillBetweenPolyCollection') == 2
    assert 'aria-label="FROC curve, validation and test: sensitivity against false positives a scan"' in svg


def test_few_scans_have_no_band_and_none_without_nodules_have_no_curve() -> None:
    svg = froc_chart({"val": detector(5, 6, 0), "test": detector(5, 0, 0)})
    assert "FillBetween" not in svg
    assert "validation, CPM " in svg
    assert "test, CPM" not in svg
