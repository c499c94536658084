"""Whether two networks differ beyond chance: their metrics on the same samples, with an interval of the difference.

Patients are drawn with replacement, the same ones for both networks (the paired bootstrap), because the samples of one
patient depend on each other and both networks find the same patients hard. The interval is that of Student's t with the
standard error of these draws, which holds for few patients and for the small levels of several comparisons, whose
quantiles so few draws do not show.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxray.metrics.curves import Floats
from voxray.metrics.proportions import CONFIDENCE, Interval
from voxray.metrics.support import MIN_PATIENTS

DRAWS = 500  # the standard error of as many varies by 3 %
FEWEST_DEFINED = 0.9  # of the draws; a rare class may be absent from some


@dataclass(frozen=True, eq=False)
class Paired:
    """Two networks on the same samples, such as the validation of one fold.

    Attributes
    ----------
    patients : ndarray, (n,)
        The patient of each sample.
    one, other : callable
        The metric of each network for weights of the samples (n,); NaN where it is undefined.
    """

    patients: NDArray[Any]
    one: Callable[[Floats], float]
    other: Callable[[Floats], float]


@dataclass(frozen=True)
class Difference:
    """The metric of one network minus that of another.

    Attributes
    ----------
    value : float
    interval : tuple of float, optional
        None for fewer than `MIN_PATIENTS` patients, or where too few draws have the metric.
    patients : int
    """

    value: float
    interval: Interval | None
    patients: int


def paired_difference(parts: Sequence[Paired], comparisons: int = 1) -> Difference:
    """The difference of two networks, the mean over the parts.

    Parameters
    ----------
    parts : sequence of Paired
        With different patients, which are drawn within their part.
    comparisons : int
        How many networks were compared with the same one before this one was chosen. The interval has room for the
        luck of the best of so many (Bonferroni).

    Returns
    -------
    Difference
    """
    value = _mean_difference(parts, [np.ones(len(part.patients)) for part in parts])
    members = [np.unique(part.patients, return_inverse=True)[1] for part in parts]
    counts = [int(member.max(initial=-1)) + 1 for member in members]
    if min(counts, default=0) < MIN_PATIENTS:
        return Difference(value, None, sum(counts))
    rng = np.random.default_rng(0)
    draws = [rng.multinomial(count, np.full(count, 1 / count), DRAWS) for count in counts]
    weights = (
        [drawn[member].astype(np.float64) for drawn, member in zip(row, members, strict=True)]
        for row in zip(*draws, strict=True)
    )
    differences = np.array([_mean_difference(parts, each) for each in weights])
    defined = differences[np.isfinite(differences)]
    if len(defined) < FEWEST_DEFINED * DRAWS or not math.isfinite(value):
        return Difference(value, None, sum(counts))
    from scipy.special import stdtrit

    freedom = sum(counts) - len(counts)
    quantile = float(stdtrit(freedom, 1 - (1 - CONFIDENCE) / 2 / comparisons))
    half = quantile * float(defined.std()) * math.sqrt(sum(counts) / freedom)
    return Difference(value, (value - half, value + half), sum(counts))


def _mean_difference(parts: Sequence[Paired], weights: Sequence[Floats]) -> float:
    differences = [part.one(each) - part.other(each) for part, each in zip(parts, weights, strict=True)]
    return float(np.mean(differences)) if differences else math.nan
