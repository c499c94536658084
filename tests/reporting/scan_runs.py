"""Synthetic segmentation runs: small scans of blocks, with known predictions."""

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from voxray.config.experiment import Experiment
from voxray.datasets.manifest import QUARANTINE
from voxray.metrics.compute import case_dice, mean_metrics, scan_metrics, without_nan
from voxray.metrics.intervals import scan_intervals
from voxray.models.spec.load import parse_architecture
from voxray.reporting.run.contents import Case, RunContents
from voxray.store.layout import INDEX, StoreInfo
from voxray.store.read import PatchStore

SHAPE = (20, 24, 12)
SPACING_MM = (1.0, 1.0, 2.5)
# The files are not in RAS+, so that a missing reorientation is detected.
LPS = np.diag([-1.0, -1.0, 2.5, 1.0])
ARCHITECTURE = {"type": "unet", "dimensions": 3, "down": [[4], [8]], "up": [[4]], "output": {"activation": "softmax"}}


def make_scan_run(
    folder: Path,
    shifts: dict[str, tuple[int, ...]],
    classes: tuple[str, ...] = ("background", "head", "tail"),
    labels: tuple[int, ...] = (1, 2),
) -> RunContents:
    """A finished run; `shifts` has for each split and scan by how many voxels its prediction is off along x."""
    root, out = folder / "scans", folder / "run"
    rows, cases = [], {}
    for split, offsets in shifts.items():
        names = [f"{split}_{number}" for number in range(len(offsets))]
        for name, shift in zip(names, offsets, strict=True):
            truth = block_labels(labels)
            _write(root / "imagesTr" / f"{name}.nii.gz", 100 * (truth > 0) + _noise(name))
            _write(root / "labelsTr" / f"{name}.nii.gz", truth)
            _write(out / "predictions" / split / f"{name}_seg.nii.gz", np.roll(truth, shift, axis=0))
            rows.append(_index_row(split, name))
            if split != "train":
                cases.setdefault(split, []).append(_case(split, name, truth, shift, classes))
    store = _store(folder / "store", rows, classes)
    experiment = _experiment(root, out, folder)
    layers = parse_architecture(ARCHITECTURE, "architecture.json")
    metrics = {split: _measure(split_cases) for split, split_cases in cases.items()}
    history = [_epoch(number, classes) for number in (1, 2, 3)]
    return RunContents(experiment, layers, metrics, history, {}, store, {}, cases, out)


def write_scan_run(run: RunContents) -> Path:
    """Write the files that such a run leaves in its folder, beside its label maps, and return the folder."""
    folder = run.folder
    (folder / "predictions").mkdir(parents=True, exist_ok=True)
    (folder / "experiment.json").write_text(json.dumps(run.experiment.model_dump(mode="json")))
    (folder / "architecture.json").write_text(json.dumps(ARCHITECTURE))
    (folder / "metrics.json").write_text(json.dumps(run.metrics))
    pq.write_table(pa.Table.from_pylist(run.history), folder / "history.parquet")
    for split, cases in run.cases.items():
        kept = [{key: value for key, value in case.items() if key != "dice"} for case in cases]
        pq.write_table(pa.Table.from_pylist(kept), folder / "predictions" / f"{split}.parquet")
    return folder


def block_labels(labels: tuple[int, ...]) -> NDArray[np.uint8]:
    """Blocks of six voxels along x and y, one behind the other, in the axes of the files."""
    truth = np.zeros(SHAPE, np.uint8)
    for label in labels:
        truth[6:12, 6 * label - 3 : 6 * label + 3, 3:8] = label
    return truth


def _noise(name: str) -> NDArray[np.float64]:
    return np.random.default_rng([ord(letter) for letter in name]).normal(0, 10, SHAPE)


def _write(path: Path, voxels: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = voxels.astype(np.uint8 if voxels.dtype == np.uint8 else np.int16)
    nibabel.save(nibabel.Nifti1Image(kept, LPS), path)


def _case(split: str, name: str, truth: NDArray[np.uint8], shift: int, classes: tuple[str, ...]) -> Case:
    metrics = scan_metrics(truth, np.roll(truth, shift, axis=0), SPACING_MM, classes)
    files = {"path": f"imagesTr/{name}.nii.gz", "label_path": f"labelsTr/{name}.nii.gz"}
    prediction = f"predictions/{split}/{name}_seg.nii.gz"
    return {
        "scan_id": name,
        "patient_id": name,
        **files,
        "prediction": prediction,
        **metrics,
        "dice": case_dice(metrics),
    }


def _measure(cases: list[Case]) -> dict[str, Any]:
    metrics = [{key: value for key, value in case.items() if "/" in key} for case in cases]
    patients = [case["patient_id"] for case in cases]
    measured: dict[str, Any] = without_nan(
        {
            **mean_metrics(metrics),
            "scans": len(cases),
            "patients": len(cases),
            "intervals": scan_intervals(metrics, patients),
        }
    )
    return measured


def _index_row(split: str, name: str) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(INDEX.names, 0)
    texts = {"scan_id": name, "patient_id": name, "path": f"imagesTr/{name}.nii.gz", "checksum": ""}
    rest = {"label_path": f"labelsTr/{name}.nii.gz", "scan_checksum": "", "statistics": None, "split": split}
    return row | texts | rest


def _store(path: Path, rows: list[dict[str, Any]], classes: tuple[str, ...]) -> PatchStore:
    info = StoreInfo(
        classes=classes,
        task="segmentation",
        size=(16, 16, 16),
        channels=1,
        dtype="int16",
        patches_per_chunk=1,
        patches_per_shard=8,
        shards={},
        scans=len(rows),
        digest="0123456789abcdef",
        provenance={"manifest": "fedcba9876543210"},
        notes=("each case counts as one patient",),
    )
    index = pa.Table.from_pylist(rows, schema=INDEX)
    return PatchStore(path, info, index, pa.Table.from_pylist([], schema=QUARANTINE))


def _experiment(root: Path, out: Path, folder: Path) -> Experiment:
    return Experiment.model_validate(
        {
            "name": "blocks",
            "out": str(out),
            "data": {"layout": "decathlon", "root": str(root)},
            "patches": {"size": [16, 16, 16], "sampling": "random", "patches_per_scan": 2, "oversample_rotations": []},
            "intensity": {"kind": "zscore"},
            "model": {"architecture": str(folder / "unet.json")},
            "training": {"loss": "dice_cross_entropy", "monitor": "dice"},
        }
    )


def _epoch(number: int, classes: tuple[str, ...]) -> dict[str, Any]:
    dice = {f"val_dice/{name}": 0.3 * number for name in classes[1:]}
    cost = {"seconds": 60.0, "data_wait_share": 0.25, "patches_per_s": 100.0}
    losses = {"learning_rate": 1e-3, "train_loss": 1 / number, "val_loss": 1.1 / number, "val_dice": 0.3 * number}
    return {"epoch": number, **losses, **dice, **cost}
