"""Which trial of a search is chosen, and whether it beats the experiment's own network beyond chance."""

from collections.abc import Iterable

import numpy as np

from voxray.config.experiment import Experiment
from voxray.config.folds import fold_experiments
from voxray.evaluation.scans import scans_to_evaluate
from voxray.evaluation.validated import Validated, comparable_metric, validated_patches, validated_scans
from voxray.executors.base import Executor
from voxray.metrics.differences import Paired, paired_difference
from voxray.runs.folder import run_folder
from voxray.search.comparison import Comparison, Outcome
from voxray.search.plan import Search, trial_experiments
from voxray.search.results import pareto_front
from voxray.search.study import Study
from voxray.search.trials import Trial
from voxray.storage.paths import to_path
from voxray.store.read import open_store
from voxray.training.predictions import join_predictions


def judge_trials(study: Study, executor: Executor) -> Outcome:
    """Choose a trial and compare it; needs a session of the executor, which predicts the validation split again.

    The interval of the best beside the initial network has room for the luck of the best of all trained networks. A
    preferred one need not be chosen by its metric, so its interval beside the best has none.
    """
    search, trials = study.search, study.trials
    best = search.goal.winner(trials)
    if best is None:
        return Outcome()
    compare = _Comparer(search, executor)
    start = _initial(search, trials.values())
    against_start, note = None, ""
    if start is None:
        note = "the experiment's own network is not among the finished trials, so nothing is compared with it"
    elif start is best:
        note = f"no trial is better than {start.origin}, the network of the experiment"
    else:
        trained = sum(trial.state in ("finished", "pruned") for trial in trials.values()) - 1
        against_start = compare(best, start, trained)
    chosen, against_best = best, None
    if search.prefer:
        for trial in pareto_front(search.goal, trials.values(), search.cost):
            if trial is best:
                break
            against_best = compare(trial, best)
            if against_best.verdict == "within chance":
                chosen = trial
                break
    preferred = search.prefer if chosen is not best else None
    return Outcome(best, chosen, preferred, against_start, against_best if chosen is not best else None, note)


def _initial(search: Search, trials: Iterable[Trial]) -> Trial | None:
    """The finished trial of the experiment's own network."""
    name = to_path(search.experiment.model.architecture).name
    return next((trial for trial in trials if trial.origin == name and trial.state == "finished"), None)


class _Comparer:
    """Compares trials; each is predicted once."""

    def __init__(self, search: Search, executor: Executor) -> None:
        self.search, self.executor = search, executor
        info = open_store(fold_experiments(search.experiment)[0].store_path).info
        self.task = info.task
        self.metric = comparable_metric(search.goal.name, info.task, info.classes)
        self.validated: dict[int, list[Validated]] = {}

    def __call__(self, trial: Trial, other: Trial, comparisons: int = 1) -> Comparison:
        folds = zip(self._validate(trial), self._validate(other), strict=True)
        parts = [Paired(one.patients, one.metric, two.metric) for one, two in folds]
        return Comparison(trial, other, self.metric, paired_difference(parts, comparisons), comparisons)

    def _validate(self, trial: Trial) -> list[Validated]:
        if trial.number not in self.validated:
            validate = self._of_scans if self.task == "segmentation" else self._of_patches
            self.validated[trial.number] = [validate(fold) for fold in trial_experiments(self.search, trial)]
        return self.validated[trial.number]

    def _of_patches(self, experiment: Experiment) -> Validated:
        rows = open_store(experiment.store_path).rows("val")
        parts = self.executor.predict_splits(experiment, ["val"], lambda *_: None)["val"]
        predictions = join_predictions(parts, rows["label"].to_numpy())
        patients = np.asarray(rows["patient_id"].to_pylist(), dtype=str)[predictions.rows]
        targets = experiment.evaluation.target_recall, experiment.evaluation.target_precision
        return validated_patches(self.metric, predictions.labels, predictions.probabilities, patients, targets)

    def _of_scans(self, experiment: Experiment) -> Validated:
        cases = scans_to_evaluate(experiment, open_store(experiment.store_path), "val")
        evaluated = list(self.executor.evaluate_scans(experiment, cases, lambda *_: None))
        run_folder(experiment).remove_evaluation()  # the label maps
        return validated_scans(self.metric, evaluated)
