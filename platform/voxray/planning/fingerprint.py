"""The fingerprint of a data set: all that its plan is derived from, as a few arrays of numbers."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from voxray.datasets.manifest import Manifest
from voxray.errors import DataError
from voxray.executors.base import Executor
from voxray.inspection.outliers import axis_columns, percentile_array
from voxray.inspection.scan_stats import RANKS, SCAN_STATS, chunk_targets
from voxray.inspection.target import list_targets
from voxray.planning.unet_rules import Numbers

CT_AIR = -500  # values below this, in most scans, are Hounsfield units of air
TAILS = (0.5, 99.5)  # percentiles of nnU-Net's window


@dataclass(frozen=True)
class Intensity:
    """The intensities of a channel.

    Attributes
    ----------
    low, high : float
        0.5th and 99.5th percentile inside the masks of all scans, each scan with the same weight; without masks the
        medians of those of whole scans.
    mean, deviation : float
        Inside the masks too; without masks the means of those of whole scans.
    least, most : float
        Over all voxels of all scans.
    is_ct : bool
        Whether these are Hounsfield units.
    """

    low: float
    high: float
    mean: float
    deviation: float
    least: float
    most: float
    is_ct: bool


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What the rules of a plan know of a data set.

    Attributes
    ----------
    masks : bool
        Whether voxels are classified.
    points : bool
        Whether samples are points in a scan.
    located : bool
        Whether there are masks that say where to look, beside the classes of scans.
    channels, classes : tuple of str
        Without masks and points, classes are those of scans.
    spacings_mm, extents, contents : ndarray of float64, (scans, 3)
        Distance and number of voxels, and the number in the box that holds every value but 0.
    patients : int
    counts : ndarray of int64, (classes,)
        Voxels of each class, or samples.
    intensities : tuple of Intensity
        Of each channel.
    whole_numbers : bool
        Whether all voxels are integers.
    has_splits : bool
        Whether the data set brings its own splits.
    has_spacing : bool
        Whether files give the size of voxels, as pictures do not.
    regions : bool
        Whether classes are unions of values of the masks, which may overlap.
    """

    masks: bool
    points: bool
    located: bool
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    spacings_mm: Numbers
    extents: Numbers
    contents: Numbers
    patients: int
    counts: NDArray[np.int64]
    intensities: tuple[Intensity, ...]
    whole_numbers: bool
    has_splits: bool
    has_spacing: bool
    regions: bool = False

    @property
    def scans(self) -> int:
        """Number of scans that can be read."""
        return len(self.extents)

    @property
    def content_share(self) -> float:
        """Median share of a scan's voxels in the box that holds every value but 0."""
        return float(np.median(np.prod(self.contents / self.extents, axis=1)))


def measure_scans(manifest: Manifest, executor: Executor, on_progress: Callable[[int, int, str], None]) -> pa.Table:
    """Read every scan of a manifest once, in parallel; the rows (schema SCAN_STATS) are in the order of its scans."""
    targets = list_targets(manifest)
    tables = [SCAN_STATS.empty_table()]
    with executor.session():
        chunks = chunk_targets(targets, True)
        for table in executor.inspect_scans(manifest.root.resolve(), chunks, manifest.labels, True):
            tables.append(table)
            on_progress(sum(each.num_rows for each in tables), targets.num_rows, "")
    return pa.concat_tables(tables).sort_by("number")


def build_fingerprint(manifest: Manifest, scan_stats: pa.Table, channels: tuple[str, ...]) -> Fingerprint:
    """The fingerprint of the scans that could be read.

    Parameters
    ----------
    manifest : Manifest
    scan_stats : pyarrow.Table
        Of its scans, with voxels; schema SCAN_STATS.
    channels : tuple of str
        Their names, where the data set or the user gives them; a name such as ``CT`` is believed.

    Raises
    ------
    DataError
        No scan could be read.
    """
    read = scan_stats.filter(pc.is_valid(scan_stats["content"]))
    if read.num_rows == 0:
        raise DataError(str(manifest.root), "no scan can be read", "See what voxray inspect says of the data set")
    names = channels or tuple(f"channel {number}" for number in range(read["channels"][0].as_py()))
    read = read.filter(pc.equal(read["channels"], len(names)))
    with_masks = manifest.scans["label_path"].null_count < manifest.scans.num_rows
    masks = manifest.masks_are_targets and with_masks
    samples = manifest.samples.filter(pc.is_in(manifest.samples["scan_id"], read["scan_id"].combine_chunks()))
    counts = np.bincount(samples["label"].to_numpy(), minlength=len(manifest.classes))
    if masks:
        counts = np.sum(read["mask_voxels"].drop_null().to_pylist() or [[0] * len(manifest.classes)], axis=0)
    return Fingerprint(
        masks=masks,
        points=manifest.samples["x_mm"].null_count < manifest.samples.num_rows,
        located=with_masks and not masks,
        channels=names,
        classes=manifest.classes,
        spacings_mm=axis_columns(read, "spacing_mm"),
        extents=axis_columns(read, "extent"),
        contents=np.array(read["content"].to_pylist(), np.float64),
        patients=len(pc.unique(read["patient_id"])),
        counts=np.asarray(counts, np.int64),
        intensities=tuple(_intensity(read, number, name) for number, name in enumerate(names)),
        whole_numbers=all("int" in dtype for dtype in pc.unique(read["dtype"]).to_pylist()),
        has_splits=read["split"].null_count < read.num_rows,
        has_spacing=any(pc.unique(read["axes"]).to_pylist()),
        regions=manifest.labels is not None and bool(manifest.labels.regions),
    )


def _intensity(read: pa.Table, channel: int, name: str) -> Intensity:
    ranks = dict(zip(RANKS, percentile_array(read)[:, channel].T, strict=True))
    inside = np.array([each[channel] for each in read["foreground"].drop_null().to_pylist()], np.float64)
    if len(inside):
        low, high = np.percentile(inside, TAILS)
        mean, deviation = inside.mean(), inside.std()
    else:
        low, high = (np.nanmedian(ranks[rank]) for rank in TAILS)
        mean, deviation = (np.mean([row[channel] for row in read[key].to_pylist()]) for key in ("mean", "deviation"))
    air = float(np.nanmedian(ranks[0.5]))
    return Intensity(
        low=float(low),
        high=float(high),
        mean=float(mean),
        deviation=float(deviation),
        least=float(np.nanmin(ranks[0.0])),
        most=float(np.nanmax(ranks[100.0])),
        is_ct=name.casefold() == "ct" or air < CT_AIR,
    )
