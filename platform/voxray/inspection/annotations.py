"""The annotated nodules of a data set, in words."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from voxray.datasets.layouts import find_layout
from voxray.datasets.manifest import Manifest
from voxray.datasets.point_lists import read_annotations
from voxray.storage.paths import exists


def annotation_note(layout: str, manifest: Manifest) -> str | None:
    """What the lists of annotations hold of the scans, or that they are missing; None for a layout without them.

    Raises
    ------
    DataError
        A list cannot be read.
    """
    lists = find_layout(layout).annotations if layout else ()
    if not lists:
        return None
    nodules, *others = (manifest.root / name for name in lists)
    if not exists(nodules):
        return f"no {nodules.name}: detections cannot be scored (FROC, CPM) against nodules"
    scans = manifest.scans["scan_id"]

    def of_scans(table: pa.Table) -> pa.Table:
        return table.filter(pc.is_in(table["scan_id"], value_set=scans.combine_chunks()))

    listed = of_scans(read_annotations(nodules))
    excluded = sum(of_scans(read_annotations(path)).num_rows for path in others if exists(path))
    text = f"{listed.num_rows:,} annotated nodules in {len(listed['scan_id'].unique()):,} of {len(scans):,} scans"
    sizes = np.asarray(listed["diameter_mm"].to_numpy(), np.float64)
    if (sizes := sizes[sizes > 0]).size:
        text += f", {sizes.min():.1f} to {sizes.max():.1f} mm in diameter (median {np.median(sizes):.1f})"
    return f"{text}; {excluded:,} excluded findings"
