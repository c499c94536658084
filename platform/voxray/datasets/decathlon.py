"""Medical Segmentation Decathlon: ``dataset.json``, ``imagesTr`` and ``labelsTr``; each case is a scan and its mask.

The format is that of http://medicaldecathlon.com: ``labels`` and ``modality`` count from "0", ``training`` lists pairs
of paths relative to the folder.
"""

from dataclasses import dataclass
from typing import Any

from voxray.config.parse import parse_json
from voxray.config.validation import nearest, shown
from voxray.datasets.base import Layout
from voxray.datasets.csv_lists import scan_path
from voxray.datasets.files import case_name, nifti_files, scan_names
from voxray.datasets.manifest import Manifest, Row, quarantine_row, quarantine_rows, scans_table, whole_scan_samples
from voxray.errors import DataError
from voxray.storage.paths import AnyPath, read_bytes

DATASET_FILE = "dataset.json"
IMAGES, LABELS = "imagesTr", "labelsTr"


@dataclass(frozen=True)
class Case:
    """One entry of ``training``: its index in the list, its name, and its files relative to the root."""

    row: int
    name: str
    image: str
    label: str


def read_decathlon(root: AnyPath) -> Manifest:
    """List the training cases of a Decathlon task folder; reads no voxel.

    A case is one scan, one patient and one sample, with label 0, because the classes are those of the mask's voxels.
    Files without their counterpart are quarantined.

    Parameters
    ----------
    root : path
        Task folder, with ``dataset.json`` in it.

    Returns
    -------
    Manifest
        `classes` are the names under ``labels``, the background first; `channels` those under ``modality``.

    Raises
    ------
    DataError
        ``dataset.json`` is missing or not JSON, lacks a key or has an invalid value.
    """
    path = root / DATASET_FILE
    content = _read_json(path)
    classes = _numbered_names(path, content, "labels", at_least=2)
    channels = _numbered_names(path, content, "modality", at_least=1)
    cases, repeated = _without_repeats(_cases(path, content))
    usable, broken = _with_both_files(root, cases)
    rows: list[Row] = [
        {"scan_id": case.name, "path": case.image, "label_path": case.label, "row": case.row, "label": 0}
        for case in usable
    ]
    return Manifest(
        root=root,
        classes=classes,
        scans=scans_table(rows),
        samples=whole_scan_samples(rows),
        quarantine=quarantine_rows(repeated + broken + _not_listed(root, cases)),
        notes=_notes(content),
        channels=channels,
    )


def _read_json(path: AnyPath) -> dict[str, Any]:
    try:
        content = parse_json(read_bytes(path))
    except FileNotFoundError:
        raise DataError(str(path), "no such file", "Set data.root to a Decathlon task folder") from None
    except OSError as error:
        raise DataError(str(path), f"cannot be read: {error.strerror}", "Check the path") from None
    except ValueError as error:
        raise DataError(str(path), f"not a JSON file: {error}", "Correct or fetch it again") from None
    if not isinstance(content, dict):
        raise DataError(str(path), f"expected an object {{…}}, got a {type(content).__name__}", "Fetch it again")
    return content


def _value(path: AnyPath, content: dict[str, Any], key: str, kind: type) -> Any:
    if key not in content:
        hint = nearest(key, content) if content else "the object is empty"
        raise DataError(str(path), f"has no key '{key}' ({hint})", "Add or rename the key")
    if not isinstance(content[key], kind):
        expected = "an object {…}" if kind is dict else "a list […]"
        raise DataError(str(path), f"{key}: expected {expected}, got {content[key]!r:.60}", "Correct it")
    return content[key]


def _numbered_names(path: AnyPath, content: dict[str, Any], key: str, at_least: int) -> tuple[str, ...]:
    """The values of ``{"0": name, "1": name, …}`` in the order of their numbers."""
    names: dict[str, Any] = _value(path, content, key, dict)
    expected = [str(number) for number in range(len(names))]
    if unexpected := names.keys() - set(expected):
        problem = f"{key}: expected the keys '0' … '{len(names) - 1}' without a gap, got '{min(unexpected)}'"
        raise DataError(str(path), problem, f'Write {key} as {{"0": "name", "1": "name", …}}')
    ordered = tuple(names[number] for number in expected)
    for number, name in zip(expected, ordered, strict=True):
        if not isinstance(name, str) or not name.strip():
            raise DataError(str(path), f"{key}.{number}: expected a name, got {shown(name)}", "Give it one")
    if len(names) < at_least:
        raise DataError(str(path), f"{key}: expected {at_least} or more names, got {len(names)}", "Add what is missing")
    stripped = tuple(name.strip() for name in ordered)
    if len(set(stripped)) < len(stripped):
        raise DataError(str(path), f"{key}: names must differ, got {shown(list(ordered))}", "Rename one of them")
    return stripped


def _cases(path: AnyPath, content: dict[str, Any]) -> list[Case]:
    entries = _value(path, content, "training", list)
    if not entries:
        raise DataError(str(path), "training: expected at least one case, got []", "List the training cases")
    pairs = []
    for row, entry in enumerate(entries):
        if not isinstance(entry, dict):
            problem = f"training[{row}]: expected an image and a label, got {entry!r:.80}"
            raise DataError(str(path), problem, 'Write {"image": "./imagesTr/…", "label": "./labelsTr/…"}')
        image, label = (_relative(path, f"training[{row}].{key}", entry.get(key)) for key in ("image", "label"))
        pairs.append((image, label))
    names = scan_names({image: case_name(image) for image, _ in pairs})
    return [Case(row, names[image], image, label) for row, (image, label) in enumerate(pairs)]


def _relative(path: AnyPath, where: str, text: Any) -> str:
    if not isinstance(text, str) or not text:
        raise DataError(str(path), f"{where}: expected a path, got {text!r:.80}", "Name the file")
    return scan_path(text.strip(), f"{path}: {where}")


def _without_repeats(cases: list[Case]) -> tuple[list[Case], list[Row]]:
    """The first case of each image, and rows for all further ones."""
    first: dict[str, Case] = {}
    repeats = []
    for case in cases:
        if first.setdefault(case.image, case) is not case:
            rows = f"training[{first[case.image].row}] and [{case.row}]"
            reason = f"{case.image} is listed twice: {rows}; the first counts"
            repeats.append(quarantine_row(case.name, case.image, reason))
    return list(first.values()), repeats


def _with_both_files(root: AnyPath, cases: list[Case]) -> tuple[list[Case], list[Row]]:
    """Cases whose two files exist, and quarantine rows for the others."""
    usable: list[Case] = []
    broken: list[Row] = []
    for case in cases:
        exist = ((root / case.image).is_file(), (root / case.label).is_file())
        if all(exist):
            usable.append(case)
            continue
        reason = {
            (False, False): f"listed in {DATASET_FILE}, but neither {case.image} nor {case.label} is on disk",
            (False, True): f"{case.label} is a mask without its image: {case.image} is not on disk",
            (True, False): f"{case.image} is an image without its mask: {case.label} is not on disk",
        }[exist]
        kind = "scan" if any(exist) else "absent"
        broken.append(quarantine_row(case.name, case.image, reason, kind=kind, samples=1))
    return usable, broken


def _not_listed(root: AnyPath, cases: list[Case]) -> list[Row]:
    """Files in ``imagesTr`` and ``labelsTr`` that no case names."""
    listed = {text for case in cases for text in (case.image, case.label)}
    rows = []
    for folder, what in ((IMAGES, "an image"), (LABELS, "a mask")):
        for file in nifti_files(root / folder):
            text = f"{folder}/{file.name}"
            if text not in listed:
                reason = f"{text} is {what} that {DATASET_FILE} does not list"
                rows.append(quarantine_row(case_name(text), text, reason))
    return rows


def _notes(content: dict[str, Any]) -> tuple[str, ...]:
    note, tests = "a Decathlon folder names no patients: each case counts as one patient", content.get("test")
    if not isinstance(tests, list) or not tests:
        return (note,)
    return (note, f"{len(tests)} test images without masks are not used")


DECATHLON = Layout("decathlon", read_decathlon, recognize=lambda root: (root / DATASET_FILE).is_file())
