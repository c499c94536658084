"""Raw data of nnU-Net v2: ``dataset.json``, ``imagesTr/CASE_0000.nii.gz``, ``labelsTr/CASE.nii.gz``.

Format: https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/dataset_format.md.
"""

from collections import defaultdict
from typing import Any

from voxray.config.labels import mask_labels
from voxray.config.parse import parse_json
from voxray.config.validation import shown
from voxray.datasets.csv_lists import scan_path
from voxray.errors import DataError
from voxray.planning.found import Case, Found, LeftOver
from voxray.storage.paths import AnyPath, matching, read_bytes

FILE = "dataset.json"
IGNORE = "ignore"
FOLDERS = (("imagesTr", "labelsTr", "train"), ("imagesTs", "labelsTs", "test"))


def find_nnunet(root: AnyPath) -> Found | None:
    """The cases of a folder of nnU-Net v2; None for a folder that is none.

    Raises
    ------
    DataError
        ``dataset.json`` has an invalid value.
    """
    path = root / FILE
    if not path.is_file():
        return None
    try:
        content = parse_json(read_bytes(path))
    except ValueError as error:
        raise DataError(str(path), f"not a JSON file: {error}", "Correct or fetch it again") from None
    if not isinstance(content, dict) or not isinstance(content.get("labels"), dict) or "training" in content:
        return None  # that of the Decathlon lists its cases
    channels = _channels(path, content)
    names, regions, ignored = _labels(path, content["labels"])
    ending = content.get("file_ending", ".nii.gz")
    left_over: list[LeftOver] = []
    if isinstance(content.get("dataset"), dict):
        cases = _listed(path, content["dataset"], channels)
    else:
        cases, left_over = _on_disk(root, channels, str(ending))
    notes = [f"regions: {', '.join(f'{name} = {list(values)}' for name, values in regions.items())}"] if regions else []
    notes += _order_notes(content.get("regions_class_order"), regions)
    if ignored is not None:
        notes.append(f"voxels with the value {ignored} are not labeled ({IGNORE})")
    return Found("raw data of nnU-Net v2", tuple(cases), tuple(left_over), tuple(notes), names, regions, ignored)


def _channels(path: AnyPath, content: dict[str, Any]) -> list[str]:
    names = content.get("channel_names", content.get("modality"))
    if not isinstance(names, dict) or set(names) != {str(number) for number in range(len(names))} or not names:
        problem = f'channel_names: expected {{"0": "CT", …}} without a gap, got {shown(names)}'
        raise DataError(str(path), problem, "Number the channels from 0")
    return [str(names[str(number)]).strip() or f"channel_{number}" for number in range(len(names))]


def _labels(path: AnyPath, labels: dict[str, Any]) -> tuple[dict[int, str], dict[str, tuple[int, ...]], int | None]:
    """Names of values, classes of several values where there are any, and the value to ignore."""
    names: dict[int, str] = {}
    regions: dict[str, tuple[int, ...]] = {}
    has_regions = any(isinstance(value, list) and len(value) > 1 for value in labels.values())
    for name, value in labels.items():
        values = value if isinstance(value, list) else [value]
        if not values or not all(isinstance(number, int) and 0 <= number < 256 for number in values):
            problem = f"labels.{name}: expected a number from 0 to 255 or a list of them, got {shown(value)}"
            raise DataError(str(path), problem, 'Write {"background": 0, "tumor": 1}')
        if has_regions and name != IGNORE and values != [0]:
            regions[name] = tuple(values)
        elif len(values) > 1:
            problem = f"labels.{name}: expected one number, got {shown(value)}"
            raise DataError(str(path), problem, "Give the number of unlabeled voxels")
        elif values[0] in names:
            problem = f"labels: {names[values[0]]!r} and {name!r} have the number {values[0]}"
            raise DataError(str(path), problem, "Give each label a number of its own")
        else:
            names[values[0]] = name
    ignored = next((value for value, name in names.items() if name == IGNORE), None)
    return {value: names[value] for value in sorted(names) if value != ignored}, regions, ignored


def _order_notes(order: Any, regions: dict[str, tuple[int, ...]]) -> list[str]:
    """What predictions of nnU-Net would write for regions where it is not what ours write."""
    if not regions:
        return []
    labels = mask_labels(("background",), {"regions": regions})
    written = [labels.values[number] for number in labels.written]
    return [] if order in (None, written) else [f"label maps hold {written} for the regions, not {shown(order)}"]


def _on_disk(root: AnyPath, channels: list[str], ending: str) -> tuple[list[Case], list[LeftOver]]:
    cases, left_over = [], []
    for images, labels, split in FOLDERS:
        files: dict[str, dict[str, str]] = defaultdict(dict)
        for file in matching(root / images, f"*{ending}"):
            name, _, number = file.name.removesuffix(ending).rpartition("_")
            if name and number.isdecimal() and int(number) < len(channels):
                files[name][channels[int(number)]] = f"{images}/{file.name}"
            else:
                reason = f"expected a name that ends in _0000 to _{len(channels) - 1:04d}{ending}"
                left_over.append(LeftOver(f"{images}/{file.name}", reason))
        found = [file.name for file in matching(root / labels, f"*{ending}")]
        masks = {file.removesuffix(ending): f"{labels}/{file}" for file in found}
        cases += [Case(name, files[name], masks[name], split=split) for name in files if name in masks]
        alone = [path for name in files.keys() - masks.keys() for path in files[name].values()]
        left_over += [LeftOver(path, "no mask has its name") for path in sorted(alone)]
        without = [masks[name] for name in masks.keys() - files.keys()]
        left_over += [LeftOver(path, "no image has the name of this mask") for path in sorted(without)]
    return cases, left_over


def _listed(path: AnyPath, entries: dict[str, Any], channels: list[str]) -> list[Case]:
    """Cases of the key ``dataset``, which names the files of each."""
    cases = []
    for name, entry in entries.items():
        images = entry.get("images") if isinstance(entry, dict) else None
        if not isinstance(images, list) or len(images) > len(channels) or not isinstance(entry.get("label"), str):
            raise DataError(str(path), f"dataset.{name}: expected images and a label, got {shown(entry)}", "Correct it")
        where = f"{path}: dataset.{name}"
        files = {channel: scan_path(str(file), where) for channel, file in zip(channels, images, strict=False)}
        cases.append(Case(name, files, scan_path(entry["label"], where)))
    return cases
