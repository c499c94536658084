"""Segmentation metrics of two masks, as plain functions of arrays."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxray.metrics import segmentation
from voxray.metrics.segmentation import TOLERANCE_MM, ClassVoxels, class_voxels


def dice(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Dice coefficient: twice the common volume over the sum of both volumes; NaN where both are empty.

    Parameters
    ----------
    truth, prediction : array or Volume, (x, y, z) or (1, x, y, z)
        What is not 0 belongs to the mask.

    Raises
    ------
    ScanError
        The shapes differ.

    Examples
    --------
    >>> dice([[[1, 1, 0, 0]]], [[[1, 0, 0, 0]]])
    0.6666666666666666
    """
    return segmentation.dice(_compare(truth, prediction))


def surface_dice(
    truth: ArrayLike, prediction: ArrayLike, spacing_mm: Sequence[float], tolerance_mm: float = TOLERANCE_MM
) -> float:
    """Share of both surfaces that is within a tolerance of the other one; NaN where both are empty.

    Parameters
    ----------
    truth, prediction : array or Volume, (x, y, z) or (1, x, y, z)
        What is not 0 belongs to the mask.
    spacing_mm : (x, y, z)
        Distance of neighboring voxels.
    tolerance_mm : float

    Raises
    ------
    ScanError
        The shapes differ.

    Examples
    --------
    >>> surface_dice([[[1, 1, 0, 0]]], [[[0, 1, 1, 0]]], (1, 1, 0.5))
    1.0
    """
    return segmentation.surface_dice(_compare(truth, prediction, spacing_mm, tolerance_mm))


def hd95_mm(truth: ArrayLike, prediction: ArrayLike, spacing_mm: Sequence[float]) -> float:
    """95th percentile of the distances between the surfaces, the larger of both directions; NaN where one is empty.

    Parameters
    ----------
    truth, prediction : array or Volume, (x, y, z) or (1, x, y, z)
        What is not 0 belongs to the mask.
    spacing_mm : (x, y, z)
        Distance of neighboring voxels.

    Raises
    ------
    ScanError
        The shapes differ.

    Examples
    --------
    >>> hd95_mm([[[1, 0, 0, 0]]], [[[0, 0, 0, 1]]], (1, 1, 2))
    6.0
    """
    return segmentation.hd95_mm(_compare(truth, prediction, spacing_mm))


def _compare(
    truth: ArrayLike, prediction: ArrayLike, spacing_mm: Sequence[float] = (), tolerance_mm: float = TOLERANCE_MM
) -> ClassVoxels:
    true, predicted = _mask(truth), _mask(prediction)
    return class_voxels(true, predicted, spacing_mm or (1.0,) * true.ndim, 2, tolerance_mm)[0]


def _mask(values: Any) -> NDArray[np.uint8]:
    mask: NDArray[np.uint8] = (np.asarray(values) != 0).astype(np.uint8)
    return mask[0] if mask.ndim == 4 and len(mask) == 1 else mask
