"""Which patients go to which split, and which negatives are kept. Pure functions of their arguments and a seed.

scikit-learn's StratifiedGroupKFold makes equal folds only and assigns other patients to them. Here shares are
arbitrary, and a patient keeps its split whatever the order of the list.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from voxray.config.data import NegativesSpec

SPLITS = ("train", "val", "test")


def split_patients(
    patients: NDArray[np.str_], strata: NDArray[np.int64], shares: Mapping[str, float], seed: int
) -> NDArray[np.str_]:
    """Assign patients to splits, stratum by stratum, so that rare classes reach every split.

    Parameters
    ----------
    patients : ndarray of str, (n,)
        Unique names. Their order does not matter.
    strata : ndarray of int, (n,)
        For example the highest label among a patient's samples.
    shares : mapping of str to float
        Share of the patients for ``val`` and ``test``; the rest trains.

    Returns
    -------
    ndarray of str, (n,)
        Split of each patient.
    """
    splits = np.full(len(patients), "train", dtype="<U5")
    for members in _shuffled_strata(patients, strata, seed):
        start = 0
        for split, share in shares.items():
            count = round(share * len(members))
            # Any share above 0 gets at least one patient where there are enough.
            count = max(count, 1) if share > 0 and len(members) > len(shares) else count
            splits[members[start : start + count]] = split
            start += count
    return splits


def choose_fold(
    patients: NDArray[np.str_], strata: NDArray[np.int64], folds: int, fold: int, seed: int
) -> NDArray[np.bool_]:
    """Whether each patient is in one fold, stratum by stratum; each patient is in exactly one fold.

    `patients` and `strata` are those of `split_patients`; `fold` counts from 0.
    """
    chosen = np.zeros(len(patients), bool)
    offset = 0  # otherwise the remainders of all strata would go to the first folds
    for members in _shuffled_strata(patients, strata, seed, folds):
        chosen[members[(np.arange(len(members)) + offset) % folds == fold]] = True
        offset += len(members)
    return chosen


def _shuffled_strata(patients: NDArray[np.str_], strata: NDArray[np.int64], *seeds: int) -> Iterator[NDArray[np.int64]]:
    """The indices of each stratum's patients, in a random order that depends on their names alone."""
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        members = members[np.argsort(patients[members])]
        yield np.random.default_rng([*seeds, int(stratum)]).permutation(members)


def keep_negatives(
    labels: NDArray[np.int64], splits: NDArray[np.str_], spec: NegativesSpec, seed: int
) -> NDArray[np.bool_]:
    """Keep every positive, and for each positive as many negatives as the split keeps, of any number at least one.

    Label 0 is negative, everything else positive. The order of the samples must not vary.
    """
    kept = np.ones(len(labels), bool)
    for number, (split, ratio) in enumerate(zip(SPLITS, (spec.train, spec.val, spec.test), strict=True)):
        if ratio == "all":
            continue
        members = splits == split
        negatives = np.flatnonzero(members & (labels == 0))
        positives = int(np.count_nonzero(members & (labels > 0)))
        count = min(max(round(ratio * positives), min(positives, 1)), len(negatives))
        kept[negatives] = False
        kept[np.random.default_rng([seed, number]).choice(negatives, count, replace=False)] = True
    return kept
