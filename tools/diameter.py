"""A nodule classifier against the nodules' diameter alone, on the same patients.

Usage: python tools/diameter.py runs/lidc_malignancy ../shared/data/lidc_nodules/manifest.csv
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
import pyarrow.csv as csv
import pyarrow.parquet as pq

from voxray.metrics.curves import Ranking, area_under_roc
from voxray.metrics.intervals import Interval, jackknife_interval
from voxray.metrics.metric import UNBOUNDED


def intervals(labels: np.ndarray, scores: dict[str, np.ndarray], patients: np.ndarray) -> dict[str, Interval | None]:
    """95 % intervals of each ROC AUC and of their difference, from a jackknife over patients."""
    names, member = np.unique(patients, return_inverse=True)
    rankings = [Ranking(labels, values) for values in scores.values()]
    kept = [np.ones(len(labels)), *(np.not_equal(member, patient).astype(float) for patient in range(len(names)))]
    areas = np.array([[area_under_roc(*ranking.counts(weights)) for ranking in rankings] for weights in kept])
    table = dict(zip(scores, areas.T, strict=True)) | {"difference": areas[:, 0] - areas[:, 1]}
    bounds = dict.fromkeys(scores, (0.0, 1.0)) | {"difference": UNBOUNDED}
    return {
        name: jackknife_interval(value, without, len(names), bounds[name])
        for name, (value, *rest) in table.items()
        for without in [np.array(rest)]
    }


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
        low, high = spans[name] or (math.nan, math.nan)
        print(f"{name:12} {area:.3f} [{low:.3f}, {high:.3f}]")
    print(json.dumps({"nodules": len(labels), "patients": len(set(patients)), "roc_auc": areas, "intervals": spans}))


if __name__ == "__main__":
    main()
