"""Inspection: from a data set to a page of its statistics and defects."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from voxray.datasets.layouts import load_checked_experiment
from voxray.executors.base import Executor
from voxray.inspection.scan_stats import SCAN_STATS, chunk_targets
from voxray.inspection.summary import Inspection, finish_inspection
from voxray.inspection.target import read_experiment_target, read_target
from voxray.runs.folder import InspectionFolder, RunFolder
from voxray.runs.status import reported
from voxray.stages.common import OnStatus
from voxray.storage.paths import AnyPath


def inspect(
    source: AnyPath,
    executor: Executor,
    on_status: OnStatus,
    *,
    settings: Sequence[str] = (),
    out: AnyPath | None = None,
    voxels: bool = False,
) -> Inspection:
    """Inspect a data set, and write a page, a JSON file and a table of its statistics and defects.

    Parameters
    ----------
    source : AnyPath
        A folder or file of scans, or the TOML file of an experiment.
    executor : Executor
    on_status : callable
    settings : sequence of str
        Of an experiment, ``key.path=value`` each.
    out : AnyPath, optional
        The folder to write; by default ``inspection`` in the experiment's folder, or in ``runs``.
    voxels : bool
        Whether to read voxels too, not only headers.
    """
    if isinstance(source, Path) and source.suffix == ".toml":
        experiment = load_checked_experiment(source, settings)
        target, folder = read_experiment_target(experiment), experiment.out_path / "inspection"
    else:
        target = read_target(source)
        folder = Path("runs", "inspection", target.name)
    folder = out or folder
    tables = [SCAN_STATS.empty_table()]
    with InspectionFolder(folder).locked(), reported(RunFolder(folder), "inspect", "scans") as on_progress:
        chunks = chunk_targets(target.targets, voxels)
        root = target.manifest.root.resolve()
        for scan_stats in executor.inspect_scans(root, chunks, target.labels, voxels):
            tables.append(scan_stats)
            on_progress(sum(table.num_rows for table in tables), target.targets.num_rows, "")
        inspection = finish_inspection(target, pa.concat_tables(tables), voxels)
        from voxray.reporting.inspection.page import write_inspection  # imports matplotlib, which takes a second

        page = write_inspection(folder, inspection)
    on_status(f"inspect: {page}")
    return inspection
