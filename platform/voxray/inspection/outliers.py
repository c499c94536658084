"""Scans that are outliers of their data set.

The distance is the robust z of Iglewicz and Hoaglin, "How to Detect and Handle Outliers" (1993): the distance from the
median in units of 1.4826 × MAD, the median absolute deviation, which estimates the standard deviation of normal data.
Where most scans agree the MAD is 0 and every rounding error would be an outlier, so the unit is at least one percent:
of the median for shape and spacing, which are compared as ratios, and of the usual range of a scan for intensities.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from voxray.inspection.scan_stats import RANKS

FAR = 5.0
UNIT_FLOOR = 0.01
MAD_TO_DEVIATION = 1.4826
# A larger share of the scans is a second group, not outliers.
MOST_OUTLIERS = 0.1
FEWEST_SCANS = 8
LOW, HIGH = RANKS.index(0.5), RANKS.index(99.5)

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Quantity:
    """One number of each scan: values (n,), NaN where a scan has none, and their robust z (n,), 0 where they are NaN.

    `unit` begins with a space, unless it is empty.
    """

    kind: str
    name: str
    unit: str
    values: Floats
    distances: Floats


def robust_z(values: Floats, floor: float) -> Floats:
    """Distances (n,) of values from the median in units of 1.4826 × MAD, or of `floor` > 0 if larger; 0 for NaN."""
    finite = values[np.isfinite(values)]
    if len(finite) == 0:
        return np.zeros(len(values))
    median, deviation = median_and_deviation(finite)
    return np.nan_to_num((values - median) / max(deviation, floor))


def median_and_deviation(values: Floats) -> tuple[float, float]:
    """The median of finite values (n,), n > 0, and 1.4826 × MAD."""
    median = float(np.median(values))
    return median, MAD_TO_DEVIATION * float(np.median(np.abs(values - median)))


def find_outliers(scan_stats: pa.Table) -> list[dict[str, Any]]:
    """Issues of the kinds `shape`, `spacing` and `intensity`: one per scan and kind, of its farthest quantity.

    Where more than a tenth of the scans are far from the median, there is one issue `mixed` instead.
    """
    by_kind: dict[str, list[Quantity]] = {"shape": [], "spacing": [], "intensity": []}
    for quantity in chain(_sizes(scan_stats), _intensities(scan_stats)):
        by_kind[quantity.kind].append(quantity)
    return [issue for kind, quantities in by_kind.items() if quantities for issue in _outliers_of(kind, quantities)]


def percentile_array(scan_stats: pa.Table) -> Floats:
    """The percentiles of all scans, (n, channels, RANKS); NaN where a scan has none, or fewer channels than others."""
    lists = scan_stats["percentiles"].combine_chunks()
    channels = np.asarray(pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False), np.int64)
    values = np.full((len(channels), int(channels.max(initial=0)), len(RANKS)), np.nan)
    rows = np.repeat(np.arange(len(channels)), channels)
    starts = np.cumsum(channels) - channels
    flat = np.asarray(lists.flatten().flatten().to_numpy(zero_copy_only=False), np.float64)
    values[rows, np.arange(len(rows)) - starts[rows]] = flat.reshape(-1, len(RANKS))
    return values


def column(scan_stats: pa.Table, name: str) -> Floats:
    """A numeric column; NaN for null."""
    return np.asarray(scan_stats[name].cast(pa.float64()).to_numpy(), np.float64)


def axis_columns(scan_stats: pa.Table, name: str) -> Floats:
    """The columns ``x_NAME``, ``y_NAME`` and ``z_NAME``, (n, 3)."""
    return np.stack([column(scan_stats, f"{axis}_{name}") for axis in "xyz"], axis=1)


def _sizes(scan_stats: pa.Table) -> Iterator[Quantity]:
    for axis in "xyz":
        for kind, name, unit in (("shape", f"{axis}_extent", " voxels"), ("spacing", f"{axis}_spacing_mm", " mm")):
            values = column(scan_stats, name)
            yield Quantity(kind, f"along {axis}", unit, values, robust_z(np.log(values), UNIT_FLOOR))


def _intensities(scan_stats: pa.Table) -> Iterator[Quantity]:
    percentiles = percentile_array(scan_stats)
    # Constant scans are an issue of their own.
    percentiles[percentiles[:, :, 0] == percentiles[:, :, -1]] = np.nan
    channels = percentiles.shape[1]
    for channel in range(channels):
        suffix = f" of channel {channel}" if channels > 1 else ""
        lows, highs = percentiles[:, channel, LOW], percentiles[:, channel, HIGH]
        ranges = highs - lows
        if not np.isfinite(ranges).any():
            continue
        floor = UNIT_FLOOR * float(np.nanmedian(ranges)) or UNIT_FLOOR
        for rank, values in ((RANKS[LOW], lows), (RANKS[HIGH], highs)):
            yield Quantity("intensity", f"{rank:g}th percentile{suffix}", "", values, robust_z(values, floor))


def _outliers_of(kind: str, quantities: Sequence[Quantity]) -> list[dict[str, Any]]:
    distances = np.abs([quantity.distances for quantity in quantities])
    farthest = distances.argmax(axis=0)
    scores = distances.max(axis=0)
    measured = int(np.isfinite([quantity.values for quantity in quantities]).any(axis=0).sum())
    far = np.flatnonzero(scores > FAR)
    if measured < FEWEST_SCANS or not len(far):
        return []
    if len(far) > MOST_OUTLIERS * measured:
        detail = f"{len(far):,} of {measured:,} scans are far from the median {kind}: {_range_text(quantities)}"
        return [{"kind": "mixed", "number": None, "detail": detail, "score": None}]
    return [
        {
            "kind": kind,
            "number": int(number),
            "detail": _value_text(quantities[farthest[number]], int(number)),
            "score": float(scores[number]),
        }
        for number in far
    ]


def _value_text(quantity: Quantity, number: int) -> str:
    value, median = _number(quantity.values[number]), _number(float(np.nanmedian(quantity.values)))
    return f"{quantity.name} {value}{quantity.unit}, median {median}{quantity.unit}"


def _range_text(quantities: Sequence[Quantity]) -> str:
    """The quantity that varies most, from its lowest to its highest value."""
    widest = max(quantities, key=lambda quantity: float((np.abs(quantity.distances) > FAR).sum()))
    low, median, high = (_number(float(value)) for value in np.nanpercentile(widest.values, [0, 50, 100]))
    return f"{widest.name} from {low} to {high}{widest.unit}, median {median}{widest.unit}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
