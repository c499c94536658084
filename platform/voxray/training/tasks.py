"""Classification of patches and segmentation of their voxels: the two things a network is trained for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from voxray.loader.loader import PatchLoader
from voxray.metrics.classification import choose_threshold, compute_metrics, recall_at_precision
from voxray.models.outputs import Activation, class_probabilities, label_maps
from voxray.training.distributed import all_reduce_sum
from voxray.training.losses import local_cross_entropy
from voxray.training.segmentation_losses import LossName, local_segmentation_loss
from voxray.training.step import Inputs, Preprocessing, predict_pass

EPOCH_METRICS = ("recall", "precision", "f1", "accuracy", "balanced_accuracy", "roc_auc", "average_precision")


def epoch_metrics(classes: Sequence[str], masks: bool) -> tuple[str, ...]:
    """Names of the figures that validation gives after each epoch; ``val_`` and a name is a column of the history."""
    if masks:
        return "loss", "dice", *(f"dice/{name}" for name in classes[1:])
    at_targets = ("precision_at_target", "recall_at_precision") if len(classes) == 2 else ()
    return "loss", *EPOCH_METRICS, *at_targets


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
        """Figures at the most probable class; the precision where recall is as asked, and the other way round."""
        predictions = predict_pass(model, loader, preprocessing)
        labels, probabilities = predictions.labels, predictions.probabilities
        at_half = compute_metrics(labels, probabilities, None)
        row = {"val_loss": predictions.loss, **{f"val_{name}": at_half[name] for name in EPOCH_METRICS}}
        if probabilities.shape[1] == 2:
            threshold = choose_threshold(labels, probabilities[:, 1], self.target_recall)
            row["val_precision_at_target"] = compute_metrics(labels, probabilities, threshold)["precision"]
            row["val_recall_at_precision"] = recall_at_precision(labels, probabilities[:, 1], self.target_precision)
        return row


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
        """Dice of each class over all voxels of the split's patches, and their mean.

        These are figures for choosing an epoch; those of ``metrics.json`` are of whole scans.
        """
        model.eval()
        # For each class: voxels that are right, of the truth, and called; then the sum of losses.
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
        right, truth, calls = totals[:-1].reshape(3, -1)[:, 1:]
        with np.errstate(invalid="ignore"):
            dice = 2 * right / (truth + calls)
        named = {f"val_dice/{name}": float(value) for name, value in zip(self.classes[1:], dice, strict=True)}
        return {"val_loss": totals[-1] / max(loader.count, 1), "val_dice": float(np.nanmean(dice)), **named}

    def _counts(self, inputs: Inputs, predicted: torch.Tensor) -> torch.Tensor:
        inside = torch.ones_like(predicted, dtype=torch.bool) if inputs.valid is None else inputs.valid[:, 0]
        truth, calls = inputs.labels[inside], predicted[inside].long()
        number = len(self.classes)
        counts = [torch.bincount(each, minlength=number) for each in (truth[truth == calls], truth, calls)]
        return torch.cat(counts).double()
