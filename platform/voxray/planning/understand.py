"""What a folder holds: `understand` says which files are scans, masks and classes, and how an experiment reads them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pyarrow as pa

from voxray.config.data import DataSpec
from voxray.datasets.layouts import read_manifest, recognize_layout
from voxray.datasets.loose import read_loose
from voxray.datasets.manifest import Manifest, class_notes
from voxray.datasets.table import LABEL, MANIFEST, MASK, TABLE, table_manifest
from voxray.errors import DataError
from voxray.planning.class_folders import find_class_folders
from voxray.planning.found import (
    CHANNEL,
    MOST_NAMED,
    Case,
    Found,
    LeftOver,
    complete_cases,
    some,
    with_useful_splits,
)
from voxray.planning.lists import SUFFIXES, find_list, lists_in
from voxray.planning.masks import CheckedMask, check_masks, values_with_cases
from voxray.planning.nnunet import find_nnunet
from voxray.planning.pairs import find_pairs
from voxray.planning.segmented_series import find_segmented_series
from voxray.scans.formats.registry import known_suffixes
from voxray.scans.masks import MOST_CLASSES
from voxray.storage.paths import AnyPath, exists

TaskName = Literal["classification", "segmentation"]
LEAST_PATIENTS = 2
MOST_UNUSED = 16  # values of masks; more are numbers of another kind
RESERVED = (LABEL, MASK, "patient_id", "split")
KNOWN = (
    "Give a folder in a layout of docs/layouts.md, images and masks with equal names, a folder for each class, raw "
    "data of nnU-Net, or a CSV with the columns path, and label or mask"
)


@dataclass(frozen=True, eq=False)
class Understood:
    """A folder as it was understood.

    Attributes
    ----------
    kind : str
        How it is arranged, in words.
    data : mapping of str to value
        The section ``[data]`` of an experiment that reads it; ``manifest`` is relative to the experiment's file.
    task : str
        ``classification`` or ``segmentation``.
    manifest : Manifest
        Scans, masks, labels, patients and splits, as the experiment will read them.
    channels : tuple of str
        Names of the channels; ``("image",)`` where nothing names them.
    classes : tuple of str
        In the order of their labels, or of the values of masks.
    table : pyarrow.Table, optional
        The rows of the manifest that `voxray.planning.manifest.write_manifest` writes; None for a known layout.
    left_over : tuple of LeftOver
        What is not used, and why.
    warnings : tuple of str
        What is doubtful.
    notes : tuple of str
        How names were understood.
    mask_values : mapping of int to list of str
        The scans (scan_id) whose masks have each value; empty without masks to learn.
    regions : mapping of str to tuple of int
        Classes that are unions of values of the masks.
    ignored : int, optional
        Value of unlabeled voxels.
    """

    kind: str
    data: Mapping[str, Any]
    task: TaskName
    manifest: Manifest
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    table: pa.Table | None
    left_over: tuple[LeftOver, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    mask_values: Mapping[int, Sequence[str]] = field(default_factory=dict)
    regions: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    ignored: int | None = None

    @property
    def root(self) -> AnyPath:
        """The folder that all paths are relative to."""
        return self.manifest.root


def understand(source: AnyPath, task: TaskName | None = None) -> Understood:
    """Understand a folder, or a CSV or ``.npz`` file; reads names, headers, and the masks.

    Parameters
    ----------
    source : path
    task : str, optional
        What is to be learned where there are masks and classes; by default the classes where a list or layout gives
        them, else the masks.

    Raises
    ------
    DataError
        Nothing that is known, nothing of the task, fewer than two usable cases, or masks that are images.
    """
    if not exists(source):
        raise DataError(str(source), "no such folder or file", "Check the path")
    source = source.resolve()
    is_list = source.suffix.lower() in SUFFIXES and source.is_file()
    root = source.parent if is_list else source
    found = None if is_list else find_nnunet(root)
    if found is None and not is_list:
        known = _known_layout(source)
        if known is not None and task in (None, _task(known[1])):
            return _as_it_is(source, *known)
    return _as_table(found or _find(source if is_list else None, root), root, task)


def _known_layout(source: AnyPath) -> tuple[str, Manifest] | None:
    """A known layout and its manifest; None where there is none, or a table whose columns have other names."""
    name = recognize_layout(source)
    if name is None:
        return None
    try:
        return name, read_manifest(DataSpec(layout=name, root=str(source)))
    except DataError:
        if name == TABLE.name:
            return None
        raise


def _task(manifest: Manifest) -> TaskName:
    masks = manifest.scans["label_path"]
    return "segmentation" if manifest.masks_are_targets and masks.null_count < len(masks) else "classification"


def _as_it_is(source: AnyPath, layout: str, manifest: Manifest) -> Understood:
    """A folder in a known layout, which the experiment reads as it is."""
    task = _task(manifest)
    left_over = [LeftOver(row["path"] or row["scan_id"], row["reason"]) for row in manifest.quarantine.to_pylist()]
    data: dict[str, Any] = {"layout": layout, "root": str(source)}
    warnings: list[str] = []
    problems: dict[str, str] = {}
    values: dict[int, list[str]] = {}
    if task == "segmentation":
        checked, values = _check_masks(manifest)
        problems = {name: mask.problem for name, mask in checked.items() if mask.problem}
        left_over += [LeftOver(name, problem) for name, problem in problems.items()]
        if layout == TABLE.name and values:
            classes, warnings = _name_values(values, {}, str(source))
            data["classes"] = list(classes)
            manifest = read_manifest(DataSpec.model_validate(data))
    scans = zip(manifest.scans["scan_id"].to_pylist(), manifest.scans["patient_id"].to_pylist(), strict=True)
    _check_count({patient for scan, patient in scans if scan not in problems}, left_over, str(source))
    return Understood(
        kind=f"the layout {layout}",
        data=data,
        task=task,
        manifest=manifest,
        channels=manifest.channels or (CHANNEL,),
        classes=manifest.classes,
        table=None,
        left_over=tuple(left_over),
        warnings=(*warnings, *_rare(values, manifest)),
        notes=manifest.notes,
        mask_values=values,
    )


def _find(listed: AnyPath | None, root: AnyPath) -> Found:
    """The cases of a folder in no known layout, or of a list in it."""
    paths = read_loose(root).scans["path"].to_pylist()
    if listed is not None:
        if (cases := find_list(listed, paths)) is not None:
            return cases
        raise DataError(str(listed), "no column of it names files in its folder", "Give paths relative to the folder")
    found, unusable = _lists(root, paths)
    if found is not None:
        return found
    is_dicom = not any(path.lower().endswith(known_suffixes()) for path in paths)
    pairs = find_segmented_series(root) if is_dicom else find_pairs(paths, str(root))
    cases = pairs or find_class_folders(paths)
    if cases is None and unusable:
        raise unusable[0]
    if cases is None:
        problem = f"holds {len(paths)} scans without masks, classes or a list: {some(paths)}"
        raise DataError(str(root), problem, KNOWN)
    return cases


def _lists(root: AnyPath, paths: Sequence[str]) -> tuple[Found | None, list[DataError]]:
    """The cases of the list in a folder, if there is one, and why other lists in it are none."""
    found: dict[str, Found] = {}
    unusable = []
    for path in lists_in(root):
        try:
            cases = find_list(path, paths)
        except DataError as error:
            unusable.append(error)
            continue
        if cases is not None:
            found[path.name] = cases
    if len(found) > 1:
        problem = f"holds several lists of scans: {some(list(found))}"
        raise DataError(str(root), problem, "Name one of them instead of the folder")
    return next(iter(found.values()), None), unusable


def _as_table(found: Found, root: AnyPath, task: TaskName | None) -> Understood:
    """A folder that the experiment reads by a manifest that is written for it."""
    cases, channels, left_over = complete_cases(found, str(root))
    task = _choose_task(found, cases, task, str(root))
    if task == "segmentation":
        left_over += [LeftOver(case.name, "has no mask") for case in cases if case.mask is None]
        cases = [replace(case, label=None) for case in cases if case.mask is not None]
    values: dict[int, list[str]] = {}
    classes, warnings = _label_names(cases), list[str]()
    if any(case.mask for case in cases):
        names = _manifest(_table(cases, channels), root, None, channels)
        checked, values = _check_masks(names)
        problems = {name: mask.problem for name, mask in checked.items() if mask.problem}
        if task == "segmentation" and values:
            classes, warnings = _name_values(values, found.mask_names, str(root))
            problems |= _unnamed(values, classes)
        left_over += [LeftOver(name, problem) for name, problem in problems.items()]
        paired = zip(cases, names.scans["scan_id"].to_pylist(), strict=True)
        cases = [
            replace(case, mask=None) if name in problems else case
            for case, name in paired
            if name not in problems or task == "classification"
        ]
        values = _without(values, problems)
    everything = (*found.left_over, *left_over)
    _check_count({case.patient or str(case.files) for case in cases}, everything, str(root))
    table = _table(with_useful_splits(cases), channels)
    manifest = _manifest(table, root, classes, channels)
    columns = _columns(channels)
    data: dict[str, Any] = {"layout": TABLE.name, "root": str(root), "manifest": f"./{MANIFEST}"}
    data |= {"channels": list(columns)} if len(columns) > 1 else {}
    return Understood(
        kind=found.kind,
        data={**data, "classes": list(classes)},
        task=task,
        manifest=manifest,
        channels=channels,
        classes=classes,
        table=table,
        left_over=everything,
        warnings=(*warnings, *class_notes(manifest), *_rare(values if task == "segmentation" else {}, manifest)),
        notes=(*found.notes, *manifest.notes),
        mask_values=values if task == "segmentation" else {},
        regions=found.regions,
        ignored=found.ignored,
    )


def _choose_task(found: Found, cases: Sequence[Case], task: TaskName | None, where: str) -> TaskName:
    """The task that is asked for, else that of the labels of a list, else that of the masks."""
    has_masks = any(case.mask for case in cases)
    has_labels = all(case.label is not None for case in cases)
    learns_labels = has_labels and (found.labels_first or not has_masks)
    wanted: TaskName = task or ("classification" if learns_labels else "segmentation")
    if wanted == "segmentation" and not has_masks:
        raise DataError(where, "holds no masks, which a segmentation learns", "Add them, or plan a classification")
    if wanted == "classification" and not has_labels:
        raise DataError(where, "names no class for each scan, which a classification learns", KNOWN)
    return wanted


def _columns(channels: Sequence[str]) -> tuple[str, ...]:
    """The columns of the manifest for some channels."""
    if len(channels) == 1:
        return ("path",)
    return tuple(f"channel_{name}" if name in RESERVED else name for name in channels)


def _table(cases: Sequence[Case], channels: Sequence[str]) -> pa.Table:
    """The rows of a manifest, with a column of all that any case has."""
    columns: dict[str, list[str | None]] = {
        column: [case.files[name] for case in cases] for column, name in zip(_columns(channels), channels, strict=True)
    }
    optional: dict[str, list[str | None]] = {
        MASK: [case.mask for case in cases],
        LABEL: [case.label for case in cases],
        "patient_id": [case.patient or next(iter(case.files.values())) for case in cases],
        "split": [case.split for case in cases],
    }
    if not any(case.patient for case in cases):
        del optional["patient_id"]
    columns |= {name: cells for name, cells in optional.items() if any(cells)}
    return pa.table({name: pa.array(cells, pa.string()) for name, cells in columns.items()})


def _manifest(table: pa.Table, root: AnyPath, classes: tuple[str, ...] | None, channels: Sequence[str]) -> Manifest:
    return table_manifest(table, root, root, classes, _columns(channels))


def _label_names(cases: Sequence[Case]) -> tuple[str, ...]:
    """Classes of cases as `voxray.datasets.csv_lists.label_codes` orders them."""
    names = {case.label for case in cases if case.label is not None}
    return tuple(sorted(names, key=int if all(name.isdecimal() for name in names) else str))


def _check_masks(manifest: Manifest) -> tuple[dict[str, CheckedMask], dict[int, list[str]]]:
    """The masks of all scans that have one, and the scans of each value."""
    rows = manifest.scans.select(["scan_id", "path", "label_path"]).to_pylist()
    checked = check_masks(manifest.root, [row for row in rows if row["label_path"] is not None])
    return checked, values_with_cases(checked)


def _name_values(
    values: Mapping[int, Sequence[str]], names: Mapping[int, str], where: str
) -> tuple[tuple[str, ...], list[str]]:
    """Names of the values 0, 1, … of masks, and warnings; DataError for values that cannot be counted from 0."""
    if not any(values):
        raise DataError(where, "no mask has a labeled voxel: all values are 0", "Check that these are the masks")
    last = max(names) if names else max(values)
    unused = sorted(set(range(1, last + 1)) - (names.keys() or values.keys()))
    if min(values) < 0 or (not names and (last >= MOST_CLASSES or len(unused) > MOST_UNUSED)):
        got = ", ".join(map(str, list(values)[:8]))
        raise DataError(where, f"masks need the values 0, 1, 2, …, got {got}", "Number the classes from 0 without gaps")
    known = {0: "background", **names}
    if not names:
        known |= {value: "foreground" if last == 1 else f"class {value}" for value in values if value}
    classes = tuple(known.get(value, f"unused {value}") for value in range(last + 1))
    return classes, [f"no mask has the value {some([str(value) for value in unused])}"] if unused else []


def _without(values: Mapping[int, Sequence[str]], scans: Collection[str]) -> dict[int, list[str]]:
    """The scans of each value without some."""
    kept = {value: [name for name in names if name not in scans] for value, names in values.items()}
    return {value: names for value, names in kept.items() if names}


def _unnamed(values: Mapping[int, Sequence[str]], classes: Sequence[str]) -> dict[str, str]:
    """The problem of each scan whose mask has a value without a name."""
    odd = [value for value in values if value >= len(classes) or classes[value] == f"unused {value}"]
    return {scan: f"its mask has the value {value}, which has no name" for value in odd for scan in values[value]}


def _check_count(names: Collection[str], left_over: Sequence[LeftOver], where: str) -> None:
    """Raise DataError unless scans of two or more patients can be used, given the names of the patients."""
    patients = len(names)
    if patients >= LEAST_PATIENTS:
        return
    reasons = "; ".join(f"{item.path}: {item.reason}" for item in left_over[:MOST_NAMED])
    problem = f"expected usable scans of {LEAST_PATIENTS} or more patients, got {patients}"
    raise DataError(where, f"{problem}; left over: {reasons}" if reasons else problem, "Add cases, or correct these")


def _rare(values: Mapping[int, Sequence[str]], manifest: Manifest) -> list[str]:
    """Classes of masks that one scan has, so that training and evaluation cannot both see them."""
    named = [(manifest.classes[value], scans) for value, scans in values.items() if 0 < value < len(manifest.classes)]
    return [f"the class '{name}' is in one scan only: {scans[0]}" for name, scans in named if len(scans) == 1]
