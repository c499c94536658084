"""Fingerprints of data sets that exist nowhere."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from voxray.planning.budget import PRESETS, Budget
from voxray.planning.fingerprint import Fingerprint, Intensity

MR = Intensity(20, 900, 300, 150, 0, 1500, is_ct=False)
CT = Intensity(-80.4, 240.2, 90, 40, -1024, 3071, is_ct=True)
GPU = Budget(PRESETS["M"], 60, True, 1e13)
CPU = Budget(PRESETS["M"], 60, False, 1e11, "bfloat16", measured=True)


def fingerprint(extent: Sequence[float], spacing: Sequence[float] = (1, 1, 1), scans: int = 100, **changes: Any) -> Any:
    """A data set of equal scans with masks; `changes` are attributes of a Fingerprint."""
    extents = np.tile(np.array(extent, np.float64), (scans, 1))
    attributes: dict[str, Any] = {
        "masks": True,
        "points": False,
        "located": False,
        "channels": ("MRI",),
        "classes": ("background", "organ"),
        "spacings_mm": np.tile(np.array(spacing, np.float64), (scans, 1)),
        "extents": extents,
        "contents": extents,
        "patients": scans,
        "counts": np.array([10_000, 500]),
        "intensities": (MR,),
        "whole_numbers": True,
        "has_splits": False,
        "has_spacing": True,
    }
    return Fingerprint(**(attributes | changes))
