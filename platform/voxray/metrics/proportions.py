"""Confidence intervals of a proportion, and of a number of events of which none was seen."""

import math

from voxray.metrics.support import MIN_PATIENTS

Interval = tuple[float, float]
CONFIDENCE = 0.95


def score_interval(share: float, size: float, quantile: float) -> Interval:
    """The score interval of a proportion (Wilson 1927) of `size` independent samples."""
    ratio = quantile**2 / size
    center = (share + ratio / 2) / (1 + ratio)
    half = math.sqrt(ratio * share * (1 - share) + ratio**2 / 4) / (1 + ratio)
    return max(0.0, center - half), min(1.0, center + half)


def patients_interval(share: float, patients: int) -> Interval:
    """The same with a sample a patient and the quantile of Student's t, for at least two patients."""
    from scipy.special import stdtrit

    return score_interval(share, patients, float(stdtrit(patients - 1, (1 + CONFIDENCE) / 2)))


def no_event_interval(patients: int) -> Interval | None:
    """The exact interval of the mean of a Poisson number, of which none was seen in so many patients.

    None for fewer than `MIN_PATIENTS`.
    """
    return (0.0, -math.log((1 - CONFIDENCE) / 2) / patients) if patients >= MIN_PATIENTS else None
