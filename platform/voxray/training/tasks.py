"""Classification of patches and segmentation of their voxels: the two things a network is trained for."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from voxray.loader.loader import PatchLoader
from voxray.metrics.classification import Samples, predict_labels
from voxray.metrics.compute import mean_metrics, sample_metrics, voxel_metrics
from voxray.metrics.segmentation import ClassVoxels
from voxray.models.outputs import Activation, class_probabilities, label_maps
from voxray.training.distributed import all_reduce_sum
from voxray.training.losses import local_cross_entropy
from voxray.training.segmentation_losses import LossName, local_segmentation_loss
from voxray.training.step import Inputs, Preprocessing, predict_pass


@dataclass(frozen=True, eq=False)
class Classification:
    """A class for each patch.

    Attributes
    ----------
    weights : Tensor, (classes,), optional
    target_recall : float
        Recall at which an epoch's precision is reported.
    target_precision : float
        Precision at which an epoch's recall is reported.
    """

    weights: torch.Tensor | None
    target_recall: float
    target_precision: float

    def local_loss(self, output: Any, inputs: Inputs, total: int) -> torch.Tensor:
        """Cross-entropy."""
        return local_cross_entropy(output, inputs.labels, self.weights, total)

    def validate(self, model: nn.Module, loader: PatchLoader, preprocessing: Preprocessing) -> dict[str, float]:
        """Metrics of the most probable class, and those at the targets of recall and precision."""
        result = predict_pass(model, loader, preprocessing)
        predicted = predict_labels(result.probabilities)
        targets = self.target_recall, self.target_precision
        samples = Samples(result.labels, result.probabilities, predicted, None, *targets)
        metrics = {"loss": result.loss, **sample_metrics(samples, per_epoch=True)}
        return {f"val_{name}": value for name, value in metrics.items()}


@dataclass(frozen=True)
class Segmentation:
    """A class for each voxel.

    Attributes
    ----------
    loss : str
    activation : str
        ``softmax`` or ``sigmoid``.
    classes : tuple of str
        Background first.
    """

    loss: LossName
    activation: Activation
    classes: tuple[str, ...]

    def local_loss(self, output: Any, inputs: Inputs, total: int) -> torch.Tensor:
        """The loss of the experiment, over voxels inside the scans."""
        return local_segmentation_loss(
            output, inputs.labels, inputs.valid, total, loss=self.loss, output=self.activation
        )

    @torch.no_grad()
    def validate(self, model: nn.Module, loader: PatchLoader, preprocessing: Preprocessing) -> dict[str, float]:
        """Metrics of each class over all voxels of the split's patches, and their means.

        They choose an epoch; those of ``metrics.json`` are of whole scans.
        """
        model.eval()
        # For each class: voxels that are right, of the truth, and predicted; then the sum of losses.
        sums = torch.zeros(3 * len(self.classes) + 1, dtype=torch.float64, device=preprocessing.device)
        for batch in loader.epoch(None):
            if not len(batch.rows):
                continue
            inputs = preprocessing.inputs(batch, None)
            with preprocessing.autocast():
                logits = model(inputs.images)
            sums[-1] += self.local_loss(logits, inputs, 1).double()
            predicted = label_maps(class_probabilities(logits.float(), self.activation), self.activation)
            sums[:-1] += self._counts(inputs, predicted)
        totals = all_reduce_sum(sums).cpu().numpy()
        counts = totals[:-1].reshape(3, -1)
        voxels = counts[1].sum()
        regions = [
            ClassVoxels(right, predicted - right, truth - right, voxels - truth - predicted + right)
            for right, truth, predicted in counts[:, 1:].T
        ]
        metrics = mean_metrics([voxel_metrics(regions, self.classes, per_epoch=True)])
        return {"val_loss": totals[-1] / max(loader.count, 1), **{f"val_{name}": metrics[name] for name in metrics}}

    def _counts(self, inputs: Inputs, predicted: torch.Tensor) -> torch.Tensor:
        inside = torch.ones_like(predicted, dtype=torch.bool) if inputs.valid is None else inputs.valid[:, 0]
        truth, predicted = inputs.labels[inside], predicted[inside].long()
        number = len(self.classes)
        counts = [torch.bincount(labels, minlength=number) for labels in (truth[truth == predicted], truth, predicted)]
        return torch.cat(counts).double()
