"""Patients to splits, and how many of which class to keep. Pure functions of their arguments and a seed."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

SPLITS = ("train", "val", "test")


def split_patients(
    patients: NDArray[np.str_], strata: NDArray[np.int64], shares: Mapping[str, float], seed: int
) -> NDArray[np.str_]:
    """Deal patients to splits, stratum by stratum, so that rare classes reach every split.

    Parameters
    ----------
    patients : ndarray of str, (n,)
        Unique names. Their order does not matter.
    strata : ndarray of int, (n,)
        For example the highest label among a patient's samples.
    shares : mapping of str to float
        Share of the patients for ``val`` and ``test``; the rest trains.
    seed : int

    Returns
    -------
    ndarray of str, (n,)
        Split of each patient.
    """
    splits = np.full(len(patients), "train", dtype="<U5")
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        members = members[np.argsort(patients[members])]
        members = np.random.default_rng([seed, int(stratum)]).permutation(members)
        start = 0
        for split, share in shares.items():
            count = round(share * len(members))
            # A share that was asked for gets at least one patient where there are enough to give.
            count = max(count, 1) if share > 0 and len(members) > len(shares) else count
            splits[members[start : start + count]] = split
            start += count
    return splits


def choose_fold(
    patients: NDArray[np.str_], strata: NDArray[np.int64], folds: int, fold: int, seed: int
) -> NDArray[np.bool_]:
    """The patients of one of several folds, stratum by stratum; each patient is in one fold.

    Parameters
    ----------
    patients : ndarray of str, (n,)
        Unique names. Their order does not matter.
    strata : ndarray of int, (n,)
    folds, fold : int
        How many, and which of them from 0.
    seed : int

    Returns
    -------
    ndarray of bool, (n,)
    """
    chosen = np.zeros(len(patients), bool)
    before = 0  # so that the strata's odd patients do not all go to the first folds
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        members = members[np.argsort(patients[members])]
        members = np.random.default_rng([seed, folds, int(stratum)]).permutation(members)
        chosen[members[(np.arange(len(members)) + before) % folds == fold]] = True
        before += len(members)
    return chosen


def keep_negatives(
    labels: NDArray[np.int64], splits: NDArray[np.str_], negatives_per_positive: float, seed: int
) -> NDArray[np.bool_]:
    """Keep every positive, and for each of them some negatives, in each split for itself.

    Parameters
    ----------
    labels : ndarray of int, (n,)
        0 is negative, everything else positive. The order of the samples must be a fixed one.
    splits : ndarray of str, (n,)
    negatives_per_positive : float
    seed : int

    Returns
    -------
    ndarray of bool, (n,)
    """
    kept = labels > 0
    for number, split in enumerate(SPLITS):
        here = splits == split
        negatives = np.flatnonzero(here & (labels == 0))
        wanted = min(round(negatives_per_positive * np.count_nonzero(here & (labels > 0))), len(negatives))
        kept[np.random.default_rng([seed, number]).choice(negatives, wanted, replace=False)] = True
    return kept
