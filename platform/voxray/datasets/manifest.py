"""The content of a data set in columns: scans, samples, and what is quarantined before any voxel is read."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from voxray.config.labels import MaskLabels, mask_labels
from voxray.storage.paths import AnyPath

Row = dict[str, object]

SCANS = pa.schema(
    [
        ("scan_id", pa.string()),
        ("patient_id", pa.string()),
        ("path", pa.string()),  # relative to the root, so that a store does not depend on where the scans lay
        ("split", pa.string()),  # null where the data set gives none
        ("label_path", pa.string()),  # the scan's mask, relative to the root; null where there is none
    ]
)
SAMPLES = pa.schema(
    [
        ("scan_id", pa.string()),
        ("row", pa.int64()),  # row of the data set's own list, from 0
        ("x_mm", pa.float64()),  # center, world RAS; null means the center of the image
        ("y_mm", pa.float64()),
        ("z_mm", pa.float64()),
        ("label", pa.int64()),  # class of the sample; 0 where the classes are those of a mask's voxels
    ]
)
QUARANTINE = pa.schema(
    [
        ("scan_id", pa.string()),
        ("path", pa.string()),
        ("row", pa.int64()),  # null for a whole scan
        ("kind", pa.string()),  # absent | empty | scan | sample
        ("samples", pa.int64()),  # how many samples are lost with it
        ("reason", pa.string()),
    ]
)


@dataclass(frozen=True, eq=False)
class Manifest:
    """A data set before any voxel has been read.

    Attributes
    ----------
    root : path
        Folder, or file of many images, that the paths are relative to.
    classes : tuple of str
        Names of the labels 0, 1, …; the last one is the positive class when there are two.
    scans, samples, quarantine : pyarrow.Table
        With the schemas SCANS, SAMPLES and QUARANTINE of this module.
    notes : tuple of str
        How the folder was understood, for the user.
    channels : tuple of str
        Names of the channels that every scan must have; empty where the data set names none.
    masks_are_targets : bool
        Whether the values of the masks are the classes to be learned; otherwise masks only say where to look, and the
        classes are those of the samples.
    published_split : bool
        Whether published metrics refer to these splits: then they are kept even where two splits hold the same voxels,
        with a note.
    shapes : mapping of str to tuple of int
        Voxels of each scan along x, y, z, where its number of patches depends on them; else empty.
    strata : mapping of str to int
        What the splits are stratified by, of each scan, where it is not the highest label of the scan's samples; else
        empty.
    painted : str
        A digest of the lists that masks are painted from; empty where masks are files.
    subsets : tuple of int
        Numbers of the folders ``subset0``, ``subset1``, … of the root that hold samples, where the layout has them.
    label_settings : mapping
        Settings of the values of masks, as `voxray.config.labels.mask_labels` takes them; no part of the digest.
    """

    root: AnyPath
    classes: tuple[str, ...]
    scans: pa.Table
    samples: pa.Table
    quarantine: pa.Table
    notes: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    masks_are_targets: bool = True
    published_split: bool = False
    shapes: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    strata: Mapping[str, int] = field(default_factory=dict)
    painted: str = ""
    subsets: tuple[int, ...] = ()
    label_settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def labels(self) -> MaskLabels | None:
        """What the values of the masks mean; None where their classes are not learned."""
        learned = self.masks_are_targets and self.classes
        return mask_labels(self.classes, self.label_settings) if learned else None

    def digest(self) -> str:
        """A hash of the content: equal manifests have equal digests wherever the root is."""
        state = hashlib.sha256("\0".join([*self.classes, "", *self.channels, "", str(self.masks_are_targets)]).encode())
        for table in (self.scans, self.samples, self.quarantine):
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, table.schema) as stream:
                stream.write_table(table.combine_chunks())
            state.update(sink.getvalue())
        for values in (self.shapes, self.strata):
            state.update("".join(f"\0{name} {value}" for name, value in sorted(values.items())).encode())
        state.update(self.painted.encode())
        return state.hexdigest()[:16]


def scans_table(rows: Sequence[Row]) -> pa.Table:
    """A SCANS table of dictionaries; without ``patient_id`` each scan is its own patient, other keys may be missing."""
    return pa.Table.from_pylist([{"patient_id": row["scan_id"], **row} for row in rows], schema=SCANS)


def whole_scan_samples(rows: Sequence[Row]) -> pa.Table:
    """A SAMPLES table with one sample at the center of each scan, of dictionaries with ``scan_id, row, label``."""
    return pa.Table.from_pylist(list(rows), schema=SAMPLES)


def quarantine_row(
    scan_id: str | None, path: str | None, reason: str, *, kind: str = "scan", samples: int = 0, row: int | None = None
) -> Row:
    """A row for `quarantine_rows`."""
    return {"scan_id": scan_id, "path": path, "row": row, "kind": kind, "samples": samples, "reason": reason}


def quarantine_rows(rows: Sequence[Row]) -> pa.Table:
    """A QUARANTINE table of dictionaries."""
    return pa.Table.from_pylist(list(rows), schema=QUARANTINE)


def samples_per_scan(samples: pa.Table) -> dict[str, int]:
    """Number of samples of each scan."""
    counts = pc.value_counts(samples["scan_id"])
    return {entry["values"]: entry["counts"] for entry in counts.to_pylist()}


def class_notes(manifest: Manifest) -> list[str]:
    """What a typing mistake in the labels looks like: classes that differ in case only, or that have one sample."""
    spellings: dict[str, list[str]] = {}
    for name in manifest.classes:
        spellings.setdefault(name.casefold(), []).append(name)
    notes = [
        f"the classes {', '.join(map(repr, names[:-1]))} and {names[-1]!r} differ only in case"
        for names in spellings.values()
        if len(names) > 1
    ]
    if manifest.masks_are_targets and manifest.scans["label_path"].null_count < manifest.scans.num_rows:
        return notes  # the classes are those of voxels
    counts = {row["values"]: row["counts"] for row in pc.value_counts(manifest.samples["label"]).to_pylist()}
    single = [name for label, name in enumerate(manifest.classes) if counts.get(label) == 1]
    return [*notes, *(f"the class {name!r} has only one sample" for name in single)]


def shared_patients(scans: pa.Table) -> dict[str, tuple[str, ...]]:
    """Patients whose scans the data set puts in more than one split, each with its splits.

    Parameters
    ----------
    scans : pyarrow.Table
        Schema SCANS.
    """
    given = scans.filter(pc.is_valid(scans["split"])).select(["patient_id", "split"])
    pairs = given.group_by(["patient_id", "split"]).aggregate([])
    splits_of: dict[str, list[str]] = {}
    for row in pairs.sort_by([("patient_id", "ascending"), ("split", "ascending")]).to_pylist():
        splits_of.setdefault(row["patient_id"], []).append(row["split"])
    return {patient: tuple(splits) for patient, splits in splits_of.items() if len(splits) > 1}
