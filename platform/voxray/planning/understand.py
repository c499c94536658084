"""What a folder holds: `understand` says which files are scans, masks and classes, and how an experiment reads them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pyarrow as pa

from voxray.config.data import DataSpec
from voxray.config.labels import MaskLabels
from voxray.datasets.layouts import read_manifest, recognize_layout
from voxray.datasets.loose import read_loose
from voxray.datasets.manifest import Manifest, class_notes
from voxray.datasets.table import MANIFEST, TABLE
from voxray.errors import DataError
from voxray.planning.class_folders import find_class_folders
from voxray.planning.class_masks import find_binary_files, join_class_masks
from voxray.planning.columns import Columns, case_manifest, list_cases
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
from voxray.planning.masks import check_masks, values_with_cases
from voxray.planning.nnunet import find_nnunet
from voxray.planning.pairs import find_pairs
from voxray.planning.segmented_series import find_segmented_series
from voxray.planning.values import NamedValues, name_values, without
from voxray.scans.formats.registry import known_suffixes
from voxray.storage.paths import AnyPath, exists

TaskName = Literal["classification", "segmentation"]
LEAST_PATIENTS = 2
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
    warnings, notes = tuple[str, ...](), tuple[str, ...]()
    problems: dict[str, str] = {}
    values: dict[int, list[str]] = {}
    if task == "segmentation":
        problems, values = _check_masks(manifest)
        left_over += [LeftOver(name, problem) for name, problem in problems.items()]
        if layout == TABLE.name and values:
            named = name_values(values, str(source))
            data |= {"classes": list(named.labels.classes), **named.settings}
            manifest = read_manifest(DataSpec.model_validate(data))
            notes = named.notes
        else:
            named = NamedValues(manifest.labels or MaskLabels(manifest.classes))
        warnings = (*named.warnings, *named.rare(without(values, problems)))
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
        warnings=warnings,
        notes=(*notes, *manifest.notes),
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
    if pairs is None and not is_dicom and (masks := find_binary_files(root, paths)):
        pairs = find_pairs(paths, str(root), masks)
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
        left_over += [LeftOver(case.name, "has no mask") for case in cases if not case.has_mask]
        cases = [replace(case, label=None) for case in cases if case.has_mask]
    cases, class_names, notes = join_class_masks(root, cases)
    columns = Columns.of(channels, class_names)
    named, values, problems = NamedValues(MaskLabels(_label_names(cases))), dict[int, list[str]](), dict[str, str]()
    if any(case.mask for case in cases):
        listed = case_manifest(list_cases(cases, columns), root, None, columns)
        problems, values = _check_masks(listed)
        if task == "segmentation" and values:
            names = {0: "background", **dict(enumerate(class_names, 1))} if class_names else found.mask_names
            named = name_values(values, str(root), names, found.regions, found.ignored)
            problems |= named.problems(values)
        left_over += [LeftOver(name, problem) for name, problem in problems.items()]
        paired = zip(cases, listed.scans["scan_id"].to_pylist(), strict=True)
        cases = [
            replace(case, mask=None, class_masks={}) if name in problems else case
            for case, name in paired
            if name not in problems or task == "classification"
        ]
        values = without(values, problems)
    everything = (*found.left_over, *left_over)
    _check_count({case.patient or str(case.files) for case in cases}, everything, str(root))
    table = list_cases(with_useful_splits(cases), columns)
    classes = named.labels.classes
    manifest = replace(case_manifest(table, root, classes, columns), label_settings=named.settings)
    data: dict[str, Any] = {"layout": TABLE.name, "root": str(root), "manifest": f"./{MANIFEST}", **columns.settings}
    return Understood(
        kind=found.kind,
        data={**data, **({} if named.labels.regions else {"classes": list(classes)}), **named.settings},
        task=task,
        manifest=manifest,
        channels=channels,
        classes=classes,
        table=table,
        left_over=everything,
        warnings=(*named.warnings, *class_notes(manifest), *named.rare(values)),
        notes=(*found.notes, *notes, *named.notes, *manifest.notes),
        mask_values=values if task == "segmentation" else {},
    )


def _choose_task(found: Found, cases: Sequence[Case], task: TaskName | None, where: str) -> TaskName:
    """The task that is asked for, else that of the labels of a list, else that of the masks."""
    has_masks = any(case.has_mask for case in cases)
    has_labels = all(case.label is not None for case in cases)
    learns_labels = has_labels and (found.labels_first or not has_masks)
    wanted: TaskName = task or ("classification" if learns_labels else "segmentation")
    if wanted == "segmentation" and not has_masks:
        raise DataError(where, "holds no masks, which a segmentation learns", "Add them, or plan a classification")
    if wanted == "classification" and not has_labels:
        raise DataError(where, "names no class for each scan, which a classification learns", KNOWN)
    return wanted


def _label_names(cases: Sequence[Case]) -> tuple[str, ...]:
    """Classes of cases as `voxray.datasets.csv_lists.label_codes` orders them."""
    names = {case.label for case in cases if case.label is not None}
    return tuple(sorted(names, key=int if all(name.isdecimal() for name in names) else str))


def _check_masks(manifest: Manifest) -> tuple[dict[str, str], dict[int, list[str]]]:
    """The problem of each scan whose mask cannot be used, and the scans of each value."""
    rows = manifest.scans.select(["scan_id", "path", "label_path"]).to_pylist()
    checked = check_masks(manifest.root, [row for row in rows if row["label_path"] is not None])
    problems = {name: mask.problem for name, mask in checked.items() if mask.problem}
    return problems, values_with_cases(checked)


def _check_count(names: Collection[str], left_over: Sequence[LeftOver], where: str) -> None:
    """Raise DataError unless scans of two or more patients can be used, given the names of the patients."""
    patients = len(names)
    if patients >= LEAST_PATIENTS:
        return
    reasons = "; ".join(f"{item.path}: {item.reason}" for item in left_over[:MOST_NAMED])
    problem = f"expected usable scans of {LEAST_PATIENTS} or more patients, got {patients}"
    raise DataError(where, f"{problem}; left over: {reasons}" if reasons else problem, "Add cases, or correct these")
