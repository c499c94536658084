"""The contents of a run: the files of its folder and its store, read into memory."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from voxray.config.experiment import Experiment
from voxray.evaluation.findings import WHOLE_SCANS
from voxray.evaluation.mix import read_mix
from voxray.metrics.aggregate import aggregate_predictions, labels_and_probabilities, without_calibration
from voxray.metrics.calibration import Calibration
from voxray.metrics.classification import predict_labels
from voxray.metrics.compute import case_dice
from voxray.metrics.curves import Floats, Ints
from voxray.metrics.registry import find_metric
from voxray.models.spec.load import Architecture, parse_architecture
from voxray.runs.folder import RunFolder
from voxray.runs.read import (
    read_architecture,
    read_findings,
    read_froc,
    read_history,
    read_metrics,
    read_predictions,
    read_run_experiment,
)
from voxray.storage.paths import AnyPath, exists
from voxray.store.read import PatchStore
from voxray.training.checkpoint import read_metadata

SPLITS = ("test", "val")  # as pages order them

Case = dict[str, Any]


@dataclass(frozen=True, eq=False)
class SplitPredictions:
    """The predictions of a split, per patch or per patient: probabilities (n, classes) and rows of the schema INDEX.

    The row of a patient is that of the middle one of its patches. `uncalibrated` are the probabilities (n, classes)
    without calibration, None where there is none; `weights` (n,) re-weight them to the mix of the data set's list, None
    where the split has that mix.
    """

    rows: pa.Table
    probabilities: Floats
    uncalibrated: Floats | None = None
    weights: Floats | None = None

    @property
    def labels(self) -> Ints:
        """The true classes, (n,)."""
        return np.asarray(self.rows["label"].to_numpy(), dtype=np.int64)

    def predicted(self, threshold: float | None) -> Ints:
        """The predicted classes at the operating point, (n,)."""
        return predict_labels(self.probabilities, threshold)

    def truth_probabilities(self) -> Floats:
        """Predicted probability of the true class, (n,)."""
        labels = self.labels
        probabilities: Floats = self.probabilities[np.arange(len(labels)), labels]
        return probabilities


@dataclass(frozen=True, eq=False)
class SplitDetection:
    """The FROC curve of a list's candidates and, where whole scans were searched, what was found in them.

    `findings` and `nodules` are the tables of `voxray.evaluation.finding_tables`, `findings_froc` their curve.
    """

    froc: pa.Table | None = None
    findings: pa.Table | None = None
    nodules: pa.Table | None = None
    findings_froc: pa.Table | None = None


@dataclass(frozen=True, eq=False)
class RunContents:
    """Everything that a report displays.

    Metrics, predictions and cases are by split; `versions` are those of the packages that trained the model.
    Segmentations have no predictions and classifiers no cases, the rows of the scans: `scan_id`, `path`, `label_path`,
    `prediction` (relative to the run's folder) and metrics, NaN if undefined; `dice` is the mean over the classes.
    `detection` is what is known of classifiers of candidates. `scan_problem` says why scans cannot be displayed, if so.
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
    scan_problem: str = ""
    detection: Mapping[str, SplitDetection] = field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels 0, 1, …"""
        return self.store.info.classes

    @property
    def splits(self) -> tuple[str, ...]:
        """The evaluated splits, test first."""
        return tuple(split for split in SPLITS if split in self.metrics)

    @property
    def level(self) -> str:
        """The level of the metrics: patch or patient."""
        return str(self.metrics[self.splits[0]]["level"])

    @property
    def threshold(self) -> float | None:
        """The operating point; None where the most probable class is predicted."""
        value = self.metrics[self.splits[0]].get("threshold")
        return None if value is None else float(value)

    @property
    def reweighted(self) -> bool:
        """Whether a split lost negatives, so that what depends on the mix of classes is drawn of that of the list."""
        return any(self.predictions[split].weights is not None for split in self.predictions)

    @property
    def best_epoch(self) -> int | None:
        """The epoch whose weights were kept."""
        return find_best_epoch(self.history, self.experiment.training.monitor)


def read_run(folder: AnyPath, store: PatchStore) -> RunContents:
    """Read a finished run from its folder; `store` has the patches that it was trained on.

    Raises
    ------
    StoreError
        A file is missing.
    """
    files = RunFolder(folder)
    metrics = read_metrics(files)
    splits = [split for split in SPLITS if split in metrics]
    masks = store.info.masks
    predictions = {} if masks else {split: _read_predictions(files, split, metrics[split], store) for split in splits}
    return RunContents(
        experiment=read_run_experiment(files),
        layers=parse_architecture(read_architecture(files), str(files.architecture)),
        metrics=metrics,
        history=read_history(files).to_pylist(),
        predictions=predictions,
        store=store,
        versions=read_metadata(files.model).get("versions", {}) if exists(files.model) else {},
        cases={split: _read_cases(files, split) for split in splits} if masks else {},
        detection={} if masks else {split: _read_detection(files, split, metrics[split]) for split in splits},
        folder=folder,
    )


def find_best_epoch(history: list[dict[str, Any]], monitor: str) -> int | None:
    """The first epoch with the best ``val_<monitor>``, such as ``val_loss``; None where no epoch has a value."""
    values = find_metric(monitor).sign * history_column(history, f"val_{monitor}")
    finite = np.isfinite(values)
    return int(history[np.where(finite, values, -np.inf).argmax()]["epoch"]) if finite.any() else None


def history_column(history: list[dict[str, Any]], name: str) -> NDArray[np.float64]:
    """One column of the history; NaN where it has no value."""
    return np.array([row.get(name, math.nan) for row in history], dtype=np.float64)


def _read_predictions(files: RunFolder, split: str, metrics: Mapping[str, Any], store: PatchStore) -> SplitPredictions:
    patches, level = read_predictions(files, split), metrics["level"]
    table = aggregate_predictions(patches, level)
    _, probabilities = labels_and_probabilities(table)
    uncalibrated = None
    if metrics.get("calibration") is not None:
        before = without_calibration(patches, Calibration.from_record(metrics["calibration"]))
        _, uncalibrated = labels_and_probabilities(aggregate_predictions(before, level))
    weights = read_mix([store.info.population.get(split)], table, level).weights
    return SplitPredictions(table.drop_columns(["probabilities"]), probabilities, uncalibrated, weights)


def _read_detection(files: RunFolder, split: str, metrics: Mapping[str, Any]) -> SplitDetection:
    froc = read_froc(files, files.froc(split))
    if WHOLE_SCANS not in metrics:
        return SplitDetection(froc)
    return SplitDetection(froc, *read_findings(files, split), read_froc(files, files.findings_froc(split)))


def _read_cases(files: RunFolder, split: str) -> list[Case]:
    return list(map(_parse_case, read_predictions(files, split).to_pylist()))


def _parse_case(row: Case) -> Case:
    metrics = {key: math.nan if value is None else value for key, value in row.items() if "/" in key}
    return row | metrics | {"dice": case_dice(metrics)}
