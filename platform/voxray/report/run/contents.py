"""What a report is made of: the files of a run's folder and its store, read into memory."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from voxray.config.experiment import Experiment
from voxray.config.load import read_experiment
from voxray.errors import StoreError
from voxray.metrics.aggregate import aggregate_predictions, labels_and_probabilities
from voxray.metrics.classification import predict_labels
from voxray.metrics.compute import case_dice
from voxray.metrics.curves import Floats, Ints
from voxray.metrics.registry import find_metric
from voxray.models.spec.load import Architecture, parse_architecture
from voxray.runs.folder import RunFolder
from voxray.storage.paths import AnyPath, exists, read_bytes
from voxray.store.layout import read_parquet
from voxray.store.read import PatchStore
from voxray.training.checkpoint import read_metadata

SPLITS = ("test", "val")  # The one that counts comes first.

Case = dict[str, Any]


@dataclass(frozen=True, eq=False)
class SplitPredictions:
    """What the model says of everything that is judged in a split: its patches, or its patients.

    Attributes
    ----------
    rows : pyarrow.Table
        Schema INDEX, a row for each; a patient's is that of the middle one of its patches.
    probabilities : ndarray, (n, classes)
    """

    rows: pa.Table
    probabilities: Floats

    @property
    def labels(self) -> Ints:
        """The true classes, (n,)."""
        return np.asarray(self.rows["label"].to_numpy(), dtype=np.int64)

    def predicted(self, threshold: float | None) -> Ints:
        """The classes that are called at the operating point, (n,)."""
        return predict_labels(self.probabilities, threshold)

    def truth_probabilities(self) -> Floats:
        """Probability given to the true class, (n,)."""
        labels = self.labels
        given: Floats = self.probabilities[np.arange(len(labels)), labels]
        return given


@dataclass(frozen=True, eq=False)
class RunContents:
    """Everything that a report shows.

    Attributes
    ----------
    experiment : Experiment
    layers : Sequential or UNet
        The architecture that was trained.
    metrics : mapping
        Split → content of ``metrics.json``.
    history : list of dict
        A row for each epoch.
    predictions : mapping
        Split → what the model says of its patches, or patients; the splits are those of `metrics`. Empty for
        segmentation.
    store : PatchStore
    versions : mapping
        Program → version that trained the model, as far as the run recorded it.
    cases : mapping
        Split → what became of each scan: `scan_id`, `path`, `label_path`, `prediction` and its figures, `dice` being
        the mean over the classes; an undefined one is NaN. Empty for classifiers.
    folder : Place
        The run's folder, to which `prediction` is relative.
    """

    experiment: Experiment
    layers: Architecture
    metrics: Mapping[str, Mapping[str, Any]]
    history: list[dict[str, Any]]
    predictions: Mapping[str, SplitPredictions]
    store: PatchStore
    versions: Mapping[str, str] = field(default_factory=dict)
    cases: Mapping[str, list[Case]] = field(default_factory=dict)
    folder: AnyPath = Path()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels 0, 1, …"""
        return self.store.info.classes

    @property
    def splits(self) -> tuple[str, ...]:
        """The judged splits: test first where there is one."""
        return tuple(split for split in SPLITS if split in self.metrics)

    @property
    def unit(self) -> str:
        """What is judged: patch or patient."""
        return str(self.metrics[self.splits[0]]["level"])

    @property
    def threshold(self) -> float | None:
        """The operating point; None where the most probable class is called."""
        value = self.metrics[self.splits[0]].get("threshold")
        return None if value is None else float(value)

    @property
    def best_epoch(self) -> int | None:
        """The epoch whose weights were kept."""
        return find_best_epoch(self.history, self.experiment.training.monitor)


def read_run(folder: AnyPath, store: PatchStore) -> RunContents:
    """Read what a finished run left in its folder.

    Parameters
    ----------
    folder : Place
        Holds ``experiment.json``, ``architecture.json``, ``metrics.json``, ``history.parquet`` and ``predictions/``.
    store : PatchStore
        The patches that the run was trained on.

    Raises
    ------
    StoreError
        A file is missing.
    """
    files = RunFolder(folder)
    metrics = _read_json(files.metrics)
    layers = parse_architecture(_read_json(files.architecture), str(files.architecture))
    judged = [split for split in SPLITS if split in metrics]
    masks = store.info.masks
    return RunContents(
        experiment=read_experiment(_found(files.experiment)),
        layers=layers,
        metrics=metrics,
        history=read_parquet(_found(files.history)).to_pylist(),
        predictions={} if masks else {split: _read_predictions(folder, split, metrics) for split in judged},
        store=store,
        versions=read_metadata(files.model).get("versions", {}) if exists(files.model) else {},
        cases={split: _read_cases(folder, split) for split in judged} if masks else {},
        folder=folder,
    )


def find_best_epoch(history: list[dict[str, Any]], best: str) -> int | None:
    """The first epoch with the best ``val_<best>``; None where no epoch has a value.

    Parameters
    ----------
    history : list of dict
    best : str
        A metric of validation, such as ``loss`` or ``roc_auc``.
    """
    sign = find_metric(best).sign
    known = [row for row in history if row.get(f"val_{best}") is not None and math.isfinite(row[f"val_{best}"])]
    return int(max(known, key=lambda row: sign * row[f"val_{best}"])["epoch"]) if known else None


def history_column(history: list[dict[str, Any]], name: str) -> NDArray[np.float64]:
    """One figure over the epochs; NaN where it has no value."""
    return np.array([row.get(name, math.nan) for row in history], dtype=np.float64)


def _read_predictions(folder: AnyPath, split: str, metrics: Mapping[str, Mapping[str, Any]]) -> SplitPredictions:
    patches = read_parquet(_found(RunFolder(folder).predictions(split)))
    table = aggregate_predictions(patches, metrics[split]["level"])
    _, probabilities = labels_and_probabilities(table)
    return SplitPredictions(table.drop_columns(["probabilities"]), probabilities)


def _read_cases(folder: AnyPath, split: str) -> list[Case]:
    rows: list[Case] = read_parquet(_found(RunFolder(folder).predictions(split))).to_pylist()
    cases = [{key: math.nan if value is None and "/" in key else value for key, value in row.items()} for row in rows]
    return [{**case, "dice": case_dice({key: case[key] for key in case if "/" in key})} for case in cases]


def _read_json(path: AnyPath) -> Any:
    return json.loads(read_bytes(_found(path)))


def _found(path: AnyPath) -> AnyPath:
    if not exists(path):
        raise StoreError(str(path), "the run has no such file", "Run voxray train and voxray evaluate first")
    return path
