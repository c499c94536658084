"""A search on a phantom against a plain loop that trains the same networks one after another, without pruning.

    python benchmarks/tune.py /tmp/tune

Networks have at most as many parameters as arch3dsm, and at most five times its operations. The loop trains every
network of the search in turn, with all cores, for `--loop` epochs, and the time of all epochs is extrapolated from the
last of them. The last line is JSON: `ratio` is the loop's time over the search's.
"""

import argparse
import json
import shutil
import time
from pathlib import Path

from voxray.cli.app import main
from voxray.config.experiment import Experiment
from voxray.config.load import load_experiment
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


def loop_seconds(spec: Experiment, epochs: int) -> float:
    """Seconds that a training takes without Ray, extrapolated from its first epochs."""
    moments = [time.perf_counter()]
    training = spec.training.model_copy(update={"epochs": epochs, "early_stopping_epochs": 0})
    fit(
        spec.model_copy(update={"training": training}),
        device=choose_device("cpu"),
        on_progress=lambda done, total, text: None,
        report=lambda row: moments.append(time.perf_counter()),
    )
    moments.append(time.perf_counter())
    return moments[-1] - moments[0] + (spec.training.epochs - epochs) * (moments[-2] - moments[-3])


def benchmark(folder: Path, trials: int, epochs: int, loop: int, scans: int) -> None:
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
    shutil.rmtree(folder / "loop", ignore_errors=True)
    alone = 0.0
    for trial in results.values():
        content = json.loads((folder / "search/trials" / trial.name / "experiment.json").read_text())
        spec = Experiment.model_validate({**content, "out": str(folder / "loop" / trial.name)})
        alone += loop_seconds(spec, loop)
    print(f"loop: {alone:.0f} s for all epochs of the same networks, {3600 * len(results) / alone:.0f} an hour")
    print(json.dumps({"benchmark": "tune", "search_s": round(seconds), "ratio": round(alone / seconds, 2)}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--loop", type=int, default=2)
    parser.add_argument("--scans", type=int, default=40)
    options = parser.parse_args()
    benchmark(options.folder.resolve(), options.trials, options.epochs, options.loop, options.scans)
