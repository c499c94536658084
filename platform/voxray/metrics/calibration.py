"""Calibration of a classifier: whether a probability of .8 comes true in 80 % of the cases, and how to make it so.

Probabilities are ``softmax(logits / temperature + offsets)``. The temperature is fitted on validation (Guo et al. 2017,
"On Calibration of Modern Neural Networks"). The offsets are known: they undo that training saw some classes more often
than the data set has them (Elkan 2001, "The Foundations of Cost-Sensitive Learning").
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from voxray.metrics.curves import Floats, Ints

LOWEST, HIGHEST = 1e-3, 1e3  # temperatures that are tried, in units of the spread of the logits
FEWEST = 10  # samples that determine a temperature
TINY = 1e-300
CHANCE = "the model is no better than chance on validation"


@dataclass(frozen=True)
class Calibration:
    """What turns logits into probabilities.

    Attributes
    ----------
    temperature : float
        Above 1 it makes probabilities less extreme.
    offsets : tuple of float, (classes,)
        Added to the scaled logits; empty means none.
    note : str
        Why the temperature is not an optimum; empty where it is.
    """

    temperature: float = 1.0
    offsets: tuple[float, ...] = ()
    note: str = ""

    @classmethod
    def from_record(cls, record: Mapping[str, Any] | None) -> "Calibration":
        """That of ``metrics.json`` or of a model's metadata; one that changes nothing where there is none."""
        record = record or {}
        return cls(float(record.get("temperature", 1.0)), tuple(map(float, record.get("offsets", ()))))

    def apply(self, logits: Floats) -> Floats:
        """Probabilities (n, classes) from logits (n, classes)."""
        return np.exp(_log_probabilities(logits, self.temperature, self.offsets))

    def undo(self, probabilities: Floats) -> Floats:
        """What probabilities (n, classes) were without calibration."""
        logits = (np.log(np.maximum(probabilities, TINY)) - np.array(self.offsets or 0.0)) * self.temperature
        return np.exp(_log_probabilities(logits))


def fit_calibration(
    logits: Floats, labels: Ints, members: Ints, offsets: Floats, weights: Floats | None = None
) -> Calibration:
    """The temperature with the least mean negative log-likelihood.

    Parameters
    ----------
    logits : ndarray, (n, classes)
        Of the patches of the validation split.
    labels : ndarray of int, (n,)
    members : ndarray of int, (n,)
        The patch, scan or patient that each row belongs to, from 0, whose probability is the mean over its rows.
    offsets : ndarray, (classes,)
    weights : ndarray, (n,), optional
        How often each row counts; the same for all rows of a scan or patient.
    """
    amounts = np.ones(len(labels)) if weights is None else weights

    def loss(log_temperature: float) -> float:
        logs = _log_probabilities(logits, math.exp(log_temperature), known)
        return _mean_loss(logs[np.arange(len(labels)), labels], members, amounts)

    from scipy.optimize import minimize_scalar  # takes half a second to import

    known = tuple(offsets.tolist())
    counted = amounts > 0
    samples = len(np.unique(members[counted]))
    if samples < FEWEST:
        return Calibration(1.0, known, f"validation has {samples} samples, fewer than the {FEWEST} that determine one")
    if len(np.unique(labels[counted])) < 2:
        return Calibration(1.0, known, "validation has one class only")
    if not np.isfinite(logits[counted]).all():
        return Calibration(1.0, known, "the network gives values that are not numbers")
    if _is_separated(logits[counted], labels[counted]):
        return Calibration(1.0, known, "the model separates the classes of validation perfectly")
    # The temperature has the unit of the logits. A constant added to all logits of a row changes nothing.
    spread = float(np.sqrt(np.mean(logits[counted].var(axis=1))))
    if not spread:
        return Calibration(1.0, known, CHANCE)
    # Means over patients may have several minima, so the search starts from the best point of a grid.
    grid = math.log(spread) + np.linspace(math.log(LOWEST), math.log(HIGHEST), 61)
    best = int(np.argmin([loss(point) for point in grid]))
    if best == 0:
        return Calibration(math.exp(grid[0]), known, "the lower the temperature, the likelier is validation")
    if best == len(grid) - 1:
        return Calibration(math.exp(grid[-1]), known, CHANCE)
    found = minimize_scalar(loss, bounds=(grid[best - 1], grid[best + 1]), method="bounded", options={"xatol": 1e-9})
    return Calibration(math.exp(found.x), known)


def _is_separated(logits: Floats, labels: Ints) -> bool:
    """Whether the true class of each row has the highest logit, and no other has."""
    others = logits.copy()
    others[np.arange(len(labels)), labels] = -np.inf
    return bool(np.all(logits[np.arange(len(labels)), labels] > others.max(axis=1)))


def _log_probabilities(logits: Floats, temperature: float = 1.0, offsets: tuple[float, ...] = ()) -> Floats:
    scaled = logits / temperature + np.array(offsets or 0.0)
    scaled -= scaled.max(axis=1, keepdims=True)
    return np.asarray(scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True)), np.float64)


def _mean_loss(logs: Floats, members: Ints, weights: Floats) -> float:
    """Mean over the members of -log of a mean probability, from the logs of the rows' probabilities (n,)."""
    highest = np.full(int(members.max()) + 1, -np.inf)
    np.maximum.at(highest, members, logs)
    # Without underflow, relative to the highest one of each member.
    rows = np.bincount(members)
    means = np.bincount(members, np.exp(logs - highest[members])) / rows
    return -float(np.average(highest + np.log(means), weights=np.bincount(members, weights) / rows))
