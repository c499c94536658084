"""The results of a run, read from its folder and checked against what the stages wrote."""

import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from voxray.config.experiment import Experiment
from voxray.config.load import read_experiment
from voxray.errors import StoreError
from voxray.runs.folder import RunFolder
from voxray.storage.paths import AnyPath, as_file, exists, read_bytes, stays_below

LABEL_MAP = "prediction"  # column of the predictions of scans: path of the label map, relative to the run's folder
FILES = (LABEL_MAP, "path", "label_path")  # columns that name files, the latter two relative to the data set's root
_POINT = [
    *((name, pa.string()) for name in ("scan_id", "patient_id", "path")),
    *((name, pa.float64()) for name in ("x_mm", "y_mm", "z_mm", "diameter_mm", "probability")),
]
FINDINGS = pa.schema([*_POINT, ("outcome", pa.string())])
NODULES = pa.schema([*_POINT, ("proposed", pa.float64())])
FROC = pa.schema([(name, pa.float64()) for name in ("false_positives_per_scan", "sensitivity", "low", "high")])


def read_run_experiment(folder: RunFolder) -> Experiment:
    """The resolved experiment."""
    _check(folder, folder.experiment, "train")
    return read_experiment(folder.experiment)


def read_metrics(folder: RunFolder) -> dict[str, dict[str, Any]]:
    """The metrics of each split.

    Raises
    ------
    StoreError
        The file is missing or damaged, as for all functions of this module.
    """
    content: Any = _read_json(folder, folder.metrics, "evaluate")
    if not isinstance(content, dict) or not all(isinstance(values, dict) for values in content.values()):
        raise _damaged(folder.metrics, "expected an object for each split", "evaluate")
    return dict(content)


def read_architecture(folder: RunFolder) -> Any:
    """The content of the architecture as it was trained."""
    return _read_json(folder, folder.architecture, "train")


def read_history(folder: RunFolder) -> pa.Table:
    """A row for each epoch."""
    return _read_table(folder, folder.history, "epoch", "train")


def read_predictions(folder: RunFolder, split: str) -> pa.Table:
    """A row for each patch of a split, or for each scan where scans have masks."""
    file = folder.predictions(split)
    table = _read_table(folder, file, "scan_id", "evaluate")
    # A run may come from a stranger, and must not choose which files of this machine are read. Those of patches, which
    # have no label map, are not opened.
    for column in FILES if LABEL_MAP in table.column_names else ():
        for path in table[column].unique().to_pylist() if column in table.column_names else ():
            if path is not None and not (isinstance(path, str) and stays_below(path)):
                problem = f"column '{column}': expected a path inside its folder, got {path!r:.200}"
                raise StoreError(str(file), problem, "Remove it and run voxray evaluate, which writes it again")
    return table


def read_froc(folder: RunFolder, file: AnyPath) -> pa.Table | None:
    """A FROC curve, schema FROC; None where the evaluation has written none."""
    return _read_columns(folder, file, FROC) if exists(file) else None


def read_findings(folder: RunFolder, split: str) -> tuple[pa.Table, pa.Table]:
    """What was found in the whole scans of a split and their nodules, schemas FINDINGS and NODULES."""
    files = {folder.findings(split): FINDINGS, folder.nodules(split): NODULES}
    findings, nodules = (_read_columns(folder, file, schema) for file, schema in files.items())
    return findings, nodules


def _read_json(folder: RunFolder, file: AnyPath, stage: str) -> Any:
    _check(folder, file, stage)
    try:
        return json.loads(read_bytes(file))
    except (ValueError, RecursionError) as error:
        raise _damaged(file, str(error), stage) from None


def _read_table(folder: RunFolder, file: AnyPath, column: str, stage: str) -> pa.Table:
    _check(folder, file, stage)
    try:
        with pq.ParquetFile(as_file(file)) as parquet:
            table = parquet.read()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _damaged(file, str(error), stage) from None
    if column not in table.column_names:
        raise _damaged(file, f"expected a column '{column}'", stage)
    return table


def _read_columns(folder: RunFolder, file: AnyPath, schema: pa.Schema) -> pa.Table:
    table = _read_table(folder, file, schema.names[-1], "evaluate")
    try:
        return table.select(schema.names).cast(schema)
    except (KeyError, pa.ArrowException) as error:
        raise _damaged(file, str(error), "evaluate") from None


def _check(folder: RunFolder, file: AnyPath, stage: str) -> None:
    folder.check(file)
    if not exists(file):
        raise StoreError(str(file), "the run has no such file", f"Run voxray {stage} first")


def _damaged(file: AnyPath, reason: str, stage: str) -> StoreError:
    return StoreError(str(file), f"cannot be read: {reason}", f"Run voxray {stage}, which writes it again")
