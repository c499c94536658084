"""The page of a search: leaderboard, charts, and networks that were pruned, failed or rejected."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from voxray.reporting.charts.search_trials import search_charts
from voxray.reporting.html import template_environment
from voxray.reporting.run.reproduce import settings_text, shorten_paths
from voxray.reporting.text.metric_values import label_of
from voxray.reporting.text.numbers import MISSING, count, decimals
from voxray.search.comparison import Outcome
from voxray.search.importance import importances
from voxray.search.plan import Search
from voxray.search.results import none_if_nan, pareto_front
from voxray.search.survey import kind_of
from voxray.search.trials import Goal, Trial
from voxray.storage.atomic import write_text
from voxray.storage.paths import AnyPath

ROWS_SHOWN = 30  # of the leaderboard
HYPERPARAMETERS_SHOWN = 12


def write_search_report(
    path: AnyPath,
    search: Search,
    trials: Mapping[int, Trial],
    rejected: Sequence[Mapping[str, Any]],
    command: str,
    outcome: Outcome,
) -> None:
    """Write the page atomically: of trials by number and of rejected samples (origin, reason, decisions).

    `command` trains the chosen network again; it is empty where there is none.
    """
    goal, ranked = search.goal, search.goal.ranked(trials)
    winner = outcome.chosen
    shares = dict(list(importances(goal, ranked).items())[:HYPERPARAMETERS_SHOWN])
    page = template_environment().get_template("search.html.jinja")
    text = page.render(
        name=search.folder.name,
        metric=label_of(goal.name),
        subtitle=[
            search.experiment.name,
            Path(search.space.where).name,
            count(len(trials), "trial"),
            f"{search.method}, {search.scheduler}, seed {search.seed}",
            *([f"second objective: minimize {search.minimize}"] if search.minimize else []),
        ],
        winner=winner,
        winner_value=MISSING if winner is None else _value(goal, winner),
        rows=[(trial, _value(goal, trial), _settings(trial)) for trial in ranked[:ROWS_SHOWN]],
        omitted=max(0, len(ranked) - ROWS_SHOWN),
        outcome=outcome,
        cost=search.cost,
        front={trial.number for trial in pareto_front(goal, ranked, search.cost)},
        charts=search_charts(search, ranked, shares),
        reasons=_reasons(ranked, rejected),
        command=shorten_paths(command),
        settings=settings_text(search.experiment),
        missing=MISSING,
    )
    write_text(path, text + "\n")


def _value(goal: Goal, trial: Trial) -> str:
    """The value of a trial, with its standard deviation over folds."""
    spread = none_if_nan(goal.spread(trial))
    return decimals(none_if_nan(goal.value(trial))) + ("" if spread is None else f" ± {decimals(spread)}")


def _settings(trial: Trial) -> str:
    names = {key.rpartition(".")[2]: value for key, value in trial.settings.items()}
    return ", ".join(
        f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in names.items()
    )


def _reasons(ranked: Sequence[Trial], rejected: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, int]]:
    """State, reason and number of networks that were not finished; the most frequent first."""
    reasons: Counter[tuple[str, str]] = Counter(
        (trial.state, trial.reason) for trial in ranked if trial.state in ("pruned", "failed")
    )
    # Numbers differ from sample to sample, so only the kind of reason is counted.
    reasons.update(("rejected", kind_of(sample["reason"])) for sample in rejected)
    return [(state, shorten_paths(reason), number) for (state, reason), number in reasons.most_common(20)]
