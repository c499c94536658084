"""The subsets of a data set as the folds of a cross-validation."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from voxray.config.experiment import Experiment
from voxray.datasets.manifest import Manifest
from voxray.errors import DataError

WHERE = "split.folds"


def find_folds(experiment: Experiment, manifest: Manifest) -> Experiment:
    """The experiment with the numbers of the subsets that are there, where ``split.folds = "subsets"``.

    Raises
    ------
    DataError
        The layout has no subsets, a named one has no sample, or there are fewer than two.
    """
    split = experiment.split
    if not (split.is_cross_validation and split.by_subset):
        return experiment
    numbers = split.fold_numbers or manifest.subsets
    for number in numbers or (0,):
        _check_subset(manifest, number)
    if len(numbers) < 2:
        problem = f"expected two subsets with candidates or more, got subset{numbers[0]} alone"
        raise DataError(WHERE, problem, "Add the other subsets, or give a number of folds")
    return experiment.model_copy(update={"split": split.model_copy(update={"folds": numbers})})


def in_subset(manifest: Manifest, samples: pa.Table, fold: int) -> NDArray[np.bool_]:
    """Whether the scan of each sample lies in the subset; DataError where that has no sample."""
    _check_subset(manifest, fold)
    return np.asarray(pc.starts_with(samples["path"].cast(pa.string()), f"subset{fold}/").to_numpy(), bool)


def _check_subset(manifest: Manifest, number: int) -> None:
    if not manifest.subsets:
        problem = f"only the layout 'luna16' has the folders subset0 … subset9, got the data set {manifest.root}"
        raise DataError(WHERE, problem, "Give a number of folds")
    if number not in manifest.subsets:
        there = ", ".join(f"subset{each}" for each in manifest.subsets)
        problem = f"subset{number} has no scan with candidates; there are {there}"
        raise DataError(WHERE, problem, "Name one of these, or add the scans")
