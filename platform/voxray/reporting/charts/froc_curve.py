"""The FROC curve of a detector, with the band of its bootstrap over scans."""

from collections.abc import Mapping

import numpy as np
from markupsafe import Markup

from voxray.metrics.detection import GRID, RATES, rate_name
from voxray.metrics.detection_score import DetectionScore
from voxray.reporting.text.numbers import SPLIT_NAMES, decimals
from voxray.visualization.style import SPLIT_COLORS, WIDE, legend_above, new_axes, styled, to_svg, unit_axis


@styled
def froc_chart(scores: Mapping[str, DetectionScore]) -> Markup:
    """The curves of splits from 1/8 to 8 false positives a scan, with a point at each rate that CPM averages.

    A split without nodules has no curve.
    """
    figure, axes = new_axes(WIDE, "false positives a scan", "sensitivity")
    for split, score in scores.items():
        if not score.nodules:
            continue
        color, ends = SPLIT_COLORS[split], score.cpm_interval
        interval = f" [{decimals(ends[0])}, {decimals(ends[1])}]" if ends else ""
        label = f"{SPLIT_NAMES[split].lower()}, CPM {decimals(score.cpm)}{interval}"
        if score.band:
            axes.fill_between(GRID, *score.band, color=color, alpha=0.15, linewidth=0)
        axes.plot(GRID, score.curve.sensitivity_at(GRID), color=color, label=label)
        axes.plot(RATES, score.curve.sensitivity_at(np.array(RATES)), "o", color=color, markersize=4)
    axes.set_xscale("log", base=2)
    axes.set_xlim(GRID[0] / 1.07, GRID[-1] * 1.07)
    axes.set_xticks(RATES, [rate_name(rate) for rate in RATES])
    unit_axis(axes, y=True)
    legend_above(axes, 1)
    names = " and ".join(SPLIT_NAMES[split].lower() for split in scores)
    return to_svg(figure, "froc", f"FROC curve, {names}: sensitivity against false positives a scan")
