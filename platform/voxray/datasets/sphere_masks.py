"""A data set of points as a segmentation: masks of spheres that are painted when they are read, from a list."""

import hashlib
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from voxray.datasets.csv_lists import read_csv
from voxray.datasets.manifest import Manifest, quarantine_rows, whole_scan_samples
from voxray.datasets.point_lists import COORDINATES, SERIES
from voxray.scans.formats.spheres import spheres_path

CLASSES = ("background", "nodule")
DIAMETER = "diameter_mm"


def with_sphere_masks(manifest: Manifest, annotations: str) -> Manifest:
    """The scans that have samples, each now a sample as a whole with a mask.

    Splits stay those of the points, so that a network that proposes candidates and one that classifies them can be
    trained on the same scans.

    Parameters
    ----------
    manifest : Manifest
        Its samples are points.
    annotations : str
        File name of the list, in the manifest's root.

    Raises
    ------
    DataError
        The list cannot be read, or a column is missing.
    """
    listed = manifest.samples.group_by("scan_id").aggregate([("label", "max"), ("row", "min")])
    rows = [(row["scan_id"], row["label_max"], row["row_min"]) for row in listed.sort_by("scan_id").to_pylist()]
    scans = manifest.scans.filter(pc.is_in(manifest.scans["scan_id"], value_set=listed["scan_id"]))
    paths = pa.array([spheres_path(annotations, path) for path in scans["path"].to_pylist()], pa.string())
    table = read_csv(
        manifest.root / annotations,
        (SERIES, *COORDINATES, DIAMETER),
        text=(SERIES,),
        numbers=(*COORDINATES, DIAMETER),
        may_be_empty=True,
    )
    nodules = table.filter(pc.is_in(table[SERIES], value_set=listed["scan_id"]))
    painted = nodules.filter(_paints(nodules))
    return replace(
        manifest,
        classes=CLASSES,
        scans=scans.set_column(scans.column_names.index("label_path"), "label_path", paths),
        samples=whole_scan_samples([{"scan_id": name, "row": row, "label": 0} for name, _, row in rows]),
        quarantine=_of_scans(manifest.quarantine),
        notes=(*manifest.notes, _note(annotations, nodules, painted)),
        strata={name: label for name, label, _ in rows},
        painted=_digest(painted),
    )


def _paints(nodules: pa.Table) -> pa.Array:
    """Whether each has a point and a diameter above 0."""
    columns = [np.asarray(nodules[name].to_numpy(), np.float64) for name in (*COORDINATES, DIAMETER)]
    return pa.array(np.isfinite(columns).all(axis=0) & (columns[-1] > 0))


def _of_scans(quarantine: pa.Table) -> pa.Table:
    """Without single points; a scan is one sample."""
    rows = quarantine.filter(pc.not_equal(quarantine["kind"], "sample")).to_pylist()
    return quarantine_rows([{**row, "samples": min(row["samples"], 1)} for row in rows])


def _note(annotations: str, nodules: pa.Table, painted: pa.Table) -> str:
    scans, lost = len(pc.unique(painted[SERIES])), nodules.num_rows - painted.num_rows
    text = f"masks are spheres around {painted.num_rows:,} nodules of {annotations}, in {scans:,} scans"
    return f"{text}; {lost:,} nodules without a point or a diameter above 0 are left out" if lost else text


def _digest(painted: pa.Table) -> str:
    """Of all that the masks depend on, in whatever order the list has it."""
    columns = painted.select([SERIES, *COORDINATES, DIAMETER])
    lines = sorted(",".join(map(str, row.values())) for row in columns.to_pylist())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
