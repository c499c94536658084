"""The intervals of a classifier's metrics, and scikit-learn's scores of the same weighted samples.

Ours leaves out one group of patients after the other, and sorts the samples once; scikit-learn sorts them for each
score. `ratio` is the time of one weighting with scikit-learn, for ROC AUC and average precision alone, over ours with
all metrics.
Usage: python benchmarks/intervals.py [--samples 110000]
"""

import argparse
import json
import time

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from voxray.metrics.classification import Samples, predict_labels
from voxray.metrics.intervals import MOST_GROUPS, sample_intervals

PATIENTS = 888
THEIRS = 10  # weightings of scikit-learn, which are slow


def main() -> None:
    """Time both sides on the same samples and print a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=110_000)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    labels = (rng.random(options.samples) < 0.05).astype(np.int64)
    scores = np.clip(0.7 * rng.random(options.samples) + 0.3 * labels, 0, 1)
    patients = rng.integers(0, PATIENTS, options.samples)
    probabilities = np.stack([1 - scores, scores], 1)
    samples = Samples(labels, probabilities, predict_labels(probabilities, 0.5))
    began = time.process_time()
    sample_intervals(samples, patients)
    seconds = time.process_time() - began
    ours = seconds / MOST_GROUPS
    began = time.process_time()
    for _ in range(THEIRS):
        weights = (patients % MOST_GROUPS != rng.integers(MOST_GROUPS)).astype(float)
        for score in (roc_auc_score, average_precision_score):
            score(labels, scores, sample_weight=weights)
    theirs = (time.process_time() - began) / THEIRS
    print(f"{seconds:.2f} s for the intervals of {options.samples:,} samples of {PATIENTS} patients")
    print(f"a weighting: ours {1000 * ours:.2f} ms, scikit-learn {1000 * theirs:.2f} ms")
    result = {"benchmark": "intervals", "seconds": round(seconds, 2), "ratio": round(theirs / ours, 2)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
