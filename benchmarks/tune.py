"""A search on a phantom against a plain loop that trains the same networks one after another, without pruning.

    python benchmarks/tune.py /tmp/tune --trials 20 --loop 4

The loop trains `--loop` of the search's networks, evenly chosen, for all epochs and with all cores.
"""

import argparse
import json
import time
from pathlib import Path

from voxray.cli import main
from voxray.config.experiment import Experiment, load_experiment
from voxray.runs.fit import fit
from voxray.search.trials import Goal, read_trials
from voxray.training.loop import choose_device

PROJECT = Path(__file__).resolve().parents[1]
GOAL = Goal("average_precision", "average_precision")
EXPERIMENT = """
name = "tune"
out = "run"
data = {{ layout = "luna16", root = "phantom" }}
split = {{ val = 0.3, test = 0.1 }}
patches = {{ size = [32, 32, 8], negatives_per_positive = 2, rotations = [] }}
augment = {{ flip = ["x", "y", "z"] }}
model = {{ architecture = "{architecture}" }}
training = {{ epochs = {epochs}, batch_size = 16, l2 = 1e-4, best = "average_precision", device = "cpu" }}
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


def benchmark(folder: Path, trials: int, epochs: int, loop: int, scans: int) -> None:
    """Print trials per hour of both ways, and the networks that beat the one that the search started from."""
    folder.mkdir(parents=True, exist_ok=True)
    toml = folder / "tune.toml"
    toml.write_text(EXPERIMENT.format(epochs=epochs, architecture=PROJECT / "configs/architectures/arch3dsm.json"))
    if not (folder / "phantom").exists():
        run("phantom", "luna16", str(folder / "phantom"), "--scans", str(scans), "--matrix", "128")
    run("ingest", str(toml), "--no-ray")
    own = load_experiment(toml)
    limit = parameters_of(own)
    search = ["--space", str(PROJECT / "configs/spaces/cnn3d.json"), "--out", str(folder / "search")]
    limits = ["--trials", str(trials), "--max-parameters", str(limit), "--metric", f"val/{GOAL.name}"]
    seconds = run("tune", str(toml), *search, *limits)
    found = read_trials(folder / "search")
    rate = 3600 * len(found) / seconds
    print(f"search: {len(found)} trials in {seconds:.0f} s, {rate:.0f} an hour")
    first = next(trial for trial in found.values() if trial.origin)
    for trial in GOAL.ranked(found)[:5]:
        print(f"  trial {trial.name}: {GOAL.value(trial):.4f}, {trial.parameters:,} parameters, {trial.state}")
    print(f"  arch3dsm: {GOAL.value(first):.4f}, {first.parameters:,} parameters, {first.state}")
    chosen = sorted(found)[:: max(1, len(found) // max(loop, 1))][:loop]
    began = time.perf_counter()
    for number in chosen:
        content = json.loads((folder / "search/trials" / found[number].name / "experiment.json").read_text())
        spec = Experiment.model_validate({**content, "out": str(folder / "loop" / found[number].name)})
        fit(spec, device=choose_device("cpu"), show=lambda done, total, text: None)
    if chosen:
        alone = 3600 * len(chosen) / (time.perf_counter() - began)
        print(f"loop: {alone:.0f} trials an hour; the search does {rate / alone:.1f} times as many")


def parameters_of(experiment: Experiment) -> int:
    """Of the experiment's own network."""
    from voxray import stages

    return stages.outline(experiment).cost.parameters


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--loop", type=int, default=4)
    parser.add_argument("--scans", type=int, default=40)
    given = parser.parse_args()
    benchmark(given.folder.resolve(), given.trials, given.epochs, given.loop, given.scans)
