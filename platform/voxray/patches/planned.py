"""An experiment → its manifest and plan: read the lists, measure shapes and hide names as the experiment says."""

from voxray.config.experiment import Experiment
from voxray.datasets.layouts import read_manifest
from voxray.datasets.manifest import Manifest
from voxray.datasets.pseudonyms import hide_names
from voxray.patches.measure import measure_scans
from voxray.patches.plan import Plan, plan_patches


def plan_experiment(experiment: Experiment, manifest: Manifest | None = None) -> tuple[Manifest, Plan]:
    """Read the lists of the data set and plan the patches.

    A manifest of the same data spares reading it, but with a key for pseudonyms it is read again, with patients.

    Raises
    ------
    DataError
        The data set does not exist, or cannot be planned.
    ConfigError
        The experiment names a key for pseudonyms that does not exist.
    """
    manifest = planned_manifest(experiment, manifest)
    return manifest, plan_patches(manifest, experiment)


def planned_manifest(experiment: Experiment, manifest: Manifest | None = None) -> Manifest:
    """The manifest that the patches of an experiment are planned from, whose digest its store keeps.

    Parameters and errors are those of `plan_experiment`.
    """
    key = experiment.privacy.read_key()
    if manifest is None or key is not None:
        manifest = read_manifest(experiment.data, with_patients=key is not None)
    if experiment.patches.sampling == "grid":
        manifest = measure_scans(manifest, experiment.patches)
    if key is not None:
        manifest = hide_names(manifest, key)
    return manifest
