"""The table of layouts. A new layout is one module that defines a Layout, and its entry in `LAYOUTS`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from voxray.config.data import DataSpec
from voxray.config.experiment import Experiment
from voxray.config.labels import label_settings, mask_labels
from voxray.config.load import load_experiment
from voxray.config.validation import nearest
from voxray.datasets.base import Layout
from voxray.datasets.brats2020 import BRATS2020
from voxray.datasets.decathlon import DECATHLON
from voxray.datasets.dicom import DICOM
from voxray.datasets.luna16 import LUNA16
from voxray.datasets.manifest import Manifest, class_notes
from voxray.datasets.medmnist import MEDMNIST
from voxray.datasets.mosmed import MOSMED
from voxray.datasets.table import TABLE
from voxray.errors import ConfigError, DataError
from voxray.storage.paths import AnyPath, list_once, to_path

BACKGROUND = "background"
CLASS_SETTINGS = ("label_values", "regions")  # of masks whose classes are learned

# In the order in which they are tried on a folder, the most specific first: a manifest.csv may lie beside anything.
LAYOUTS: dict[str, Layout] = {
    layout.name: layout for layout in (DECATHLON, BRATS2020, LUNA16, MOSMED, MEDMNIST, TABLE, DICOM)
}


def find_layout(name: str) -> Layout:
    """The layout with a name.

    Raises
    ------
    ConfigError
        There is none; with the nearest name.
    """
    if name not in LAYOUTS:
        raise ConfigError("data.layout", f"unknown layout '{name}'; {nearest(name, LAYOUTS)}")
    return LAYOUTS[name]


def recognize_layout(root: AnyPath) -> str | None:
    """Name of the layout of a folder or file, by the names in it; None where no layout fits."""
    return next((layout.name for layout in LAYOUTS.values() if layout.recognize(root)), None)


def check_layout(data: DataSpec) -> Layout:
    """The layout of a data set; ConfigError where it is unknown, or where a setting is one of other layouts."""
    layout = find_layout(data.layout)
    unused = {name for other in LAYOUTS.values() for name in other.all_settings if name not in layout.all_settings}
    for name in sorted(unused):
        value = getattr(data, name)
        if value != DataSpec.model_fields[name].default:
            problem = f"layout '{layout.name}' does not use it, got {value!r}"
            raise ConfigError(f"data.{name}", problem, "Remove it, or correct data.layout")
    return layout


def load_checked_experiment(path: Path, settings: Sequence[str] | Mapping[str, Any] = ()) -> Experiment:
    """Load an experiment file, and check its layout, which the settings' own schema does not know."""
    experiment = load_experiment(path, settings)
    check_layout(experiment.data)
    return experiment


def read_manifest(data: DataSpec, *, with_patients: bool = False) -> Manifest:
    """Read the manifest of a data set in the layout that the experiment names.

    Parameters
    ----------
    data : DataSpec
    with_patients : bool
        Whether patients are named as DICOM headers name them, for a caller that hides the names; by default after
        their first scan.

    Raises
    ------
    ConfigError
        The layout is unknown, or does not use one of the settings.
    DataError
        The folder is missing or does not have that layout.
    """
    layout = check_layout(data)
    root = list_once(to_path(data.root))
    if not layout.is_file and not root.is_dir():
        raise DataError("data.root", f"no such folder, got '{root}'", "Correct the path, or give --set data.root=…")
    settings = {name: getattr(data, name) for name in layout.settings}
    if data.regions and "classes" in settings:
        settings["classes"] = (BACKGROUND, *data.regions)
    manifest = layout.read(root, **settings, **({"with_patients": with_patients} if layout.names_patients else {}))
    manifest = _with_labels(manifest, data)
    return replace(manifest, notes=(*manifest.notes, *class_notes(manifest)))


def _with_labels(manifest: Manifest, data: DataSpec) -> Manifest:
    """The same manifest with the settings of the values of masks."""
    settings = label_settings(data)
    if not settings:
        return manifest
    if not manifest.masks_are_targets and (name := next((name for name in CLASS_SETTINGS if name in settings), None)):
        raise ConfigError(f"data.{name}", "the classes of this data set are not those of masks", "Remove it")
    return replace(manifest, classes=mask_labels(manifest.classes, settings).classes, label_settings=settings)
