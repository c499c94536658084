"""Evaluation of a classifier: predictions of a trained model → calibration, operating point and metrics.

Calibration and operating point are chosen on validation; test is only reported.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from voxray.config.experiment import Experiment
from voxray.console.progress import OnProgress
from voxray.datasets.annotated import annotations_digest
from voxray.datasets.layouts import find_layout
from voxray.errors import ConfigError
from voxray.evaluation.calibration import choose_calibration, uncalibrated_error, with_calibration_error
from voxray.evaluation.candidates import with_detection, write_froc
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
    with_probabilities,
)
from voxray.metrics.calibration import Calibration
from voxray.metrics.class_table import class_table
from voxray.metrics.classification import Samples, predict_labels
from voxray.metrics.compute import compute_metrics, without_nan
from voxray.metrics.curves import Floats, Ranking, choose_threshold
from voxray.metrics.intervals import sample_intervals
from voxray.patches.plan import Plan
from voxray.runs.folder import run_folder
from voxray.storage.atomic import write_json
from voxray.store.added import open_trained_store
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
    """Write predictions, ``metrics.json`` (returned), calibration and operating points, from the parts of all ranks.

    Raises
    ------
    WorkError
        The network gives a patch no probability.
    """
    folder, spec = run_folder(experiment), experiment.evaluation
    store = open_trained_store(experiment)
    rows, logits = {}, {}
    for split, split_parts in parts.items():
        index = store.rows(split)
        predictions = join_predictions(split_parts, index["label"].to_numpy())
        rows[split], logits[split] = index.take(pa.array(predictions.rows)), predictions.logits
        check_probabilities(predictions.probabilities, split)
    calibration = choose_calibration(experiment, store, rows["val"], logits["val"])
    tables = {split: with_probabilities(rows[split], calibration.apply(logits[split])) for split in parts}
    threshold, scan_threshold = _operating_point(tables["val"], spec.level, spec.target_recall), None
    if not find_layout(experiment.data.layout).samples_points:
        scan_threshold = _operating_point(tables["val"], SCAN, spec.target_recall)
    metrics: dict[str, Any] = {}
    for split, table in tables.items():
        write_parquet(table, folder.predictions(split))
        units, population = aggregate_predictions(table, spec.level), [store.info.population.get(split)]
        of_units = unit_metrics(experiment, units, threshold, store.info.classes, population)
        metrics[split] = {**write_froc(of_units, folder.froc(split)), "threshold": threshold}
        if (annotations := annotations_digest(experiment)) is not None:
            metrics[split]["annotations"] = annotations
        if spec.calibrate:
            before = aggregate_predictions(with_probabilities(table, Calibration().apply(logits[split])), spec.level)
            error = uncalibrated_error(before, read_mix(population, before, spec.level).weights)
            metrics[split]["calibration"] = {**asdict(calibration), **error}
    metrics = without_nan(metrics)
    write_json(folder.metrics, metrics)
    # That of whole scans comes later, where they are searched.
    operating = {"threshold": threshold, "scan_threshold": scan_threshold, "operating_point": None}
    kept = {"temperature": calibration.temperature, "offsets": calibration.offsets}
    write_metadata(folder.model, {**read_metadata(folder.model), **operating, "calibration": kept})
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
        **class_table(samples, classes, patients),
        "loss": log_loss(labels, probabilities),
        "patients": len(np.unique(patients)),
        "intervals": sample_intervals(samples, patients),
    }
    metrics = with_calibration_error(with_population(metrics, samples, units, mix, classes), units, mix.weights)
    if layout.samples_points and level == PATCH and samples.classes == 2:
        metrics = with_false_positives(metrics, samples, units, mix)
        # A FROC curve needs all candidates of the list.
        if mix.weights is None:
            return with_detection(metrics, experiment, units, probabilities[:, 1])
    return metrics


def _operating_point(val: pa.Table, level: str, target_recall: float) -> float | None:
    """The threshold for patches, or for the means over scans or patients, from the patches of validation."""
    labels, probabilities = labels_and_probabilities(aggregate_predictions(val, level))
    if probabilities.shape[1] != 2:
        return None
    threshold = choose_threshold(Ranking(labels, probabilities[:, 1]), target_recall)
    return None if math.isnan(threshold) else threshold
