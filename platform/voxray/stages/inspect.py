"""A data set to a page of what it holds and what is wrong."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from voxray.config.load import load_experiment
from voxray.inspection.scan_stats import SCAN_STATS, chunk_targets, inspect_scans
from voxray.inspection.summary import Inspection, finish_inspection
from voxray.inspection.target import InspectionTarget, read_experiment_target, read_target
from voxray.runs.folder import RunFolder
from voxray.runs.status import reported
from voxray.stages.common import OnStatus, _cluster
from voxray.storage.locks import locked
from voxray.storage.paths import AnyPath


def inspect(
    source: AnyPath,
    on_status: OnStatus,
    *,
    settings: Sequence[str] = (),
    out: AnyPath | None = None,
    voxels: bool = False,
    with_ray: bool = True,
) -> Inspection:
    """A folder of scans, or an experiment's data → what it holds and what is wrong, as a page, JSON and a table."""
    if isinstance(source, Path) and source.suffix == ".toml":
        experiment = load_experiment(source, settings)
        target, folder = read_experiment_target(experiment), experiment.out_path / "inspection"
    else:
        target = read_target(source)
        folder = Path("runs", "inspection", target.name)
    folder = out or folder
    found = [SCAN_STATS.empty_table()]
    with locked(folder), reported(RunFolder(folder), "inspect", "scans") as on_progress:
        for scan_stats in _look(target, voxels, with_ray):
            found.append(scan_stats)
            on_progress(sum(each.num_rows for each in found), target.targets.num_rows, "")
        inspection = finish_inspection(target, pa.concat_tables(found), voxels)
        from voxray.report.inspection.page import write_inspection  # matplotlib, as for the report

        page = write_inspection(folder, inspection)
    on_status(f"inspect: {page}")
    return inspection


def _look(target: InspectionTarget, voxels: bool, with_ray: bool) -> Iterator[pa.Table]:
    root, classes = target.manifest.root.resolve(), target.mask_classes
    pieces = chunk_targets(target.targets, voxels)
    if with_ray and pieces:
        from voxray.executors.ray.inspect import inspect_on_ray

        with _cluster(True):
            yield from inspect_on_ray(root, pieces, classes, voxels)
        return
    yield from (inspect_scans(root, piece, classes, voxels) for piece in pieces)
