"""Manifest and seed → the list of all patches, each with its place in the store. Pure: no disk, no clock."""

import hashlib
import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from voxray.config.data import PatchesSpec
from voxray.config.experiment import Experiment
from voxray.config.tasks import TASKS
from voxray.datasets.manifest import Manifest, shared_patients
from voxray.errors import DataError
from voxray.patches.balance import SPLITS, choose_fold, keep_negatives, split_patients
from voxray.patches.foreground import grid_boxes

NEEDS_STATISTICS = ("percentiles", "zscore", "zscore_nonzero")
OF_CLASSES = ("resized", "slices")  # samplings whose patches have no place for a label map
PLAN = pa.schema(
    [
        ("split", pa.string()),
        ("shard", pa.int32()),
        ("slot", pa.int64()),  # row of the split's array
        ("scan_id", pa.string()),
        ("patient_id", pa.string()),
        ("path", pa.string()),
        ("label_path", pa.string()),
        ("row", pa.int64()),
        ("number", pa.int32()),  # which patch of its sample, from 0
        ("x_mm", pa.float64()),
        ("y_mm", pa.float64()),
        ("z_mm", pa.float64()),
        ("label", pa.int64()),
    ]
)


CODED = ("scan_id", "patient_id", "path", "label_path")
# In memory: a plan of ten million rows has few scans, but their names are long.
CODED_PLAN = pa.schema(
    [field.with_type(pa.dictionary(pa.int32(), pa.string())) if field.name in CODED else field for field in PLAN]
)


@dataclass(frozen=True, eq=False)
class Plan:
    """All patches of a store.

    Attributes
    ----------
    table : pyarrow.Table
        Schema CODED_PLAN; sorted by split (train, val, test), shard and slot.
    classes : tuple of str
    task : str
        Key of `voxray.config.tasks.TASKS`: segmentation if scans have label maps to learn.
    size : tuple of int
        Voxels of a patch, x, y, z.
    dtype : str
    patches_per_chunk, patches_per_shard : int
    shards : dict of str to int
        Number of shards of each split.
    recipe : dict
        Everything that the store's content depends on.
    """

    table: pa.Table
    classes: tuple[str, ...]
    task: str
    size: tuple[int, int, int]
    dtype: str
    patches_per_chunk: int
    patches_per_shard: int
    shards: dict[str, int]
    provenance: dict[str, object]

    @property
    def masks(self) -> bool:
        """Whether each patch has a label map."""
        return TASKS[self.task].needs_masks

    @property
    def digest(self) -> str:
        """Name of the recipe."""
        return hashlib.sha256(json.dumps(self.provenance, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def patch_bytes(self) -> int:
        """Bytes of one decoded patch and channel."""
        return int(np.prod(self.size)) * np.dtype(self.dtype).itemsize

    def count(self, split: str, label: int | None = None) -> int:
        """Number of patches of a split, of one class or of all."""
        mine = pc.equal(self.table["split"], split)
        if label is not None:
            mine = pc.and_(mine, pc.equal(self.table["label"], label))
        return int(pc.sum(mine).as_py() or 0)

    def unique(self, split: str, column: str) -> int:
        """Number of different values, such as scans or patients, in a split."""
        return len(pc.unique(self.table.filter(pc.equal(self.table["split"], split))[column]))


def plan_patches(manifest: Manifest, experiment: Experiment) -> Plan:
    """Choose the patches: patients are split first, negatives thinned after, scans dealt to shards last.

    Where patches are a grid, the manifest knows the scans' shapes: `voxray.patches.measure.measure_scans`.

    Raises
    ------
    DataError
        No sample that could be used, several of a scan whose patches are not cut around them, or one patient in two
        splits of the data set's own.
    """
    _check_patients_apart(manifest)
    samples = _with_scan_columns(manifest)
    if samples.num_rows == 0:
        raise DataError(str(manifest.root), "holds no sample of a scan that is there", "Check the list and the scans")
    splits = _splits(samples, samples["label"].to_numpy(), experiment)
    masks = manifest.masks_are_targets and manifest.scans["label_path"].null_count < manifest.scans.num_rows
    spec = experiment.patches
    if spec.sampling != "center":
        _check_sampling(samples, manifest, spec, masks)
    counts = np.full(samples.num_rows, spec.patches_per_scan)
    if spec.sampling == "grid":
        shapes = (manifest.shapes[name] for name in samples["scan_id"].to_pylist())
        counts = np.array([len(grid_boxes(shape, spec.size)) for shape in shapes])
    if spec.negatives_per_positive != "all" and not masks:
        counts *= _kept(samples, splits, manifest, experiment)
    repeated = np.repeat(np.arange(samples.num_rows), counts)
    firsts = np.cumsum(counts) - counts
    numbers = (np.arange(len(repeated)) - firsts[repeated]).astype(np.int32)
    samples = samples.take(pa.array(repeated)).append_column("number", pa.array(numbers))
    voxels = int(np.prod(experiment.patches.size)) * max(1, len(manifest.channels))
    patch_bytes = voxels * np.dtype(experiment.store.dtype).itemsize
    per_chunk = max(1, experiment.store.chunk_bytes // patch_bytes)
    per_shard = per_chunk * max(1, experiment.store.shard_bytes // (per_chunk * patch_bytes))
    table, shards = _deal(samples, splits[repeated], per_shard, experiment.seed)
    return Plan(
        table=table,
        classes=manifest.classes,
        task="segmentation" if masks else "classification",
        size=experiment.patches.size,
        dtype=experiment.store.dtype,
        patches_per_chunk=per_chunk,
        patches_per_shard=per_shard,
        shards=shards,
        provenance=store_provenance(experiment, manifest.digest()),
    )


def _kept(samples: pa.Table, splits: NDArray[np.str_], manifest: Manifest, experiment: Experiment) -> NDArray[np.bool_]:
    """Which samples are kept."""
    ratio = experiment.patches.negatives_per_positive
    kept = keep_negatives(samples["label"].to_numpy(), splits, float(ratio), experiment.seed)
    if not kept.any():
        problem = f"has no sample of a class other than '{manifest.classes[0]}'"
        raise DataError(str(manifest.root), problem, "Check the list, or set patches.negatives_per_positive = 'all'")
    return kept


def _check_sampling(samples: pa.Table, manifest: Manifest, spec: PatchesSpec, masks: bool) -> None:
    """Raise DataError where a data set has not what boxes of whole scans want."""
    where, setting = str(manifest.root), f"patches.sampling = '{spec.sampling}'"
    if len(pc.unique(samples["scan_id"])) < samples.num_rows:
        raise DataError(where, f"{setting} wants one sample for each scan, got several", "Set it to 'center'")
    if masks and spec.sampling in OF_CLASSES:
        raise DataError(where, f"{setting} is for classes of scans, got masks to learn", "Set it to 'whole'")
    if spec.needs_masks and manifest.scans["label_path"].null_count == manifest.scans.num_rows:
        remedy = "Set patches.slices = 'middle'" if spec.sampling == "slices" else "Set it to 'random'"
        raise DataError(where, f"{setting} wants scans with masks, got none", remedy)


def empty_classes(plan: Plan, splits: tuple[str, ...] = SPLITS) -> list[str]:
    """One line for each of these splits, or class of them, that is empty; without a test split none is missed."""
    wanted = [split for split in splits if split != "test" or split in plan.shards]
    if plan.masks:
        return [f"split '{split}' has no patch" for split in wanted if split not in plan.shards]
    return [
        f"split '{split}' has no patch of class '{name}'"
        for split in wanted
        for label, name in enumerate(plan.classes)
        if plan.count(split, label) == 0
    ]


def _check_patients_apart(manifest: Manifest) -> None:
    for patient, splits in shared_patients(manifest.scans).items():
        problem = f"patient '{patient}' is in the splits {' and '.join(splits)}"
        raise DataError(str(manifest.root), problem, "Keep each patient in one split, or the result is worthless")


def store_provenance(experiment: Experiment, manifest: str) -> dict[str, object]:
    """Everything that the content of a store depends on; `manifest` is the digest of the data set's list."""
    provenance: dict[str, object] = {
        "manifest": manifest,
        "seed": experiment.seed,
        "split": experiment.split.model_dump(mode="json"),
        "patches": experiment.patches.model_dump(mode="json"),
        "statistics": experiment.intensity.kind in NEEDS_STATISTICS,
        "windows": _windows(experiment),
        "store": experiment.store.model_dump(mode="json", include={"dtype", "chunk_bytes", "shard_bytes"}),
    }
    return {**provenance, "private": True} if experiment.privacy.has_key else provenance


def _windows(experiment: Experiment) -> list[list[float]] | None:
    """What voxels are clipped to while the store is filled: before resizing, which mixes neighbors."""
    clips = experiment.patches.sampling == "resized" and experiment.intensity.kind == "window"
    return [[float(low), float(high)] for low, high in experiment.intensity.windows] if clips else None


def _with_scan_columns(manifest: Manifest) -> pa.Table:
    """Samples in a fixed order, each with the names, paths and given split of its scan."""
    scans = manifest.scans.sort_by("scan_id").combine_chunks()
    scan = pc.index_in(manifest.samples["scan_id"], value_set=scans["scan_id"].combine_chunks())
    samples = manifest.samples.filter(pc.is_valid(scan)).combine_chunks()
    places = scan.drop_null().to_numpy()
    order = np.lexsort((samples["row"].to_numpy(), places))
    table = samples.drop_columns("scan_id").take(pa.array(order))
    for name in scans.column_names:
        column = scans[name].combine_chunks()
        coded = column if name == "split" else column.dictionary_encode()
        table = table.append_column(name, coded.take(pa.array(places[order])))
    return table


def _splits(samples: pa.Table, labels: NDArray[np.int64], experiment: Experiment) -> NDArray[np.str_]:
    """Split of each sample: the data set's own, else by patient."""
    given_names, given_codes = _coded(samples["split"].fill_null(""))
    given = given_names.astype("<U5")[given_codes]
    names, member = _coded(samples["patient_id"])
    highest = np.zeros(len(names), np.int64)
    np.maximum.at(highest, member, labels)
    own = np.full(len(names), "", dtype="<U5")
    own[member] = given
    brought = set(np.unique(own)) - {""}
    spec = experiment.split
    if spec.folds is not None:
        if spec.fold is None or brought:
            problem = "the data set brings splits of its own" if brought else "one fold must be named to plan patches"
            raise DataError(
                "split.folds", problem, "Leave it out" if brought else "Give --set split.fold=0, or voxray run"
            )
        tested = choose_fold(names, highest, spec.folds, spec.fold, experiment.seed)
        own[tested] = "test"
        shares = {"val": spec.val}
        own[~tested] = split_patients(names[~tested], highest[~tested], shares, experiment.seed)
        return own[member]
    # A data set that brings train and test, but no val, has it taken from its training patients.
    shares = {"val": experiment.split.val, "test": experiment.split.test}
    open_to = np.isin(own, ["", "train"]) if "val" not in brought else own == ""
    shares = {split: share for split, share in shares.items() if split not in brought}
    if brought:
        shares.pop("test", None)
    dealt = split_patients(names[open_to], highest[open_to], shares, experiment.seed)
    own[open_to] = dealt
    return own[member]


def _coded(column: pa.ChunkedArray) -> tuple[NDArray[np.str_], NDArray[np.int64]]:
    """Different values in order, and the place of each row's among them."""
    coded = column.combine_chunks().dictionary_encode()
    names = np.asarray(coded.dictionary.to_pylist(), dtype=str)
    order = np.argsort(names)
    places = np.empty(len(names), np.int64)
    places[order] = np.arange(len(names))
    return names[order], places[coded.indices.to_numpy()]


def _deal(samples: pa.Table, splits: NDArray[np.str_], per_shard: int, seed: int) -> tuple[pa.Table, dict[str, int]]:
    """Deal scans to shards in a seeded random order; a scan stays in one shard unless it fills more than one."""
    codes = _coded(samples["scan_id"])[1]
    parts, shards = [], {}
    for number, split in enumerate(SPLITS):
        here = np.flatnonzero(splits == split)
        if len(here) == 0:
            continue
        scans, first, counts = np.unique(codes[here], return_index=True, return_counts=True)
        order = np.random.default_rng([seed, 100 + number]).permutation(len(scans))
        starts = _shard_starts(counts[order], per_shard)
        begins = np.cumsum(counts[order]) - counts[order]
        within = np.arange(len(here)) - np.repeat(begins, counts[order])
        rows = here[np.repeat(first[order], counts[order]) + within]
        slots = np.repeat(starts, counts[order]) + within
        part = samples.take(pa.array(rows)).set_column(
            samples.column_names.index("split"), "split", pa.repeat(split, len(rows))
        )
        part = part.append_column("slot", pa.array(slots)).append_column(
            "shard", pa.array((slots // per_shard).astype("i4"))
        )
        parts.append(part.select(PLAN.names).cast(CODED_PLAN))
        shards[split] = int(slots[-1] // per_shard) + 1
    return pa.concat_tables(parts).combine_chunks(), shards


def _shard_starts(counts: NDArray[np.int64], per_shard: int) -> list[int]:
    """First slot of each scan: the next free one, or the next shard's where the scan would not fit."""
    starts, free = [], 0
    for count in counts.tolist():
        room = per_shard - free % per_shard
        if count > room and room < per_shard:
            free += room
        starts.append(free)
        free += count
    return starts
