"""How much each decision of a search contributes to the result."""

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from voxray.search.space.distributions import Label
from voxray.search.trials import Goal, Trial

MIN_TRIALS = 8  # for an estimate

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def importances(goal: Goal, trials: Sequence[Trial]) -> dict[str, float]:
    """The fraction of the variance of ranks that each decision alone explains, the largest first.

    Finished and pruned trials are ranked by the metric at the last epoch of the first fold that all of them reached:
    later values depend on how long a trial was allowed to train. For decisions with few labels it is epsilon squared
    (Kelley 1935), the fraction between labels minus the fraction expected by chance; for numbers it is the square of
    Spearman's correlation, likewise corrected. Interactions are not included.

    Returns
    -------
    dict
        Decision → fraction, for decisions that at least eight trials made with different labels.
    """
    values = _comparable_values(goal, trials)
    members: dict[str, list[tuple[Label, float]]] = defaultdict(list)
    for trial, value in values:
        for name, label in trial.decisions.items():
            members[name].append((label, value))
    fractions = {name: _fraction(pairs) for name, pairs in members.items()}
    finite = [(name, fraction) for name, fraction in fractions.items() if math.isfinite(fraction)]
    return dict(sorted(finite, key=lambda item: -item[1]))


def _fraction(pairs: Sequence[tuple[Label, float]]) -> float:
    """The fraction that labels explain of the ranks of values; NaN for too few trials or a single label."""
    labels = [label for label, _ in pairs]
    if len(labels) < MIN_TRIALS or len(set(labels)) < 2:
        return math.nan
    return explained_variance(labels, rankdata([value for _, value in pairs]))


def _comparable_values(goal: Goal, trials: Sequence[Trial]) -> list[tuple[Trial, float]]:
    """The metric of each trial at the last epoch that all of them reached."""
    evaluated = [trial for trial in trials if trial.state in ("finished", "pruned") and trial.of_fold(0)]
    epochs = min((len(trial.of_fold(0)) for trial in evaluated), default=0)
    values = [(trial, trial.of_fold(0)[epochs - 1].get(goal.column)) for trial in evaluated]
    return [(trial, value) for trial, value in values if value is not None]


def explained_variance(labels: Sequence[Label], ranks: Array) -> float:
    """Fraction of the ranks' variance that labels explain, from 0 to 1; NaN where it is undefined."""
    kinds, members = np.unique([str(label) for label in labels], return_inverse=True)
    total, count = float(((ranks - ranks.mean()) ** 2).sum()), len(ranks)
    if total == 0:
        return math.nan
    if len(kinds) <= count // 3:
        means = np.bincount(members, ranks) / np.bincount(members)
        between, freedom = float(((means[members] - ranks.mean()) ** 2).sum()), len(kinds) - 1
    elif all(isinstance(label, int | float) for label in labels):
        label_ranks = rankdata(np.asarray(labels, dtype=np.float64))
        between, freedom = total * float(np.corrcoef(label_ranks, ranks)[0, 1]) ** 2, 1
    else:
        return math.nan
    noise = (total - between) / (count - freedom - 1)
    return max(0.0, (between - freedom * noise) / total)
