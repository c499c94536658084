"""What is inspected: an experiment's data, a folder in a known layout, or the scans below a folder."""

from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from voxray.config.data import DataSpec
from voxray.config.experiment import Experiment
from voxray.datasets.layouts import read_manifest, recognize_layout
from voxray.datasets.loose import read_loose
from voxray.datasets.manifest import Manifest, shared_patients
from voxray.errors import DataError
from voxray.patches.plan import Plan, empty_classes
from voxray.patches.planned import plan_experiment
from voxray.storage.paths import AnyPath, exists

TARGETS = pa.schema(
    [
        ("number", pa.int64()),  # row of the table, by which results find their place again
        ("scan_id", pa.string()),
        ("patient_id", pa.string()),
        ("split", pa.string()),  # of the plan, else of the data set; null where neither gives one
        ("label", pa.string()),  # class of the scan as a whole; null where classes are those of places or voxels
        ("path", pa.string()),
        ("label_path", pa.string()),
    ]
)


@dataclass(frozen=True, eq=False)
class InspectionTarget:
    """A data set, and what is known of it from its lists.

    Attributes
    ----------
    name : str
    layout : str
        Empty for loose scans.
    manifest : Manifest
    targets : pyarrow.Table
        Schema TARGETS, a row for each scan.
    plan : Plan, optional
        Of an experiment that can be planned.
    plan_problems : tuple of str
        Why an experiment could not be run as it is.
    """

    name: str
    layout: str
    manifest: Manifest
    targets: pa.Table
    plan: Plan | None = None
    plan_problems: tuple[str, ...] = ()

    @property
    def masks(self) -> bool:
        """Whether classes are those of voxels."""
        return _are_classes_of_voxels(self.manifest)

    @property
    def mask_classes(self) -> tuple[str, ...]:
        """Names of the values of masks; none where any value but 0 only says where to look."""
        return self.manifest.classes if self.manifest.masks_are_targets else ()


def read_target(source: AnyPath) -> InspectionTarget:
    """Find out what a data set consists of; reads lists, no scan.

    Parameters
    ----------
    source : Place
        A folder or file of scans.

    Raises
    ------
    DataError
        There is nothing there, or a list in it cannot be read.
    """
    if not exists(source):
        raise DataError(str(source), "no such folder, file or experiment", "Check the path")
    layout = recognize_layout(source)
    spec = {"layout": layout, "root": str(source)}
    manifest = read_manifest(DataSpec.model_validate(spec)) if layout else read_loose(source)
    return InspectionTarget(source.resolve().name, layout or "", manifest, _targets(manifest, None))


def read_experiment_target(experiment: Experiment) -> InspectionTarget:
    """The data of an experiment, with its plan as far as there can be one.

    Raises
    ------
    DataError
        The data set is not there, or a list in it cannot be read.
    """
    manifest = read_manifest(experiment.data)
    plan, problems = None, []
    if experiment.split.folds is not None and experiment.split.fold is None:
        # All folds are planned alike: the first stands for the others.
        split = experiment.split.model_copy(update={"fold": 0})
        experiment = experiment.model_copy(update={"split": split})
        told = f"cross-validation: splits, patches and store are those of the first of {split.folds} folds"
        manifest = replace(manifest, notes=(*manifest.notes, told))
    try:
        _, plan = plan_experiment(experiment, manifest)
        problems = empty_classes(plan, ("train", "val"))
    except DataError as error:
        # Shared patients are a finding of their own, one for each of them.
        if not shared_patients(manifest.scans):
            problems.append(error.problem)
    return InspectionTarget(
        experiment.name, experiment.data.layout, manifest, _targets(manifest, plan), plan, tuple(problems)
    )


def _targets(manifest: Manifest, plan: Plan | None) -> pa.Table:
    scans = manifest.scans
    splits = dict(zip(scans["path"].to_pylist(), scans["split"].to_pylist(), strict=True))
    if plan is not None:
        # By their paths: a plan may know scans by pseudonyms.
        splits |= dict(zip(plan.table["path"].to_pylist(), plan.table["split"].to_pylist(), strict=True))
    labels = _scan_labels(manifest)
    ids = scans["scan_id"].to_pylist()
    columns = [
        list(range(len(ids))),
        ids,
        scans["patient_id"],
        [splits[path] for path in scans["path"].to_pylist()],
        [labels.get(name) for name in ids],
        scans["path"],
        scans["label_path"],
    ]
    return pa.table(dict(zip(TARGETS.names, columns, strict=True)), schema=TARGETS)


def _scan_labels(manifest: Manifest) -> dict[str, str]:
    """Classes of scans that are samples as a whole."""
    if _are_classes_of_voxels(manifest):
        return {}
    whole = manifest.samples.filter(pc.is_null(manifest.samples["x_mm"]))
    names = [manifest.classes[label] for label in whole["label"].to_pylist()]
    return dict(zip(whole["scan_id"].to_pylist(), names, strict=True))


def _are_classes_of_voxels(manifest: Manifest) -> bool:
    paths = manifest.scans["label_path"]
    return bool(manifest.masks_are_targets and paths.null_count < len(paths))
