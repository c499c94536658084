"""The description of one metric: how it is computed, compared, named and explained."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNBOUNDED = (-math.inf, math.inf)


def all_samples(samples: Any) -> Sequence[NDArray[np.bool_]]:
    """One set: all samples."""
    return [np.ones(len(samples.labels), bool)]


@dataclass(frozen=True)
class Metric:
    """One metric. It is registered by one line in `voxray.metrics.registry`.

    Attributes
    ----------
    name : str
        The key in ``metrics.json``; ``val_`` and the name is a column of the history.
    label : str
        How reports write the name.
    function : callable, optional
        The value, NaN where it is undefined. Its argument is a `Samples` for classification, and a `ClassVoxels`
        (one class of one scan) for segmentation. None if the training pass itself measures it.
    description : str
        One clause for reports. ``{negative}`` and ``{positive}`` stand for the class names, ``{level}`` and
        ``{levels}`` for what is evaluated (patch, patient, scan), ``{tolerance_mm:g}`` for that of surface Dice.
    tasks : tuple of str
        Names of the tasks that it belongs to.
    higher_is_better : bool
    undefined : str
        Why it may have no value; the same placeholders.
    multiclass_description : str
        The description with more than two classes, where it differs.
    unit : str
        Such as ``mm``; empty for a number without one.
    bounds : tuple of float
        The least and the greatest value; ``inf`` where there is none.
    digits : int
        Decimal places in reports.
    per_epoch : bool
        Whether validation computes it after each epoch. A segmentation metric then needs voxel counts only.
    final : bool
        Whether it is computed for ``metrics.json``.
    interval : bool
        Whether ``metrics.json`` gives a confidence interval of it.
    rests_on : callable
        Classification: the sets of samples, such as the positive ones, that each have to come from enough patients for
        an interval; masks (n,), from a `Samples`.
    in_terminal : bool
        Whether the terminal prints it after evaluation; it needs an interval.
    binary_only : bool
        Whether it is defined for two classes only.
    class_mean : bool
        Segmentation: whether the mean over the classes is reported too, under the plain name.
    summed : bool
        Segmentation: whether scans are added up instead of averaged.
    weighted_by : str
        Segmentation: the metric that gives the weight of each scan in a mean; empty where all weigh the same.
    f1_of : tuple of str
        Segmentation: the two metrics, recall and precision, of whose means it is the harmonic mean.
    counts_events : bool
        Whether it is a mean number of rare events, of which none seen still has an upper bound.
    """

    name: str
    label: str
    function: Callable[[Any], float] | None
    description: str
    tasks: tuple[str, ...] = ("classification",)
    higher_is_better: bool = True
    undefined: str = ""
    multiclass_description: str = ""
    unit: str = ""
    bounds: tuple[float, float] = (0.0, 1.0)
    digits: int = 3
    per_epoch: bool = True
    final: bool = True
    interval: bool = True
    rests_on: Callable[[Any], Sequence[NDArray[np.bool_]]] = all_samples
    in_terminal: bool = True
    binary_only: bool = False
    class_mean: bool = False
    summed: bool = False
    weighted_by: str = ""
    f1_of: tuple[str, ...] = ()
    counts_events: bool = False

    @property
    def is_share(self) -> bool:
        """Whether it lies between 0 and 1."""
        return self.bounds == (0, 1)

    @property
    def no_interval(self) -> str:
        """Why it may have a value and no interval."""
        needs_spread = not (self.is_share or self.counts_events)
        return f"no interval: too few patients{' or the same value in all' if needs_spread else ''}"

    @property
    def sign(self) -> int:
        """1 if higher is better, else -1."""
        return 1 if self.higher_is_better else -1

    def describe(self, classes: Sequence[str], level: str = "patch", tolerance_mm: float = 1.0) -> str:
        """The description for these classes."""
        text = self.multiclass_description if len(classes) > 2 and self.multiclass_description else self.description
        return _fill(text, classes, level, tolerance_mm)

    def explain_undefined(self, classes: Sequence[str], level: str = "patch") -> str:
        """Why the metric may have no value for these classes."""
        return _fill(self.undefined, classes, level, 1.0)


def _fill(text: str, classes: Sequence[str], level: str, tolerance_mm: float) -> str:
    levels = "patches" if level == "patch" else f"{level}s"
    names = {"negative": classes[0], "positive": classes[1]}
    return text.format(**names, level=level, levels=levels, tolerance_mm=tolerance_mm)
