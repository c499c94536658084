"""FROC curves of detectors, with the bands of their bootstraps over scans."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from markupsafe import Markup

from voxray.metrics.curves import Floats
from voxray.metrics.detection import RATES, rate_name
from voxray.reporting.text.metric_values import value_and_interval
from voxray.reporting.text.numbers import SPLIT_NAMES, decimals, interval_text, probability
from voxray.visualization.style import SPLIT_COLORS, WIDE, legend_above, new_axes, styled, to_svg, unit_axis


@dataclass(frozen=True, eq=False)
class DrawnCurve:
    """A FROC curve as an evaluation wrote it, and the metrics of ``metrics.json`` that belong to it.

    Of whole scans ``false_positives_per_scan`` and ``recall`` in the metrics are the operating point; of several folds
    there is no common ``threshold``.
    """

    table: pa.Table
    metrics: Mapping[str, Any]

    def column(self, name: str) -> Floats:
        """A column; NaN where there is no band."""
        return np.asarray(self.table[name].to_numpy(), np.float64)


@styled
def froc_chart(curves: Mapping[str, DrawnCurve], name: str = "froc", *, operating: bool = False) -> Markup:
    """The curves of splits from 1/8 to 8 false positives a scan, with a point at each rate that CPM averages.

    With `operating` a diamond marks the operating point.
    """
    figure, axes = new_axes(WIDE, "false positives a scan", "sensitivity")
    for split, curve in curves.items():
        color, rates = SPLIT_COLORS[split], curve.column("false_positives_per_scan")
        low, high, sensitivity = (curve.column(column) for column in ("low", "high", "sensitivity"))
        if np.isfinite(low).all():
            axes.fill_between(rates, low, high, color=color, alpha=0.15, linewidth=0)
        axes.plot(rates, sensitivity, color=color, label=_label(split, curve.metrics))
        axes.plot(RATES, np.interp(RATES, rates, sensitivity), "o", color=color, markersize=4)
        threshold, rate, recall = (
            value_and_interval(key, curve.metrics)[0] for key in ("threshold", "false_positives_per_scan", "recall")
        )
        if operating and rate is not None and recall is not None:
            place = float(np.clip(rate, rates[0], rates[-1]))
            from_p = "" if threshold is None else f", p ≥ {probability(threshold)}"
            label = f"operating point{from_p}: {decimals(rate, 2)} a scan, {decimals(recall)}"
            axes.plot([place], [recall], "D", color=color, markersize=8, markerfacecolor="white", label=label)
    axes.set_xscale("log", base=2)
    axes.set_xlim(RATES[0] / 1.07, RATES[-1] * 1.07)
    axes.set_xticks(RATES, [rate_name(rate) for rate in RATES])
    unit_axis(axes, y=True)
    legend_above(axes, 1)
    names = " and ".join(SPLIT_NAMES[split].lower() for split in curves)
    return to_svg(figure, name, f"FROC curve, {names}: sensitivity against false positives a scan")


def _label(split: str, metrics: Mapping[str, Any]) -> str:
    value, low, high = value_and_interval("cpm", metrics)
    interval = "" if low is None or high is None else f" [{interval_text(low, high, between=', ')}]"
    return f"{SPLIT_NAMES[split].lower()}, CPM {decimals(value)}{interval}"
