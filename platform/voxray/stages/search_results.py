"""The results of a search: leaderboard, the chosen trial, what beat the start beyond chance, and the page."""

import json
import shlex
from collections import Counter
from collections.abc import Sequence
from typing import Any

from voxray.errors import WorkError
from voxray.executors.base import Executor
from voxray.runs.folder import SearchFolder
from voxray.search.comparison import Outcome
from voxray.search.plan import Search
from voxray.search.results import leaderboard, write_leaderboard, write_winner
from voxray.search.study import Study
from voxray.search.trials import Trial
from voxray.stages.common import OnStatus
from voxray.stages.trial_comparison import judge_trials
from voxray.storage.atomic import write_json


def write_results(study: Study, executor: Executor, on_status: OnStatus, command: Sequence[str]) -> None:
    """Write the leaderboard, the chosen trial, the comparisons and the page; needs a session of the executor.

    Parameters
    ----------
    study : Study
    executor : Executor
        Predicts the validation split again, of the trials that are compared.
    on_status : callable
    command : sequence of str
        Trains the experiment; with the settings of the chosen trial it is the command that repeats it.

    Raises
    ------
    WorkError
        No trial finished.
    """
    from voxray.reporting.search.page import write_search_report  # imports matplotlib, which takes a second

    search, trials, folder = study.search, study.trials, SearchFolder(study.search.folder)
    if not trials:
        problem = "every sampled network exceeds the limits"
        raise WorkError(str(folder.path), problem, f"See the reasons in {folder.rejected.name}")
    columns, rows = leaderboard(search.goal, trials, search.cost)
    write_leaderboard(folder.leaderboard, columns, rows)
    states = Counter(trial.state for trial in trials.values())
    counts = ", ".join(f"{states[state]} {state}" for state in ("finished", "pruned", "failed"))
    on_status(f"tune: {counts}, {len(study.rejected)} rejected")
    outcome = judge_trials(study, executor)
    write_json(folder.results, {"metric": f"val/{search.goal.name}", **outcome.content()})
    repeat = _repeat(search, outcome.chosen, command) if outcome.chosen else ""
    write_search_report(folder.report, search, trials, study.rejected, repeat, outcome)
    _track_leaderboard(search, columns, rows)
    on_status(f"report: {folder.report}")
    if outcome.best is None:
        raise WorkError(str(folder.path), "no trial finished", f"See the reasons in {folder.leaderboard.name}")
    _echo_outcome(search, outcome, on_status)
    on_status(f"tune: repeat it with: {repeat}")


def _repeat(search: Search, chosen: Trial, command: Sequence[str]) -> str:
    """Write the chosen network; returns the command that trains it again."""
    folder = SearchFolder(search.folder)
    settings = write_winner(folder.path, chosen)
    # A run of its own, on the store of the trials: the experiment's own run stays.
    settings += [f"out={folder.best_run}", f"store.path={search.experiment.store.path}"]
    if chosen.folds > 1:
        settings.append(f"split.folds={json.dumps(search.experiment.split.folds)}")  # whose stores the trials have read
    return shlex.join([*command, *(word for setting in settings for word in ("--set", setting))])


def _echo_outcome(search: Search, outcome: Outcome, on_status: OnStatus) -> None:
    for name, trial in (("best", outcome.best), (f"fewest {search.prefer}", outcome.chosen)):
        if trial is None or (trial is outcome.best and name != "best"):
            continue
        value = f"{search.goal.name} {search.goal.value(trial):.4f}"
        if trial.folds > 1:
            value += f" ± {search.goal.spread(trial):.4f} over {trial.folds} folds"
        on_status(f"tune: {name} {value}, {trial.parameters:,} parameters, trial {trial.name}")
    if outcome.against_best:
        on_status(f"tune: trial {outcome.against_best.trial.name} is within chance: {outcome.against_best.numbers}")
    if outcome.verdict:
        on_status(f"tune: {outcome.verdict}")


def _track_leaderboard(search: Search, columns: list[str], rows: list[list[Any]]) -> None:
    from voxray.tracking.wandb_run import Tracker  # imports W&B, which takes half a second

    name, tracking = search.folder.name, search.experiment.tracking
    with Tracker(
        search.folder,
        name=f"{name}_table",
        project=tracking.project,
        run_id=f"{search.experiment.name}-{name}-table",
        mode=tracking.mode,
        config={},
        group=name,
    ) as tracker:
        tracker.log_table("trials", columns, rows)
