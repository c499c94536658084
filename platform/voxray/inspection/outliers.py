"""Scans that are far from the rest of their data set.

How far is told by the robust z of Iglewicz and Hoaglin, "How to Detect and Handle Outliers" (1993): the distance from
the median in units of 1.4826 × MAD, the median absolute deviation, which is the deviation of normal data. Where most
scans agree the MAD is 0, and every rounding would be far away; so the unit is at least one percent: of the median for
extent and spacing, which are compared as ratios, and of the usual width of a scan's intensities for these.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from voxray.inspection.scan_stats import RANKS

FAR = 5.0
UNIT_FLOOR = 0.01
MAD_TO_DEVIATION = 1.4826
# What a larger share of the scans has in common is another kind of scan, and no outlier.
MOST_OUTLIERS = 0.1
FEWEST_SCANS = 8
LOW, HIGH = RANKS.index(0.5), RANKS.index(99.5)

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Quantity:
    """One number of each scan.

    Attributes
    ----------
    kind, name : str
    unit : str
        With the space before it; empty where there is none.
    values : ndarray, (n,)
        NaN where a scan has none.
    distances : ndarray, (n,)
        Robust z; 0 where there is no value.
    """

    kind: str
    name: str
    unit: str
    values: Floats
    distances: Floats


def robust_z(values: Floats, floor: float) -> Floats:
    """Distances from the median in units of 1.4826 × MAD, or of `floor` where that is more; 0 for NaN.

    Parameters
    ----------
    values : ndarray, (n,)
    floor : float
        Above 0.
    """
    known = values[np.isfinite(values)]
    if len(known) == 0:
        return np.zeros(len(values))
    middle = np.median(known)
    unit = max(MAD_TO_DEVIATION * float(np.median(np.abs(known - middle))), floor)
    return np.nan_to_num((values - middle) / unit)


def find_outliers(scan_stats: pa.Table) -> list[dict[str, Any]]:
    """Findings of the kinds `shape`, `spacing` and `intensity`: one for a scan and kind, of its farthest quantity.

    Where more than a tenth of the scans are far away, there is one finding `mixed` instead.

    Parameters
    ----------
    facts : pyarrow.Table
        Schema FACTS.
    """
    quantities = [*_sizes(scan_stats), *_intensities(scan_stats)]
    found: list[dict[str, Any]] = []
    for kind in ("shape", "spacing", "intensity"):
        mine = [each for each in quantities if each.kind == kind]
        if mine:
            found += _of_kind(kind, mine)
    return found


def percentile_array(scan_stats: pa.Table) -> Floats:
    """The percentiles of all scans, (n, channels, RANKS); NaN where a scan has none, or fewer channels than others."""
    lists = scan_stats["percentiles"].combine_chunks()
    channels = np.asarray(pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False), np.int64)
    values = np.full((len(channels), int(channels.max(initial=0)), len(RANKS)), np.nan)
    rows = np.repeat(np.arange(len(channels)), channels)
    starts = np.cumsum(channels) - channels
    known = np.asarray(lists.flatten().flatten().to_numpy(zero_copy_only=False), np.float64)
    values[rows, np.arange(len(rows)) - starts[rows]] = known.reshape(-1, len(RANKS))
    return values


def column(scan_stats: pa.Table, name: str) -> Floats:
    """A column of numbers; NaN where there is none."""
    return np.asarray(scan_stats[name].cast(pa.float64()).to_numpy(), np.float64)


def _sizes(scan_stats: pa.Table) -> Iterator[Quantity]:
    for axis in "xyz":
        for kind, name, unit in (("shape", f"{axis}_extent", " voxels"), ("spacing", f"{axis}_spacing_mm", " mm")):
            values = column(scan_stats, name)
            yield Quantity(kind, f"along {axis}", unit, values, robust_z(np.log(values), UNIT_FLOOR))


def _intensities(scan_stats: pa.Table) -> Iterator[Quantity]:
    percentiles = percentile_array(scan_stats)
    # A scan of one value is found as such.
    percentiles[percentiles[:, :, 0] == percentiles[:, :, -1]] = np.nan
    channels = percentiles.shape[1]
    for channel in range(channels):
        where = f" of channel {channel}" if channels > 1 else ""
        lows, highs = percentiles[:, channel, LOW], percentiles[:, channel, HIGH]
        widths = highs - lows
        if not np.isfinite(widths).any():
            continue
        floor = UNIT_FLOOR * float(np.nanmedian(widths)) or UNIT_FLOOR
        for rank, values in ((RANKS[LOW], lows), (RANKS[HIGH], highs)):
            name = f"{rank:g}th percentile{where}"
            yield Quantity("intensity", name, "", values, robust_z(values, floor))


def _of_kind(kind: str, quantities: Sequence[Quantity]) -> list[dict[str, Any]]:
    distances = np.abs([each.distances for each in quantities])
    farthest = distances.argmax(axis=0)
    scores = distances.max(axis=0)
    there = int(np.isfinite([each.values for each in quantities]).any(axis=0).sum())
    far = np.flatnonzero(scores > FAR)
    if there < FEWEST_SCANS or not len(far):
        return []
    if len(far) > MOST_OUTLIERS * there:
        detail = f"{len(far):,} of {there:,} scans are far from the median {kind}: {_spread(quantities)}"
        return [{"kind": "mixed", "number": None, "detail": detail, "score": None}]
    return [
        {
            "kind": kind,
            "number": int(number),
            "detail": _told(quantities[farthest[number]], int(number)),
            "score": float(scores[number]),
        }
        for number in far
    ]


def _told(quantity: Quantity, number: int) -> str:
    middle = float(np.nanmedian(quantity.values))
    return f"{quantity.name} {_number(quantity.values[number])}{quantity.unit}, median {_number(middle)}{quantity.unit}"


def _spread(quantities: Sequence[Quantity]) -> str:
    """The quantity that varies most, from its lowest to its highest value."""
    widest = max(quantities, key=lambda each: float((np.abs(each.distances) > FAR).sum()))
    low, middle, high = (_number(float(value)) for value in np.nanpercentile(widest.values, [0, 50, 100]))
    return f"{widest.name} from {low} to {high}{widest.unit}, median {middle}{widest.unit}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
