"""DICOM series, and DICOM segmentations of them as masks."""

from collections import defaultdict

from voxray.datasets.dicom import find_series
from voxray.planning.found import CHANNEL, MOST_NAMED, Case, Found, LeftOver
from voxray.scans.formats.dicom.segmentation import read_segments
from voxray.storage.paths import AnyPath, join_path


def find_segmented_series(root: AnyPath) -> Found | None:
    """Series with the segmentation that refers to each; None where no series has one."""
    series, quarantine, _ = find_series(root)
    masks: dict[str, list[str]] = defaultdict(list)
    names: dict[int, str] = {0: "background"}
    left_over = []
    for row in quarantine:
        segments = read_segments(join_path(root, str(row["path"])))
        if segments is None:
            left_over.append(LeftOver(str(row["path"]), str(row["reason"]).removeprefix(f"{row['path']}: ")))
            continue
        labeled = {number: name for number, name in segments.names.items() if number}
        odd = {number: name for number, name in labeled.items() if names.setdefault(number, name) != name}
        if odd:
            number, name = next(iter(odd.items()))
            reason = f"its segment {number} is {name!r}, and that of others is {names[number]!r}"
            left_over.append(LeftOver(str(row["path"]), reason))
        else:
            masks[segments.series].append(str(row["path"]))
    if not masks:
        return None
    cases = []
    first: dict[str, str] = {}  # scan of each patient, by which it is named
    for found in series:
        paths = masks.pop(found.series, [])
        if len(paths) == 1:
            patient = first.setdefault(found.patient, found.path) if found.patient else None
            cases.append(Case(found.path, {CHANNEL: found.path}, paths[0], patient=patient))
        elif paths:
            reason = f"has {len(paths)} segmentations, expected one: {', '.join(paths[:MOST_NAMED])}"
            left_over.append(LeftOver(found.path, reason))
        else:
            left_over.append(LeftOver(found.path, "no segmentation refers to it"))
    alone = [path for paths in masks.values() for path in paths]
    left_over += [LeftOver(path, "the series that it refers to is not here") for path in alone]
    kind = "DICOM series with DICOM segmentations"
    return Found(kind, tuple(cases), tuple(left_over), mask_names=names, labels_first=False)
