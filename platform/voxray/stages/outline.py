"""The plan of a run: data, patches, network and cost."""

from dataclasses import dataclass

import torch

from voxray.config.experiment import Experiment
from voxray.config.folds import fold_experiments
from voxray.datasets.layouts import read_manifest
from voxray.datasets.manifest import Manifest
from voxray.errors import ConfigError
from voxray.evaluation.findings import searches_whole_scans
from voxray.evaluation.patches import EVALUATED, check_unit
from voxray.inference.proposing import check_proposing
from voxray.models.cost.estimate import Cost
from voxray.patches.plan import Plan
from voxray.patches.planned import plan_experiment
from voxray.patches.scans import split_scans
from voxray.patches.subsets import find_folds
from voxray.stages.hard_negatives import check_rounds
from voxray.storage.paths import to_path
from voxray.store.prepare import count_channels
from voxray.training.fit import Network, load_network
from voxray.training.tasks import check_regions, check_settings


@dataclass(frozen=True)
class RunPlan:
    """The plan of a run.

    Attributes
    ----------
    manifest : Manifest
    plan : Plan
    channels : int
    network : Network
    cost : Cost
    device : torch.device
        That training would use on this machine.
    rotations : int
        Rotated copies of each positive patch.
    crops : int
        Crops of each training patch in an epoch; 1 where patches are not cropped.
    """

    manifest: Manifest
    plan: Plan
    channels: int
    network: Network
    cost: Cost
    device: torch.device
    rotations: int
    crops: int

    @property
    def training_patches(self) -> int:
        """Patches of an epoch, with rotated copies, or all their crops."""
        return self.crops * (self.plan.count("train") + self.rotated_rows)

    @property
    def rotated_rows(self) -> int:
        """Rotated copies in an epoch."""
        return self.rotations * (self.plan.count("train") - self.plan.count("train", 0))


def tested_part(experiment: Experiment) -> str:
    """Which fold is tested, in words; empty without folds."""
    split = experiment.split
    if split.fold is None:
        return ""
    if split.by_subset:
        return f"subset{split.fold} is tested"
    return f"fold {split.fold} of {split.folds} (from 0) is tested"


def count_searched(experiment: Experiment, planned: RunPlan) -> dict[str, int]:
    """Whole scans of each split that an evaluation searches for candidates; empty where it searches none."""
    if planned.plan.masks or not searches_whole_scans(experiment, len(planned.plan.classes)):
        return {}
    splits = split_scans(planned.manifest, experiment)["split"].to_pylist()
    return {split: splits.count(split) for split in EVALUATED if split in splits}


def first_fold(experiment: Experiment) -> Experiment:
    """The first fold of a cross-validation, whose folds are planned alike; any other experiment as it is."""
    if not experiment.split.is_cross_validation:
        return experiment
    return fold_experiments(find_folds(experiment, read_manifest(experiment.data)))[0]


def plan_run(experiment: Experiment) -> RunPlan:
    """Read the lists of the data set, plan the patches and check the architecture; opens a few scans at most.

    Raises
    ------
    ConfigError
        The settings do not fit the data or the architecture.
    NotReadyError
        The network that proposes candidates is not trained.
    """
    manifest, plan = plan_experiment(experiment)
    check_proposing(experiment, plan.table)
    path = to_path(experiment.model.architecture)
    check_settings(experiment, plan.task, plan.classes)
    channels = count_channels(plan, manifest)
    if len(windows := experiment.intensity.windows) not in (1, channels):
        choice = f", or one for each of {channels} channels" if channels > 1 else ""
        problem = f"expected one window{choice}, got {len(windows)}"
        raise ConfigError("intensity.window", problem, "Correct their number")
    check_unit(experiment, plan)
    check_rounds(experiment, masks=plan.masks)
    network = load_network(path, (channels, *experiment.input_size), len(plan.classes))
    check_regions(experiment.data, network.layers)
    gpu = experiment.training.device != "cpu" and torch.cuda.is_available()
    cost = network.cost(len(plan.classes), experiment.training, gpu=gpu)
    device = torch.device("cuda" if gpu else "cpu")
    rotations, augment = len(experiment.patches.oversample_rotations), experiment.augment
    crops = 1 if augment.crop is None else augment.crops_per_patch
    return RunPlan(manifest, plan, channels, network, cost, device, rotations, crops)
