"""Two or more runs on the same patches: ROC AUC and recall of each at equal precision, and their means.

Usage: python tools/compare_runs.py runs/phantom_cnn3d runs/phantom_cnn2d [--split test]
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from sklearn.metrics import precision_recall_curve, roc_auc_score

PRECISIONS = (0.5, 0.74, 0.85)


def recall_at(precision: float, labels: np.ndarray, scores: np.ndarray) -> float:
    """The highest recall of all thresholds whose precision is at least this; 0 if there is none."""
    precisions, recalls, _ = precision_recall_curve(labels, scores)
    # Without the last point of scikit-learn, which no threshold gives.
    return float(recalls[:-1][precisions[:-1] >= precision].max(initial=0.0))


def main() -> None:
    """Print a line for each run and one of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--split", default="test")
    options = parser.parse_args()
    results, samples = {}, set()
    for run in options.runs:
        table = pq.read_table(run / "predictions" / f"{options.split}.parquet")
        labels = table["label"].to_numpy()
        scores = np.array(table["probabilities"].to_pylist())[:, 1]
        samples.add(tuple(sorted(zip(table["scan_id"].to_pylist(), table["row"].to_pylist(), strict=True))))
        values = {f"recall at precision {p}": round(recall_at(p, labels, scores), 3) for p in PRECISIONS}
        values["roc_auc"] = round(float(roc_auc_score(labels, scores)), 3)
        results[run.name] = values
        print(f"{run.name:20}", "  ".join(f"{name} {value:.3f}" for name, value in values.items()))
    means = {name: round(float(np.mean([result[name] for result in results.values()])), 3) for name in values}
    print(f"{'mean':20}", "  ".join(f"{name} {value:.3f}" for name, value in means.items()))
    if len(samples) > 1:
        raise SystemExit("the runs were evaluated on different candidates")
    print(json.dumps({"split": options.split, "samples": len(samples.pop()), **results}))


if __name__ == "__main__":
    main()
