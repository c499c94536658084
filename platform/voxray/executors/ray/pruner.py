"""Which trials of a search end early: the schedulers of Ray Tune, fed with the trials of earlier commands as well."""

import math
from typing import Any

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from voxray.search.plan import Search
from voxray.search.study import Study

REDUCTION = 2
FIRST_RUNG = 8  # trials are first compared after an eighth of the epochs
MIN_EPOCHS = 2  # before a comparison; the metric after the first epoch says little about a network
FOLD = "finished_fold"  # key of the report after each fold
REASONS = {"asha": "not in the better half", "median": "worse than the median of the other trials", "none": "ended"}


def first_rung(epochs: int) -> int:
    """The epoch after which trials are first compared."""
    return min(epochs, max(MIN_EPOCHS, round(epochs / FIRST_RUNG)))


class Pruner(FIFOScheduler):
    """Prunes trials within their first fold by the rule of the search, and after a fold where they are clearly worse.

    The initial networks are never pruned: at the end of a search others are compared with them. With the rule
    ``none`` no trial is pruned.
    """

    def __init__(self, study: Study) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.study = study
        self.rule = _build_rule(study.search)
        for trial in study.trials.values():
            earlier: Any = _Earlier(f"earlier_{trial.number}")
            self.on_trial_add(None, earlier)
            for row in trial.of_fold(0):
                result = {key: value for key, value in row.items() if value is not None}
                self.rule.on_trial_result(NO_CONTROLLER, earlier, result)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Begin to compare a trial."""
        self.rule.on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Whether a trial continues."""
        number = trial.config["number"]
        if FOLD in result:
            stops = self.study.report_fold(number, result[FOLD]) and self.study.search.scheduler != "none"
        else:
            in_first = result.get("fold", 0) == 0
            action = self.rule.on_trial_result(tune_controller, trial, result) if in_first else TrialScheduler.CONTINUE
            stops = action == TrialScheduler.STOP
        is_initial = bool(self.study.trials[number].origin)
        return TrialScheduler.STOP if stops and not is_initial else TrialScheduler.CONTINUE

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Nothing: its epochs were reported before."""


class _Earlier:
    """A trial of an earlier command, as far as rules look at it."""

    def __init__(self, trial_id: str) -> None:
        self.trial_id = trial_id


NO_CONTROLLER: Any = None  # the rules do not use it


def _build_rule(search: Search) -> TrialScheduler:
    goal, epochs = search.goal, search.experiment.training.epochs
    common: Any = {"time_attr": "epoch", "metric": goal.column, "mode": "max" if goal.sign > 0 else "min"}
    if search.scheduler == "asha":
        return ASHAScheduler(**common, max_t=epochs, grace_period=first_rung(epochs), reduction_factor=REDUCTION)
    if search.scheduler == "median":
        # Trials cannot pause, which this rule makes them do for a slice of time.
        common |= {"grace_period": first_rung(epochs), "min_time_slice": math.inf}
        return MedianStoppingRule(**common)
    return FIFOScheduler()
