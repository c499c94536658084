"""Calibration of a trained classifier on its validation split, for the mix of classes of the data set's list."""

from typing import Any

import numpy as np
import pyarrow as pa
import torch

from voxray.config.experiment import Experiment
from voxray.evaluation.mix import read_mix
from voxray.metrics.aggregate import PATCH, labels_and_probabilities, level_members
from voxray.metrics.calibration import Calibration, fit_calibration
from voxray.metrics.calibration_error import calibration_error, calibration_error_interval
from voxray.metrics.curves import Floats
from voxray.patches.population import class_weights as population_weights
from voxray.store.added import ROUND
from voxray.store.read import PatchStore
from voxray.training.losses.base import class_weights


def choose_calibration(experiment: Experiment, store: PatchStore, val: pa.Table, logits: Floats) -> Calibration:
    """The calibration from the patches of validation and their logits (n, classes), at the level that is evaluated."""
    if not experiment.evaluation.calibrate:
        return Calibration()
    level, offsets = experiment.evaluation.level, training_offsets(experiment, store)
    weights = read_mix([store.info.population.get("val")], val, level).weights
    return fit_calibration(logits, val["label"].to_numpy(), level_members(val, level), offsets, weights)


def training_offsets(experiment: Experiment, store: PatchStore) -> Floats:
    """What undoes that training counted some classes more than the data set has them, (classes,); 0 for the first.

    Positives are repeated by rotations, negatives are dropped, hard negatives are added, and the loss may weight
    classes. A network trained with odds of four times those of the data set gives four times the odds.
    """
    rows, classes = store.rows("train"), len(store.info.classes)
    labels, originals = rows["label"].to_numpy(), rows["rotation"].to_numpy() == 0
    if ROUND in rows.column_names:
        originals &= rows[ROUND].to_numpy() == 1
    counts = np.bincount(labels, minlength=classes)
    times = counts / np.maximum(np.bincount(labels[originals], minlength=classes), 1)
    weights = class_weights(experiment.training.class_weights, torch.from_numpy(counts))
    if weights is not None:
        times *= weights.double().numpy()
    if population := store.info.population.get("train"):
        stands_for = population_weights(population, PATCH)
        times /= np.where(stands_for > 0, stands_for, 1.0)
    times = np.where(counts > 0, times, 1.0)
    return np.asarray(np.log(times[0]) - np.log(times), np.float64)


def with_calibration_error(metrics: dict[str, Any], units: pa.Table, weights: Floats | None) -> dict[str, Any]:
    """Metrics of patches, scans or patients, with the calibration error and its interval beside the others.

    `weights` (n,) re-weight them to the list's own mix of classes, see `voxray.evaluation.mix`.
    """
    error, interval = _error_and_interval(units, weights)
    found = {**metrics, "ece": error, "intervals": {**metrics["intervals"], "ece": interval}}
    if population := found.get("population"):
        intervals = {**population["intervals"], "ece": interval}
        found["population"] = {**population, "ece": error, "intervals": intervals}
    return found


def uncalibrated_error(units: pa.Table, weights: Floats | None) -> dict[str, Any]:
    """The same of uncalibrated probabilities, for the record of the calibration."""
    error, interval = _error_and_interval(units, weights)
    return {"uncalibrated_ece": error, "uncalibrated_interval": interval}


def _error_and_interval(units: pa.Table, weights: Floats | None) -> tuple[float, tuple[float, float] | None]:
    labels, probabilities = labels_and_probabilities(units)
    patients = np.asarray(units["patient_id"].to_pylist(), dtype=str)
    interval = calibration_error_interval(labels, probabilities, patients, weights)
    return calibration_error(labels, probabilities, weights), interval
