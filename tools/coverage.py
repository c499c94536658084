"""How often the 95 % intervals of the metrics hold the truth, by the number of patients.

Data sets are drawn from a population whose metrics are known from very many patients. The intervals are those of
``metrics.json``. In the first population a patient is one sample; in the others the samples of a patient depend on each
other, and patients have different numbers of samples or scans. Each cell is the coverage and, where few patients bear
on a metric and it was withheld, the share of data sets with an interval.
Usage: python tools/coverage.py [--repeats 1000] [--metric ece] [--population findings]
"""

import argparse
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from voxray.metrics.calibration_error import calibration_error, calibration_error_interval
from voxray.metrics.classification import Samples, predict_labels
from voxray.metrics.compute import mean_metrics, sample_metrics
from voxray.metrics.detection import Annotations, Candidates
from voxray.metrics.detection_score import RESAMPLES, DetectionScore, score_candidates
from voxray.metrics.intervals import sample_intervals, scan_intervals

PATIENTS = (5, 10, 20, 40, 100)
POPULATION = 200_000  # patients from whom the truth is computed
CLUSTERING = 0.8  # standard deviation of a patient's effect on its scores, next to 1 within the patient

# Samples, a table of the metrics of scans, or a list of findings, and the patient of each sample or scan.
Draw = tuple[Samples | list[dict[str, float]] | DetectionScore, np.ndarray]
Population = Callable[[int, float, np.random.Generator], Draw]


def one_sample_each(count: int, separation: float, rng: np.random.Generator) -> Draw:
    """Patients with one sample each, 2 of 5 positive."""
    return _two_classes(rng.random(count) < 0.4, np.arange(count), separation, 0, rng)


def candidates(count: int, separation: float, rng: np.random.Generator) -> Draw:
    """Candidates: one to four positive and about ten negative ones of each patient."""
    positive, negative = 1 + rng.binomial(3, 0.3, count), 1 + rng.poisson(9, count)
    patients = np.concatenate([np.repeat(np.arange(count), numbers) for numbers in (positive, negative)])
    return _two_classes(np.arange(len(patients)) < positive.sum(), patients, separation, CLUSTERING, rng)


def three_classes(count: int, separation: float, rng: np.random.Generator) -> Draw:
    """One to eight samples of a patient, each of one of three classes."""
    patients = np.repeat(np.arange(count), rng.integers(1, 9, count))
    labels = rng.choice(3, len(patients), p=[0.5, 0.3, 0.2])
    logits = rng.normal(size=(len(patients), 3)) + CLUSTERING * rng.normal(size=(count, 3))[patients]
    logits[np.arange(len(labels)), labels] += separation
    odds = np.exp(logits)
    return _samples(labels, odds / odds.sum(axis=1, keepdims=True)), patients


def scans(count: int, separation: float, rng: np.random.Generator) -> Draw:
    """One to three scans of each patient, with a class that a third of them lacks."""
    patients = np.repeat(np.arange(count), rng.integers(1, 4, count))
    effects = rng.normal(size=(count, 2))[patients] + rng.normal(size=(len(patients), 2))
    dice = 1 / (1 + np.exp(-separation - 0.5 * effects))
    dice[rng.random(len(patients)) < 0.35, 1] = math.nan
    distances = np.exp(1 - 0.3 * separation - 0.5 * effects)
    table = [
        {"dice/organ": float(organ), "dice/lesion": float(lesion), "hd95_mm/organ": float(distance)}
        for (organ, lesion), distance in zip(dice, distances[:, 0], strict=True)
    ]
    return table, patients


def findings(count: int, separation: float, rng: np.random.Generator) -> Draw:
    """A scan of each patient with no nodule, as a third have, or several, and about 20 false positives."""
    count = min(count, 20_000)
    effects = 0.6 * rng.normal(size=count)
    owners = np.repeat(np.arange(count), np.where(rng.random(count) < 0.65, 1 + rng.poisson(0.8, count), 0))
    others = np.repeat(np.arange(count), rng.poisson(20, count))
    centers = np.column_stack([100.0 * np.arange(len(owners)), np.zeros((len(owners), 2))])
    is_proposed = rng.random(len(owners)) < 0.95
    scans = np.concatenate([owners[is_proposed], others])
    points = np.concatenate([centers[is_proposed], np.full((len(others), 3), -1e6)])
    scores = effects[scans] + separation * (np.arange(len(scans)) < is_proposed.sum()) + rng.normal(size=len(scans))
    nodules = Annotations(owners, centers, np.full(len(owners), 10.0))
    none = Annotations(np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros(0))
    resamples = RESAMPLES if count <= max(PATIENTS) else 0
    found = score_candidates(Candidates(scans, points, scores), nodules, none, count, resamples=resamples)
    return found, np.arange(count)


def _two_classes(
    positive: np.ndarray, patients: np.ndarray, separation: float, clustering: float, rng: np.random.Generator
) -> Draw:
    effects = clustering * rng.normal(size=patients.max() + 1)[patients]
    scores = 1 / (1 + np.exp(-rng.normal(size=len(patients)) - effects - separation * (positive - 0.5)))
    return _samples(positive.astype(np.int64), np.stack([1 - scores, scores], 1)), patients


def _samples(labels: np.ndarray, probabilities: np.ndarray) -> Samples:
    return Samples(labels, probabilities, predict_labels(probabilities, 0.5))


def _truth(drawn: Draw) -> dict[str, float]:
    evaluated, _ = drawn
    if isinstance(evaluated, DetectionScore):
        return {"cpm": evaluated.cpm, **_by_rate(evaluated.sensitivity_at)}
    if not isinstance(evaluated, Samples):
        return mean_metrics(evaluated)
    return {**sample_metrics(evaluated), "ece": calibration_error(evaluated.labels, evaluated.probabilities)}


def _intervals(drawn: Draw, metric: str | None) -> dict[str, Any]:
    """The intervals of all metrics, or of one."""
    evaluated, patients = drawn
    found: dict[str, Any]
    if isinstance(evaluated, DetectionScore):
        found = {"cpm": evaluated.cpm_interval, **_by_rate(evaluated.sensitivity_intervals)}
    elif not isinstance(evaluated, Samples):
        found = scan_intervals(evaluated, patients.tolist())
    else:
        found = {} if metric == "ece" else sample_intervals(evaluated, patients)
        if metric in (None, "ece"):
            found["ece"] = calibration_error_interval(evaluated.labels, evaluated.probabilities, patients)
    return {name: interval for name, interval in found.items() if metric in (None, name)}


def _by_rate(values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"sensitivity_at/{rate}": value for rate, value in values.items()}


# Population → the separations of a weak and of a strong network.
POPULATIONS: Mapping[Population, tuple[float, float]] = {
    one_sample_each: (1.2, 2.8),
    candidates: (1.8, 3.5),
    three_classes: (1.5, 3.5),
    scans: (1.0, 2.5),
    findings: (2.0, 4.5),
}


def coverage(
    population: Population, separation: float, patients: int, repeats: int, metric: str | None
) -> dict[str, tuple[float, float]]:
    """Metric → the share of intervals that hold the truth, NaN for too few of them, and the share with one."""
    truth = _truth(population(POPULATION, separation, np.random.default_rng(0)))
    held: dict[str, list[bool]] = {}
    rng = np.random.default_rng(patients)
    for _ in range(repeats):
        for name, interval in _intervals(population(patients, separation, rng), metric).items():
            held.setdefault(name, [])
            if interval is not None:
                low, high = interval
                if not low < high:
                    raise SystemExit(f"{name}: an interval without width, {interval}")
                held[name].append(low <= truth[name] <= high)
    shares = {name: float(np.mean(hits)) if len(hits) >= 0.05 * repeats else math.nan for name, hits in held.items()}
    return {name: (shares[name], len(hits) / repeats) for name, hits in held.items()}


def _cell(share: float, given: float) -> str:
    if math.isnan(share):
        return "withheld"
    return f"{share:.3f}" if given == 1 else f"{share:.3f} ({100 * given:.0f} %)"


def main() -> None:
    """Print a table of coverage and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--metric", help="only this one")
    parser.add_argument("--population", choices=[population.__name__ for population in POPULATIONS])
    options = parser.parse_args()
    lowest = 1.0
    for population, separations in POPULATIONS.items():
        if options.population not in (None, population.__name__):
            continue
        for separation, strength in zip(separations, ("weak", "strong"), strict=True):
            columns = {
                count: coverage(population, separation, count, options.repeats, options.metric) for count in PATIENTS
            }
            for name in columns[PATIENTS[0]]:
                cells = [columns[count][name] for count in PATIENTS]
                lowest = min([lowest, *(share for share, _ in cells if not math.isnan(share))])
                start = f"| {population.__name__.replace('_', ' ')} | {strength} | {name} | "
                print(start + " | ".join(_cell(*cell) for cell in cells) + " |", flush=True)
    print(json.dumps({"repeats": options.repeats, "lowest": lowest}))


if __name__ == "__main__":
    main()
