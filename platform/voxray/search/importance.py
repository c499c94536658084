"""How much each decision of a search has a say in what comes of it."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from voxray.search.space.distributions import Label
from voxray.search.trials import Goal, Trial

LEAST = 8  # trials that a share can be told from


def importances(goal: Goal, trials: Sequence[Trial]) -> dict[str, float]:
    """The share of the spread of ranks that each decision alone explains, the largest first.

    Finished and pruned trials are ranked by the figure where it was last taken with all of them, the epoch of the first
    fold that the shortest of them reached: what they reached later depends on how long they were let. Of decisions with
    a few labels it is epsilon squared (Kelley 1935), the share between labels without what chance alone would give; of
    numbers the square of Spearman's correlation without it. Interactions are in no share.

    Returns
    -------
    dict
        Decision → share, of those that at least eight trials took with different labels.
    """
    judged = [trial for trial in trials if trial.state in ("finished", "pruned") and trial.of_fold(0)]
    epoch = min((len(trial.of_fold(0)) for trial in judged), default=0)
    figures = {trial.number: trial.of_fold(0)[epoch - 1].get(goal.column) for trial in judged}
    judged = [trial for trial in judged if figures[trial.number] is not None]
    shares = {}
    for name in dict.fromkeys(name for trial in judged for name in trial.decisions):
        takers = [trial for trial in judged if name in trial.decisions]
        labels = [trial.decisions[name] for trial in takers]
        if len(takers) >= LEAST and len(set(labels)) > 1:
            ranks = rankdata([figures[trial.number] for trial in takers])
            share = explained_variance(labels, np.asarray(ranks, dtype=np.float64))
            if math.isfinite(share):
                shares[name] = share
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def explained_variance(labels: Sequence[Label], ranks: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    """Share of the ranks' variance that labels explain, from 0 to 1; NaN where it cannot be told."""
    kinds, members = np.unique([str(label) for label in labels], return_inverse=True)
    total, count = float(((ranks - ranks.mean()) ** 2).sum()), len(ranks)
    if total == 0:
        return math.nan
    if len(kinds) > count // 3:
        if not all(isinstance(label, int | float) for label in labels):
            return math.nan
        among = rankdata(np.asarray(labels, dtype=np.float64))
        between, freedom = total * float(np.corrcoef(among, ranks)[0, 1]) ** 2, 1
    else:
        means = np.bincount(members, ranks) / np.bincount(members)
        between, freedom = float(((means[members] - ranks.mean()) ** 2).sum()), len(kinds) - 1
    noise = (total - between) / (count - freedom - 1)
    return max(0.0, (between - freedom * noise) / total)
