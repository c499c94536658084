"""Pseudonyms for the patients and scans of a data set, and the way back to its files with the key."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from voxray.config.experiment import Experiment
from voxray.datasets.layouts import read_manifest
from voxray.datasets.manifest import Manifest, quarantine_rows
from voxray.errors import ConfigError, DataError, StoreError
from voxray.privacy import pseudonym, telling_words, without_names
from voxray.storage.paths import AnyPath, stays_below


def hide_names(manifest: Manifest, key: bytes) -> Manifest:
    """Replace every patient and scan by its pseudonym, also in the quarantine."""

    def hidden(table: pa.Table, column: str, kind: str) -> pa.Table:
        names = [None if name is None else pseudonym(key, kind, name) for name in table[column].to_pylist()]
        return table.set_column(table.column_names.index(column), column, pa.array(names, pa.string()))

    tables = (manifest.scans.select(["scan_id", "patient_id", "path"]), manifest.quarantine.select(["scan_id", "path"]))
    words = telling_words(name for table in tables for column in table.columns for name in column.to_pylist())
    quarantine = []
    for row in manifest.quarantine.to_pylist():
        name = pseudonym(key, "scan", row["scan_id"] or row["path"] or "")
        reason = f"{name}: {without_names(row['reason'], words)}"
        quarantine.append({**row, "scan_id": name, "path": None if row["path"] is None else name, "reason": reason})
    return replace(
        manifest,
        scans=hidden(hidden(manifest.scans, "patient_id", "patient"), "scan_id", "scan"),
        samples=hidden(manifest.samples, "scan_id", "scan"),
        quarantine=quarantine_rows(quarantine),
        shapes={pseudonym(key, "scan", name): shape for name, shape in manifest.shapes.items()},
        strata={pseudonym(key, "scan", name): stratum for name, stratum in manifest.strata.items()},
    )


def files_of(experiment: Experiment, rows: Sequence[Mapping[str, Any]]) -> list[tuple[AnyPath, AnyPath | None]]:
    """Scan and mask of each of these rows of the store's index.

    Raises
    ------
    DataError
        A pseudonym has no scan in the data set: the scan was removed, or the key differs.
    StoreError
        A row names a file outside of the data set's root.
    """
    root = experiment.data_path
    return [(root / scan, None if mask is None else root / mask) for scan, mask in paths_of(experiment, rows)]


def paths_of(experiment: Experiment, rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str | None]]:
    """Scan and mask of each of these rows, relative to the data set's root; errors are those of `files_of`."""
    key = experiment.privacy.read_key()
    listed = rows if key is None else hide_names(read_manifest(experiment.data), key).scans.to_pylist()
    files: dict[str, tuple[str, str | None]] = {row["scan_id"]: (row["path"], row["label_path"]) for row in listed}
    for name in (row["scan_id"] for row in rows):
        if name not in files:
            problem = f"no scan has the pseudonym {name}"
            raise DataError(str(experiment.data_path), problem, "Check data.root and the key")
    # An index may come from a stranger, and must not choose which files of this machine are read.
    if outside := next((path for pair in files.values() for path in pair if path and not stays_below(path)), None):
        problem = f"its index names a scan outside of data.root, got {outside!r:.200}"
        raise StoreError(str(experiment.store_path), problem, "Ingest the scans into another store.path")
    return [files[row["scan_id"]] for row in rows]


def reveal(experiment: Experiment, name: str) -> str:
    """The patient or scan that has a pseudonym.

    Raises
    ------
    DataError
        Nobody in this data set under this key.
    """
    key = experiment.privacy.read_key()
    if key is None:
        raise ConfigError("privacy", "names no key, so there are no pseudonyms", "Set privacy.key_env")
    manifest = read_manifest(experiment.data, with_patients=True)
    for table in (manifest.scans, manifest.quarantine):
        for scan, path in zip(table["scan_id"].to_pylist(), table["path"].to_pylist(), strict=True):
            if name == pseudonym(key, "scan", scan or path or ""):
                return f"scan {path or scan}"
    for patient in manifest.scans["patient_id"].unique().to_pylist():
        if name == pseudonym(key, "patient", patient):
            return f"patient {patient}"
    raise DataError(str(manifest.root), f"no patient or scan has the pseudonym {name}", "Check data.root and the key")
