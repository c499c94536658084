"""Classification of patches and segmentation of their voxels: what a network is trained for."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from voxray.config.data import DataSpec
from voxray.config.experiment import Experiment
from voxray.config.labels import MaskLabels, label_settings, mask_labels
from voxray.config.tasks import TASKS
from voxray.datasets.annotated import cpm_function, why_not_scored
from voxray.errors import ConfigError
from voxray.loader.loader import PatchLoader
from voxray.metrics.classification import Samples, predict_labels
from voxray.metrics.compute import mean_metrics, sample_metrics, voxel_metrics
from voxray.metrics.curves import Floats, Ints
from voxray.metrics.detection_score import CPM
from voxray.metrics.segmentation import ClassVoxels
from voxray.models.outputs import Activation, class_probabilities, label_maps
from voxray.models.spec.load import Architecture
from voxray.models.spec.unet import UNet
from voxray.store.read import PatchStore
from voxray.training.distributed import all_reduce_sum
from voxray.training.inputs import Inputs, Preprocessing
from voxray.training.losses import LOSSES, find_loss
from voxray.training.losses.base import class_weights, foreground, local_loss
from voxray.training.monitors import check_monitor
from voxray.training.predictions import predict_pass
from voxray.training.step import TrainingTask


@dataclass(frozen=True, eq=False)
class Classification:
    """A class for each patch.

    Attributes
    ----------
    loss : str
    weights : Tensor, (classes,), optional
    target_recall : float
        Recall at which an epoch's precision is reported.
    target_precision : float
        Precision at which an epoch's recall is reported.
    cpm : callable, optional
        CPM of the validation split, of numbers of its rows (n,) and probabilities (n,); for candidates of a list.
    """

    loss: str
    weights: torch.Tensor | None
    target_recall: float
    target_precision: float
    cpm: Callable[[Ints, Floats], float] | None = None

    def local_loss(self, output: Any, inputs: Inputs, total: int) -> torch.Tensor:
        """The loss of the experiment, over patches."""
        return local_loss(LOSSES[self.loss], output, inputs.labels, None, total, weights=self.weights)

    @torch.no_grad()
    def count(self, output: Any, inputs: Inputs) -> torch.Tensor:
        """Patches whose most probable class is right, and all patches."""
        right = (output.argmax(1) == inputs.labels).sum() * (inputs.count > 0)
        return torch.stack([right, torch.full_like(right, inputs.count)]).double()

    def train_metrics(self, counts: Sequence[float]) -> dict[str, float]:
        """The accuracy of an epoch, of patches as they were learned from: augmented, with dropout."""
        right, total = counts
        return {"train_accuracy": right / total if total else math.nan}

    def validate(self, model: nn.Module, loader: PatchLoader, preprocessing: Preprocessing) -> dict[str, float]:
        """Metrics of the most probable class, and those at the targets of recall and precision."""
        result = predict_pass(model, loader, preprocessing)
        predicted = predict_labels(result.probabilities)
        targets = self.target_recall, self.target_precision
        samples = Samples(result.labels, result.probabilities, predicted, None, *targets)
        metrics = {"loss": result.loss, **sample_metrics(samples, per_epoch=True)}
        if self.cpm is not None:
            metrics[CPM.name] = self.cpm(result.rows, result.probabilities[:, 1])
        return {f"val_{name}": value for name, value in metrics.items()}


@dataclass(frozen=True)
class Segmentation:
    """A class for each voxel.

    Attributes
    ----------
    loss : str
    activation : str
        ``softmax`` or ``sigmoid``.
    labels : MaskLabels
        The classes, and the numbers of which they consist.
    """

    loss: str
    activation: Activation
    labels: MaskLabels

    def local_loss(self, output: Any, inputs: Inputs, total: int) -> torch.Tensor:
        """The loss of the experiment, over labeled voxels inside the scans."""
        truth = self._maps(inputs.labels) if self.labels.regions else inputs.labels
        return local_loss(LOSSES[self.loss], output, truth, inputs.valid, total, output=self.activation)

    def _maps(self, numbers: torch.Tensor) -> torch.Tensor:
        """Where each class but the background is, (n, classes − 1, …) bool, of numbers (n, …)."""
        if not self.labels.regions:
            return foreground(numbers, len(self.labels.classes) - 1)
        maps = [torch.stack([numbers == number for number in region]).any(0) for region in self.labels.regions]
        return torch.stack(maps, 1)

    @torch.no_grad()
    def count(self, output: Any, inputs: Inputs) -> torch.Tensor:
        """Voxels of each class that are right, of the truth, and predicted; before each of these all that count."""
        logits = output if isinstance(output, torch.Tensor) else output[0]  # of deep supervision, the finest
        written = self.labels.written if self.labels.regions else ()
        found = label_maps(class_probabilities(logits.float(), self.activation), self.activation, written)
        valid = inputs.valid
        inside = torch.ones_like(found, dtype=torch.bool) if valid is None else valid[:, 0]
        # Sums of comparisons, because a GPU would have to be waited for by bincount and by an index of voxels.
        true, predicted = ([inside, *(self._maps(each) & inside[:, None]).unbind(1)] for each in (inputs.labels, found))
        right = [one & other for one, other in zip(true, predicted, strict=True)]
        return torch.stack([maps.sum() for maps in (*right, *true, *predicted)]).double()

    def train_metrics(self, counts: Sequence[float]) -> dict[str, float]:
        """Dice of each class over all voxels of an epoch's patches as they were learned from, and the mean."""
        return {f"train_{name}": value for name, value in self._metrics(np.array(counts)).items()}

    @torch.no_grad()
    def validate(self, model: nn.Module, loader: PatchLoader, preprocessing: Preprocessing) -> dict[str, float]:
        """Metrics of each class over all voxels of the split's patches, and their means.

        They choose an epoch; those of ``metrics.json`` are of whole scans.
        """
        model.eval()
        # Those of `count`, then the sum of losses.
        sums = torch.zeros(3 * len(self.labels.classes) + 1, dtype=torch.float64, device=preprocessing.device)
        for batch in loader.epoch(None):
            if not len(batch.rows):
                continue
            inputs = preprocessing.inputs(batch, None)
            with preprocessing.autocast():
                logits = model(inputs.images)
            sums[-1] += self.local_loss(logits, inputs, 1).double()
            sums[:-1] += self.count(logits, inputs)
        totals = all_reduce_sum(sums).cpu().numpy()
        metrics = {"loss": totals[-1] / max(loader.count, 1), **self._metrics(totals[:-1])}
        return {f"val_{name}": value for name, value in metrics.items()}

    def _metrics(self, counts: Floats) -> dict[str, float]:
        """Metrics of each class and their means from the sums of `count`."""
        of_class = counts.reshape(3, -1)
        voxels = of_class[1, 0]
        regions = [
            ClassVoxels(right, predicted - right, truth - right, voxels - truth - predicted + right)
            for right, truth, predicted in of_class[:, 1:].T
        ]
        return mean_metrics([voxel_metrics(regions, self.labels.classes, per_epoch=True)])


def check_settings(experiment: Experiment, task: str, classes: Sequence[str]) -> None:
    """Raise ConfigError if a setting of training does not fit the task, its classes or the data set."""
    spec = experiment.training
    find_loss(spec.loss, task)
    for setting, name in (("monitor", spec.monitor), ("early_stopping_monitor", spec.stopping_monitor)):
        check_monitor(f"training.{setting}", name, experiment, task, classes)
    if experiment.augment.crop is not None and not TASKS[task].needs_masks:
        problem = f"only patches with masks are cropped, this is a {task}"
        raise ConfigError("augment.crop", problem, "Remove it; augment.shift_voxels moves whole patches")
    if not isinstance(spec.class_weights, str) and len(spec.class_weights) != len(classes):
        problem = f"expected one weight for each of {len(classes)} classes, got {len(spec.class_weights)}"
        raise ConfigError("training.class_weights", problem, f"The classes are {', '.join(classes)}")


def check_regions(data: DataSpec, architecture: Architecture) -> None:
    """Raise ConfigError where classes are regions, which may overlap, and the network decides for one of them."""
    if data.regions and isinstance(architecture, UNet) and architecture.output.activation != "sigmoid":
        problem = f"data.regions need the output activation 'sigmoid', got '{architecture.output.activation}'"
        raise ConfigError("model.architecture", problem, "Change it there, or remove data.regions")


def build_task(
    experiment: Experiment, store: PatchStore, architecture: Architecture, device: torch.device
) -> TrainingTask:
    """The task of a store, with the settings of an experiment.

    Raises
    ------
    ConfigError
        The architecture or the settings are those of another task.
    """
    check_regions(experiment.data, architecture)
    segments = isinstance(architecture, UNet)
    if segments != store.info.masks:
        problem = "a U-Net needs scans with masks" if segments else "scans with masks need a U-Net"
        raise ConfigError("model.architecture", problem, "Choose an architecture for this data set")
    check_settings(experiment, store.info.task, store.info.classes)
    return BUILDERS[store.info.task](experiment, store, architecture, device)


def _classification(
    experiment: Experiment, store: PatchStore, _architecture: Any, device: torch.device
) -> Classification:
    spec, evaluation = experiment.training, experiment.evaluation
    labels = torch.from_numpy(store.rows("train")["label"].to_numpy().copy())
    weights = class_weights(spec.class_weights, torch.bincount(labels, minlength=len(store.info.classes)))
    weights = None if weights is None else weights.to(device)
    cpm = None if why_not_scored(experiment) else cpm_function(experiment, store.rows("val"))
    return Classification(spec.loss, weights, evaluation.target_recall, evaluation.target_precision, cpm)


def _segmentation(experiment: Experiment, store: PatchStore, architecture: Any, _device: torch.device) -> Segmentation:
    labels = mask_labels(store.info.classes, label_settings(experiment.data))
    return Segmentation(experiment.training.loss, architecture.output.activation, labels)


BUILDERS: Mapping[str, Callable[[Experiment, PatchStore, Any, torch.device], TrainingTask]] = {
    "classification": _classification,
    "segmentation": _segmentation,
}
