"""All numbers of a list of candidates: the curve, counts, and bootstrap intervals over scans or patients."""

import math
from dataclasses import dataclass, field

import numpy as np

from voxray.metrics.curves import Floats, Ints, Ranking
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
from voxray.metrics.proportions import Interval, no_event_interval, patients_interval

RESAMPLES = 1000  # as in the challenge
PERCENTILES = [2.5, 97.5]
MIN_SCANS = 15  # or patients, with nodules: "95 %" intervals of 5 scans hold the true value in 72 % of simulated cases


@dataclass(frozen=True, eq=False)
class FrocScore:
    """A FROC curve with its intervals.

    Attributes
    ----------
    curve : Froc
    scans : int
        With those that have neither candidates nor nodules.
    nodules : int
        Found or missed.
    band : (low, high), optional
        The 95 % interval of the sensitivity at each rate of `GRID`. None where fewer than `MIN_SCANS` scans (patients,
        where they are known) have nodules, or if it was not asked for.
    cpm_interval : (low, high), optional
    """

    curve: Froc
    scans: int
    nodules: int
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
        if self.band is None:
            return {rate_name(rate): None for rate in RATES}
        low, high = self.band
        return {rate_name(rate): (float(low[16 * n]), float(high[16 * n])) for n, rate in enumerate(RATES)}


@dataclass(frozen=True, eq=False)
class DetectionScore(FrocScore):
    """The score of a list of candidates; `matches` says which candidate hits what."""

    matches: Matches = field(kw_only=True)

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
    patients: Ints | None = None,
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
    patients : ndarray of int, (scans,), optional
        The patient of each scan, from 0; their scans are drawn together. Without it, scans are drawn.
    resamples : int
        Of a bootstrap for intervals; 0 for none.
    seed : int
    """
    matches = match_candidates(candidates, nodules, excluded)
    entries = Entries.of(candidates, nodules, matches)
    score = score_entries(entries, scans, patients=patients, resamples=resamples, seed=seed)
    return DetectionScore(**vars(score), matches=matches)


def score_entries(
    entries: Entries, scans: int, *, patients: Ints | None = None, resamples: int = RESAMPLES, seed: int = 0
) -> FrocScore:
    """The same of candidates whose hits are known."""
    curve, nodules = entries.curve(scans), len(entries.nodule_scans)
    owners = np.arange(scans) if patients is None else patients
    known = len(np.unique(owners[entries.nodule_scans]))
    if not resamples or known < MIN_SCANS:
        return FrocScore(curve, scans, nodules)
    draws = resample_sensitivities(entries, owners, resamples, seed)
    low, high = np.percentile(draws, PERCENTILES, axis=0)
    ends = np.percentile(draws[:, ::16].mean(axis=1), PERCENTILES)
    low, high = np.transpose([_with_width(*pair, known) for pair in zip(low, high, strict=True)])
    return FrocScore(curve, scans, nodules, (low, high), _with_width(ends[0], ends[1], known))


def ratio_interval(
    parts: Floats, wholes: Floats, patients: Ints, *, is_share: bool, resamples: int = RESAMPLES, seed: int = 0
) -> Interval | None:
    """The interval of the sum of parts over that of wholes, by a bootstrap over patients.

    Parameters
    ----------
    parts, wholes : ndarray, (scans,)
    patients : ndarray of int, (scans,)
        From 0.
    is_share : bool
        Whether parts are some of the wholes; else they are a number of events.
    resamples, seed : int

    Returns
    -------
    (low, high) or None
        None where fewer than `MIN_SCANS` patients have a whole, or have all the same number of events, but for 0.
    """
    known = len(np.unique(patients[wholes > 0]))
    if known < MIN_SCANS:
        return None
    if not is_share and not parts.any():
        return no_event_interval(known)
    times = _draws(patients, resamples, seed)
    drawn = times @ wholes
    low, high = np.percentile((times @ parts)[drawn > 0] / drawn[drawn > 0], PERCENTILES)
    return _with_width(low, high, known) if is_share or high > low else None


def _draws(patients: Ints, resamples: int, seed: int) -> Floats:
    """How often each scan is drawn, when as many patients are drawn with replacement, (resamples, scans)."""
    count = int(patients.max(initial=-1)) + 1
    times = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), resamples)
    return np.asarray(times[:, patients], np.float64)


def resample_sensitivities(entries: Entries, patients: Ints, resamples: int, seed: int) -> Floats:
    """Sensitivities of a bootstrap over the patients of scans, (resamples with nodules, rates of `GRID`)."""
    scans = len(patients)
    times = _draws(patients, resamples, seed)
    times = times[times[:, np.unique(entries.nodule_scans)].any(axis=1)]
    nodules = times @ np.bincount(entries.nodule_scans, minlength=scans)
    false_totals = times @ _false_positives(entries, scans)
    top = _first_entries(entries, times, false_totals)
    ranking = Ranking(top.positive, top.probabilities)
    draws = np.empty((len(times), len(GRID)))
    for number, drawn in enumerate(times):
        counts = ranking.counts(drawn[top.scans])
        searched = int(drawn.sum())
        curve = froc_curve(*counts, ranking.thresholds, nodules[number], false_totals[number], searched)
        draws[number] = curve.sensitivity_at(GRID)
    return draws


def _first_entries(entries: Entries, times: Floats, false_totals: Floats) -> Entries:
    """The most probable entries, as many as any resample needs up to the last rate."""
    needed = GRID[-1] * times.sum(axis=1) + 1
    rank = int(needed.max())
    top = entries.down_to(rank)
    while np.any(times @ _false_positives(top, times.shape[1]) < np.minimum(false_totals, needed)):
        rank *= 2
        top = entries.down_to(rank)
    return top


def _false_positives(entries: Entries, scans: int) -> Floats:
    return np.bincount(entries.scans[~entries.positive], minlength=scans).astype(np.float64)


def _with_width(low: float, high: float, patients: int) -> Interval:
    """An interval of a share; one without a width says that nothing varied, so it is that of a share of patients."""
    return (float(low), float(high)) if high > low else patients_interval(float(low), patients)


CPM = Metric(
    "cpm",
    "CPM",
    lambda score: score.cpm,
    "mean sensitivity at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives a scan",
    tasks=("detection",),
    undefined="no scan of this split has a nodule",
    per_epoch=False,
)
PROPOSAL_SENSITIVITY = Metric(
    "proposal_sensitivity",
    "Sensitivity of the proposals",
    None,
    "share of nodules that any proposal hits; no threshold and no classifier finds the others",
    tasks=("detection",),
    undefined="no scan of this split has a nodule",
    per_epoch=False,
)
PROPOSALS_PER_SCAN = Metric(
    "proposals_per_scan",
    "Proposals a scan",
    None,
    "candidates that are proposed in a scan, the mean over all scans",
    tasks=("detection",),
    higher_is_better=False,
    bounds=(0, math.inf),
    digits=1,
    per_epoch=False,
)
# The key ends with the rate, such as sensitivity_at/0.125.
SENSITIVITY_AT = Metric(
    "sensitivity_at",
    "Sensitivity at {} false positives a scan",
    None,
    "share of nodules that are found at this number of false positives a scan",
    tasks=("detection",),
    undefined="no scan of this split has a nodule",
    per_epoch=False,
    in_terminal=False,
)
