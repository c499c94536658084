"""All numbers of a list of candidates: the curve, counts, and bootstrap intervals over scans."""

from dataclasses import dataclass

import numpy as np

from voxray.metrics.curves import Floats, Ranking
from voxray.metrics.detection import (
    GRID,
    RATES,
    Annotations,
    Candidates,
    Entries,
    Froc,
    Matches,
    froc_curve,
    match_candidates,
    rate_name,
)
from voxray.metrics.metric import Metric

Interval = tuple[float, float]
RESAMPLES = 1000  # as in the challenge
PERCENTILES = [2.5, 97.5]
MIN_SCANS = 15  # with nodules: "95 %" intervals of 5 scans hold the true value in 72 % of simulated cases


@dataclass(frozen=True, eq=False)
class DetectionScore:
    """The score of a list of candidates.

    Attributes
    ----------
    curve : Froc
    matches : Matches
    scans : int
        With those that have neither candidates nor nodules.
    band : (low, high), optional
        The 95 % interval of the sensitivity at each rate of `GRID`. None where fewer than `MIN_SCANS` scans have
        nodules, or if it was not asked for.
    cpm_interval : (low, high), optional
        None also where no resample differs from the value.
    """

    curve: Froc
    matches: Matches
    scans: int
    band: tuple[Floats, Floats] | None = None
    cpm_interval: Interval | None = None

    @property
    def cpm(self) -> float:
        """Mean sensitivity at seven rates of false positives; NaN without nodules."""
        return self.curve.cpm

    @property
    def sensitivity_at(self) -> dict[str, float]:
        """Sensitivity by rate of false positives a scan, such as ``0.125``."""
        values = self.curve.sensitivity_at(np.array(RATES))
        return {rate_name(rate): float(value) for rate, value in zip(RATES, values, strict=True)}

    @property
    def sensitivity_intervals(self) -> dict[str, Interval | None]:
        """Intervals of `sensitivity_at`; None as for CPM."""
        ends = list(zip(*self.band, strict=True)) if self.band else [(0.0, 0.0)] * len(GRID)
        return {rate_name(rate): _with_width(*ends[16 * number]) for number, rate in enumerate(RATES)}

    @property
    def nodules(self) -> int:
        """Nodules, found or missed."""
        return len(self.matches.found_by)

    @property
    def candidates(self) -> int:
        """Candidates, whatever they hit."""
        return len(self.matches.excluded)

    @property
    def dropped_as_excluded(self) -> int:
        """Candidates that hit an excluded finding and no nodule: they count neither way."""
        return int(self.matches.excluded.sum())


def score_candidates(
    candidates: Candidates,
    nodules: Annotations,
    excluded: Annotations,
    scans: int,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> DetectionScore:
    """Score candidates as LUNA16 does.

    Parameters
    ----------
    candidates : Candidates
    nodules : Annotations
    excluded : Annotations
        Candidates that hit them count neither way.
    scans : int
        All that were searched, numbered from 0.
    resamples : int
        Of a bootstrap over scans for intervals; 0 for none.
    seed : int
    """
    matches = match_candidates(candidates, nodules, excluded)
    entries = Entries.of(candidates, nodules, matches)
    curve = entries.curve(scans)
    if not resamples or len(np.unique(nodules.scans)) < MIN_SCANS:
        return DetectionScore(curve, matches, scans)
    draws = resample_sensitivities(entries, scans, resamples, seed)
    low, high = np.percentile(draws, PERCENTILES, axis=0)
    ends = np.percentile(draws[:, ::16].mean(axis=1), PERCENTILES)
    return DetectionScore(curve, matches, scans, (low, high), _with_width(*ends))


def resample_sensitivities(entries: Entries, scans: int, resamples: int, seed: int) -> Floats:
    """Sensitivities of a bootstrap over scans, (resamples with nodules, rates of `GRID`)."""
    # How often each scan is drawn, when as many are drawn with replacement.
    times = np.random.default_rng(seed).multinomial(scans, np.full(scans, 1 / scans), resamples).astype(np.float64)
    times = times[times[:, np.unique(entries.nodule_scans)].any(axis=1)]
    nodules = times @ np.bincount(entries.nodule_scans, minlength=scans)
    false_totals = times @ _false_positives(entries, scans)
    top = _first_entries(entries, times, false_totals)
    ranking = Ranking(top.positive, top.probabilities)
    draws = np.empty((len(times), len(GRID)))
    for number, drawn in enumerate(times):
        counts = ranking.counts(drawn[top.scans])
        curve = froc_curve(*counts, ranking.thresholds, nodules[number], false_totals[number], scans)
        draws[number] = curve.sensitivity_at(GRID)
    return draws


def _first_entries(entries: Entries, times: Floats, false_totals: Floats) -> Entries:
    """The most probable entries, as many as any resample needs up to the last rate."""
    needed = GRID[-1] * times.shape[1] + 1
    top, rank = entries.down_to(int(needed)), int(needed)
    while np.any(times @ _false_positives(top, times.shape[1]) < np.minimum(false_totals, needed)):
        rank *= 2
        top = entries.down_to(rank)
    return top


def _false_positives(entries: Entries, scans: int) -> Floats:
    return np.bincount(entries.scans[~entries.positive], minlength=scans).astype(np.float64)


def _with_width(low: float, high: float) -> Interval | None:
    """An interval; None for one without a width, which says that nothing varied and not that nothing could."""
    return (float(low), float(high)) if high > low else None


CPM = Metric(
    "cpm",
    "CPM",
    lambda score: score.cpm,
    "mean sensitivity at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives a scan",
    tasks=("detection",),
    undefined="no scan of this split has a nodule",
    per_epoch=False,
)
# The key ends with the rate, such as sensitivity_at/0.125.
SENSITIVITY_AT = Metric(
    "sensitivity_at",
    "Sensitivity at false positives a scan",
    None,
    "share of nodules that are found at this number of false positives a scan",
    tasks=("detection",),
    undefined="no scan of this split has a nodule",
    per_epoch=False,
    in_terminal=False,
)
