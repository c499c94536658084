"""A search on a phantom against the same search by Optuna alone in one process.

    python benchmarks/tune.py /tmp/tune

Networks have at most as many parameters as arch3dsm, and at most five times its operations. Optuna trains the networks
of the search one after another in their order, in this process with all cores, and prunes them by successive halving
with the same first epoch and the same factor. It need not sample them again, which is a small advantage. The last line
is JSON: `ratio` is Optuna's time over the search's, with everything that both wrote.
"""

import argparse
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna

from voxray.cli.app import main
from voxray.config.experiment import Experiment
from voxray.config.load import load_experiment
from voxray.executors.ray.pruner import REDUCTION, first_rung
from voxray.search.trials import Goal, read_trials
from voxray.stages.outline import plan_run
from voxray.training.fit import fit
from voxray.training.loop import choose_device

PROJECT = Path(__file__).resolve().parents[1]
GOAL = Goal("average_precision", "average_precision")
EXPERIMENT = """
name = "tune"
out = "run"
data = {{ layout = "luna16", root = "phantom" }}
split = {{ val = 0.3, test = 0.1 }}
patches = {{ size = [32, 32, 8], negatives_per_positive = 2, oversample_rotations = [] }}
augment = {{ flip = ["x", "y", "z"] }}
model = {{ architecture = "{architecture}" }}
training = {{ epochs = {epochs}, batch_size = 16, weight_decay = 1e-4, monitor = "average_precision", device = "cpu" }}
tracking = {{ mode = "disabled" }}
"""


def run(*words: str) -> float:
    """Seconds that a command takes."""
    began = time.perf_counter()
    try:
        main(list(words))
    except SystemExit as end:
        if end.code:
            raise
    return time.perf_counter() - began


def optuna_alone(experiments: Sequence[Experiment]) -> optuna.Study:
    """Train networks one after another; poor ones are pruned as the search prunes them."""
    epochs = experiments[0].training.epochs
    pruner = optuna.pruners.SuccessiveHalvingPruner(first_rung(epochs), REDUCTION, 0)
    study = optuna.create_study(direction="maximize", pruner=pruner)

    def objective(trial: optuna.Trial) -> float:
        def report(row: dict[str, Any]) -> None:
            values.append(row[GOAL.column])
            trial.report(values[-1], row["epoch"])
            if row["epoch"] < epochs and trial.should_prune():
                raise optuna.TrialPruned

        values: list[float] = []
        fit(experiments[trial.number], device=choose_device("cpu"), on_progress=lambda *_: None, report=report)
        return max(values)

    study.optimize(objective, n_trials=len(experiments))
    return study


def benchmark(folder: Path, trials: int, epochs: int, scans: int) -> None:
    """Print trials per hour of both ways, and the networks that beat the one that the search started from."""
    folder.mkdir(parents=True, exist_ok=True)
    toml = folder / "tune.toml"
    toml.write_text(EXPERIMENT.format(epochs=epochs, architecture=PROJECT / "configs/architectures/arch3dsm.json"))
    if not (folder / "phantom").exists():
        run("phantom", "luna16", str(folder / "phantom"), "--scans", str(scans), "--matrix", "128")
    run("ingest", str(toml), "--no-ray")
    cost = plan_run(load_experiment(toml)).cost
    search = ["--space", str(PROJECT / "configs/spaces/cnn3d.json"), "--out", str(folder / "search")]
    limits = ["--trials", str(trials), "--max-parameters", str(cost.parameters), "--metric", f"val/{GOAL.name}"]
    limits += ["--max-flops", str(5 * cost.forward_flops)]
    seconds = run("tune", str(toml), *search, *limits)
    results = read_trials(folder / "search")
    rate = 3600 * len(results) / seconds
    print(f"search: {len(results)} trials in {seconds:.0f} s, {rate:.0f} an hour")
    first = next(trial for trial in results.values() if trial.origin)
    for trial in GOAL.ranked(results)[:5]:
        print(f"  trial {trial.name}: {GOAL.value(trial):.4f}, {trial.parameters:,} parameters, {trial.state}")
    print(f"  arch3dsm: {GOAL.value(first):.4f}, {first.parameters:,} parameters, {first.state}")
    shutil.rmtree(folder / "alone", ignore_errors=True)
    experiments = []
    for trial in results.values():
        content = json.loads((folder / "search/trials" / trial.name / "experiment.json").read_text())
        experiments.append(Experiment.model_validate({**content, "out": str(folder / "alone" / trial.name)}))
    began = time.perf_counter()
    study = optuna_alone(experiments)
    alone = time.perf_counter() - began
    trained = sum(len(trial.intermediate_values) for trial in study.trials)
    print(f"Optuna alone: {alone:.0f} s, {3600 * len(results) / alone:.0f} trials an hour, {trained} epochs,")
    print(f"  best {study.best_value:.4f}")
    searched = sum(len(trial.curve) for trial in results.values())
    print(f"search: {searched} epochs, best {max(GOAL.value(trial) for trial in results.values()):.4f}")
    result = {"search_s": round(seconds), "alone_s": round(alone), "epochs": [searched, trained]}
    print(json.dumps({"benchmark": "tune", **result, "ratio": round(alone / seconds, 2)}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--scans", type=int, default=40)
    options = parser.parse_args()
    benchmark(options.folder.resolve(), options.trials, options.epochs, options.scans)
