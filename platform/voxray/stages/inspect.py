"""A data set to a page of what it holds and what is wrong."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from voxray.config.load import load_experiment
from voxray.inspection.facts import FACTS, cut_targets, look_at
from voxray.inspection.subject import Subject, read_experiment_subject, read_subject
from voxray.inspection.summary import Inspection, complete
from voxray.runs.folder import RunFolder
from voxray.runs.status import reported
from voxray.stages.common import Say, _cluster
from voxray.storage.locks import locked
from voxray.storage.paths import Place


def inspect(
    source: Place,
    say: Say,
    *,
    settings: Sequence[str] = (),
    out: Place | None = None,
    voxels: bool = False,
    with_ray: bool = True,
) -> Inspection:
    """A folder of scans, or an experiment's data → what it holds and what is wrong, as a page, JSON and a table."""
    if isinstance(source, Path) and source.suffix == ".toml":
        experiment = load_experiment(source, settings)
        subject, folder = read_experiment_subject(experiment), experiment.out_path / "inspection"
    else:
        subject = read_subject(source)
        folder = Path("runs", "inspection", subject.name)
    folder = out or folder
    found = [FACTS.empty_table()]
    with locked(folder), reported(RunFolder(folder), "inspect", "scans") as show:
        for facts in _look(subject, voxels, with_ray):
            found.append(facts)
            show(sum(each.num_rows for each in found), subject.targets.num_rows, "")
        inspection = complete(subject, pa.concat_tables(found), voxels)
        from voxray.report.inspection.page import write_inspection  # matplotlib, as for the report

        page = write_inspection(folder, inspection)
    say(f"inspect: {page}")
    return inspection


def _look(subject: Subject, voxels: bool, with_ray: bool) -> Iterator[pa.Table]:
    root, classes = subject.manifest.root.resolve(), subject.mask_classes
    pieces = cut_targets(subject.targets, voxels)
    if with_ray and pieces:
        from voxray.executors.ray.inspect import look_on_ray

        with _cluster(True):
            yield from look_on_ray(root, pieces, classes, voxels)
        return
    yield from (look_at(root, piece, classes, voxels) for piece in pieces)
