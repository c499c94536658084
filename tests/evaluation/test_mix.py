"""Metrics of a thinned split, re-weighted to the mix of the list: against scikit-learn, and against the whole list."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import SMALL_NET, experiment, write_luna
from sklearn import metrics as sk

from voxray.config.data import NegativesSpec
from voxray.config.experiment import Experiment
from voxray.evaluation.mix import read_mix, with_false_positives, with_population
from voxray.executors.local import LocalExecutor
from voxray.metrics.classification import Samples, predict_labels
from voxray.metrics.compute import sample_metrics
from voxray.patches.balance import keep_negatives
from voxray.patches.population import count_population
from voxray.stages.pipeline import run
from voxray.store.read import open_store

CLASSES = ("other", "nodule")


def candidates(labels: list[int], scans: list[int]) -> pa.Table:
    """A row for each candidate; two scans are of one patient."""
    names, patients = [f"s{scan}" for scan in scans], [f"p{scan // 2}" for scan in scans]
    return pa.table({"scan_id": names, "patient_id": patients, "label": pa.array(labels, pa.int64())})


def evaluated(units: pa.Table, scores: np.ndarray, population: Any) -> dict[str, Any]:
    """The metrics of candidates of the split ``test``."""
    probabilities = np.column_stack([1 - scores, scores])
    samples = Samples(units["label"].to_numpy(), probabilities, predict_labels(probabilities, 0.5))
    mix = read_mix([population], units, "patch")
    metrics = with_population({**sample_metrics(samples), "intervals": {}}, samples, units, mix, CLASSES)
    return with_false_positives(metrics, samples, units, mix)


def counted(units: pa.Table, kept: np.ndarray) -> Any:
    splits, once = np.full(units.num_rows, "test"), np.ones(units.num_rows, np.int64)
    return count_population(units, splits, once, kept, 2)["test"]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 6))
def test_each_kept_negative_counts_as_often_as_the_list_has_its_like(seed: int, times: int) -> None:
    # The list has each negative several times, and one of each is kept.
    rng = np.random.default_rng(seed)
    labels = np.r_[1, 0, rng.integers(0, 2, 18)]
    scans, scores = rng.integers(0, 6, 20), rng.random(20)
    copies = np.where(labels == 0, times, 1)
    rows = np.repeat(np.arange(20), copies)
    listed = candidates(labels[rows].tolist(), scans[rows].tolist())
    kept = np.r_[True, rows[1:] != rows[:-1]]
    whole = evaluated(listed, scores[rows], counted(listed, np.ones(len(rows), bool)))
    thinned = evaluated(listed.filter(pa.array(kept)), scores, counted(listed, kept))
    assert "population" not in whole
    assert np.isnan(thinned["false_positives_per_scan"])
    population = thinned["population"]
    assert population["class_counts"] == np.bincount(labels[rows], minlength=2).tolist()
    for name in set(whole) - {"intervals"}:
        assert population[name] == pytest.approx(whole[name], nan_ok=True), name
    for name in ("recall", "specificity", "roc_auc"):
        assert thinned[name] == pytest.approx(population[name], nan_ok=True), f"{name} does not depend on the mix"


def test_false_positives_of_random_negatives_are_those_of_all_on_average() -> None:
    rng = np.random.default_rng(0)
    labels, scans = np.r_[np.ones(10, int), np.zeros(300, int)], rng.integers(0, 12, 310)
    scores = np.clip(0.6 * labels + rng.random(310) * 0.6, 0, 1)
    listed, splits = candidates(labels.tolist(), scans.tolist()), np.full(310, "test")
    whole = evaluated(listed, scores, counted(listed, np.ones(310, bool)))["false_positives_per_scan"]
    assert whole == np.sum((labels == 0) & (scores >= 0.5)) / len(set(scans.tolist()))
    draws = []
    for seed in range(200):
        # One negative per positive: most scans lose some of theirs, and some lose all.
        kept = keep_negatives(labels, splits, NegativesSpec(test=1), seed)
        thinned = evaluated(listed.filter(pa.array(kept)), scores[kept], counted(listed, kept))
        draws.append(thinned["population"]["false_positives_per_scan"])
    assert np.mean(draws) == pytest.approx(whole, rel=0.05)


def test_folds_are_weighted_each_by_its_own_counts() -> None:
    units = candidates([0, 1, 0, 1], [0, 0, 1, 1]).append_column("fold", pa.array([0, 0, 1, 1]))
    counts = [
        {"listed": {"patch": [listed, 1], "scans": 2}, "planned": {"patch": [1, 1], "scans": 1}} for listed in (4, 9)
    ]
    mix = read_mix(counts, units, "patch")
    assert mix.weights is not None
    assert (mix.weights.tolist(), mix.class_counts, mix.scans_without) == ([4, 1, 9, 1], (13, 2), 2)
    assert read_mix([counts[0], None], units, "patch").weights is None


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Experiment, list[str]]]:
    """A run with a thinned test split, and one that keeps every negative of it."""
    folder = tmp_path_factory.mktemp("mix")
    (folder / "architecture.json").write_text(SMALL_NET)
    write_luna(folder / "luna", 10, positives=2, negatives=14)
    finished = {}
    for name, ratio in (("thinned", 2), ("whole", "all")):
        spec = experiment(folder / "luna", folder / name, patches={"negatives_per_positive": {"test": ratio}})
        lines: list[str] = []
        run(spec, LocalExecutor(), lines.append)
        finished[name] = (spec, lines)
    return finished


def test_a_thinned_split_has_metrics_of_the_list_too(runs: dict[str, tuple[Experiment, list[str]]]) -> None:
    spec, lines = runs["thinned"]
    found = json.loads((spec.out_path / "metrics.json").read_text())
    assert "population" not in found["val"], "it keeps all its negatives"
    test = found["test"]
    counts = open_store(spec.store_path).info.population["test"]
    (listed, _), (planned, _) = counts["listed"]["patch"], counts["planned"]["patch"]
    rows = pq.read_table(spec.out_path / "predictions" / "test.parquet")
    labels, scores = rows["label"].to_numpy(), np.array([pair[1] for pair in rows["probabilities"].to_pylist()])
    assert (listed, planned) == (28, 8)
    weights, predicted = np.where(labels == 0, listed / planned, 1), scores >= test["threshold"]
    population = test["population"]
    expected = {
        "precision": sk.precision_score(labels, predicted, sample_weight=weights),
        "recall": sk.recall_score(labels, predicted),
        "accuracy": sk.accuracy_score(labels, predicted, sample_weight=weights),
        "average_precision": sk.average_precision_score(labels, scores, sample_weight=weights),
        "loss": sk.log_loss(labels, scores, sample_weight=weights),
        "false_positives_per_scan": np.sum(weights * (predicted & (labels == 0))) / 2,
    }
    assert {name: population[name] for name in expected} == pytest.approx(expected)
    assert test["precision"] == pytest.approx(sk.precision_score(labels, predicted))
    assert test["false_positives_per_scan"] is None
    assert set(population["intervals"]) == set(test["intervals"]) | {"false_positives_per_scan"}
    assert any(line.startswith("evaluate: test, re-weighted to the list (28 other, 4 nodule): ") for line in lines)
    page = (spec.out_path / "report.html").read_text()
    assert "Test, re-weighted" in page
    assert f"test, re-weighted, AP {population['average_precision']:.3f}" in page, "of the precision-recall curve"
    assert page.count("test, re-weighted</text>") == 1, "of the reliability diagram"
    assert page.count("re-weighted: of the list") == 2
    card = page[page.index('id="headline-test"') : page.index("</article>")]
    assert "metrics re-weighted to the mix of the list" in card
    assert f">{population['precision']:.3f}</span>" in card
    assert "Validation, re-weighted" not in page
    assert "validation, re-weighted" not in page


def test_the_whole_split_needs_no_weights(runs: dict[str, tuple[Experiment, list[str]]]) -> None:
    spec, lines = runs["whole"]
    found = json.loads((spec.out_path / "metrics.json").read_text())
    for split in ("val", "test"):
        assert "population" not in found[split]
        ((_, wrong), _), scans = found[split]["confusion_matrix"], open_store(spec.store_path).rows(split)["scan_id"]
        assert found[split]["false_positives_per_scan"] == wrong / len(scans.unique())
    assert not any("re-weighted" in line for line in lines)
    assert "re-weighted" not in (spec.out_path / "report.html").read_text()


def test_folds_that_drop_negatives_are_joined_with_the_mix_of_the_list(tmp_path: Path) -> None:
    (tmp_path / "architecture.json").write_text(SMALL_NET)
    write_luna(tmp_path / "luna", 8, positives=2, negatives=14)
    patches = {"negatives_per_positive": {"test": 3}}
    spec = experiment(tmp_path / "luna", tmp_path / "run", split={"folds": 2, "val": 0.3}, patches=patches)
    run(spec, LocalExecutor(), lambda line: None)
    test = json.loads((spec.out_path / "metrics.json").read_text())["test"]
    folds = [json.loads((spec.out_path / f"fold_{fold}" / "metrics.json").read_text())["test"] for fold in range(2)]
    population, own = test["population"], [fold["population"] for fold in folds]
    assert population["class_counts"] == [8 * 14, 8 * 2]
    assert population["folds"]["precision"] == [each["precision"] for each in own]
    wrong = [each["false_positives_per_scan"] for each in own]
    assert population["false_positives_per_scan"] == pytest.approx(np.mean(wrong)), "each fold tests half of the scans"
    page = (spec.out_path / "report.html").read_text()
    assert "Precision, re-weighted" in page
    assert "False positives per scan, re-weighted" in page
