"""Which trials end early, by the schedulers of Ray Tune without a cluster."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest
from search.test_study import asked, finish, search_in

from voxray.executors.ray.pruner import NO_CONTROLLER, Pruner
from voxray.search.plan import Scheduler
from voxray.search.study import Study


class Running:
    """A trial as Ray Tune hands it to a scheduler."""

    def __init__(self, number: int) -> None:
        self.trial_id, self.config = f"trial_{number}", {"number": number}
        self.evaluated_params = SimpleNamespace()


def decisions(folder: Path, scheduler: Scheduler, values: list[float], *, is_initial: bool = False) -> list[str]:
    """What becomes of a trial with an AUC after each epoch, beside five of an earlier command with 0.8 and 0.9."""
    search = search_in(folder)
    training = search.experiment.training.model_copy(update={"epochs": 4})
    spec = search.experiment.model_copy(update={"training": training})
    search = dataclasses.replace(search, experiment=spec, trials=9, scheduler=scheduler)
    study = Study(search)
    trials = [asked(study) for _ in range(7)]
    for trial in trials[2:]:
        finish(study, trial, 0.9)
    number = trials[0 if is_initial else 1].number
    pruner, running = Pruner(study), Running(number)
    pruner.on_trial_add(NO_CONTROLLER, running)
    rows = [{"epoch": epoch, "val_roc_auc": value} for epoch, value in enumerate(values, 1)]
    return [pruner.on_trial_result(NO_CONTROLLER, running, row) for row in rows]


@pytest.mark.parametrize(
    ("scheduler", "value", "last"),
    [
        ("asha", 0.95, "CONTINUE"),
        ("asha", 0.5, "STOP"),
        ("median", 0.95, "CONTINUE"),
        ("median", 0.5, "STOP"),
        ("none", 0.5, "CONTINUE"),
    ],
)
def test_a_poor_trial_ends_by_the_rule_of_its_search(
    tmp_path: Path, scheduler: Scheduler, value: float, last: str
) -> None:
    assert decisions(tmp_path, scheduler, [value, value]) == ["CONTINUE", last]


@pytest.mark.parametrize("scheduler", ["asha", "median"])
def test_an_initial_network_is_never_pruned(tmp_path: Path, scheduler: Scheduler) -> None:
    assert decisions(tmp_path, scheduler, [0.5, 0.5], is_initial=True) == ["CONTINUE", "CONTINUE"]
