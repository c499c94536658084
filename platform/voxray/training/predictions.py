"""A pass over a split without gradients: the logits of every patch."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from voxray.loader.loader import PatchLoader
from voxray.metrics.curves import Floats, Ints
from voxray.training.distributed import all_gather_objects
from voxray.training.inputs import Preprocessing

Part = tuple[Ints, Floats] | None  # rows and logits of one rank


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions of all patches of a split, in the order of the index.

    Attributes
    ----------
    rows : ndarray of int, (n,)
        Rows of the split's index.
    labels : ndarray of int, (n,)
    logits : ndarray, (n, classes)
    loss : float
        Mean cross-entropy.
    """

    rows: Ints
    labels: Ints
    logits: Floats
    loss: float

    @property
    def probabilities(self) -> Floats:
        """Without calibration, (n, classes)."""
        probabilities: Floats = torch.from_numpy(self.logits).softmax(1).numpy()
        return probabilities


def predict_pass(model: nn.Module, loader: PatchLoader, preprocessing: Preprocessing) -> Predictions:
    """Logits of every patch of the loader, exactly once, gathered from all ranks."""
    return join_predictions(all_gather_objects(predict_part(model, loader, preprocessing)), loader.labels.numpy())


@torch.no_grad()
def predict_part(
    model: nn.Module,
    loader: PatchLoader,
    preprocessing: Preprocessing,
    on_step: Callable[[int, int], None] = lambda step, steps: None,
) -> Part:
    """Rows and logits of the patches that this rank reads; None if it has none."""
    steps = len(loader.steps(None))
    model.eval()
    rows: list[NDArray[np.int64]] = []
    logits: list[torch.Tensor] = []
    for batch in loader.epoch(None):
        if len(batch.rows):
            with preprocessing.autocast():
                logits.append(model(preprocessing.inputs(batch, None).images).double().cpu())
            rows.append(batch.rows)
        on_step(batch.step + 1, steps)
    return (np.concatenate(rows), torch.cat(logits).numpy()) if rows else None


def join_predictions(parts: list[Part], labels: Ints) -> Predictions:
    """Put the (rows, logits) of several ranks together."""
    present = [part for part in parts if part is not None]
    if not present:
        return Predictions(np.array([], np.int64), labels[:0], np.empty((0, 2)), math.nan)
    rows = np.concatenate([part[0] for part in present])
    order = np.argsort(rows)
    rows = rows[order]
    logits = torch.from_numpy(np.concatenate([part[1] for part in present])[order])
    truth = labels[rows]
    loss = float(nn.functional.cross_entropy(logits, torch.from_numpy(truth)))
    return Predictions(rows, truth, logits.numpy(), loss)
