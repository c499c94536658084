"""A nodule classifier against the nodules' diameter alone, on the same patients.

Usage: python tools/diameter.py runs/lidc_malignancy ../shared/data/lidc_nodules/manifest.csv
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pyarrow.csv as csv
import pyarrow.parquet as pq

from voxray.metrics.curves import Ranking, area_under_roc

RESAMPLES = 2000


def intervals(labels: np.ndarray, scores: dict[str, np.ndarray], patients: np.ndarray) -> dict[str, list[float]]:
    """95 % intervals of each ROC AUC and of their difference, by a patient-level bootstrap."""
    rng = np.random.default_rng(0)
    names, member = np.unique(patients, return_inverse=True)
    draws, rankings = [], [Ranking(labels, values) for values in scores.values()]
    for _ in range(RESAMPLES):
        weights = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))[member].astype(float)
        draws.append([area_under_roc(*ranking.counts(weights)) for ranking in rankings])
    areas = np.array(draws)
    table = dict(zip(scores, areas.T, strict=True)) | {"difference": areas[:, 0] - areas[:, 1]}
    return {name: np.round(np.percentile(values, [2.5, 97.5]), 3).tolist() for name, values in table.items()}


def main() -> None:
    """Print both areas with their intervals, and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("manifest", type=Path)
    options = parser.parse_args()
    table = pq.read_table(options.run / "predictions" / "test.parquet")
    manifest = csv.read_csv(options.manifest)
    # Predictions name the row of the manifest.
    rows = table["row"].to_numpy()
    labels = table["label"].to_numpy()
    model = np.array(table["probabilities"].to_pylist())[:, 1]
    scores = {"model": model, "diameter": manifest["diameter_mm"].to_numpy()[rows]}
    patients = np.asarray(table["patient_id"].to_pylist(), str)
    areas = {name: round(area_under_roc(*Ranking(labels, values).counts()), 3) for name, values in scores.items()}
    areas["difference"] = round(areas["model"] - areas["diameter"], 3)
    spans = intervals(labels, scores, patients)
    for name, area in areas.items():
        print(f"{name:12} {area:.3f} [{spans[name][0]:.3f}, {spans[name][1]:.3f}]")
    print(json.dumps({"nodules": len(labels), "patients": len(set(patients)), "roc_auc": areas, "intervals": spans}))


if __name__ == "__main__":
    main()
