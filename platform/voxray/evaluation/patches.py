"""Evaluation of a classifier: predictions of a trained model → operating point and metrics.

The operating point is chosen on validation; test is only reported.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from voxray.config.experiment import Experiment
from voxray.console.progress import OnProgress
from voxray.datasets.layouts import find_layout
from voxray.errors import ConfigError
from voxray.evaluation.candidates import with_detection
from voxray.evaluation.mix import read_mix, with_false_positives, with_population
from voxray.inference.load import TrainedRun
from voxray.metrics.aggregate import (
    PATCH,
    PATIENT,
    SCAN,
    aggregate_predictions,
    check_one_class_each,
    check_probabilities,
    labels_and_probabilities,
    log_loss,
)
from voxray.metrics.class_table import class_table
from voxray.metrics.classification import Samples, predict_labels
from voxray.metrics.compute import compute_metrics, without_nan
from voxray.metrics.curves import Floats, Ranking, choose_threshold
from voxray.metrics.intervals import sample_intervals
from voxray.patches.plan import Plan
from voxray.runs.folder import run_folder
from voxray.storage.atomic import write_json
from voxray.store.layout import write_parquet
from voxray.store.read import PatchStore, open_store
from voxray.training.checkpoint import read_metadata, write_metadata
from voxray.training.fit import make_loader
from voxray.training.predictions import Part, join_predictions, predict_part

EVALUATED = ("val", "test")


def predict_split(
    experiment: Experiment, trained: TrainedRun, split: str, part: tuple[int, int], on_progress: OnProgress
) -> Part:
    """Rows and logits of one part (rank, ranks) of a split."""
    loader = make_loader(experiment, open_store(experiment.store_path), split, trained.device, part)
    return predict_part(
        trained.model, loader, trained.preprocessing, lambda step, steps: on_progress(step, steps, split)
    )


def write_patch_metrics(experiment: Experiment, parts: Mapping[str, list[Part]]) -> dict[str, Any]:
    """Write predictions, ``metrics.json`` (returned) and the operating point, from the parts of all ranks by split."""
    folder = run_folder(experiment)
    store = open_store(experiment.store_path)
    tables, units = {}, {}
    for split, split_parts in parts.items():
        rows = store.rows(split)
        predictions = join_predictions(split_parts, rows["label"].to_numpy())
        check_probabilities(predictions.probabilities, split)
        probabilities = pa.array(predictions.probabilities.tolist(), pa.list_(pa.float64()))
        tables[split] = rows.take(pa.array(predictions.rows)).append_column("probabilities", probabilities)
        units[split] = aggregate_predictions(tables[split], experiment.evaluation.level)
    target_recall = experiment.evaluation.target_recall
    threshold, scan_threshold = _operating_point(units["val"], target_recall), None
    if not find_layout(experiment.data.layout).samples_points:
        scan_threshold = _operating_point(aggregate_predictions(tables["val"], SCAN), target_recall)
    metrics: dict[str, Any] = {}
    for split, table in tables.items():
        write_parquet(table, folder.predictions(split))
        metrics[split] = {
            **unit_metrics(experiment, units[split], threshold, store.info.classes, [store.info.population.get(split)]),
            "threshold": threshold,
        }
    metrics = without_nan(metrics)
    write_json(folder.metrics, metrics)
    thresholds = {"threshold": threshold, "scan_threshold": scan_threshold}
    write_metadata(folder.model, {**read_metadata(folder.model), **thresholds})
    return metrics


def check_unit(experiment: Experiment, plan: Plan) -> None:
    """Raise where metrics are asked for patients who are not of one class each."""
    if experiment.evaluation.level != PATIENT:
        return
    if plan.masks:
        raise ConfigError("evaluation.level", f"'{PATIENT}' is for classifiers, got scans with masks", "Leave it out")
    check_one_class_each(np.asarray(plan.table["patient_id"].to_pylist(), dtype=str), plan.table["label"].to_numpy())


def evaluated_splits(store: PatchStore) -> list[str]:
    """The splits that are evaluated and have patches."""
    return [split for split in EVALUATED if store.rows(split).num_rows]


def unit_metrics(
    experiment: Experiment,
    units: pa.Table,
    threshold: float | Floats | None,
    classes: Sequence[str],
    populations: Sequence[Mapping[str, Any] | None],
) -> dict[str, Any]:
    """The metrics of ``metrics.json`` with their confidence intervals, and those of each class.

    `units` are patches, scans or patients, from `aggregate_predictions`; `threshold` is the operating point, or one for
    each row, (n,); `populations` are those of the split in the store, or in that of each fold.
    """
    labels, probabilities = labels_and_probabilities(units)
    patients = np.asarray(units["patient_id"].to_pylist(), dtype=str)
    samples = Samples(labels, probabilities, predict_labels(probabilities, threshold))
    level, layout = experiment.evaluation.level, find_layout(experiment.data.layout)
    mix = read_mix(populations, units, level)
    metrics = {
        "level": level,
        **compute_metrics(labels, probabilities, threshold),
        **class_table(samples, classes),
        "loss": log_loss(labels, probabilities),
        "patients": len(np.unique(patients)),
        "intervals": sample_intervals(samples, patients),
    }
    metrics = with_population(metrics, samples, units, mix, classes)
    if layout.samples_points and level == PATCH and samples.classes == 2:
        metrics = with_false_positives(metrics, samples, units, mix)
        # A FROC curve needs all candidates of the list.
        return (
            with_detection(metrics, experiment, units, probabilities[:, 1])
            if layout.annotations and mix.weights is None
            else metrics
        )
    return metrics


def _operating_point(val: pa.Table, target_recall: float) -> float | None:
    labels, probabilities = labels_and_probabilities(val)
    if probabilities.shape[1] != 2:
        return None
    threshold = choose_threshold(Ranking(labels, probabilities[:, 1]), target_recall)
    return None if math.isnan(threshold) else threshold
