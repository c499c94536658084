"""Shapes of a data set's scans from their headers, where the number of patches depends on them."""

from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from voxray.config.data import PatchesSpec
from voxray.datasets.manifest import Manifest, quarantine_rows, samples_per_scan
from voxray.errors import DataError, ScanError
from voxray.scans.geometry import check_spacing
from voxray.scans.header import read_header
from voxray.scans.resample import resampled_shape
from voxray.storage.paths import AnyPath

Shape = tuple[int, int, int]


def measure_scans(manifest: Manifest, patches: PatchesSpec) -> Manifest:
    """Add the shapes of the scans, once they are resampled, to a manifest; scans with a bad header are quarantined.

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
            shapes[scan["scan_id"]] = _shape(manifest.root / scan["path"], patches)
        except ScanError as error:
            reason = str(error).replace(f"{manifest.root}/", "")
            unreadable.append({**scan, "kind": "scan", "samples": samples.get(scan["scan_id"], 0), "reason": reason})
    if unreadable and not shapes:
        problem = f"no header of {len(unreadable)} scans can be read; the first: {unreadable[0]['reason']}"
        raise DataError(str(manifest.root), problem, "Fetch the scans again")
    readable = pc.is_in(manifest.scans["scan_id"], value_set=pa.array(list(shapes), pa.string()))
    quarantine = pa.concat_tables([manifest.quarantine, quarantine_rows(unreadable)])
    return replace(manifest, scans=manifest.scans.filter(readable), quarantine=quarantine, shapes=shapes)


def _shape(path: AnyPath, patches: PatchesSpec) -> Shape:
    """Voxels of a scan on the grid that its patches are cut from."""
    header = read_header(path)
    check_spacing(header, patches.spacing_range_mm, str(path))
    if patches.spacing_mm is None:
        return header.shape
    return resampled_shape(header.shape, header.spacing_mm, patches.spacing_mm, str(path))
