"""Medical Segmentation Decathlon: ``dataset.json``, ``imagesTr`` and ``labelsTr``; each case is a scan and its mask.

The format is that of http://medicaldecathlon.com: ``labels`` and ``modality`` count from "0", ``training`` lists pairs
of paths relative to the folder.
"""

import json
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from voxray.config.validation import nearest
from voxray.datasets.files import case_name, nifti_files
from voxray.datasets.manifest import SAMPLES, SCANS, Manifest, quarantine_rows
from voxray.errors import DataError
from voxray.storage.paths import AnyPath

DATASET_FILE = "dataset.json"
IMAGES, LABELS = "imagesTr", "labelsTr"


@dataclass(frozen=True)
class Case:
    """One entry of ``training``: its place in the list, and its files relative to the root."""

    row: int
    image: str
    label: str

    @property
    def name(self) -> str:
        """Name of the image file without folder and suffix."""
        return case_name(self.image)


def read_decathlon(root: AnyPath) -> Manifest:
    """List the training cases of a Decathlon task folder; reads no voxel.

    A case is one scan and one sample: no center, and label 0, because the classes are those of the mask's voxels.
    Its patient is itself. Files without their counterpart go to quarantine.

    Parameters
    ----------
    root : Place
        Task folder, with ``dataset.json`` in it.

    Returns
    -------
    Manifest
        `classes` are the names under ``labels``, the background first; `channels` those under ``modality``.

    Raises
    ------
    DataError
        ``dataset.json`` is missing, is no JSON, or lacks a key or says something there that cannot be.
    """
    path = root / DATASET_FILE
    content = _read_json(path)
    classes = _numbered_names(path, content, "labels", at_least=2)
    channels = _numbered_names(path, content, "modality", at_least=1)
    cases, twice = _without_repeats(_cases(path, content))
    usable, broken = _with_both_files(root, cases)
    names = [case.name for case in usable]
    none = [None] * len(usable)
    scans = [names, names, [case.image for case in usable], none, [case.label for case in usable]]
    samples = [names, [case.row for case in usable], none, none, none, [0] * len(usable)]
    return Manifest(
        root=root,
        classes=classes,
        scans=pa.table(dict(zip(SCANS.names, scans, strict=True)), schema=SCANS),
        samples=pa.table(dict(zip(SAMPLES.names, samples, strict=True)), schema=SAMPLES),
        quarantine=quarantine_rows(twice + broken + _not_listed(root, cases)),
        notes=_notes(content),
        channels=channels,
    )


def _read_json(path: AnyPath) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise DataError(str(path), "no such file", "Set data.root to a Decathlon task folder") from None
    except (ValueError, OSError) as error:
        raise DataError(str(path), f"is no JSON file: {error}", "Correct or fetch it again") from None
    if not isinstance(content, dict):
        raise DataError(str(path), f"wants an object {{…}}, got a {type(content).__name__}", "Fetch it again")
    return content


def _value(path: AnyPath, content: dict[str, Any], key: str, kind: type) -> Any:
    if key not in content:
        hint = nearest(key, content)
        raise DataError(str(path), f"has no key '{key}' ({hint})", "Add or rename the key")
    if not isinstance(content[key], kind):
        wanted = "an object {…}" if kind is dict else "a list […]"
        raise DataError(str(path), f"{key} wants {wanted}, got {content[key]!r:.60}", "Correct it")
    return content[key]


def _numbered_names(path: AnyPath, content: dict[str, Any], key: str, at_least: int) -> tuple[str, ...]:
    """The values of ``{"0": name, "1": name, …}`` in the order of their numbers."""
    names = _value(path, content, key, dict)
    wanted = {str(number) for number in range(len(names))}
    for number, name in names.items():
        if number not in wanted:
            problem = f"{key} wants the keys '0' … '{len(names) - 1}' without a gap, got '{number}'"
            raise DataError(str(path), problem, f'Write {key} as {{"0": "name", "1": "name", …}}')
        if not isinstance(name, str) or not name:
            raise DataError(str(path), f"{key}.{number} wants a name, got {name!r}", "Give it one")
    if len(names) < at_least:
        raise DataError(str(path), f"{key} wants {at_least} or more names, got {len(names)}", "Add the missing ones")
    ordered = tuple(names[str(number)] for number in range(len(names)))
    if len(set(ordered)) < len(ordered):
        raise DataError(str(path), f"{key} names something twice, got {list(ordered)}", "Give each a name of its own")
    return ordered


def _cases(path: AnyPath, content: dict[str, Any]) -> list[Case]:
    entries = _value(path, content, "training", list)
    if not entries:
        raise DataError(str(path), "training lists no case, got []", "List the training cases")
    return [Case(row, *_pair(path, row, entry)) for row, entry in enumerate(entries)]


def _pair(path: AnyPath, row: int, entry: Any) -> tuple[str, str]:
    if not isinstance(entry, dict):
        problem = f"training[{row}] wants an image and a label, got {entry!r:.80}"
        raise DataError(str(path), problem, 'Write {"image": "./imagesTr/…", "label": "./labelsTr/…"}')
    image, label = (_relative(path, f"training[{row}].{key}", entry.get(key)) for key in ("image", "label"))
    return image, label


def _relative(path: AnyPath, where: str, text: Any) -> str:
    if not isinstance(text, str) or not text:
        raise DataError(str(path), f"{where} wants a path, got {text!r:.80}", "Name the file")
    if text.startswith("/") or ".." in PurePosixPath(text).parts:
        raise DataError(str(path), f"{where} leaves the folder, got '{text}'", "Give a path relative to it")
    return str(PurePosixPath(text))


def _without_repeats(cases: list[Case]) -> tuple[list[Case], list[dict[str, object]]]:
    """The first case of each name, and rows for all further ones."""
    first: dict[str, Case] = {}
    repeats = []
    for case in cases:
        if first.setdefault(case.name, case) is not case:
            reason = (
                f"{case.image} is listed twice: training[{first[case.name].row}] and [{case.row}]; the first counts"
            )
            repeats.append(_row(case.name, case.image, "scan", 0, reason))
    return list(first.values()), repeats


def _with_both_files(root: AnyPath, cases: list[Case]) -> tuple[list[Case], list[dict[str, object]]]:
    usable, broken = [], []
    for case in cases:
        missing = [text for text in (case.image, case.label) if not (root / text).is_file()]
        if not missing:
            usable.append(case)
        elif len(missing) == 2:
            reason = f"listed in {DATASET_FILE}, but neither {case.image} nor {case.label} is on disk"
            broken.append(_row(case.name, case.image, "absent", 1, reason))
        elif missing == [case.image]:
            reason = f"{case.label} is a mask without its image: {case.image} is not on disk"
            broken.append(_row(case.name, case.image, "scan", 1, reason))
        else:
            reason = f"{case.image} is an image without its mask: {case.label} is not on disk"
            broken.append(_row(case.name, case.image, "scan", 1, reason))
    return usable, broken


def _not_listed(root: AnyPath, cases: list[Case]) -> list[dict[str, object]]:
    """Files in ``imagesTr`` and ``labelsTr`` that no case names."""
    listed = {text for case in cases for text in (case.image, case.label)}
    rows = []
    for folder, kind in ((IMAGES, "an image"), (LABELS, "a mask")):
        for file in nifti_files(root / folder):
            text = f"{folder}/{file.name}"
            if text in listed:
                continue
            reason = f"{text} is {kind} that {DATASET_FILE} does not list"
            rows.append(_row(case_name(text), text, "scan", 0, reason))
    return rows


def _row(scan_id: str, path: str, kind: str, samples: int, reason: str) -> dict[str, object]:
    return {"scan_id": scan_id, "path": path, "kind": kind, "samples": samples, "reason": reason}


def _notes(content: dict[str, Any]) -> tuple[str, ...]:
    notes = ["a Decathlon folder names no patients: each case counts as one patient"]
    tests = content.get("test")
    if isinstance(tests, list) and tests:
        notes.append(f"{len(tests)} test images without masks are not used")
    return tuple(notes)
