"""Whole scans on Ray Data: rows that name scans, one model per actor."""

from collections.abc import Iterator, Sequence
from typing import Any

import ray
import torch

from voxray.config.experiment import Experiment
from voxray.console.progress import Show
from voxray.errors import VoxrayError, WorkError
from voxray.evaluation.scans import Case, judge_scan
from voxray.executors.ray.board import failure_row, raise_failure
from voxray.executors.ray.connect import node_resources, predictors, settle_data
from voxray.inference.predict import Options, load_predictor
from voxray.inference.segmenter import load_segmenter
from voxray.storage.paths import Place, place
from voxray.training.loop import choose_device


def judge_on_ray(experiment: Experiment, cases: list[Case], show: Show) -> Iterator[Case]:
    """Judge scans with an actor on each GPU, or else as many as training has workers.

    Raises
    ------
    VoxrayError
        The first error of a scan, in its own words.
    """
    spec = experiment.training
    arguments = (experiment.model_dump(mode="json"),)
    for number, row in enumerate(_spread(_Judge, arguments, cases, spec.most_workers, spec.device), 1):
        yield row["result"]
        show(number, len(cases), row["result"]["scan_id"])


def predict_on_ray(run: Place, paths: Sequence[Place], options: Options, show: Show) -> Iterator[tuple[Place, str]]:
    """Predict loose scans, one model on each GPU or else on each node; yields what came of each."""
    rows = [{"path": str(path)} for path in paths]
    for number, row in enumerate(_spread(_Predict, (run, options), rows, len(node_resources()), "auto"), 1):
        yield place(row["result"]["path"]), row["result"]["outcome"]
        show(number, len(paths), place(row["result"]["path"]).name)


def _spread(
    kind: type["_Actor"], arguments: tuple[Any, ...], rows: list[dict[str, Any]], on_cpus: int, device: str
) -> Iterator[dict[str, Any]]:
    """Map rows with actors of a kind; each holds one model."""
    workers, cpus, gpus = predictors(device, on_cpus)
    settle_data()
    dataset = ray.data.from_items(rows, override_num_blocks=max(1, len(rows))).map(
        kind,  # type: ignore[arg-type]  # the annotation knows functions only
        fn_constructor_args=(cpus, device, *arguments),
        num_cpus=cpus,
        num_gpus=gpus,
        concurrency=workers,
    )
    try:
        for row in dataset.iter_rows():
            raise_failure(row)
            yield row
    except ray.exceptions.RayError as error:
        last = str(error).strip().splitlines()[-1]
        raise WorkError("segmentation", f"an actor was lost: {last}", "The same command goes on") from error


class _Actor:
    """Holds a model, and takes one row after the other."""

    def work(self, row: dict[str, Any]) -> dict[str, Any]:
        """What comes of a row."""
        raise NotImplementedError

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"result": self.work(row), "error": ""}
        except VoxrayError as error:
            return {"result": row, "error": failure_row(error)}


class _Judge(_Actor):
    def __init__(self, cpus: int, device: str, content: dict[str, Any]) -> None:
        torch.set_num_threads(cpus)
        self.experiment = Experiment.model_validate(content)
        self.segmenter = load_segmenter(self.experiment.out_path, choose_device(device))

    def work(self, row: dict[str, Any]) -> dict[str, Any]:
        return judge_scan(self.segmenter, row)


class _Predict(_Actor):
    def __init__(self, cpus: int, device: str, run: Place, options: Options) -> None:
        torch.set_num_threads(cpus)
        self.predict = load_predictor(run, options, choose_device(device))

    def work(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"path": row["path"], "outcome": self.predict(place(row["path"]))}
