"""What a search says at its end: which network is chosen, and whether it beats the initial one beyond chance."""

from dataclasses import asdict, dataclass
from typing import Any

from voxray.metrics.differences import Difference
from voxray.metrics.registry import find_metric
from voxray.search.costs import CostName
from voxray.search.trials import Trial


@dataclass(frozen=True)
class Comparison:
    """A trial beside another one, on the same validation patients.

    Attributes
    ----------
    trial, other : Trial
    metric : str
    difference : Difference
        Of the metric, the trial's minus the other's.
    comparisons : int
        Networks that were trained before the trial was chosen, for which the interval has room; 1 for a single one.
    """

    trial: Trial
    other: Trial
    metric: str
    difference: Difference
    comparisons: int = 1

    @property
    def verdict(self) -> str:
        """``better`` or ``worse`` beyond chance, ``within chance``, or ``not known``."""
        if self.difference.interval is None:
            return "not known"
        low, high = sorted(find_metric(self.metric).sign * end for end in self.difference.interval)
        return "better" if low > 0 else "worse" if high < 0 else "within chance"

    @property
    def numbers(self) -> str:
        """The difference with its interval, in words."""
        value, interval, patients = self.difference.value, self.difference.interval, self.difference.patients
        if interval is None:
            return f"{self.metric} {value:+.4f} on {patients} patients, too few for an interval"
        low, high = interval
        chosen = f", allowing for the best of {self.comparisons}" if self.comparisons > 1 else ""
        return f"{self.metric} {value:+.4f} (95 % interval {low:+.4f} to {high:+.4f}, {patients} patients{chosen})"

    def content(self) -> dict[str, Any]:
        """For JSON."""
        names = {"trial": self.trial.name, "other": self.other.name, "metric": self.metric}
        return {**names, **asdict(self.difference), "comparisons": self.comparisons, "verdict": self.verdict}


@dataclass(frozen=True)
class Outcome:
    """The end of a search.

    Attributes
    ----------
    best : Trial, optional
        By the metric; None where no trial finished.
    chosen : Trial, optional
        The one that is written to ``best/``: the best, or the one preferred to it.
    preferred : CostName, optional
        What the chosen network has the least of.
    against_start : Comparison, optional
        The best beside the experiment's own network.
    against_best : Comparison, optional
        The chosen one beside the best, where they differ.
    note : str
        Why the initial network is not compared; empty where it is.
    """

    best: Trial | None = None
    chosen: Trial | None = None
    preferred: CostName | None = None
    against_start: Comparison | None = None
    against_best: Comparison | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """Whether anything beat the initial network, in a sentence; empty where there is nothing to say."""
        compared = self.against_start
        if compared is None:
            return self.note
        origin, numbers = compared.other.origin, compared.numbers
        return {
            "better": f"trial {compared.trial.name} is better than {origin} beyond chance: {numbers}",
            "worse": f"trial {compared.trial.name} is worse than {origin}: {numbers}",
            "within chance": f"no trial is better than {origin} beyond chance; the best: {numbers}",
            "not known": f"whether a trial is better than {origin} beyond chance is not known: {numbers}",
        }[compared.verdict]

    def content(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "best": self.best and self.best.name,
            "chosen": self.chosen and self.chosen.name,
            "preferred": self.preferred,
            "verdict": self.verdict,
            "against_start": self.against_start and self.against_start.content(),
            "against_best": self.against_best and self.against_best.content(),
        }
