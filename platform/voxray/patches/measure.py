"""Shapes of a data set's scans from their headers, where the number of patches depends on them."""

from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from voxray.datasets.manifest import Manifest, quarantine_rows, samples_per_scan
from voxray.errors import DataError, ScanError
from voxray.scans.header import read_header
from voxray.scans.resample import resampled_shape

Shape = tuple[int, int, int]


def measure_scans(manifest: Manifest, spacing_mm: tuple[float, float, float] | None) -> Manifest:
    """The manifest with the shapes of its scans; those whose header cannot be read go to its quarantine.

    Parameters
    ----------
    manifest : Manifest
    spacing_mm : (x, y, z), optional
        What scans are resampled to before patches are cut.

    Raises
    ------
    DataError
        No scan is left.
    """
    shapes: dict[str, Shape] = {}
    lost: list[dict[str, object]] = []
    samples = samples_per_scan(manifest.samples)
    for scan in manifest.scans.select(["scan_id", "path"]).to_pylist():
        try:
            header = read_header(manifest.root / scan["path"])
        except ScanError as error:
            reason = str(error).replace(f"{manifest.root}/", "")
            lost.append({**scan, "kind": "scan", "samples": samples.get(scan["scan_id"], 0), "reason": reason})
            continue
        own = header.shape, header.spacing_mm
        shapes[scan["scan_id"]] = header.shape if spacing_mm is None else resampled_shape(*own, spacing_mm)
    if lost and not shapes:
        problem = f"holds no scan whose header can be read; of {len(lost)} the first: {lost[0]['reason']}"
        raise DataError(str(manifest.root), problem, "Fetch them again")
    known = pc.is_in(manifest.scans["scan_id"], value_set=pa.array(list(shapes), pa.string()))
    quarantine = pa.concat_tables([manifest.quarantine, quarantine_rows(lost)])
    return replace(manifest, scans=manifest.scans.filter(known), quarantine=quarantine, shapes=shapes)
