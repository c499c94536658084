"""The data section: what the store holds, where the rest went, and why."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from voxray.config.experiment import Experiment
from voxray.report.text.metric_values import SPLIT_NAMES, count, minus
from voxray.store.read import PatchStore

ORDER = ("train", "val", "test")
EXAMPLES = 3
SCAN = "[scan]"
GROUPS_SHOWN = 30
KINDS = {
    "absent": "scan not there",
    "empty": "scan without foreground",
    "scan": "scan not usable",
    "sample": "sample not usable",
}


@dataclass(frozen=True)
class SplitCounts:
    """One line of the table of splits; `patches` has a number for each class, `rows` counts rotations too.

    Where there are masks, patches have no class.
    """

    name: str
    scans: int
    patients: int
    patches: tuple[int, ...]
    total: int
    rows: int


@dataclass(frozen=True)
class Step:
    """One station of the way from the list of samples to the training rows."""

    number: int
    name: str
    detail: str


@dataclass(frozen=True)
class AsideGroup:
    """Entries of the quarantine with one kind of reason.

    Attributes
    ----------
    kind, reason : str
        Without the scan's name and, where it stands for several entries, without numbers.
    entries, samples : int
    examples : list of dict
        The first rows, with the keys of QUARANTINE.
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
    """Planned, set aside, used, and repeated by rotation."""
    aside = store.quarantine
    # What was lost before the plan has no part in it: absent scans, and samples that were never looked up on disk.
    planned_for = pc.and_(pc.is_valid(aside["path"]), pc.not_equal(aside["kind"], "absent"))
    lost = int(pc.sum(aside.filter(planned_for)["samples"]).as_py() or 0)
    before = int(pc.sum(aside.filter(pc.invert(planned_for))["samples"]).as_py() or 0)
    used = int(pc.sum(pc.equal(store.index["rotation"], 0)).as_py() or 0)
    repeated = store.index.num_rows - used
    scans = len(pc.unique(store.index["scan_id"]))
    unlisted = f"; {count(before, 'listed sample')} left out before" if before else ""
    turned = Step(repeated, "repeated", "training rows that turn a patch in plane")
    steps = [
        Step(used + lost, "planned", f"patches of {count(store.info.scans, 'scan')}{unlisted}"),
        Step(lost, "set aside", f"{count(store.info.scans - scans, 'scan')} with no patch left"),
        Step(used, "used", f"patches of {count(scans, 'scan')}"),
    ]
    return steps if store.info.masks and not repeated else [*steps, turned]


def planning_notes(experiment: Experiment, store: PatchStore) -> Iterator[str]:
    """Say how patches were chosen, where they are not the whole list."""
    spec = experiment.patches
    if spec.sampling != "center":
        yield _how_cut(experiment)
    if spec.negatives_per_positive != "all" and not store.info.masks:
        said = f"at most {spec.negatives_per_positive:g} {store.info.classes[0]} samples"
        yield f"{said} for each sample of a finding were planned, in every split for itself"
    if spec.spacing_mm is not None:
        yield "scans were resampled to {:g} × {:g} × {:g} mm".format(*spec.spacing_mm)


def _how_cut(experiment: Experiment) -> str:
    spec, each = experiment.patches, count(experiment.patches.patches_per_scan, "patch")
    if spec.sampling == "whole":
        return "each patch is a whole scan, in the middle of a box of the patch's size"
    if spec.sampling == "resized":
        windows = minus(" and ".join("{:g} to {:g}".format(*each) for each in experiment.intensity.windows))
        before = f"clipped to {windows} and then " if experiment.intensity.kind == "window" else ""
        return f"each patch is a whole scan, {before}resized to the patch's size by linear interpolation"
    if spec.sampling == "grid":
        return "patches are a grid that covers each scan"
    if spec.sampling == "random":
        return f"{each} of each scan, at random places"
    if spec.sampling == "foreground":
        share = f"{100 * spec.min_foreground:g}%"
        return f"{each} of each scan, at random places where more than {share} of the voxels are labeled"
    where = "spread evenly over those that its mask touches" if spec.needs_masks else "neighbors in its middle"
    return f"{count(spec.patches_per_scan, 'axial slice')} of each scan, {where}"


def group_quarantine(quarantine: pa.Table) -> list[AsideGroup]:
    """Entries by kind and reason, the costliest first."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in quarantine.to_pylist():
        row["reason"] = nameless_reason(row["reason"], (row["path"], row["scan_id"]))
        groups.setdefault((row["kind"], numberless(row["reason"])), []).append(row)
    found = []
    for (kind, pattern), rows in groups.items():
        reason = pattern if len(rows) > 1 else rows[0]["reason"]
        samples = sum(row["samples"] for row in rows)
        found.append(AsideGroup(KINDS.get(kind, kind), reason, len(rows), samples, rows[:EXAMPLES]))
    return sorted(found, key=lambda group: (-group.samples, -group.entries, group.reason))


def nameless_reason(reason: str, names: Sequence[str | None]) -> str:
    """A reason without the scan's path and id, which stand beside it."""
    for name in sorted(filter(None, names), key=len, reverse=True):
        reason = reason.replace(name, SCAN)
    return re.sub(rf"^{re.escape(SCAN)}: (sample \d+: )?", "", reason)


def numberless(reason: str) -> str:
    """A reason without its numbers, which differ from scan to scan."""
    return re.sub(r"[-+]?\d[\d.,]*\d|\d", "#", reason)
