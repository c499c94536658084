"""The data section: the contents of the store, and the excluded data with the reasons."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from voxray.config.experiment import Experiment
from voxray.patches.population import dropped_notes
from voxray.reporting.text.numbers import SPLIT_NAMES, count, minus
from voxray.store.added import hard_negatives
from voxray.store.read import PatchStore

ORDER = ("train", "val", "test")
EXAMPLES = 3
SCAN = "[scan]"
GROUPS_SHOWN = 30
KINDS = {
    "absent": "missing scan",
    "empty": "scan without foreground",
    "scan": "unusable scan",
    "sample": "unusable sample",
}


@dataclass(frozen=True)
class SplitCounts:
    """One row of the table of splits; `patches` counts each class (none with masks), `rows` includes rotations."""

    name: str
    scans: int
    patients: int
    patches: tuple[int, ...]
    total: int
    rows: int


@dataclass(frozen=True)
class Step:
    """One step from the list of samples to the training rows."""

    number: int
    name: str
    detail: str


@dataclass(frozen=True)
class QuarantineGroup:
    """Entries of the quarantine with the same kind of reason, and the first of them as examples.

    The reason is without the scan's name and, for several entries, without numbers.
    """

    kind: str
    reason: str
    entries: int
    samples: int
    examples: list[dict[str, Any]]


def count_splits(store: PatchStore) -> list[SplitCounts]:
    """Scans, patients and patches of each split that has any."""
    lines = []
    for split in ORDER:
        rows = store.rows(split)
        if rows.num_rows == 0:
            continue
        once = rows.filter(pc.equal(rows["rotation"], 0))
        labels = np.asarray(once["label"].to_numpy(), dtype=np.int64)
        # The classes of masks are those of voxels, not of patches.
        classes = 0 if store.info.masks else len(store.info.classes)
        patches = tuple(np.bincount(labels, minlength=classes).tolist())[:classes]
        scans, patients = (len(pc.unique(once[column])) for column in ("scan_id", "patient_id"))
        lines.append(SplitCounts(SPLIT_NAMES[split], scans, patients, patches, once.num_rows, rows.num_rows))
    return lines


def trace_patches(store: PatchStore) -> list[Step]:
    """Numbers of patches that are planned, excluded, used, oversampled by rotation, and added by the first round."""
    quarantine = store.quarantine
    # Absent scans and samples that were never searched on disk are lost before planning.
    planned = pc.and_(pc.is_valid(quarantine["path"]), pc.not_equal(quarantine["kind"], "absent"))
    excluded = sum(quarantine.filter(planned)["samples"].to_pylist())
    unplanned = sum(quarantine.filter(pc.invert(planned))["samples"].to_pylist())
    added = hard_negatives(store).num_rows
    once = store.index["rotation"].to_pylist().count(0)
    used, rotated = once - added, store.index.num_rows - once
    scans = len(pc.unique(store.index["scan_id"]))
    note = f"; {count(unplanned, 'listed sample')} excluded before" if unplanned else ""
    steps = [
        Step(used + excluded, "planned", f"patches of {count(store.info.scans, 'scan')}{note}"),
        Step(excluded, "excluded", f"{count(store.info.scans - scans, 'scan')} without a usable patch"),
        Step(used, "used", f"patches of {count(scans, 'scan')}"),
    ]
    if rotated or not store.info.masks:
        steps.append(Step(rotated, "oversampled", "additional training rows, rotated in plane"))
    if store.added is not None:
        steps.append(Step(added, "added", "hard negatives, which the network of the first round found"))
    return steps


def planning_notes(experiment: Experiment, store: PatchStore) -> Iterator[str]:
    """How patches were selected, where they are not the whole list."""
    spec = experiment.patches
    if spec.sampling != "center":
        yield _sampling_note(experiment)
    yield from dropped_notes(store.info.population, store.info.classes)
    if spec.spacing_mm is not None:
        yield "scans were resampled to {:g} × {:g} × {:g} mm".format(*spec.spacing_mm)


def _sampling_note(experiment: Experiment) -> str:
    spec, intensity = experiment.patches, experiment.intensity
    patches = f"{count(spec.patches_per_scan, 'patch')} per scan"
    windows = minus(" and ".join("{:g} to {:g}".format(*window) for window in intensity.windows))
    clipped = f"clipped to {windows} and then " if intensity.kind == "window" else ""
    notes = {
        "whole": "each patch is a whole scan, centered in a box of the patch size",
        "resized": f"each patch is a whole scan, {clipped}resized to the patch size by linear interpolation",
        "grid": "patches are a grid that covers each scan",
        "random": f"{patches}, at random positions",
        "foreground": f"{patches}, at random positions with more than {100 * spec.min_foreground:g}% labeled voxels",
    }
    spread = "evenly spaced over its mask" if spec.needs_masks else "adjacent ones in its center"
    return notes.get(spec.sampling) or f"{count(spec.patches_per_scan, 'axial slice')} per scan, {spread}"


def group_quarantine(quarantine: pa.Table) -> list[QuarantineGroup]:
    """Entries by kind and reason, those that cost most samples first."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in quarantine.to_pylist():
        row["reason"] = nameless_reason(row["reason"], (row["path"], row["scan_id"]))
        groups.setdefault((row["kind"], numberless(row["reason"])), []).append(row)
    merged = []
    for (kind, pattern), rows in groups.items():
        reason = pattern if len(rows) > 1 else rows[0]["reason"]
        samples = sum(row["samples"] for row in rows)
        merged.append(QuarantineGroup(KINDS.get(kind, kind), reason, len(rows), samples, rows[:EXAMPLES]))
    return sorted(merged, key=lambda group: (-group.samples, -group.entries, group.reason))


def nameless_reason(reason: str, names: Sequence[str | None]) -> str:
    """A reason without the scan's path and id, which are displayed beside it."""
    for name in sorted(filter(None, names), key=len, reverse=True):
        reason = reason.replace(name, SCAN)
    return re.sub(rf"^{re.escape(SCAN)}: (sample \d+: )?", "", reason)


def numberless(reason: str) -> str:
    """A reason without its numbers, which differ from scan to scan."""
    return re.sub(r"[-+]?\d[\d.,]*\d|\d", "#", reason)
