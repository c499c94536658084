"""What was understood, as a CSV that can be corrected by hand, and as lines for the terminal."""

import csv
from collections import Counter, defaultdict
from collections.abc import Sequence
from io import StringIO

from voxray.datasets.csv_lists import SPLITS
from voxray.datasets.table import MANIFEST
from voxray.planning.found import LeftOver, some
from voxray.planning.understand import Understood
from voxray.storage.atomic import write_text
from voxray.storage.paths import AnyPath

LEFT_OVER = "left_over.csv"
FIRST_PAIRS = 3


def write_manifest(understood: Understood, folder: AnyPath) -> tuple[AnyPath, ...]:
    """Write the manifest beside the experiment, and what was left over with its reasons; the files that were written.

    A folder in a known layout needs no manifest.
    """
    written = []
    if understood.table is not None:
        table = understood.table
        rows = list(zip(*(table[name].to_pylist() for name in table.column_names), strict=True))
        written.append(_write(folder / MANIFEST, table.column_names, rows))
    if understood.left_over:
        rows = [(item.path, item.reason) for item in understood.left_over]
        written.append(_write(folder / LEFT_OVER, ["path", "reason"], rows))
    return tuple(written)


def _write(path: AnyPath, header: Sequence[str], rows: Sequence[Sequence[str | None]]) -> AnyPath:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(["" if cell is None else cell for cell in row] for row in rows)
    write_text(path, text.getvalue())
    return path


def describe(understood: Understood) -> list[str]:
    """What was understood, in lines for the terminal."""
    scans = understood.manifest.scans
    patients = len(set(scans["patient_id"].to_pylist()))
    lines = [
        f"{understood.kind}: {scans.num_rows:,} scans of {patients:,} patients, {understood.task}",
        f"channels: {', '.join(understood.channels)}",
        f"classes: {', '.join(f'{number} {name}' for number, name in enumerate(understood.classes))}",
    ]
    pairs = scans.slice(0, FIRST_PAIRS).to_pylist()
    lines += [f"mask of {row['path']}: {row['label_path']}" for row in pairs if row["label_path"]]
    splits = Counter(filter(None, scans["split"].to_pylist()))
    if splits:
        lines.append(f"splits: {', '.join(f'{splits[name]} {name}' for name in SPLITS if name in splits)}")
    lines += [f"note: {note}" for note in understood.notes]
    lines += [f"warning: {warning}" for warning in understood.warnings]
    return [*lines, *_left_over_lines(understood.left_over)]


def _left_over_lines(left_over: Sequence[LeftOver]) -> list[str]:
    """A line for each reason, with the first names."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for item in left_over:
        by_reason[item.reason.removeprefix(f"{item.path}: ")].append(item.path)
    return [f"left over: {some(paths)}: {reason}" for reason, paths in by_reason.items()]
