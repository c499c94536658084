import dataclasses
import json
import math
import tomllib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scenes import SMALL_NET, experiment

from voxray.errors import ConfigError
from voxray.search.constraints import Limits
from voxray.search.costs import COSTS, CostName
from voxray.search.plan import Method, Search, find_starts, parse_metric, trial_experiments
from voxray.search.results import leaderboard, pareto_front, write_winner
from voxray.search.space.load import parse_space
from voxray.search.study import NEIGHBORS, Study, read_rejected
from voxray.search.trials import Goal, State, Trial, read_trials, trial_folder
from voxray.storage.atomic import append_line
from voxray.store.layout import write_parquet

SPACE = {
    "architecture": [
        {
            "type": "C",
            "activation": "relu",
            "num_output": {"choice": [2, 4, 8]},
            "kernel_size": {"choice": [[3, 3, 3], [5, 5, 1]]},
            "stride": [1, 1, 1],
        },
        {"type": "P", "pool": "max", "kernel_size": [2, 2, 2], "stride": [2, 2, 2]},
        {"type": "FC", "activation": "relu", "num_output": {"int": [4, 16, 4]}, "drop_out": 10},
        {"type": "T", "activation": None},
    ],
    "experiment": {"training.learning_rate": {"log_uniform": [1e-4, 1e-1]}},
}
FEW = 1700  # parameters; 2 of the 24 networks have no more
NETWORK = ("[0].num_output", "[0].kernel_size", "[2].num_output")


@pytest.fixture
def search(tmp_path: Path) -> Search:
    return search_in(tmp_path)


def search_in(folder: Path) -> Search:
    (folder / "architecture.json").write_text(SMALL_NET)
    spec = experiment(folder / "luna", folder / "run")
    space = parse_space(SPACE, "space")
    starts, not_in_space = find_starts(space, spec, [folder / "architecture.json"], 3)
    assert not not_in_space
    goal = Goal("roc_auc", "loss")
    return Search(folder / "search", spec, space, goal, 5, 0, "tpe", Limits(), starts, (1, 16, 16, 6), 2)


def finish(study: Study, trial: Trial, value: float) -> None:
    rows = [{"epoch": epoch, "val_loss": 1.0, "val_roc_auc": value, "seconds": 1.0} for epoch in (1, 2)]
    write_parquet(pa.Table.from_pylist(rows), trial_folder(study.search.folder, trial) / "history.parquet")
    study.tell(trial.number, "finished")


def asked(study: Study) -> Trial:
    trial = study.ask()
    assert trial is not None
    return trial


def test_the_first_trial_is_the_network_of_the_experiment_with_its_own_settings(search: Search) -> None:
    trial = asked(Study(search))
    assert trial.origin == "architecture.json"
    assert trial.settings == {"training.learning_rate": search.experiment.training.learning_rate}
    written = json.loads((trial_folder(search.folder, trial) / "architecture.json").read_text())
    assert written[0]["num_output"] == 4
    assert written[2]["num_output"] == 8


def test_a_trial_is_a_run_of_its_own_on_the_store_of_all(search: Search) -> None:
    trial = asked(Study(search))
    (spec,) = trial_experiments(search, trial)
    assert spec.out_path == trial_folder(search.folder, trial)
    assert spec.model.architecture == str(spec.out_path / "architecture.json")
    assert spec.tracking.group == "search"


def test_a_study_that_is_opened_again_repeats_no_finished_trial_and_resumes_the_interrupted_one(
    search: Search,
) -> None:
    study = Study(search)
    first, second = asked(study), asked(study)
    finish(study, first, 0.8)
    study.report(second.number, {"epoch": 1, "val_loss": 1.0, "val_roc_auc": 0.7, "seconds": 1.0})
    again = Study(search)
    goes_on = asked(again)
    assert (goes_on.number, goes_on.decisions) == (second.number, second.decisions)
    assert [row["epoch"] for row in goes_on.curve] == [1]
    others = [asked(again) for _ in range(3)]
    assert [trial.number for trial in others] == [2, 3, 4]
    assert again.ask() is None
    points = [json.dumps(trial.decisions) for trial in again.trials.values()]
    assert len(set(points)) == 5


def test_what_is_suggested_depends_on_seed_and_past_alone(tmp_path: Path) -> None:
    drawn = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        study = Study(search_in(tmp_path / name))
        for value in (0.6, 0.9, 0.7, 0.8, 0.5):
            finish(study, asked(study), value)
        drawn.append([trial.decisions for trial in study.trials.values()])
    assert drawn[0] == drawn[1]


def test_a_network_beyond_the_limit_is_rejected_with_its_reason_and_never_started(search: Search) -> None:
    search = dataclasses.replace(search, limits=Limits(parameters=3000))
    study = Study(search)
    trials = [asked(study) for _ in range(5)]
    assert all(trial.parameters <= 3000 for trial in trials)
    assert not any(trial.origin for trial in trials)
    assert "parameters, more than 3,000" in study.rejected[0]["reason"]
    assert len(Study(search).rejected) == len(study.rejected)
    assert not Study(search).starts


@pytest.mark.parametrize("method", ["tpe", "random"])
def test_a_limit_that_few_networks_keep_ends_no_search_and_each_rejected_network_is_noted_once(
    search: Search, method: Method
) -> None:
    limits = Limits(parameters=FEW)
    study = Study(dataclasses.replace(search, method=method, limits=limits, trials=30, starts=()))
    for number in range(30):
        finish(study, asked(study), 0.5 + number / 100)
    assert all(trial.parameters <= FEW for trial in study.trials.values())
    assert len({json.dumps(trial.settings) for trial in study.trials.values()}) == 30
    networks = {json.dumps([row["decisions"][name] for name in NETWORK]) for row in study.rejected}
    assert len(study.rejected) == len(networks) > 5
    again = Study(study.search)
    assert again.rejections == study.rejections


def test_suggestions_learn_what_is_rejected(search: Search) -> None:
    study = Study(dataclasses.replace(search, limits=Limits(parameters=FEW), trials=40, starts=()))
    for _ in range(40):
        finish(study, asked(study), 0.5)
    suggested = [each for each in study.optuna_study.trials if "fixed_params" not in each.system_attrs]
    kept = sum(each.state.name == "COMPLETE" for each in suggested)
    assert kept / len(suggested) > 2 / 12  # twice what chance gives


def test_a_space_with_nothing_new_ends_the_search(search: Search) -> None:
    raw = {"architecture": json.loads(SMALL_NET)}
    raw["architecture"][0]["num_output"] = {"choice": [4, 6]}
    space = parse_space(raw, "space")
    study = Study(dataclasses.replace(search, space=space, starts=()))
    assert [asked(study).number, asked(study).number] == [0, 1]
    assert not study.exhausted
    assert study.ask() is None
    assert study.exhausted


def test_a_figure_without_value_fails_the_trial(search: Search) -> None:
    study = Study(search)
    finish(study, asked(study), float("nan"))
    trial = read_trials(search.folder)[0]
    assert (trial.state, trial.reason) == ("failed", "val/roc_auc has no value")


def test_the_leaderboard_has_the_best_first_and_the_unfinished_behind(search: Search) -> None:
    study = Study(search)
    trials = [asked(study) for _ in range(4)]
    finish(study, trials[0], 0.7)
    finish(study, trials[1], 0.9)
    study.report(2, {"epoch": 1, "val_loss": 1.0, "val_roc_auc": 0.95, "seconds": 1.0})
    study.tell(2, "pruned", "not in the best third")
    study.tell(3, "failed", "the training loss is nan")
    columns, rows = leaderboard(search.goal, study.trials, search.cost)
    table = [dict(zip(columns, row, strict=True)) for row in rows]
    assert [row["trial"] for row in table] == ["0001", "0000", "0002", "0003"]
    assert [row["value"] for row in table] == [0.9, 0.7, 0.95, None]
    winner = search.goal.winner(study.trials)
    assert winner is not None
    settings = write_winner(search.folder, winner)
    assert settings[0] == f"model.architecture={search.folder / 'best' / 'architecture.json'}"
    rate = winner.settings["training.learning_rate"]
    assert settings[1] == f"training.learning_rate={rate}"
    written = tomllib.loads((search.folder / "best" / "settings.toml").read_text())
    assert written == {"training": {"learning_rate": rate}}


def test_no_trial_beats_one_of_the_front_with_as_few_parameters() -> None:
    rng = np.random.default_rng(0)
    row = {"epoch": 1, "val_loss": 1.0, "seconds": 1.0}
    trials = [
        Trial(number, "finished", {}, {}, int(rng.integers(10)), curve=({**row, "val_roc_auc": rng.random()},))
        for number in range(40)
    ]
    goal = Goal("roc_auc", "loss")
    front = pareto_front(goal, trials, COSTS["parameters"])
    for trial in trials:
        beaten = [o for o in trials if o.parameters <= trial.parameters and goal.value(o) > goal.value(trial)]
        assert (trial in front) == (not beaten)


def folded(number: int, state: State, values: list[float]) -> Trial:
    rows = [{"epoch": 1, "fold": fold, "val_loss": 1.0, "val_roc_auc": value} for fold, value in enumerate(values)]
    return Trial(number, state, {}, {}, 1, curve=tuple(rows))


def test_the_value_over_folds_is_their_mean_and_their_spread_the_standard_deviation() -> None:
    trial, goal = folded(0, "finished", [0.7, 0.9, 0.8]), Goal("roc_auc", "loss")
    assert goal.value(trial) == pytest.approx(0.8)
    assert goal.spread(trial) == pytest.approx(np.std([0.7, 0.9, 0.8], ddof=1))
    assert math.isnan(goal.spread(folded(0, "finished", [0.7])))


@pytest.mark.parametrize(
    ("values", "behind"),
    [([0.72], False), ([0.55], True), ([0.55, 0.95], False), ([0.7, 0.65], True), ([0.9, 1.0], False)],
)
def test_a_trial_is_behind_by_more_than_the_spread_of_the_best_over_the_same_folds(
    values: list[float], behind: bool
) -> None:
    goal, best = Goal("roc_auc", "loss"), folded(0, "finished", [0.7, 0.9, 0.8])
    other = folded(1, "finished", [0.5, 0.5, 0.5])
    assert goal.is_behind(folded(2, "running", values), {0: best, 1: other}) == behind
    assert not goal.is_behind(folded(2, "running", values), {})


def test_a_finished_fold_is_written_down_and_the_trial_ends_with_all_of_them(search: Search) -> None:
    content = search.experiment.model_dump(mode="json")
    content["split"] |= {"folds": 2}
    search = dataclasses.replace(search, experiment=type(search.experiment).model_validate(content))
    study = Study(search)
    trial = asked(study)
    runs = trial_experiments(search, trial)
    assert [run.out_path.name for run in runs] == ["fold_0", "fold_1"]
    for fold, value in enumerate((0.6, 0.8)):
        rows = [{"epoch": epoch, "val_loss": 1.0, "val_roc_auc": value, "seconds": 1.0} for epoch in (1, 2)]
        study.report(trial.number, {**rows[0], "fold": fold})
        write_parquet(pa.Table.from_pylist(rows), runs[fold].out_path / "history.parquet")
        assert study.count_folds(trial.number) == (fold + 1, 2)
        assert not study.report_fold(trial.number, fold)
    assert [(row["fold"], row["epoch"]) for row in Study(search).trials[0].curve] == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert search.goal.value(study.tell(trial.number, "finished")) == pytest.approx(0.7)


def test_a_search_for_few_parameters_too_keeps_finding_small_networks(search: Search) -> None:
    taken = {}
    for minimize in (None, "parameters"):
        own = dataclasses.replace(search, folder=search.folder / str(minimize), trials=40, minimize=minimize)
        study = Study(own)
        for number in range(40):
            trial = asked(study)
            value = min(0.9, 0.5 + trial.parameters / 50_000)
            if number % 4 == 3:
                study.report(trial.number, {"epoch": 1, "val_loss": 1.0, "val_roc_auc": value, "seconds": 1.0})
                study.tell(trial.number, "pruned")
            else:
                finish(study, trial, value)
        assert len(Study(own).optuna_study.trials) == 40
        taken[minimize] = np.median([trial.parameters for trial in study.trials.values()][20:])
    assert taken["parameters"] < taken[None]


def test_the_value_of_a_trial_is_that_of_the_epoch_whose_weights_are_kept() -> None:
    curve = tuple(
        {"epoch": epoch, "val_loss": loss, "val_roc_auc": value}
        for epoch, (loss, value) in enumerate([(0.5, 0.7), (0.3, 0.8), (0.4, 0.9), (0.3, 0.6)], 1)
    )
    trial = Trial(0, "finished", {}, {}, 1, curve=curve)
    assert Goal("roc_auc", "loss").value(trial) == 0.8
    assert Goal("roc_auc", "roc_auc").value(trial) == 0.9
    assert Goal("loss", "roc_auc").value(trial) == 0.4


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"{}", b'{"number": 7}', b"[" * 100_000])
def test_a_trial_whose_record_is_damaged_is_removed_and_tried_again(search: Search, content: bytes | None) -> None:
    study = Study(search)
    for value in (0.7, 0.9):
        finish(study, asked(study), value)
    record = trial_folder(search.folder, study.trials[1]) / "trial.json"
    record.unlink() if content is None else record.write_bytes(content)
    resumed = Study(search)
    assert list(resumed.trials) == [0]
    assert resumed.removed == ([] if content is None else [f"{record} cannot be read"])
    assert not record.parent.exists()  # the history of another trial under the same number
    assert asked(resumed).number == 1
    assert resumed.count_folds(1) == (0, 1)


def test_a_record_of_another_trial_counts_as_damaged(search: Search) -> None:
    study = Study(search)
    for value in (0.7, 0.9):
        finish(study, asked(study), value)
    first, second = (trial_folder(search.folder, trial) / "trial.json" for trial in study.trials.values())
    second.write_bytes(first.read_bytes())
    assert list(Study(search).trials) == [0]


@pytest.mark.parametrize("content", [b"", b"garbage"])
def test_a_damaged_history_of_a_fold_counts_as_not_trained(search: Search, content: bytes) -> None:
    study = Study(search)
    trial = asked(study)
    (trial_folder(search.folder, trial) / "history.parquet").write_bytes(content)
    assert study.count_folds(trial.number) == (0, 1)
    assert study.tell(trial.number, "finished").state == "failed"


def test_a_damaged_architecture_of_a_trial_is_written_again_from_its_decisions(search: Search) -> None:
    study = Study(search)
    finish(study, asked(study), 0.7)
    architecture = trial_folder(search.folder, study.trials[0]) / "architecture.json"
    whole = architecture.read_bytes()
    for content in (b"", whole[:9]):
        architecture.write_bytes(content)
        Study(search)
        assert architecture.read_bytes() == whole


def test_damaged_lines_of_rejected_samples_are_left_out(search: Search) -> None:
    search = dataclasses.replace(search, limits=Limits(parameters=FEW))
    study = Study(search)
    while study.ask() is not None:
        pass
    rejected = study.rejected
    path = search.folder / "rejected.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    damage = [b"\n", b"\xff\xfe\n", b"[]\n", b'{"origin": ""}\n', b"[" * 100_000 + b"\n"]
    path.write_bytes(b"".join([lines[0], *damage, *lines[1:], lines[0][:20]]))
    assert read_rejected(search.folder) == rejected
    append_line(path, lines[0].decode().strip())
    assert read_rejected(search.folder) == [*rejected, rejected[0]]


def test_neighbors_of_the_initial_network_follow_it_and_each_changes_one_decision(search: Search) -> None:
    study = Study(dataclasses.replace(search, trials=20))
    first = asked(study)
    finish(study, first, 0.5)
    around = [asked(study) for _ in range(NEIGHBORS)]
    for trial in around:
        changed = [name for name, label in trial.decisions.items() if label != first.decisions[name]]
        assert len(changed) == 1
        assert not trial.origin
        if changed == ["[2].num_output"]:
            assert abs(int(str(trial.decisions[changed[0]])) - int(str(first.decisions[changed[0]]))) == 4
    assert len({json.dumps(trial.decisions) for trial in around}) == NEIGHBORS
    for trial in around[:2]:
        finish(study, trial, 0.5)
    (search.folder / "trials" / around[-1].name / "trial.json").unlink()  # as a killed process may leave it
    resumed = Study(dataclasses.replace(search, trials=20))
    again = [asked(resumed) for _ in range(NEIGHBORS - 2)]
    assert [trial.decisions for trial in again] == [trial.decisions for trial in around[2:]]


@pytest.mark.parametrize("cost", ["parameters", "memory", "flops", "seconds"])
def test_a_front_by_any_cost_has_the_trials_that_no_cheaper_one_beats(cost: CostName) -> None:
    rng = np.random.default_rng(1)
    trials = []
    for number in range(30):
        row = {"epoch": 1, "val_loss": 1.0, "val_roc_auc": rng.random(), "seconds": float(rng.integers(1, 9))}
        parameters, memory, flops = (int(value) for value in rng.integers(1, 9, 3))
        trials.append(Trial(number, "finished", {}, {}, parameters, "", (row,), "", memory, flops))
    goal, of = Goal("roc_auc", "loss"), COSTS[cost].of
    front = pareto_front(goal, trials, COSTS[cost])
    for trial in trials:
        beaten = [other for other in trials if of(other) <= of(trial) and goal.value(other) > goal.value(trial)]
        assert (trial in front) == (not beaten)


def test_losses_of_different_kinds_are_no_metric_and_the_monitor_is_the_default(search: Search) -> None:
    raw = {**SPACE, "experiment": {"training.loss": {"choice": ["cross_entropy"]}}}
    space, classes = parse_space(raw, "space"), ("none", "nodule")
    assert parse_metric(None, search.experiment, space, "classification", classes).name == "loss"
    with pytest.raises(ConfigError, match="several losses"):
        parse_metric("val/loss", search.experiment, space, "segmentation", classes)
