"""Manifest and seed → the list of all patches, each with its shard and slot. Pure: no disk, no clock."""

import hashlib
import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from voxray.config.data import MOST_CHUNK_BYTES, PatchesSpec, SplitSpec
from voxray.config.experiment import Experiment
from voxray.config.labels import label_settings
from voxray.config.tasks import TASKS
from voxray.console.units import bytes_text
from voxray.datasets.manifest import Manifest, shared_patients
from voxray.errors import DataError
from voxray.patches.balance import SPLITS, choose_fold, keep_negatives, split_patients
from voxray.patches.foreground import grid_boxes
from voxray.patches.population import Population, count_population
from voxray.patches.subsets import in_subset

NEEDS_STATISTICS = ("percentiles", "zscore", "zscore_nonzero")
FOR_CLASSES = ("resized", "slices")  # samplings whose patches cannot have label maps
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
    task : str
        Key of `voxray.config.tasks.TASKS`: segmentation if scans have label maps to learn.
    size : tuple of int
        Voxels of a patch, x, y, z.
    shards : dict of str to int
        Number of shards of each split.
    population : dict
        By split, see `voxray.patches.population`; empty for a segmentation, whose samples have no classes.
    provenance : dict
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
    population: Population
    provenance: dict[str, object]

    @property
    def masks(self) -> bool:
        """Whether each patch has a label map."""
        return TASKS[self.task].needs_masks

    @property
    def digest(self) -> str:
        """Name of the provenance."""
        return hashlib.sha256(json.dumps(self.provenance, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def patch_bytes(self) -> int:
        """Bytes of one decoded patch and channel."""
        return int(np.prod(self.size)) * np.dtype(self.dtype).itemsize

    def count(self, split: str, label: int | None = None) -> int:
        """Number of patches of a split, of one class or of all."""
        counted = pc.equal(self.table["split"], split)
        if label is not None:
            counted = pc.and_(counted, pc.equal(self.table["label"], label))
        return int(pc.sum(counted).as_py() or 0)

    def unique(self, split: str, column: str) -> int:
        """Number of different values, such as scans or patients, in a split."""
        return len(pc.unique(self.table.filter(pc.equal(self.table["split"], split))[column]))


def plan_patches(manifest: Manifest, experiment: Experiment) -> Plan:
    """Choose the patches: split the patients, drop negatives, assign scans to shards.

    Where patches are a grid, the manifest has the shapes of its scans: `voxray.patches.measure.measure_scans`.

    Raises
    ------
    DataError
        There is no usable sample, a scan has several samples and its patches are not cut around them, or a patient is
        in two of the data set's own splits.
    """
    _check_patients_apart(manifest)
    samples = samples_with_scans(manifest)
    if samples.num_rows == 0:
        problem = "none of the listed samples belongs to a scan that exists"
        raise DataError(str(manifest.root), problem, "Check the list and the scans")
    splits = sample_splits(samples, manifest, experiment)
    masks = manifest.masks_are_targets and manifest.scans["label_path"].null_count < manifest.scans.num_rows
    counts = _patches_per_sample(samples, manifest, experiment.patches, masks)
    population: Population = {}
    if not masks:
        kept = _kept(samples, splits, manifest, experiment)
        population = count_population(samples, splits, counts, kept, len(manifest.classes))
        counts *= kept
    repeated = np.repeat(np.arange(samples.num_rows), counts)
    firsts = np.cumsum(counts) - counts
    numbers = (np.arange(len(repeated)) - firsts[repeated]).astype(np.int32)
    samples = samples.take(pa.array(repeated)).append_column("number", pa.array(numbers))
    voxels = int(np.prod(experiment.patches.size)) * max(1, len(manifest.channels))
    patch_bytes = voxels * np.dtype(experiment.store.dtype).itemsize
    if patch_bytes >= MOST_CHUNK_BYTES:
        problem = f"a patch has fewer than 2 GiB, got {bytes_text(patch_bytes)} with its channels"
        raise DataError("patches.size", problem, "Make it smaller")
    per_chunk = max(1, experiment.store.chunk_bytes // patch_bytes)
    per_shard = per_chunk * max(1, experiment.store.shard_bytes // (per_chunk * patch_bytes))
    table, shards = assign_shards(samples, splits[repeated], per_shard, experiment.seed)
    return Plan(
        table=table,
        classes=manifest.classes,
        task="segmentation" if masks else "classification",
        size=experiment.patches.size,
        dtype=experiment.store.dtype,
        patches_per_chunk=per_chunk,
        patches_per_shard=per_shard,
        shards=shards,
        population=population,
        provenance=store_provenance(experiment, manifest.digest(), experiment.privacy.key_digest()),
    )


def _patches_per_sample(samples: pa.Table, manifest: Manifest, spec: PatchesSpec, masks: bool) -> NDArray[np.int64]:
    if spec.sampling != "center":
        _check_sampling(samples, manifest, spec, masks)
    if spec.sampling != "grid":
        return np.full(samples.num_rows, spec.patches_per_scan)
    shapes = (manifest.shapes[name] for name in samples["scan_id"].to_pylist())
    return np.array([len(grid_boxes(shape, spec.size)) for shape in shapes])


def _kept(samples: pa.Table, splits: NDArray[np.str_], manifest: Manifest, experiment: Experiment) -> NDArray[np.bool_]:
    """Which samples are kept."""
    labels, spec = samples["label"].to_numpy(), experiment.patches.negatives_per_positive
    if spec.train != "all" and not labels.any():
        problem = f"has no sample of a class other than '{manifest.classes[0]}'"
        raise DataError(str(manifest.root), problem, "Check the list, or set patches.negatives_per_positive = 'all'")
    return keep_negatives(labels, splits, spec, experiment.seed)


def _check_sampling(samples: pa.Table, manifest: Manifest, spec: PatchesSpec, masks: bool) -> None:
    """Raise DataError where a data set does not fit a sampling of whole scans."""
    where, setting = str(manifest.root), f"patches.sampling = '{spec.sampling}'"
    if len(pc.unique(samples["scan_id"])) < samples.num_rows:
        raise DataError(where, f"{setting} needs one sample per scan, got several", "Set it to 'center'")
    if masks and spec.sampling in FOR_CLASSES:
        raise DataError(
            where, f"{setting} is for classification, got a data set with masks to learn", "Set it to 'whole'"
        )
    if spec.needs_masks and manifest.scans["label_path"].null_count == manifest.scans.num_rows:
        remedy = "Set patches.slices = 'middle'" if spec.sampling == "slices" else "Set it to 'random'"
        raise DataError(where, f"{setting} needs scans with masks, got none", remedy)


def empty_classes(plan: Plan, splits: tuple[str, ...] = SPLITS) -> list[str]:
    """A line for each empty split or class; a test split may be missing."""
    expected = [split for split in splits if split != "test" or split in plan.shards]
    if plan.masks:
        return [f"split '{split}' has no patch" for split in expected if split not in plan.shards]
    return [
        f"split '{split}' has no patch of class '{name}'"
        for split in expected
        for label, name in enumerate(plan.classes)
        if plan.count(split, label) == 0
    ]


def _check_patients_apart(manifest: Manifest) -> None:
    for patient, splits in shared_patients(manifest.scans).items():
        problem = f"patient '{patient}' is in the splits {' and '.join(splits)}"
        raise DataError(str(manifest.root), problem, "Keep each patient in one split")


def store_provenance(experiment: Experiment, manifest: str, key: str | None = None) -> dict[str, object]:
    """Everything that the content of a store depends on.

    Parameters
    ----------
    experiment : Experiment
    manifest : str
        The digest of the data set's list.
    key : str, optional
        The digest of the key of the pseudonyms.
    """
    provenance: dict[str, object] = {
        "manifest": manifest,
        "seed": experiment.seed,
        "split": experiment.split.model_dump(mode="json"),
        "patches": experiment.patches.model_dump(mode="json"),
        "statistics": experiment.intensity.kind in NEEDS_STATISTICS,
        "windows": _windows(experiment),
        "store": experiment.store.model_dump(mode="json", include={"dtype", "chunk_bytes", "shard_bytes"}),
    }
    if labels := label_settings(experiment.data):
        provenance["labels"] = labels
    return provenance if key is None else {**provenance, "private": key}


def _windows(experiment: Experiment) -> list[list[float]] | None:
    """What voxels are clipped to during ingest, before resizing mixes neighbors; None where nothing is clipped."""
    clips = experiment.patches.sampling == "resized" and experiment.intensity.kind == "window"
    return [[float(low), float(high)] for low, high in experiment.intensity.windows] if clips else None


def samples_with_scans(manifest: Manifest) -> pa.Table:
    """Samples in a fixed order, with the columns of their scans."""
    scans = manifest.scans.sort_by("scan_id").combine_chunks()
    scan = pc.index_in(manifest.samples["scan_id"], value_set=scans["scan_id"].combine_chunks())
    samples = manifest.samples.filter(pc.is_valid(scan)).combine_chunks()
    scan_rows = scan.drop_null().to_numpy()
    order = np.lexsort((samples["row"].to_numpy(), scan_rows))
    table = samples.drop_columns("scan_id").take(pa.array(order))
    for name in scans.column_names:
        column = scans[name].combine_chunks()
        coded = column if name == "split" else column.dictionary_encode()
        table = table.append_column(name, coded.take(pa.array(scan_rows[order])))
    return table


def sample_splits(samples: pa.Table, manifest: Manifest, experiment: Experiment) -> NDArray[np.str_]:
    """Split of each sample: the data set's own, else by patient."""
    given_names, given_codes = _coded(samples["split"].fill_null(""))
    patients, member = _coded(samples["patient_id"])
    strata = np.zeros(len(patients), np.int64)  # the highest among a patient's samples
    np.maximum.at(strata, member, _strata(samples, manifest))
    given = np.full(len(patients), "", dtype="<U5")
    given[member] = given_names.astype("<U5")[given_codes]
    spec, seed = experiment.split, experiment.seed
    if spec.folds is None:
        return _complete_splits(patients, strata, given, spec, seed)[member]
    if (given != "").any():
        raise DataError("split.folds", "the data set has splits of its own", "Remove split.folds")
    if spec.fold is None:
        problem = "patches are planned for one fold, got no split.fold"
        raise DataError("split.folds", problem, "Give --set split.fold=0, or use voxray run")
    if isinstance(spec.folds, int):
        tested = choose_fold(patients, strata, spec.folds, spec.fold, seed)
    else:
        tested = np.zeros(len(patients), bool)
        tested[member[in_subset(manifest, samples, spec.fold)]] = True
    splits = np.full(len(patients), "test", dtype="<U5")
    splits[~tested] = split_patients(patients[~tested], strata[~tested], {"val": spec.val}, seed)
    return splits[member]


def _strata(samples: pa.Table, manifest: Manifest) -> NDArray[np.int64]:
    """Of each sample: its label, or what the manifest gives for its scan."""
    if not manifest.strata:
        return np.asarray(samples["label"].to_numpy(), np.int64)
    return np.array([manifest.strata[name] for name in samples["scan_id"].to_pylist()], np.int64)


def _complete_splits(
    patients: NDArray[np.str_], strata: NDArray[np.int64], given: NDArray[np.str_], spec: SplitSpec, seed: int
) -> NDArray[np.str_]:
    """The data set's own splits, with validation patients taken from train where it has none; else all by share."""
    present = set(np.unique(given)) - {""}
    shares = {} if "val" in present else {"val": spec.val}
    if not present:
        shares["test"] = spec.test
    open_ = given == "" if "val" in present else np.isin(given, ["", "train"])
    splits = given.copy()
    splits[open_] = split_patients(patients[open_], strata[open_], shares, seed)
    return splits


def _coded(column: pa.ChunkedArray) -> tuple[NDArray[np.str_], NDArray[np.int64]]:
    """The different values in order, and for each row the index of its value."""
    coded = column.combine_chunks().dictionary_encode()
    names = np.asarray(coded.dictionary.to_pylist(), dtype=str)
    order = np.argsort(names)
    ranks = np.empty(len(names), np.int64)
    ranks[order] = np.arange(len(names))
    return names[order], ranks[coded.indices.to_numpy()]


def assign_shards(
    samples: pa.Table, splits: NDArray[np.str_], per_shard: int, seed: int
) -> tuple[pa.Table, dict[str, int]]:
    """Assign scans to shards in a seeded random order; a scan stays in one shard unless it fills more than one."""
    codes = _coded(samples["scan_id"])[1]
    parts, shards = [], {}
    for number, split in enumerate(SPLITS):
        members = np.flatnonzero(splits == split)
        if len(members) == 0:
            continue
        scans, first, counts = np.unique(codes[members], return_index=True, return_counts=True)
        order = np.random.default_rng([seed, 100 + number]).permutation(len(scans))
        starts = _shard_starts(counts[order], per_shard)
        begins = np.cumsum(counts[order]) - counts[order]
        within = np.arange(len(members)) - np.repeat(begins, counts[order])
        rows = members[np.repeat(first[order], counts[order]) + within]
        slots = np.repeat(starts, counts[order]) + within
        columns = {"split": pa.repeat(split, len(rows)), "slot": pa.array(slots), "shard": pa.array(slots // per_shard)}
        part = samples.drop_columns("split").take(pa.array(rows))
        for name, column in columns.items():
            part = part.append_column(name, column)
        parts.append(part.select(PLAN.names).cast(CODED_PLAN))
        shards[split] = int(slots[-1] // per_shard) + 1
    return pa.concat_tables(parts).combine_chunks(), shards


def _shard_starts(counts: NDArray[np.int64], per_shard: int) -> list[int]:
    """First slot of each scan: the next free one, or that of the next shard where the scan would not fit."""
    starts, next_slot = [], 0
    for count in counts.tolist():
        free = per_shard - next_slot % per_shard
        if count > free and free < per_shard:
            next_slot += free
        starts.append(next_slot)
        next_slot += count
    return starts
