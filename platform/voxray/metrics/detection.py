"""The score of a list of candidates as LUNA16 defines it: hits, the FROC curve, CPM (Setio et al. 2017).

Points are in millimeters, of any axes as long as all have the same. Scans are numbered from 0; a scan without
candidates counts as any other.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxray.metrics.curves import Floats, Ints, Ranking, ratio

Bools = NDArray[np.bool_]

# False positives a scan; powers of two are exact. Every sixteenth is one of those whose sensitivities CPM averages.
GRID = 2.0 ** np.linspace(-3, 3, 97)
RATES = tuple(float(rate) for rate in GRID[::16])
DEFAULT_DIAMETER_MM = 10.0  # where it is below 0
BLOCK_PAIRS = 1 << 20  # of candidate and annotation whose distances are in memory


def rate_name(rate: float) -> str:
    """A rate as files write it, such as ``0.125`` or ``8``."""
    return f"{rate:g}"


@dataclass(frozen=True, eq=False)
class Candidates:
    """Points that a program marked.

    Attributes
    ----------
    scans : ndarray of int, (n,)
    points_mm : ndarray, (n, 3)
    probabilities : ndarray, (n,)
        Or any other score that is finite and higher where a nodule is more likely.
    """

    scans: Ints
    points_mm: Floats
    probabilities: Floats

    def __len__(self) -> int:
        return len(self.scans)

    def select(self, rows: NDArray[Any]) -> "Candidates":
        """Some of the candidates, by mask or position."""
        return Candidates(self.scans[rows], self.points_mm[rows], self.probabilities[rows])


@dataclass(frozen=True, eq=False)
class Annotations:
    """What readers annotated: nodules, or findings that are excluded from the score.

    Attributes
    ----------
    scans : ndarray of int, (n,)
    points_mm : ndarray, (n, 3)
    diameters_mm : ndarray, (n,)
        Below 0 where it is not known: 10 mm then.
    """

    scans: Ints
    points_mm: Floats
    diameters_mm: Floats

    def __len__(self) -> int:
        return len(self.scans)


@dataclass(frozen=True, eq=False)
class Matches:
    """Which candidate hits what.

    Attributes
    ----------
    found_by : ndarray of int, (nodules,)
        The most probable candidate that hits a nodule, the first of equally probable ones; -1 for a missed nodule.
    false_positive : ndarray of bool, (candidates,)
        Hits neither a nodule nor an excluded finding.
    excluded : ndarray of bool, (candidates,)
        Hits an excluded finding and no nodule.
    """

    found_by: Ints
    false_positive: Bools
    excluded: Bools

    @property
    def found(self) -> Bools:
        """Which nodules are hit, (nodules,)."""
        return self.found_by >= 0

    @property
    def sensitivity(self) -> float:
        """Share of nodules that any candidate hits, which no threshold exceeds; NaN without nodules."""
        return float(ratio(self.found.sum(), len(self.found_by)))


@dataclass(frozen=True, eq=False)
class Froc:
    """Free-response ROC curve: a point for each distinct probability from the highest down, after the point (0, 0).

    Attributes
    ----------
    false_positives_per_scan : ndarray, (points,)
    sensitivity : ndarray, (points,)
        NaN without nodules.
    thresholds : ndarray, (points,)
        The lowest probability that counts; the first is infinite.
    """

    false_positives_per_scan: Floats
    sensitivity: Floats
    thresholds: Floats

    def sensitivity_at(self, rates: Floats) -> Floats:
        """Sensitivities at rates of false positives a scan, interpolated linearly; beyond the last point its own."""
        found: Floats = np.interp(rates, self.false_positives_per_scan, self.sensitivity)
        return found

    @property
    def cpm(self) -> float:
        """Competition performance metric: the mean sensitivity at 1/8, 1/4, 1/2, 1, 2, 4 and 8."""
        return float(self.sensitivity_at(np.array(RATES)).mean())

    def threshold_at(self, rate: float) -> float:
        """The smallest probability with at most so many false positives a scan; NaN where even the highest has more."""
        # Rates are rounded, see `froc_curve`.
        allowed = np.flatnonzero(self.false_positives_per_scan <= rate * (1 + 1e-9))
        return float(self.thresholds[allowed[-1]]) if allowed[-1] > 0 else math.nan


def match_candidates(candidates: Candidates, nodules: Annotations, excluded: Annotations) -> Matches:
    """Find the nodules and excluded findings that candidates hit.

    A candidate hits an annotation of its scan if the squared distance to the center is less than the squared radius.
    It may hit several. Memory is limited whatever the number of candidates.
    """
    found_by = np.full(len(nodules), -1, np.int64)
    best = np.full(len(nodules), -math.inf)
    hits_nodule, hits_excluded = np.zeros(len(candidates), bool), np.zeros(len(candidates), bool)
    for rows, of_nodules, of_excluded in _shared_scans(candidates.scans, nodules.scans, excluded.scans):
        step = max(1, BLOCK_PAIRS // (len(of_nodules) + len(of_excluded)))
        for block in (rows[start : start + step] for start in range(0, len(rows), step)):
            points = candidates.points_mm[block]
            hits = _hits(points, nodules, of_nodules)
            hits_nodule[block] = hits.any(axis=1)
            hits_excluded[block] = _hits(points, excluded, of_excluded).any(axis=1)
            probabilities = np.where(hits, candidates.probabilities[block, np.newaxis], -math.inf)
            top = probabilities.argmax(axis=0)
            highest = probabilities[top, np.arange(len(of_nodules))]
            better = highest > best[of_nodules]
            best[of_nodules[better]] = highest[better]
            found_by[of_nodules[better]] = block[top[better]]
    return Matches(found_by, ~hits_nodule & ~hits_excluded, hits_excluded & ~hits_nodule)


def _shared_scans(*scans: Ints) -> Iterator[list[Ints]]:
    """The rows of candidates, nodules and excluded findings of each scan that has candidates and any of the others."""
    candidates, *annotations = scans
    shared = np.intersect1d(candidates, np.concatenate(annotations))
    orders = [np.argsort(each, kind="stable") for each in scans]
    ends = [
        [np.searchsorted(each[order], shared, side) for side in ("left", "right")]
        for each, order in zip(scans, orders, strict=True)
    ]
    for number in range(len(shared)):
        yield [order[low[number] : high[number]] for order, (low, high) in zip(orders, ends, strict=True)]


def _hits(points_mm: Floats, annotations: Annotations, chosen: Ints) -> Bools:
    """Whether a point hits one of the chosen annotations, (points, chosen)."""
    diameters = annotations.diameters_mm[chosen]
    radii = np.where(diameters < 0, DEFAULT_DIAMETER_MM, diameters) / 2
    centers = annotations.points_mm[chosen]
    # Added up axis by axis as the rule is written, so that a point on the sphere falls on the same side everywhere.
    x, y, z = (points_mm[:, axis, np.newaxis] - centers[:, axis] for axis in range(3))
    inside: Bools = x * x + y * y + z * z < radii * radii
    return inside


def most_probable(candidates: Candidates, marks_per_scan: int) -> NDArray[np.int64]:
    """Rows of the most probable candidates, at most `marks_per_scan` of each scan.

    As in the challenge, candidates of a scan that are as probable as the first one too many are dropped with it.
    """
    order = np.lexsort((-candidates.probabilities, candidates.scans))
    scans, probabilities = candidates.scans[order], candidates.probabilities[order]
    first = np.searchsorted(scans, scans)
    too_many = first + marks_per_scan
    crowded = too_many < np.searchsorted(scans, scans, "right")
    kept = ~crowded | (probabilities > probabilities[np.where(crowded, too_many, 0)])
    return np.sort(order[kept])


def froc_curve(true: Floats, false: Floats, thresholds: Floats, nodules: float, false_total: float, scans: int) -> Froc:
    """The curve of true and false positives counted at each threshold.

    Parameters
    ----------
    true, false, thresholds : ndarray, (points,)
        From `Ranking.counts`: nodules found and false positives at this probability or a higher one.
    nodules : float
        With those that no candidate hits.
    false_total : float
        Of the whole list, also where the counts end before.
    scans : int
        With those without a candidate.
    """
    # The challenge divides by all false positives and multiplies again. The rounding matters: it decides which end of
    # a vertical step counts that is exactly at a rate, as 111 false positives in 888 scans are.
    rates = false / false_total * false_total / scans if false_total else np.zeros(len(false))
    return Froc(np.insert(rates, 0, 0.0), ratio(np.insert(true, 0, 0.0), nodules), np.insert(thresholds, 0, math.inf))


@dataclass(frozen=True, eq=False)
class Entries:
    """What makes a curve: nodules that are found, each once with its best candidate, and false positives."""

    scans: Ints
    positive: Bools
    probabilities: Floats
    nodule_scans: Ints

    @classmethod
    def of(cls, candidates: Candidates, nodules: Annotations, matches: Matches) -> "Entries":
        """The entries of a list."""
        rows = np.concatenate([matches.found_by[matches.found], np.flatnonzero(matches.false_positive)])
        positive = np.arange(len(rows)) < matches.found.sum()
        return cls(candidates.scans[rows], positive, candidates.probabilities[rows], nodules.scans)

    def curve(self, scans: int) -> Froc:
        """The FROC curve over so many scans."""
        ranking = Ranking(self.positive, self.probabilities)
        false_total = float((~self.positive).sum())
        return froc_curve(*ranking.counts(), ranking.thresholds, len(self.nodule_scans), false_total, scans)

    def down_to(self, rank: int) -> "Entries":
        """Those at least as probable as the false positive of this rank."""
        false = self.probabilities[~self.positive]
        if rank >= len(false):
            return self
        kept = self.probabilities >= np.partition(false, len(false) - 1 - rank)[len(false) - 1 - rank]
        return Entries(self.scans[kept], self.positive[kept], self.probabilities[kept], self.nodule_scans)
