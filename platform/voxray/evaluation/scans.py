"""Evaluation of a segmentation: whole scans against their masks, in millimeters."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch

from voxray.config.experiment import Experiment
from voxray.config.labels import IGNORED
from voxray.console.progress import OnProgress
from voxray.datasets.pseudonyms import files_of
from voxray.inference.ensemble import prepare_scan, segment_scan
from voxray.inference.load import load_trained
from voxray.inference.predict import errors_of_scan, plain_name
from voxray.inference.segmenter import Segmenter
from voxray.metrics.compute import mean_metrics, scan_metrics, without_nan
from voxray.metrics.intervals import scan_intervals
from voxray.metrics.patch_detection import patch_in_scan, patch_metrics
from voxray.runs.folder import run_folder
from voxray.scans.geometry import in_axes_of
from voxray.scans.masks import label_numbers, open_mask
from voxray.scans.read import open_file
from voxray.scans.write import write_nifti
from voxray.storage.atomic import write_json
from voxray.storage.paths import relative_path, to_path
from voxray.store.layout import write_parquet
from voxray.store.read import PatchStore
from voxray.volume import Volume

Case = dict[str, Any]

HASH_LETTERS = 16


def scans_to_evaluate(experiment: Experiment, store: PatchStore, split: str) -> list[Case]:
    """The scans of a split by name: split, scan_id, patient_id, path, label_path, `files` (scan, mask) and `name`.

    `name` is that of the label map, which no other scan of the split has.
    """
    rows = store.rows(split).select(["split", "scan_id", "patient_id", "path", "label_path"])
    by_scan: dict[str, Case] = {row["scan_id"]: row for row in reversed(rows.to_pylist())}
    cases = [by_scan[name] for name in sorted(by_scan)]
    pairs = files_of(experiment, cases)
    names = label_map_names([case["path"] for case in cases])
    return [
        {**case, "files": list(map(str, files)), "name": name}
        for case, files, name in zip(cases, pairs, names, strict=True)
    ]


def label_map_names(paths: Sequence[str]) -> list[str]:
    """A name for the label map of each scan: that of its file, and a hash of its path where files have one name."""
    names = [plain_name(Path(path)) for path in paths]
    counts = Counter(name.casefold() for name in names)  # not every disk tells capitals apart
    return [
        name if counts[name.casefold()] == 1 else f"{name}_{hashlib.sha256(path.encode()).hexdigest()[:HASH_LETTERS]}"
        for name, path in zip(names, paths, strict=True)
    ]


def evaluate_scan(segmenter: Segmenter, case: Case) -> Case:
    """Segment a scan, write the label map to the run's folder and compare it with the mask.

    Returns the case without `files` and `name`, with ``prediction`` (path of the label map, relative to the run's
    folder) and metrics per class.

    Raises
    ------
    ScanError
        Whatever failed: metrics without this scan would not be those of the split.
    """
    with errors_of_scan(to_path(case["files"][0])):
        return _evaluate(segmenter, case)


def _evaluate(segmenter: Segmenter, case: Case) -> Case:
    scan, mask = map(to_path, case["files"])
    experiment, classes = segmenter.run.experiment, segmenter.run.classes
    prepared = prepare_scan([segmenter], open_file(scan), str(scan))
    prediction = segment_scan([segmenter], prepared).labels
    folder = run_folder(experiment)
    file = folder.label_maps(case["split"]).label_map(case["name"])
    write_nifti(file, prediction, scan)
    # The mask's file may keep its axes in another order than the scan's.
    label = in_axes_of(open_mask(mask), prediction.affine)
    labels = segmenter.run.labels
    truth = label_numbers(label, labels, case["label_path"])
    ignored = None if labels.ignored is None else truth == IGNORED
    tolerance = experiment.evaluation.tolerance_mm
    predicted = label_numbers(prediction, labels, str(file))
    metrics = {
        **scan_metrics(truth, predicted, label.spacing_mm, classes, tolerance, regions=labels.regions, ignored=ignored),
        **patch_metrics(
            truth,
            predicted,
            _patch_in(experiment, label),
            classes,
            regions=labels.regions,
            ignored=ignored,
        ),
    }
    columns = {key: value for key, value in case.items() if key not in ("files", "name")}
    return {**columns, "prediction": relative_path(folder.path, file), **metrics}


def _patch_in(experiment: Experiment, scan: Volume) -> tuple[int, ...]:
    """Voxels of the network's input along the axes of a scan."""
    if experiment.patches.sampling == "resized":
        return scan.shape
    return patch_in_scan(experiment.input_size, experiment.patches.spacing_mm, scan.shape, scan.affine)


def evaluate_scans(
    experiment: Experiment, cases: Sequence[Case], device: torch.device, on_progress: OnProgress
) -> Iterator[Case]:
    """Evaluate scans one after another in this process."""
    segmenter = Segmenter(load_trained(experiment.out_path, device))
    for number, case in enumerate(cases, 1):
        yield evaluate_scan(segmenter, case)
        on_progress(number, len(cases), case["scan_id"])


def write_scan_metrics(experiment: Experiment, evaluated: Mapping[str, list[Case]]) -> dict[str, Any]:
    """Write the table of cases of each split and ``metrics.json``; returns its content."""
    folder = run_folder(experiment)
    metrics: dict[str, Any] = {}
    for split, cases in evaluated.items():
        table = pa.Table.from_pylist(cases)
        write_parquet(table.take(pc.sort_indices(table["scan_id"])), folder.predictions(split))
        metrics[split] = summarize_scans(cases)
    metrics = without_nan(metrics)
    write_json(folder.metrics, metrics)
    return metrics


def summarize_scans(cases: list[Case]) -> dict[str, Any]:
    """Means of the scans' metrics, with confidence intervals over patients."""
    metrics = [{key: value for key, value in case.items() if isinstance(value, float)} for case in cases]
    patients = [case["patient_id"] for case in cases]
    return {
        **mean_metrics(metrics),
        "scans": len(cases),
        "patients": len(set(patients)),
        "intervals": scan_intervals(metrics, patients),
    }
