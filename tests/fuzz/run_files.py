"""The files of a trained run: model, JSON and Parquet."""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from fuzz_runs import finished_run
from fuzzing import FIFO, Case, damage, odd_tree

import voxray
from voxray.runs.folder import RunFolder
from voxray.runs.read import read_architecture, read_predictions
from voxray.training.checkpoint import read_metadata, write_metadata

DAMAGED = ("model.safetensors", "experiment.json", "metrics.json", "history.parquet", "predictions/test.parquet")
TREES = ("experiment.json", "metrics.json", "architecture.json", "stages.json")


@dataclass(frozen=True, eq=False)
class Content:
    """What a user gets of a run."""

    weights: dict[str, torch.Tensor]
    values: tuple[Any, ...]
    tables: tuple[pa.Table, ...]


def cases(seed: int) -> Iterator[Case]:
    """Each file absent, empty, cut, of another kind, and with random damages."""
    files = finished_run()
    yield replace(_case("nothing wrong", {}), sound=True)
    if seed == 0:
        yield from _named()
    rng = np.random.default_rng(seed)
    for number in range(12):
        for name in DAMAGED:
            yield _case(f"{name}: damaged bytes {number}", {name: damage(files[name], rng)})
        for name in TREES:
            content = json.dumps(odd_tree(json.loads(files[name]), rng)).encode()
            yield _case(f"{name}: odd value {number}", {name: content})
    for number in range(20):
        yield _strangers(number, rng)


def _strangers(number: int, rng: np.random.Generator) -> Case:
    """A run of somebody who writes odd metadata and settings, with the checksums that belong to them."""
    files = {name: content for name, content in _run({}).items() if name != "stages.json"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors")
        path.write_bytes(finished_run()["model.safetensors"])
        metadata = read_metadata(path)
        write_metadata(path, odd_tree(metadata, rng))
        files["model.safetensors"] = path.read_bytes()
    if number % 2:
        files["experiment.json"] = json.dumps(odd_tree(json.loads(finished_run()["experiment.json"]), rng)).encode()
    return Case(f"a stranger's run {number}", files, _predict, _check_probabilities)


def _predict(folder: Path) -> list[float]:
    run = voxray.load_run(folder, device="cpu")
    images = torch.zeros((1, 1, *run.config.patches.size[: run.trained[0].preprocessing.spatial_dims]))
    with torch.no_grad():
        return list(run.model(images).softmax(1)[0].tolist())


def _check_probabilities(probabilities: list[float]) -> None:
    assert len(probabilities) == 2
    assert sum(probabilities) == pytest.approx(1)


def _named() -> Iterator[Case]:
    for name in DAMAGED:
        sound = finished_run()[name]
        for what, content in {
            "empty": b"",
            "cut in the middle": sound[: len(sound) // 2],
            "zeros": bytes(len(sound)),
            "an empty object": b"{}",
            "a list": b"[]",
            "nested 5,000 deep": b"[" * 5000 + b"]" * 5000,
            "a FIFO": FIFO,
        }.items():
            yield Case(f"{name}: {what}", _run({name: content}), _read)
    huge = (2**62).to_bytes(8, "little")
    yield Case("model.safetensors: a header of 2^62 bytes", _run({"model.safetensors": huge + b"{}"}), _read)


def _run(changed: dict[str, bytes | None]) -> dict[str, bytes | None]:
    files = {name: content for name, content in finished_run().items() if not name.startswith("store/")}
    return {**files, **changed}


def _case(name: str, changed: dict[str, bytes | None]) -> Case:
    return Case(name, _run(changed), _read, _check)


def _read(folder: Path) -> Content:
    run = voxray.load_run(folder, device="cpu")
    files = RunFolder(folder)
    predictions = read_predictions(files, "test")
    values = (run.metrics, run.classes, run.threshold, run.config.model_dump(), read_architecture(files))
    return Content(run.model.state_dict(), values, (run.history, predictions))


def _check(content: Content) -> None:
    """What is accepted is what the run wrote."""
    sound = _sound()
    assert content.values == sound.values
    for found, expected in zip(content.tables, sound.tables, strict=True):
        assert found.equals(expected)
    for name, tensor in sound.weights.items():
        assert torch.equal(content.weights[name], tensor), name


@cache
def _sound() -> Content:
    with tempfile.TemporaryDirectory() as folder:
        for name, data in finished_run().items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return _read(Path(folder))
