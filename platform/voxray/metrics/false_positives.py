"""False positives per scan, of a classifier of candidates."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxray.metrics.classification import Samples
from voxray.metrics.curves import Floats
from voxray.metrics.metric import Metric

FALSE_POSITIVES_PER_SCAN = Metric(
    "false_positives_per_scan",
    "False positives per scan",
    None,
    "{negative} {levels} of a scan that are predicted as {positive}, mean over the scans of the list",
    higher_is_better=False,
    undefined="negatives of this split were dropped; the re-weighted value counts all of them",
    digits=2,
    bounds=(0, math.inf),
    counts_events=True,
    per_epoch=False,
)


def false_positives_by_scan(samples: Samples, scans: NDArray[Any]) -> tuple[Floats, NDArray[np.int64]]:
    """The false positives of each scan, or the sum of their weights.

    Parameters
    ----------
    samples : Samples
        Candidates of two classes.
    scans : ndarray, (n,)
        The scan of each candidate.

    Returns
    -------
    counts : ndarray, (scans,)
    first : ndarray of int, (scans,)
        A candidate of each scan.
    """
    _, first, member = np.unique(scans, return_index=True, return_inverse=True)
    wrong = (samples.labels == 0) & (samples.predicted == 1)
    weights = wrong.astype(np.float64) if samples.weights is None else wrong * samples.weights
    return np.bincount(member, weights, len(first)).astype(np.float64), first.astype(np.int64)
