"""Several ranks as real processes over gloo, against one process with the same global batches."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scenes import experiment

from voxray.executors.local import LocalExecutor
from voxray.stages.ingest import ingest

SCRIPT = Path(__file__).parents[1] / "one_rank.py"
NET = """[
  {"type": "C", "activation": "tanh", "num_output": 3, "kernel_size": [3, 3, 3], "stride": [2, 2, 2]},
  {"type": "FC", "activation": "relu", "num_output": 6},
  {"type": "T", "activation": null}
]"""


NORMED_NET = """[
  {"type": "C", "activation": null, "num_output": 3, "kernel_size": [3, 3, 3], "stride": [2, 2, 2]},
  {"type": "N", "normalization": "batch", "activation": "relu"},
  {"type": "T", "activation": "sigmoid"}
]"""


def train_on(ranks: int, folder: Path) -> list[dict[str, Any]]:
    """What each of several ranks says of the training of ``spec.json`` in a folder."""
    tail = [folder / f"rendezvous{ranks}", folder / "spec.json", folder]
    running = [subprocess.Popen([sys.executable, SCRIPT, str(rank), str(ranks), *tail]) for rank in range(ranks)]
    assert [process.wait(120) for process in running] == [0] * ranks
    return [json.loads((folder / f"{ranks}-{rank}.json").read_text()) for rank in range(ranks)]


def test_two_ranks_with_uneven_and_empty_shares_learn_what_one_process_learns(luna: Path, tmp_path: Path) -> None:
    (tmp_path / "architecture.json").write_text(NET)
    training = {"epochs": 3, "batch_size": 7, "learning_rate": 0.01, "class_weights": "balanced"}
    spec = experiment(luna, tmp_path / "run", training=training, augment={"flip": ["x"], "contrast": 0.2})
    ingest(spec, LocalExecutor(), lambda line: None)
    (tmp_path / "spec.json").write_text(spec.model_dump_json())
    (alone,), (first, second) = (train_on(ranks, tmp_path) for ranks in (1, 2))
    assert first["empty"] + second["empty"] > 0, "no rank ran dry; choose another batch size"
    for one, both, other in zip(alone["losses"], first["losses"], second["losses"], strict=True):
        assert one == pytest.approx(both, rel=1e-4)
        assert both == other
    assert alone["weights"] == pytest.approx(first["weights"], rel=1e-3, abs=1e-5)


def test_accumulated_and_clipped_gradients_are_the_same_for_any_number_of_ranks(luna: Path, tmp_path: Path) -> None:
    (tmp_path / "architecture.json").write_text(NET)
    training = {"epochs": 2, "batch_size": 7, "accumulate_steps": 2, "schedule": "polynomial"}
    training |= {"optimizer": "sgd", "momentum": 0.5, "learning_rate": 0.1, "gradient_clip_norm": 0.3}
    spec = experiment(luna, tmp_path / "run", training=training)
    ingest(spec, LocalExecutor(), lambda line: None)
    (tmp_path / "spec.json").write_text(spec.model_dump_json())
    (alone,), (first, second) = (train_on(ranks, tmp_path) for ranks in (1, 2))
    assert first["weights"] == second["weights"]
    assert alone["weights"] == pytest.approx(first["weights"], rel=1e-3, abs=1e-5)


def test_two_ranks_end_an_epoch_with_the_same_running_statistics(luna: Path, tmp_path: Path) -> None:
    (tmp_path / "architecture.json").write_text(NORMED_NET)
    spec = experiment(luna, tmp_path / "run", training={"epochs": 1, "batch_size": 7})
    ingest(spec, LocalExecutor(), lambda line: None)
    (tmp_path / "spec.json").write_text(spec.model_dump_json())
    first, second = train_on(2, tmp_path)
    # The state of the model: weights, which are alike anyway, and statistics, which each rank took of its own patches.
    assert first["weights"] == second["weights"]
