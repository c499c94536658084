"""The evaluate stage: predictions of a trained model → operating point and figures.

Validation chooses the operating point; test only reports.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from voxray.config.architecture import parse_architecture
from voxray.config.experiment import Experiment
from voxray.evaluation.classification import bootstrap_intervals, choose_threshold, figures, without_nan
from voxray.models.build import build_model
from voxray.progress import Show
from voxray.runs.fit import make_feed, make_recipe
from voxray.runs.folder import run_folder, write_json
from voxray.store.layout import write_parquet
from voxray.store.read import PatchStore, open_store
from voxray.training.checkpoint import load_model, read_about, write_about
from voxray.training.step import Part, Predictions, join_predictions, predict_part

JUDGED = ("val", "test")


def predict_split(experiment: Experiment, split: str, device: torch.device, part: tuple[int, int], show: Show) -> Part:
    """Rows and logits of one part (rank, ranks) of a split, by the run's model."""
    folder = run_folder(experiment)
    about = read_about(folder.model)
    layers = parse_architecture(about["architecture"], str(folder.model))
    model = build_model(layers, tuple(about["input_shape"]), len(about["classes"]), experiment.seed)
    load_model(folder.model, model)
    store = open_store(experiment.store_path)
    feed = make_feed(experiment, store, split, device, part)
    recipe = make_recipe(experiment, len(about["input_shape"]) - 1, device)
    return predict_part(model.to(device), feed, recipe, lambda step, steps: show(step, steps, split))


def judge(experiment: Experiment, parts: Mapping[str, list[Part]]) -> dict[str, Any]:
    """Write predictions, ``metrics.json`` and the operating point.

    Parameters
    ----------
    experiment : Experiment
    parts : mapping
        Split → the parts that the ranks predicted.

    Returns
    -------
    dict
        The content of ``metrics.json``.
    """
    folder = run_folder(experiment)
    store = open_store(experiment.store_path)
    rows = {split: store.rows(split) for split in parts}
    joined = {split: join_predictions(mine, rows[split]["label"].to_numpy()) for split, mine in parts.items()}
    threshold = _operating_point(joined["val"], experiment.evaluation.target_recall)
    metrics: dict[str, Any] = {}
    for split, predictions in joined.items():
        table = rows[split].take(pa.array(predictions.rows))
        table = table.append_column(
            "probabilities", pa.array(predictions.probabilities.tolist(), pa.list_(pa.float64()))
        )
        write_parquet(table, folder.predictions(split))
        metrics[split] = _figures(experiment, predictions, table, threshold)
    metrics = without_nan(metrics)
    write_json(folder.metrics, metrics)
    write_about(folder.model, {**read_about(folder.model), "threshold": threshold})
    return metrics


def judged_splits(store: PatchStore) -> list[str]:
    """The splits that are there to be judged."""
    return [split for split in JUDGED if store.rows(split).num_rows]


def _operating_point(val: Predictions, target_recall: float) -> float | None:
    if val.probabilities.shape[1] != 2:
        return None
    threshold = choose_threshold(val.labels, val.probabilities[:, 1], target_recall)
    return None if math.isnan(threshold) else threshold


def _figures(
    experiment: Experiment, predictions: Predictions, table: pa.Table, threshold: float | None
) -> dict[str, Any]:
    patients = np.asarray(table["patient_id"].to_pylist(), dtype=str)
    spec = experiment.evaluation
    known = (predictions.labels, predictions.probabilities)
    return {
        **figures(*known, threshold),
        "loss": predictions.loss,
        "threshold": threshold,
        "patients": len(np.unique(patients)),
        "intervals": bootstrap_intervals(*known, patients, threshold, spec.bootstrap, experiment.seed),
    }
