"""The bootstrap of a classifier's metrics against scikit-learn's weighted scores, resample by resample.

Ours sorts the samples once for all resamples; scikit-learn sorts them for each score of each resample. `ratio` is the
time of a resample with scikit-learn, for ROC AUC and average precision alone, over ours with all metrics.
Usage: python benchmarks/bootstrap.py [--samples 110000] [--resamples 200]
"""

import argparse
import json
import time

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from voxray.metrics.bootstrap import bootstrap_samples

PATIENTS = 888
THEIRS = 10  # resamples of scikit-learn, which are slow


def main() -> None:
    """Time both sides on the same samples and print a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=110_000)
    parser.add_argument("--resamples", type=int, default=200)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    labels = (rng.random(options.samples) < 0.05).astype(np.int64)
    scores = np.clip(0.7 * rng.random(options.samples) + 0.3 * labels, 0, 1)
    patients = rng.integers(0, PATIENTS, options.samples)
    began = time.process_time()
    bootstrap_samples(labels, np.stack([1 - scores, scores], 1), patients, 0.5, options.resamples, 0)
    ours = (time.process_time() - began) / options.resamples
    began = time.process_time()
    for _ in range(THEIRS):
        weights = np.bincount(rng.integers(0, PATIENTS, PATIENTS), minlength=PATIENTS)[patients]
        for score in (roc_auc_score, average_precision_score):
            score(labels, scores, sample_weight=weights)
    theirs = (time.process_time() - began) / THEIRS
    print(f"ours {1000 * ours:.2f} ms, scikit-learn {1000 * theirs:.2f} ms a resample of {options.samples:,} samples")
    print(
        json.dumps({"benchmark": "bootstrap", "resample_ms": round(1000 * ours, 2), "ratio": round(theirs / ours, 2)})
    )


if __name__ == "__main__":
    main()
