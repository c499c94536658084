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
    """Add the shapes of the scans to a manifest; scans whose header cannot be read are quarantined.

    `spacing_mm` is the spacing that scans are resampled to before patches are cut.

    Raises
    ------
    DataError
        No header can be read.
    """
    shapes: dict[str, Shape] = {}
    unreadable: list[dict[str, object]] = []
    samples = samples_per_scan(manifest.samples)
    for scan in manifest.scans.select(["scan_id", "path"]).to_pylist():
        try:
            header = read_header(manifest.root / scan["path"])
        except ScanError as error:
            reason = str(error).replace(f"{manifest.root}/", "")
            unreadable.append({**scan, "kind": "scan", "samples": samples.get(scan["scan_id"], 0), "reason": reason})
            continue
        shape = header.shape
        if spacing_mm is not None:
            shape = resampled_shape(shape, header.spacing_mm, spacing_mm)
        shapes[scan["scan_id"]] = shape
    if unreadable and not shapes:
        problem = f"no header of {len(unreadable)} scans can be read; the first: {unreadable[0]['reason']}"
        raise DataError(str(manifest.root), problem, "Fetch the scans again")
    readable = pc.is_in(manifest.scans["scan_id"], value_set=pa.array(list(shapes), pa.string()))
    quarantine = pa.concat_tables([manifest.quarantine, quarantine_rows(unreadable)])
    return replace(manifest, scans=manifest.scans.filter(readable), quarantine=quarantine, shapes=shapes)
