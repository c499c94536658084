"""What is inspected: an experiment's data, a folder in a known layout, or the scans below a folder."""

from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from voxray.config.data import SPACING_RANGE_MM, DataSpec
from voxray.config.experiment import Experiment
from voxray.config.folds import fold_experiments
from voxray.config.labels import MaskLabels
from voxray.datasets.layouts import read_manifest, recognize_layout
from voxray.datasets.loose import read_loose
from voxray.datasets.manifest import Manifest, shared_patients
from voxray.errors import DataError
from voxray.patches.plan import Plan, empty_classes
from voxray.patches.planned import plan_experiment
from voxray.patches.subsets import find_folds
from voxray.storage.paths import AnyPath, exists

TARGETS = pa.schema(
    [
        ("number", pa.int64()),  # row of the table, by which results are ordered
        ("scan_id", pa.string()),
        ("patient_id", pa.string()),
        ("split", pa.string()),  # of the plan, else of the data set; null where neither gives one
        ("label", pa.string()),  # class of the scan as a whole; null where points or voxels are classified
        ("path", pa.string()),
        ("label_path", pa.string()),
    ]
)


@dataclass(frozen=True, eq=False)
class InspectionTarget:
    """A data set as its lists describe it, with a row of the schema TARGETS for each scan.

    `layout` is empty for a folder without a known one. An experiment has a plan unless planning failed, and
    `plan_problems`, the reasons why it cannot run.
    """

    name: str
    layout: str
    manifest: Manifest
    targets: pa.Table
    plan: Plan | None = None
    plan_problems: tuple[str, ...] = ()
    spacing_range_mm: tuple[float, float] = SPACING_RANGE_MM

    @property
    def masks(self) -> bool:
        """Whether voxels are classified (segmentation)."""
        return _classifies_voxels(self.manifest)

    @property
    def labels(self) -> MaskLabels | None:
        """What the values of masks mean; None where masks only locate patches."""
        return self.manifest.labels

    @property
    def mask_classes(self) -> tuple[str, ...]:
        """Classes of the masks; empty where masks only locate patches."""
        return self.manifest.classes if self.manifest.masks_are_targets else ()


def read_target(source: AnyPath) -> InspectionTarget:
    """Read the lists of a folder or file of scans; reads no scan.

    Raises
    ------
    DataError
        The path does not exist, or a list in it cannot be read.
    """
    if not exists(source):
        raise DataError(str(source), "no such folder, file or experiment", "Check the path")
    layout = recognize_layout(source)
    spec = {"layout": layout, "root": str(source)}
    manifest = read_manifest(DataSpec.model_validate(spec)) if layout else read_loose(source)
    return InspectionTarget(source.resolve().name, layout or "", manifest, list_targets(manifest))


def read_experiment_target(experiment: Experiment) -> InspectionTarget:
    """Read the lists of an experiment's data, and plan the experiment if possible.

    Raises
    ------
    DataError
        The data set does not exist, or a list in it cannot be read.
    """
    manifest = read_manifest(experiment.data)
    plan, problems = None, []
    try:
        if experiment.split.is_cross_validation:
            # All folds are planned in the same way.
            folds = fold_experiments(find_folds(experiment, manifest))
            experiment = experiment.model_copy(update={"split": folds[0].split})
            note = f"cross-validation: splits, patches and store are those of the first of {len(folds)} folds"
            manifest = replace(manifest, notes=(*manifest.notes, note))
        _, plan = plan_experiment(experiment, manifest)
        problems = empty_classes(plan, ("train", "val"))
    except DataError as error:
        # Each shared patient is an issue of its own.
        if not shared_patients(manifest.scans):
            problems.append(error.problem)
    return InspectionTarget(
        experiment.name,
        experiment.data.layout,
        manifest,
        list_targets(manifest, plan),
        plan,
        tuple(problems),
        experiment.patches.spacing_range_mm,
    )


def list_targets(manifest: Manifest, plan: Plan | None = None) -> pa.Table:
    """The scans of a manifest (schema TARGETS), with the splits of a plan where there is one."""
    scans = manifest.scans
    paths, ids = scans["path"].to_pylist(), scans["scan_id"].to_pylist()
    splits = dict(zip(paths, scans["split"].to_pylist(), strict=True))
    if plan is not None:
        # By path: the scan ids of a plan may be pseudonyms.
        splits |= dict(zip(plan.table["path"].to_pylist(), plan.table["split"].to_pylist(), strict=True))
    labels = _scan_labels(manifest)
    split, label = list(map(splits.get, paths)), list(map(labels.get, ids))
    columns = [list(range(len(ids))), ids, scans["patient_id"], split, label, paths, scans["label_path"]]
    return pa.table(dict(zip(TARGETS.names, columns, strict=True)), schema=TARGETS)


def _scan_labels(manifest: Manifest) -> dict[str, str]:
    """Classes of scans that are classified as a whole."""
    if _classifies_voxels(manifest):
        return {}
    whole = manifest.samples.filter(pc.is_null(manifest.samples["x_mm"]))
    names = [manifest.classes[label] for label in whole["label"].to_pylist()]
    return dict(zip(whole["scan_id"].to_pylist(), names, strict=True))


def _classifies_voxels(manifest: Manifest) -> bool:
    paths = manifest.scans["label_path"]
    return bool(manifest.masks_are_targets and paths.null_count < len(paths))
