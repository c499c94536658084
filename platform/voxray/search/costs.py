"""What networks cost: what a search may minimize beside its metric, and what it may prefer little of."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from voxray.console.units import bytes_text, count_text
from voxray.search.trials import Trial

CostName = Literal["parameters", "memory", "flops", "seconds"]


@dataclass(frozen=True)
class TrialCost:
    """One kind of cost.

    Attributes
    ----------
    name : str
        As the command line has it.
    label : str
        Axis of a chart.
    of : callable
        The cost of a trial; NaN where it is not known.
    tick : callable
        A cost as a chart writes it.
    """

    name: CostName
    label: str
    of: Callable[[Trial], float]
    tick: Callable[[float], str]


def seconds_per_epoch(trial: Trial) -> float:
    """The mean time of an epoch as it was measured; NaN without any."""
    times = [row["seconds"] for row in trial.curve if row.get("seconds") is not None]
    return sum(times) / len(times) if times else math.nan


COSTS: Mapping[CostName, TrialCost] = {
    cost.name: cost
    for cost in (
        TrialCost("parameters", "trainable parameters", lambda trial: trial.parameters, "{:,.0f}".format),
        TrialCost("memory", "memory of training", lambda trial: trial.memory_bytes, lambda size: bytes_text(int(size))),
        TrialCost("flops", "FLOPs of a patch", lambda trial: trial.flops, count_text),
        TrialCost("seconds", "seconds of an epoch", seconds_per_epoch, "{:.3g}".format),
    )
}
