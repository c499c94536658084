import numpy as np
import pytest
from scipy.stats import f_oneway, spearmanr

from voxray.search.importance import explained_variance, importances
from voxray.search.trials import Goal, Trial

GOAL = Goal("roc_auc", "loss")


def trials(count: int, seed: int) -> list[Trial]:
    """The filters matter much, the rate a little, the seed not at all; every fourth trial is stopped early."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        filters, rate, other = (
            int(rng.choice([8, 16, 32])),
            float(10 ** rng.uniform(-4, -1)),
            str(rng.choice(list("ab"))),
        )
        value = filters / 64 + 0.02 * np.log10(rate) + 0.01 * rng.normal()
        rows = tuple({"epoch": epoch, "val_roc_auc": value + epoch} for epoch in range(1, 2 if number % 4 == 0 else 4))
        state = "pruned" if len(rows) == 1 else "finished"
        made.append(Trial(number, state, {"filters": filters, "rate": rate, "other": other}, {}, 1, curve=rows))
    return made


def test_what_matters_comes_first_and_chance_explains_nothing() -> None:
    shares = importances(GOAL, trials(60, 0))
    assert next(iter(shares)) == "filters"
    assert shares["filters"] > 0.7
    assert shares["other"] < 0.1


def test_shares_are_those_that_follow_from_the_f_test_and_from_spearman() -> None:
    rng = np.random.default_rng(1)
    ranks = rng.permutation(40).astype(float)
    labels = [int(label) for label in rng.integers(3, size=40)]
    groups = [
        [spatial_dims for spatial_dims, label in zip(ranks, labels, strict=True) if label == each] for each in range(3)
    ]
    statistic = f_oneway(*groups)
    eta = 1 / (1 + (40 - 3) / (2 * statistic.statistic))
    assert explained_variance(labels, ranks) == pytest.approx(max(0, eta - 2 * (1 - eta) / 37))
    numbers = (ranks + 8 * rng.normal(size=40)).tolist()
    square = spearmanr(numbers, ranks).statistic ** 2
    assert explained_variance(numbers, ranks) == pytest.approx(square - (1 - square) / 38)


def test_few_trials_tell_nothing() -> None:
    assert importances(GOAL, trials(7, 0)) == {}
    assert importances(GOAL, []) == {}
