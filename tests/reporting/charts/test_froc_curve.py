import re

import numpy as np

from voxray.evaluation.candidates import froc_metrics
from voxray.metrics.detection import Annotations, Candidates
from voxray.metrics.detection_score import score_candidates
from voxray.reporting.charts.froc_curve import DrawnCurve, froc_chart


def detector(scans: int, nodules: int, seed: int) -> DrawnCurve:
    """A list that hits nodules with higher probabilities than other points."""
    rng = np.random.default_rng(seed)
    truth = Annotations(rng.integers(0, scans, nodules), np.zeros((nodules, 3)), np.full(nodules, 6.0))
    owners = np.concatenate([truth.scans, np.repeat(np.arange(scans), 20)])
    points = np.concatenate([truth.points_mm, np.full((scans * 20, 3), 50.0)])
    probabilities = np.concatenate([rng.beta(4, 1, nodules), rng.beta(1, 2, scans * 20)])
    none = Annotations(np.empty(0, int), np.empty((0, 3)), np.empty(0))
    metrics = froc_metrics(score_candidates(Candidates(owners, points, probabilities), truth, none, scans))
    return DrawnCurve(metrics["froc"], metrics)


def test_each_split_has_a_curve_with_its_cpm_and_a_band() -> None:
    curves = {"val": detector(40, 50, 0), "test": detector(40, 50, 1)}
    svg = froc_chart(curves)
    texts = re.findall(r">([^<>\n]+)</text>", svg)
    for split, name in (("val", "validation"), ("test", "test")):
        metrics = curves[split].metrics
        low, high = metrics["intervals"]["cpm"]
        assert f"{name}, CPM {metrics['cpm']:.3f} [{low:.3f}, {high:.3f}]" in texts
    assert {"0.125", "0.25", "0.5", "1", "2", "4", "8"} <= set(texts)
    assert svg.count('id="froc-FillBetweenPolyCollection') == 2
    assert 'aria-label="FROC curve, validation and test: sensitivity against false positives a scan"' in svg


def test_few_scans_have_no_band_and_the_operating_point_is_marked_where_it_is_asked_for() -> None:
    curve = detector(5, 6, 0)
    svg = froc_chart({"val": curve})
    assert "FillBetween" not in svg
    assert "validation, CPM " in svg
    point = {**curve.metrics, "threshold": 0.63, "false_positives_per_scan": 3.8, "recall": 0.9}
    assert "operating point" not in froc_chart({"val": DrawnCurve(curve.table, point)})
    marked = froc_chart({"val": DrawnCurve(curve.table, point)}, operating=True)
    assert "operating point, p ≥ 0.630: 3.80 a scan, 0.900" in marked
