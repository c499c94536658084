"""Which scans are to be predicted: files, DICOM series, and all below folders, with a name for the results of each."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from voxray.datasets.dicom import find_series
from voxray.errors import DataError
from voxray.inference.predict import plain_name
from voxray.scans.formats.dicom.folder import read_folder
from voxray.scans.formats.npz import NPZ
from voxray.scans.formats.picture import PICTURE
from voxray.scans.formats.registry import known_suffixes, split_suffix
from voxray.storage.paths import AnyPath, matching, relative_path, to_path

CHANNEL = re.compile(r"(.+)_(\d{4})")  # as in nnU-Net's raw format


@dataclass(frozen=True)
class InputScan:
    """A scan to predict.

    Attributes
    ----------
    path : AnyPath
        Absolute; see `voxray.scans.read.open_file`.
    name : str
        Of its results, relative to their folder, without suffix: of a scan below a given folder with its subfolders.
    """

    path: AnyPath
    name: str


def find_scans(given: Sequence[AnyPath], out: AnyPath, channels: int) -> tuple[list[InputScan], list[str]]:
    """The scans of paths, in their order.

    Parameters
    ----------
    given : sequence of path
        Scans, folders of a DICOM series, and folders with scans below them.
    out : path
        Folder of the predictions; what lies in it is no scan.
    channels : int
        Of a scan. Files ``NAME_0000``, ``NAME_0001``, … are one scan where there are several.

    Returns
    -------
    list of InputScan
    list of str
        Notes on what is left out.

    Raises
    ------
    DataError
        A folder without scans, one that predictions are written to, or two scans whose results would have one name.
    """
    scans: dict[AnyPath, InputScan] = {}
    notes: list[str] = []
    for path in (path.absolute() for path in given):
        found = [InputScan(path, plain_name(path))]
        if path.is_dir() and not _is_series(path):
            found, left_out = _scans_below(path, out.resolve(), channels)
            notes += left_out
        for scan in found:
            scans.setdefault(scan.path, scan)
    _check_names(scans.values())
    return list(scans.values()), notes


def _is_series(folder: AnyPath) -> bool:
    """Whether DICOM files lie directly in a folder."""
    content = read_folder(folder)
    return bool(content.files or content.broken)


def _scans_below(folder: AnyPath, out: AnyPath, channels: int) -> tuple[list[InputScan], list[str]]:
    if folder.resolve() == out:
        problem = "is to be read, and predictions would be written to it"
        raise DataError(str(folder), problem, "Give another folder with --out")
    found = [path for path in _files(folder, out) if not path.name.lower().endswith(NPZ.suffixes)]
    pictures = [path for path in found if path.name.lower().endswith(PICTURE.suffixes)]
    volumes = [path for path in found if path not in set(pictures)]
    series, skipped, _ = find_series(folder)
    others = [row for row in skipped if not str(row["path"]).lower().endswith(known_suffixes())]
    notes = [f"{folder}: {row['path']} is left out: {row['reason']}" for row in others]
    if pictures and (volumes or series):
        notes.append(f"{folder}: {len(pictures):,} pictures beside scans are left out, such as {pictures[0].name}")
        pictures = []
    scans = [
        InputScan(path, _name(relative_path(folder, path), channel))
        for path, channel in _with_channels(volumes or pictures, channels)
    ]
    scans += [InputScan(folder / each.path, split_suffix(each.path)[0]) for each in series]
    scans = [scan for scan in scans if not _is_below(scan.path, out)]
    if not scans:
        problem = f"holds no scan ({', '.join(known_suffixes())}) and no DICOM series"
        raise DataError(str(folder), problem, "Give a scan, or a folder with scans")
    return sorted(scans, key=lambda scan: scan.name), notes


def _files(folder: AnyPath, out: AnyPath) -> Iterator[AnyPath]:
    """The files below a folder with the suffix of a scan, without hidden ones."""
    for path in matching(folder, "**/*"):
        hidden = any(part.startswith(".") for part in relative_path(folder, path).split("/"))
        if path.name.lower().endswith(known_suffixes()) and not hidden and not _is_below(path, out) and path.is_file():
            yield path


def _is_below(path: AnyPath, folder: AnyPath) -> bool:
    return str(path.resolve()).startswith(f"{str(folder).rstrip('/')}/")


def _with_channels(paths: Sequence[AnyPath], channels: int) -> Iterator[tuple[AnyPath, bool]]:
    """Scans, and whether each has a file for each channel, which one path names then."""
    groups: dict[tuple[str, str], list[AnyPath]] = defaultdict(list)
    for path in paths:
        stem, suffix = split_suffix(path.name)
        match = CHANNEL.fullmatch(stem) if channels > 1 else None
        groups[str(path.parent / (match[1] if match else stem)), f"{bool(match)}{suffix}"].append(path)
    for (stem, kind), files in groups.items():
        if not kind.startswith("True"):
            yield from ((file, False) for file in files)
            continue
        numbers = ",".join(sorted(split_suffix(file.name)[0][-4:] for file in files))
        suffix = kind.removeprefix("True")
        yield to_path(f"{stem}_{{{numbers}}}{suffix}") if len(files) > 1 else files[0], len(files) > 1


def _name(path: str, channels: bool) -> str:
    """The name of results: without the suffix, and without the numbers of channels."""
    stem = split_suffix(path)[0]
    return stem.rpartition("_{")[0] if channels else stem


def _check_names(scans: Iterable[InputScan]) -> None:
    """Raise DataError where two scans would be written to one file; not every disk tells capitals apart."""
    names: dict[str, AnyPath] = {}
    problems = []
    for scan in scans:
        first = names.setdefault(scan.name.casefold(), scan.path)
        if first != scan.path:
            problems.append(f"{scan.path} would be written to the same file as {first}")
    if problems:
        remedy = "Give the folder above them, whose subfolders are kept, or predict into two folders"
        raise DataError("predict", "; ".join(problems), remedy)
