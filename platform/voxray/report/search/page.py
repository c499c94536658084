"""The page of a search: leaderboard, charts, what was stopped and why."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from voxray.report.charts.search_trials import figure_name, search_charts
from voxray.report.html import template_environment
from voxray.report.run.reproduce import settings_text, shorten_paths
from voxray.report.text.metric_values import MISSING, count, decimals
from voxray.search.importance import importances
from voxray.search.plan import Search
from voxray.search.results import none_if_nan, pareto_front
from voxray.search.survey import kind_of
from voxray.search.trials import Goal, Trial
from voxray.storage.atomic import write_text
from voxray.storage.paths import AnyPath

SHOWN = 30  # lines of the leaderboard
DECISIONS_SHOWN = 12


def write_search_report(
    path: AnyPath, search: Search, trials: Mapping[int, Trial], refused: Sequence[Mapping[str, Any]], command: str
) -> None:
    """Write the page so that it appears whole or not at all.

    Parameters
    ----------
    path : Place
    search : Search
    trials : mapping
        By number.
    refused : sequence of mapping
        Samples that were never started: origin, reason, decisions.
    command : str
        Repeats the winner; empty where there is none.
    """
    goal, ranked = search.goal, search.goal.ranked(trials)
    winner = goal.winner(trials)
    shares = dict(list(importances(goal, ranked).items())[:DECISIONS_SHOWN])
    page = template_environment().get_template("search.html.jinja")
    text = page.render(
        name=search.folder.name,
        figure=figure_name(goal.name),
        subtitle=[
            search.experiment.name,
            Path(search.space.where).name,
            count(len(trials), "trial"),
            f"{search.method}, seed {search.seed}",
            *([f"few {search.minimize} wanted, too"] if search.minimize else []),
        ],
        winner=winner,
        winner_value=MISSING if winner is None else _value(goal, winner),
        rows=[(trial, _value(goal, trial), _settings(trial)) for trial in ranked[:SHOWN]],
        left=len(ranked) - len(ranked[:SHOWN]),
        front={trial.number for trial in pareto_front(goal, ranked)},
        charts=search_charts(search, ranked, shares),
        reasons=_reasons(ranked, refused),
        command=shorten_paths(command),
        settings=settings_text(search.experiment),
        missing=MISSING,
    )
    write_text(path, text + "\n")


def _value(goal: Goal, trial: Trial) -> str:
    """The figure of a trial, with its spread over folds."""
    spread = none_if_nan(goal.spread(trial))
    return decimals(none_if_nan(goal.value(trial))) + ("" if spread is None else f" ± {decimals(spread)}")


def _settings(trial: Trial) -> str:
    short = {key.rpartition(".")[2]: value for key, value in trial.settings.items()}
    return ", ".join(
        f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in short.items()
    )


def _reasons(ranked: Sequence[Trial], refused: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, int]]:
    """What became of samples, why, and of how many; the most frequent first."""
    found: Counter[tuple[str, str]] = Counter(
        (trial.state, trial.reason) for trial in ranked if trial.state in ("pruned", "failed")
    )
    # Numbers differ from sample to sample; the kind of reason is what counts.
    found.update(("refused", kind_of(each["reason"])) for each in refused)
    return [(state, shorten_paths(reason), number) for (state, reason), number in found.most_common(20)]
